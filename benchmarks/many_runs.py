"""Run the sweeps of notebook 7.

    python -m benchmarks.many_runs    # twenty minutes on two cores; continues after a stop

As `python -m helpers sweep --plan benchmarks/rates.yaml`, and images.yaml, but also writes the
tables of the runs to benchmarks/results/.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from helpers import headless, runs
from helpers.files import PROJECT, write_atomic

PLANS = PROJECT / "benchmarks"
RESULTS = PLANS / "results"


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Plans; both by default.")] = None,
    processes: Annotated[int, typer.Option("--workers", help="By default as many as cores.")] = 0,
    root: Annotated[Path, typer.Option(help="Folder for the runs.")] = runs.ROOT,
    out: Annotated[Path, typer.Option(help="Folder for the tables.")] = RESULTS,
) -> None:
    """Run the missing trials, and write the tables."""
    for name in names or ("rates", "images"):
        plan = headless.read_plan(PLANS / f"{name}.yaml")
        trials = plan.trials()
        with headless.open_client(None, processes or os.cpu_count() or 1) as client:
            headless.run_sweep(trials, root, client, progress=True)
        frame = runs.collect(root / "sweeps")
        frame = frame[frame["run"].isin(trial.digest for trial in trials)]
        write_atomic(out / f"{name}.csv", table(frame, list(plan.grid)).to_csv(index=False))


def table(frame: pd.DataFrame, settings: Sequence[str]) -> pd.DataFrame:
    """The columns that notebook 7 reads: settings, state, seconds, accuracy in percent."""
    chosen = frame.rename(columns={f"parameters.{name}": name for name in settings})
    chosen["validation accuracy, %"] = (100 * chosen["measured.validation_accuracy"]).round(2)
    columns = [*settings, "state", "seconds", "wall_seconds", "validation accuracy, %"]
    return chosen[columns].round({"wall_seconds": 1}).sort_values([*settings], ignore_index=True)


if __name__ == "__main__":
    typer.run(main)
