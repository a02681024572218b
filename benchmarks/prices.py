"""What does an epoch of each rung of the ladder cost?

    python -m benchmarks.prices    # five minutes, on an otherwise idle machine

The trainings of the ladder ran on busy machines, on different days. Here each rung learns from an
eighth of the images, all in turn, in one process, on one thread, and the first pass, which warms
up, does not count. So prices can be compared.
"""

import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from tqdm import tqdm

from benchmarks.machine import describe
from benchmarks.rungs import RUNGS, Rung
from helpers import data, training
from helpers.data import Splits
from helpers.files import PROJECT, write_atomic

OUT = PROJECT / "benchmarks" / "results" / "prices.json"
PART = 8  # an epoch is so many times what is measured


def main(
    rounds: Annotated[int, typer.Option(help="How often all rungs take turns.")] = 3,
    out: Annotated[Path, typer.Option(help="Where results are kept.")] = OUT,
) -> None:
    """Measure every rung, and write down the median of its turns."""
    torch.set_num_threads(1)
    took: dict[tuple[str, str], list[float]] = {(rung.name, rung.dataset): [] for rung in RUNGS}
    for _, rung in tqdm([(turn, rung) for turn in range(rounds) for rung in RUNGS]):
        seconds = seconds_an_epoch(rung, data.load_splits(rung.dataset))
        took[rung.name, rung.dataset].append(seconds)
    epochs = [
        {
            "rung": rung.name, "dataset": rung.dataset, "epochs": rung.recipe.epochs,
            "turns": [round(seconds, 2) for seconds in took[rung.name, rung.dataset]],
            "seconds an epoch": round(statistics.median(took[rung.name, rung.dataset]), 2),
        }
        for rung in RUNGS
    ]  # fmt: skip
    write_atomic(out, json.dumps(describe(threads=1) | {"epochs": epochs}, indent=1) + "\n")


def seconds_an_epoch(rung: Rung, splits: Splits) -> float:
    """What an epoch on all training images would take, its look at validation included."""
    some = replace(
        splits,
        train=splits.train[: len(splits.train) // PART],
        validation=splits.validation[: len(splits.validation) // PART],
    )
    recipe = replace(rung.recipe, epochs=2)
    _, history = training.train(recipe, some, where=torch.device("cpu"), progress=False)
    return PART * history.epochs[-1].seconds


if __name__ == "__main__":
    typer.run(main)
