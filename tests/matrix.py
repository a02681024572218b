"""Run the suite under other conditions, one after another; it must pass under each.

    python -m tests.matrix                     # hours; a condition takes about twenty minutes
    python -m tests.matrix --only "another seed"

This runs all tests that are neither slow nor long, and nbval over the committed notebooks at
their defaults. The output is kept in runs/matrix/, the results by condition in records.json, from
which docs/matrix.md is written.
"""

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from tqdm import tqdm

from benchmarks.machine import describe
from benchmarks.tables import markdown, write_below_mark
from helpers import runs
from helpers.files import PROJECT
from tests import records
from tests.conditions import CONDITIONS, SuiteSetup

LOGS = PROJECT / "runs" / "matrix"
REPORT = PROJECT / "docs" / "matrix.md"
NBVAL = ("--nbval", "--nbval-current-env", "--nbval-cell-timeout=3600")
KIND = "condition: "  # prefix of the names of their records


def main(
    only: Annotated[list[str] | None, typer.Option(help="This condition only. Repeatable.")] = None,
) -> None:
    """Run the suite under each condition, and print the results."""
    unknown = set(only or ()) - set(CONDITIONS)
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}; there are: {', '.join(CONDITIONS)}.")
    LOGS.mkdir(parents=True, exist_ok=True)
    code, commit, green = records.behavior(), runs.commit(), True
    for name in (bar := tqdm(only or CONDITIONS, unit=" conditions")):
        bar.set_description(name)
        with tempfile.TemporaryDirectory() as scratch:
            row = _outcome(name, Path(scratch))
        tqdm.write(f"{name}: {row}")
        green = green and row["green"] == "yes"
        records.note(f"{KIND}{name}", code, commit, processor=describe(1)["processor"], **row)
        write_below_mark(REPORT, page(records.read()))
    raise typer.Exit(int(not green))


def page(found: dict[str, dict]) -> list[str]:
    """The measured part of docs/matrix.md, from the records of the conditions."""
    columns = ["tests", "cells", "minutes", "green", "date", "commit", "processor"]
    rows = [
        {"condition": name} | {column: found[KIND + name][column] for column in columns}
        for name in CONDITIONS if KIND + name in found
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    missing = [name for name in CONDITIONS if KIND + name not in found]
    lines = markdown(table.assign(commit=table["commit"].map(records.short)))
    return [*lines, *(["", f"Not measured yet: {', '.join(missing)}."] if missing else [])]


def _outcome(name: str, scratch: Path) -> dict[str, str]:
    """Run the suite under one condition; returns pytest's counts, and whether all tests passed."""
    start = time.perf_counter()
    with (LOGS / f"{name}.txt").open("w", encoding="utf-8") as log:
        setup = CONDITIONS[name](SuiteSetup(), scratch)
        suites = {
            "tests": ["-m", "not (slow or long)", setup.project / "tests"],
            "cells": [*NBVAL, setup.notebooks],
        }
        done = {suite: _pytest(setup, arguments, log) for suite, arguments in suites.items()}
    counts = {suite: _last_line(output) for suite, (_, output) in done.items()}
    green = all(code == 0 for code, _ in done.values())
    minutes = (time.perf_counter() - start) / 60
    return {**counts, "minutes": f"{minutes:.0f}", "green": "yes" if green else "**no**"}


def _pytest(setup: SuiteSetup, arguments: Iterable[str | Path], log) -> tuple[int, str]:
    done = subprocess.run(
        [
            *(setup.python, "-m", "pytest", "-p", "no:cacheprovider", *setup.options),
            *(f"--rootdir={setup.project}", f"-c={setup.project / 'pyproject.toml'}"),
            *arguments,
        ],
        cwd=setup.cwd,
        env=os.environ | setup.environment,
        preexec_fn=setup.preexec,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    log.write(done.stdout)
    return done.returncode, done.stdout


def _last_line(output: str) -> str:
    """What pytest counted, such as "390 passed, 12 deselected"."""
    with suppress(IndexError):
        return re.sub(r"=+ ?| in [\d.:]+.*", "", output.strip().splitlines()[-1])
    return "nothing"


if __name__ == "__main__":
    typer.run(main)
