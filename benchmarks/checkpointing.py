"""What does it cost to keep the progress of a training?

    python -m benchmarks.checkpointing

Whole trainings by the recipe `fast`, with a checkpoint after each epoch. What keeping takes is
timed inside them: two trainings, one with and one without, differ by more from noise alone.
"""

import json
import pkgutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated
from unittest import mock

import torch
import typer

from benchmarks.machine import describe
from helpers import data, training
from helpers.data import SPECS, Splits
from helpers.files import PROJECT, write_atomic

RESULTS = PROJECT / "benchmarks" / "results" / "checkpointing.json"


def main(
    rounds: Annotated[int, typer.Option(help="Trainings of each data set.")] = 5,
    threads: Annotated[int, typer.Option(help="Threads to compute on.")] = 2,
    out: Annotated[Path, typer.Option(help="Where results are kept.")] = RESULTS,
) -> None:
    """Train on both data sets in turn, and write down which share of the time keeping takes."""
    torch.set_num_threads(threads)
    splits = {name: data.load_splits(name) for name in SPECS}
    shares: dict[str, list[float]] = {name: [] for name in SPECS}
    for seed in range(rounds):
        for name in SPECS:
            shares[name].append(_share(splits[name], seed))
    results = describe(threads) | {
        "share_of_the_time": shares,
        "median": {name: statistics.median(values) for name, values in shares.items()},
    }
    write_atomic(out, json.dumps(results, indent=1) + "\n")
    typer.echo(results["median"])


def _share(splits: Splits, seed: int) -> float:
    """Which share of a training's time goes into keeping: fingerprints, states, the disk."""
    spent: list[float] = []
    recipe = training.find_recipe("fast", splits.spec.name)
    loop, manager = "helpers.training.loop", "helpers.training.resume.CheckpointManager"
    settings = pkgutil.resolve_name(f"{loop}.training_settings")
    save, restore = (pkgutil.resolve_name(f"{manager}.{name}") for name in ("save", "restore"))
    with (
        tempfile.TemporaryDirectory(dir=PROJECT / "runs") as folder,  # a disk, not memory
        mock.patch(f"{loop}.training_settings", _timed(settings, spent)),
        mock.patch(f"{manager}.save", _timed(save, spent)),
        mock.patch(f"{manager}.restore", _timed(restore, spent)),
    ):
        start = time.perf_counter()
        training.train(
            recipe, splits, device=torch.device("cpu"), seed=seed, checkpoint=Path(folder) / "kept"
        )
        whole = time.perf_counter() - start
    return sum(spent) / (whole - sum(spent))


def _timed(call: Callable, spent: list[float]) -> Callable:
    def timed(*arguments, **named):
        start = time.perf_counter()
        try:
            return call(*arguments, **named)
        finally:
            spent.append(time.perf_counter() - start)

    return timed


if __name__ == "__main__":
    typer.run(main)
