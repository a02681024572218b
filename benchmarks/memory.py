"""Measure the gain from keeping the memory that a training step frees.

    python -m benchmarks.memory    # eight minutes on two cores, on an otherwise idle machine

By default, glibc may return the memory of large tensors to Linux, which clears new pages for the
next step. Whether it does depends on their addresses, and so on chance. `fit` keeps the memory.
Each training runs in a fresh process, with returned and kept memory in turn.
"""

import itertools
import json
import statistics
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any
from unittest import mock

import pandas as pd
import torch
import typer
from tqdm import tqdm

from benchmarks.machine import describe
from benchmarks.tables import markdown
from helpers import data, training
from helpers.files import PROJECT, write_atomic

RESULTS = PROJECT / "benchmarks" / "results" / "memory.json"
RECIPES = ("fast", "tiny", "compact", "accurate")
WAYS = ("returned", "kept")
EPOCHS = 3  # the first is a warm-up


def main(
    rounds: Annotated[int, typer.Option(help="Trainings of each recipe in each way.")] = 3,
    images: Annotated[int, typer.Option(help="Images per epoch.")] = 2_000,
    threads: Annotated[int, typer.Option(help="Number of threads.")] = 2,
    out: Annotated[Path, typer.Option(help="File for the results.")] = RESULTS,
) -> None:
    """Train each recipe on a few images of each data set, in both ways, and print a table."""
    turns = list(itertools.product(range(rounds), data.SPECS, RECIPES, WAYS))
    runs = []
    context = get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as fresh:
        for _, dataset, recipe, way in tqdm(turns, unit=" trainings"):
            run = fresh.submit(measure, dataset, recipe, way, images, threads).result()
            runs.append({"dataset": dataset, "recipe": recipe, "memory": way, **run})
    results = describe(threads) | {"images": images, "runs": runs}
    write_atomic(out, json.dumps(results, indent=1) + "\n")
    typer.echo("\n".join(markdown(table(results))))


def measure(dataset: str, recipe: str, way: str, images: int, threads: int) -> dict[str, float]:
    """Seconds and page faults per epoch, and the peak memory of the process in MB."""
    torch.set_num_threads(threads)
    splits = data.load_splits(dataset)
    few = replace(training.find_recipe(recipe, dataset), epochs=EPOCHS, train_images=images)
    faults: list[int] = []
    without = mock.patch("helpers.training.execution._keep_freed_memory")
    with without if way == "returned" else nullcontext():
        _, history = training.train(
            few, splits, device=torch.device("cpu"), execution=training.Execution(progress=False),
            on_epoch=lambda _: faults.append(_usage().ru_minflt),
        )  # fmt: skip
    return {
        "seconds": statistics.median(record.seconds for record in history.epochs[1:]),
        "page_faults": (faults[-1] - faults[0]) // (EPOCHS - 1),
        "peak_mb": _usage().ru_maxrss // 1024,  # Linux counts in kB
    }


def _usage() -> Any:
    import resource  # here, because Windows lacks it, and tests import this module

    return resource.getrusage(resource.RUSAGE_SELF)


def table(results: dict) -> pd.DataFrame:
    """Medians in both ways for each data set and recipe, and the ratio of the seconds, as text."""
    by = ["dataset", "recipe", "memory"]
    medians = pd.DataFrame(results["runs"]).groupby(by, sort=False).median()
    columns = {"seconds": "seconds", "page_faults": "page faults", "peak_mb": "MB"}
    rows = []
    for dataset, recipe in medians.index.droplevel("memory").unique():
        ways = {way: medians.loc[(dataset, recipe, way)] for way in WAYS}
        cells = {
            f"{name}, {way}": f"{values[column]:{'.2f' if name == 'seconds' else ',.0f'}}"
            for column, name in columns.items() for way, values in ways.items()
        }  # fmt: skip
        ratio = ways["kept"]["seconds"] / ways["returned"]["seconds"]
        title = {"data set": data.spec(dataset).title, "recipe": f"`{recipe}`"}
        rows.append({**title, **cells, "ratio of seconds": f"{ratio:.2f}"})
    return pd.DataFrame(rows)


if __name__ == "__main__":
    typer.run(main)
