"""Is the suite green wherever nothing is wrong? It runs under other conditions, one after another.

    python -m tests.matrix                     # hours; a condition takes about twenty minutes
    python -m tests.matrix --only "another seed"

Each time it is all tests that are neither slow nor long, and nbval over the committed notebooks at
their defaults. What a run printed is kept in runs/matrix/. How it went is kept by condition in
records.json, from which docs/matrix.md is written.
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
NBVAL = ("--nbval", "--nbval-current-env", "--nbval-cell-timeout=3600")
KIND = "condition: "  # before the names of their records


def main(
    only: Annotated[list[str] | None, typer.Option(help="This condition only. Repeatable.")] = None,
) -> None:
    """Run the suite under each condition, and print how it went."""
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
    left = [name for name in CONDITIONS if KIND + name not in found]
    lines = markdown(table.assign(commit=table["commit"].map(records.short)))
    return [*lines, *(["", f"Not measured yet: {', '.join(left)}."] if left else [])]


def _outcome(name: str, scratch: Path) -> dict[str, str]:
    """Run the suite under one condition; what pytest counted, and whether all was green."""
    start = time.perf_counter()
    with (LOGS / f"{name}.txt").open("w", encoding="utf-8") as log:
        place = CONDITIONS[name](Place(), scratch)
        suites = {
            "tests": ["-m", "not (slow or long)", place.project / "tests"],
            "cells": [*NBVAL, place.notebooks],
        }
        done = {suite: _pytest(place, arguments, log) for suite, arguments in suites.items()}
    counts = {suite: _last_line(output) for suite, (_, output) in done.items()}
    green = all(code == 0 for code, _ in done.values())
    minutes = (time.perf_counter() - start) / 60
    return {**counts, "minutes": f"{minutes:.0f}", "green": "yes" if green else "**no**"}


def _pytest(place: Place, arguments: Iterable[str | Path], log) -> tuple[int, str]:
    done = subprocess.run(
        [
            *(place.python, "-m", "pytest", "-p", "no:cacheprovider", *place.options),
            *(f"--rootdir={place.project}", f"-c={place.project / 'pyproject.toml'}"),
            *arguments,
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
