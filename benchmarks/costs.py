"""Measure the seconds of an epoch for each step of the ablation.

    python -m benchmarks.costs    # five minutes, on an otherwise idle machine

Each step trains for two epochs on an eighth of the images, and the second epoch is timed. The steps
take turns, in one process, on one thread.
"""

import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from tqdm import tqdm

from benchmarks.ablation_steps import FRONTIER, QUICK, STEPS, Step, named
from benchmarks.machine import describe
from helpers import data, training
from helpers.data import Splits
from helpers.files import PROJECT, write_atomic

OUT = PROJECT / "benchmarks" / "results" / "costs.json"
PART = 8  # the timed epochs have 1/PART of the images


def main(
    rounds: Annotated[int, typer.Option(help="Timings of each step.")] = 3,
    only: Annotated[list[str] | None, typer.Option(help="Names of steps; all by default.")] = None,
    out: Annotated[Path, typer.Option(help="File for the results.")] = OUT,
) -> None:
    """Time the steps, and write the medians. Other steps in `out` are kept."""
    torch.set_num_threads(1)
    steps = named([*STEPS, *FRONTIER, *QUICK], only)
    took: dict[tuple[str, str], list[float]] = {(step.name, step.dataset): [] for step in steps}
    for _, step in tqdm([(turn, step) for turn in range(rounds) for step in steps]):
        seconds = seconds_an_epoch(step, data.load_splits(step.dataset))
        took[step.name, step.dataset].append(seconds)
    results = describe(threads=1)
    epochs = [
        {
            "step": step.name, "dataset": step.dataset, "epochs": step.recipe.epochs,
            "processor": results["processor"],
            "turns": [round(seconds, 2) for seconds in took[step.name, step.dataset]],
            "seconds an epoch": round(statistics.median(took[step.name, step.dataset]), 2),
        }
        for step in steps
    ]  # fmt: skip
    if only and out.exists():
        results = json.loads(out.read_text())
        epochs = [row for row in results["epochs"] if row["step"] not in only] + epochs
    write_atomic(out, json.dumps(results | {"epochs": epochs}, indent=1) + "\n")


def seconds_an_epoch(step: Step, splits: Splits) -> float:
    """The seconds of an epoch on all training images, validation included."""
    some = replace(
        splits,
        train=splits.train[: len(splits.train) // PART],
        validation=splits.validation[: len(splits.validation) // PART],
    )
    recipe = replace(step.recipe, epochs=2)
    _, history = training.train(
        recipe, some, device=torch.device("cpu"), execution=training.Execution(progress=False)
    )
    return PART * history.epochs[-1].seconds


if __name__ == "__main__":
    typer.run(main)
