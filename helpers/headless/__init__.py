"""Headless: run the notebooks in batch, report on runs, sweep over parameters on many workers."""
# fmt: off

from helpers.headless.notebooks import (
    NOTEBOOKS, PROFILES, SERIES, Notebook, find_notebook, parameters_of, settings_for,
)
from helpers.headless.report import write_pages, write_runs_index
from helpers.headless.runner import (
    NotebookResult, execute_notebook, find_unfinished, finished_notebooks, run_notebooks,
    write_status,
)
from helpers.headless.sweeps import (
    ClusterError, Plan, Trial, TrialError, code_version, expected_seconds, finished_trial,
    open_client, parse_values, read_plan, run_sweep, run_trial, trial_dir,
)
