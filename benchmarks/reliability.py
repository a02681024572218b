"""Train and test each recipe of the race with twenty seeds.

python -m benchmarks.reliability
"""

import json
import statistics
from pathlib import Path
from typing import Annotated

import torch
import typer
from tqdm import tqdm

from benchmarks.machine import describe
from benchmarks.race import TARGETS
from helpers import data, evaluation, training
from helpers.files import PROJECT, write_atomic

RESULTS = PROJECT / "benchmarks" / "results" / "reliability.json"
# `sprint` is for the lower target of each data set, `fast` for the higher one
CLAIMS = {
    (name, dataset): target
    for dataset, targets in TARGETS.items()
    for name, target in zip(("sprint", "fast"), targets, strict=True)
}


def main(
    seeds: Annotated[int, typer.Option(help="Number of seeds: 0, 1, 2, …")] = 20,
    threads: Annotated[int, typer.Option(help="Number of threads.")] = 2,
    out: Annotated[Path, typer.Option(help="File for the results.")] = RESULTS,
) -> None:
    """Train each recipe with each seed; print how often it reaches its target."""
    torch.set_num_threads(threads)
    results = describe(threads) | {"recipes": []}
    for (name, dataset), target in CLAIMS.items():
        splits, recipe = data.load_splits(dataset), training.find_recipe(name, dataset)
        reached, validated = [], []
        for seed in tqdm(range(seeds), desc=f"{name}, {dataset}"):
            model, _ = training.train(recipe, splits, device=torch.device("cpu"), seed=seed)
            validated.append(evaluation.accuracy(evaluation.predict(model, splits.validation)))
            reached.append(evaluation.accuracy(evaluation.predict(model, splits.test)))
        results["recipes"].append(
            {
                "recipe": name,
                "dataset": dataset,
                "target": target,
                "test_accuracy": reached,
                "validation_accuracy": validated,
            }
        )
        typer.echo(_line(results["recipes"][-1]))
    write_atomic(out, json.dumps(results, indent=1) + "\n")


def _line(row: dict) -> str:
    got, target = row["test_accuracy"], row["target"]
    return (
        f"{row['recipe']:7} {row['dataset']:14} {target:.0%} reached in "
        f"{sum(accuracy >= target for accuracy in got)} of {len(got)}: mean "
        f"{statistics.mean(got):.2%} ± {100 * statistics.stdev(got):.2f}, "
        f"{min(got):.2%} to {max(got):.2%}"
    )


if __name__ == "__main__":
    typer.run(main)
