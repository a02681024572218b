"""Measure the time to list 100,000 runs.

    python -m benchmarks.listing     # minutes, mostly to write the records

Each run is a folder with the record of one training. Listing is timed without an index, with one,
and after a new run, in seconds.
"""

import itertools
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from benchmarks.limits import seconds_of
from benchmarks.machine import describe
from helpers import data, headless, models, runs
from helpers.files import INDEX, PROJECT, write_atomic

RESULTS = PROJECT / "benchmarks" / "results" / "listing.json"
NOTEBOOK = "train_mnist"


def main(
    number: Annotated[int, typer.Option("--runs", min=2, help="Number of runs.")] = 100_000,
    rounds: Annotated[int, typer.Option(min=1, help="Timings for each median.")] = 5,
    out: Annotated[Path, typer.Option(help="File for the results.")] = RESULTS,
) -> None:
    """Write the records, time the listing, and write the results."""
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), number, rounds)
    write_atomic(out, json.dumps(describe(threads=1) | found, indent=1) + "\n")
    typer.echo(json.dumps(found, indent=1))


def measure(root: Path, number: int, rounds: int) -> dict[str, object]:
    """Median seconds of `rounds` timings, for `number` runs in `root`."""
    record = template(root)
    for i in tqdm(range(1, number), desc="writing", unit=" records"):
        add(root, record, i)

    def forget() -> None:
        (root / INDEX).unlink(missing_ok=True)

    seeds = itertools.count(number)

    def one_more() -> None:
        add(root, record, next(seeds))

    command = [sys.executable, "-m", "helpers", "runs", "--root", str(root)]
    return {
        "runs": number,
        "collect, without an index": timed(lambda: runs.collect(root), rounds, forget),
        "collect": timed(lambda: runs.collect(root), rounds),
        "collect, after one more run": timed(lambda: runs.collect(root), rounds, one_more),
        "the page index.html": timed(lambda: headless.write_runs_index(root), rounds),
        "the command `runs`": timed(
            lambda: subprocess.run(command, cwd=PROJECT, check=True, capture_output=True), rounds
        ),
    }


def template(root: Path) -> dict:
    """Save the first run, and return its record."""
    folder = root / "run-000000" / NOTEBOOK
    recipe = {"model": "compact", "epochs": 30, "batch_size": 128, "learning_rate": 0.1}
    path = runs.save(
        folder, notebook=NOTEBOOK, dataset=data.MNIST, parameters=recipe | {"seed": 0},
        measured={"validation_accuracy": 0.99, "test_accuracy": 0.99}, device="cpu",
        model=models.build("compact"),
    )  # fmt: skip
    return json.loads(path.read_text(encoding="utf-8"))


def add(root: Path, record: dict, seed: int) -> None:
    """Add a run, without syncing it to disk, which would take longer than all measurements."""
    folder = root / f"run-{seed:06d}" / NOTEBOOK
    folder.mkdir(parents=True)
    record["parameters"]["seed"] = seed
    (folder / runs.RESULT).write_text(json.dumps(record, indent=2), encoding="utf-8")


def timed(work: Callable[[], object], rounds: int, before: Callable[[], object] = int) -> float:
    """Median seconds of `work`. Each time, `before` is called first, untimed."""
    seconds = []
    for _ in range(rounds):
        before()
        seconds.append(seconds_of(work))
    return round(statistics.median(seconds), 2)


if __name__ == "__main__":
    typer.run(main)
