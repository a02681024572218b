"""Is the suite green wherever nothing is wrong? It runs under other conditions, one after another.

    python -m tests.matrix                     # about 40 minutes on two cores; ends with a table
    python -m tests.matrix --only "another seed"

Each time it is the fast tests, and nbval over the committed notebooks at their defaults. What a run
printed is kept in runs/matrix/; the table of a whole one becomes docs/matrix.md.
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
from tests.conditions import CONDITIONS, Place

LOGS = PROJECT / "runs" / "matrix"
REPORT = PROJECT / "docs" / "matrix.md"


def main(
    only: Annotated[list[str] | None, typer.Option(help="This condition only. Repeatable.")] = None,
) -> None:
    """Run the suite under each condition, and print how it went."""
    unknown = set(only or ()) - set(CONDITIONS)
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}; there are: {', '.join(CONDITIONS)}.")
    LOGS.mkdir(parents=True, exist_ok=True)
    code, commit, rows = records.behaviour(), runs.commit(), []
    for name in (bar := tqdm(only or CONDITIONS, unit=" conditions")):
        bar.set_description(name)
        with tempfile.TemporaryDirectory() as scratch:
            rows.append({"condition": name, **_outcome(name, Path(scratch))})
    table = pd.DataFrame(rows)
    typer.echo(table.to_string(index=False))
    if only is None:
        write_below_mark(REPORT, _report(table, commit))
        records.note("matrix", code, commit)
    raise typer.Exit(int(not table["green"].all()))


def _report(table: pd.DataFrame, commit: str) -> list[str]:
    """The measured part of docs/matrix.md."""
    about = describe(os.cpu_count() or 1)
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    machine = f"{about['processor']}, {about['threads']} cores"
    measured = f"Measured on {about['date']}: {machine}, {versions}, commit {commit[:12]}."
    return [measured, "", *markdown(table)]


def _outcome(name: str, scratch: Path) -> dict[str, object]:
    """Run the suite under one condition; what pytest counted, and whether all was green."""
    start = time.perf_counter()
    with (LOGS / f"{name}.txt").open("w") as log:
        place = CONDITIONS[name](Place(), scratch)
        suites = {
            "tests": ["tests"],
            "cells": ["--nbval", "--nbval-current-env", "--nbval-cell-timeout=3600", "notebooks"],
        }
        done = {suite: _pytest(place, arguments, log) for suite, arguments in suites.items()}
    counts = {suite: _last_line(output) for suite, (_, output) in done.items()}
    green = all(code == 0 for code, _ in done.values())
    return {**counts, "seconds": round(time.perf_counter() - start), "green": green}


def _pytest(place: Place, arguments: Iterable[str], log) -> tuple[int, str]:
    *options, folder = arguments
    done = subprocess.run(
        [
            *(place.python, "-m", "pytest", "-p", "no:cacheprovider", *place.options),
            *(*options, f"--rootdir={place.project}", f"-c={place.project / 'pyproject.toml'}"),
            place.project / folder,
        ],
        cwd=place.cwd,
        env=os.environ | place.environment,
        preexec_fn=place.begin,
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
