"""Measure the cost of saving the state of a training.

    python -m benchmarks.checkpointing

The recipe `fast` saves a checkpoint after each epoch. Checkpointing is timed within the training,
since two trainings, with and without it, differ more by noise. Longer trainings also save once a
minute within an epoch; one such save is timed.
"""

import json
import pkgutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated
from unittest import mock

import torch
import typer

from benchmarks.machine import describe
from helpers import data, runs, training
from helpers.data import SPECS, Splits
from helpers.files import PROJECT, write_atomic

MANAGER, SAVE_EVERY = (
    f"helpers.training.resume.{name}" for name in ("CheckpointManager", "SAVE_EVERY")
)
RESULTS = PROJECT / "benchmarks" / "results" / "checkpointing.json"


def main(
    rounds: Annotated[int, typer.Option(help="Trainings on each data set.")] = 5,
    threads: Annotated[int, typer.Option(help="Number of threads.")] = 2,
    out: Annotated[Path, typer.Option(help="File for the results.")] = RESULTS,
) -> None:
    """Train on both data sets in turn, and write the cost of checkpointing."""
    torch.set_num_threads(threads)
    runs.ROOT.mkdir(exist_ok=True)
    splits = {name: data.load_splits(name) for name in SPECS}
    shares: dict[str, list[float]] = {name: [] for name in SPECS}
    for seed in range(rounds):
        for name in SPECS:
            shares[name].append(_share(splits[name], seed))
    results = describe(threads) | {
        "share_of_the_time": shares,
        "median": {name: statistics.median(values) for name, values in shares.items()},
        "seconds_of_a_save": {
            recipe: statistics.median(_saves(splits["fashion_mnist"], recipe))
            for recipe in ("tiny", "compact", "accurate")
        },
        "seconds_between_saves": pkgutil.resolve_name(SAVE_EVERY),
    }
    write_atomic(out, json.dumps(results, indent=1) + "\n")
    typer.echo(json.dumps({k: v for k, v in results.items() if k.startswith(("med", "sec"))}))


def _saves(splits: Splits, recipe: str, steps: int = 20) -> list[float]:
    """The seconds of each save, in an epoch of `steps` steps with a save after each."""
    spent: list[float] = []
    chosen = replace(training.find_recipe(recipe, splits.spec.name), epochs=1)
    few = replace(splits, train=splits.train[: steps * chosen.batch_size])
    few = replace(few, validation=few.validation[: chosen.batch_size])
    with (
        tempfile.TemporaryDirectory(dir=runs.ROOT) as folder,  # a disk, not memory
        mock.patch(SAVE_EVERY, 0.0),
        mock.patch(f"{MANAGER}.save", _timed(pkgutil.resolve_name(f"{MANAGER}.save"), spent)),
    ):
        training.train(
            chosen, few, device=torch.device("cpu"), checkpoint=Path(folder) / "kept",
            execution=training.Execution(progress=False),
        )  # fmt: skip
    return spent


def _share(splits: Splits, seed: int) -> float:
    """Time for checkpointing (fingerprints, states, disk) as a fraction of the other time."""
    spent: list[float] = []
    recipe = training.find_recipe("fast", splits.spec.name)
    loop = "helpers.training.loop"
    settings = pkgutil.resolve_name(f"{loop}.training_settings")
    save, restore = (pkgutil.resolve_name(f"{MANAGER}.{name}") for name in ("save", "restore"))
    with (
        tempfile.TemporaryDirectory(dir=runs.ROOT) as folder,  # a disk, not memory
        mock.patch(f"{loop}.training_settings", _timed(settings, spent)),
        mock.patch(f"{MANAGER}.save", _timed(save, spent)),
        mock.patch(f"{MANAGER}.restore", _timed(restore, spent)),
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
