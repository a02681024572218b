"""How long does it take to list a hundred thousand runs?

    python -m benchmarks.listing     # minutes, most of them to write the records

Each run is a folder with the record of one training. The list is made without an index; with the
one that was kept, as each later time; and after a new run. All in seconds.
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
    number: Annotated[int, typer.Option("--runs", min=2, help="How many.")] = 100_000,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is timed.")] = 5,
    out: Annotated[Path, typer.Option(help="Where results are kept.")] = RESULTS,
) -> None:
    """Write the records, time their lists, and write that down."""
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), number, rounds)
    write_atomic(out, json.dumps(describe(threads=1) | found, indent=1) + "\n")
    typer.echo(json.dumps(found, indent=1))


def measure(root: Path, number: int, rounds: int) -> dict[str, object]:
    """Medians of so many rounds for that many runs in `root`."""
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
    """The record of a training, which is the first of the runs."""
    folder = root / "run-000000" / NOTEBOOK
    recipe = {"model": "compact", "epochs": 30, "batch_size": 128, "learning_rate": 0.1}
    path = runs.save(
        folder, notebook=NOTEBOOK, dataset=data.MNIST, parameters=recipe | {"seed": 0},
        measured={"validation_accuracy": 0.99, "test_accuracy": 0.99}, device="cpu",
        model=models.build("compact"),
    )  # fmt: skip
    return json.loads(path.read_text(encoding="utf-8"))


def add(root: Path, record: dict, seed: int) -> None:
    """One run more. Not synced to the disk, which would take longer than all that is measured."""
    folder = root / f"run-{seed:06d}" / NOTEBOOK
    folder.mkdir(parents=True)
    record["parameters"]["seed"] = seed
    (folder / runs.RESULT).write_text(json.dumps(record, indent=2), encoding="utf-8")


def timed(work: Callable[[], object], rounds: int, before: Callable[[], object] = int) -> float:
    """The median of the seconds that `work` takes; `before` comes first, and is not timed."""
    seconds = []
    for _ in range(rounds):
        before()
        seconds.append(seconds_of(work))
    return round(statistics.median(seconds), 2)


if __name__ == "__main__":
    typer.run(main)
