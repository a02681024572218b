"""Measure the recipe `fast`: share of the matrix rate, scaling, start-up time, peak memory.

    python -m benchmarks.limits

`evaluation.count_flops` counts the operations. Their rate is compared with that of large float32
matrix products, timed in turn in the same process.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import torch.nn.functional as F
import typer
from torch import Tensor
from tqdm import tqdm

from benchmarks.machine import describe
from helpers import data, evaluation, models, training
from helpers.files import PROJECT, write_atomic
from helpers.training import Recipe

RESULTS = PROJECT / "benchmarks" / "results" / "limits.json"
CPU = torch.device("cpu")
STEPS = 40  # per timing
SIZE = 2048  # of the matrices, large enough to be compute-bound


def seconds_of(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def train_step(
    forward: Callable[[Tensor], Tensor], optimizer: torch.optim.Optimizer, recipe: Recipe,
    images: Tensor, targets: Tensor,
) -> None:  # fmt: skip
    """One step of a training: forward, loss, backward, update."""
    loss = F.cross_entropy(forward(images), targets, label_smoothing=recipe.label_smoothing)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def shares(dataset: str, recipe: Recipe, repeats: int) -> dict[str, float]:
    """The matrix rate, and the shares of it that are reached: medians of `repeats` timings in turn.

    All in float32, whatever the precision of the recipe. `step` is a whole training step (batch,
    forward, backward, update), `evaluation` a pass over the 10,000 test images.
    """
    splits = data.load_splits(dataset)
    model = recipe.build(splits.spec)
    counted = evaluation.count_flops(model)
    train = splits.train[: STEPS * recipe.batch_size]
    optimizer, scheduler = recipe.optimizer(model, (2 * repeats + 2) * len(train))
    forward = training.make_forward(model, training.Execution(channels_last=True))
    order = torch.Generator()
    left, right = torch.randn(2, SIZE, SIZE)

    def steps() -> None:
        model.train()
        batches = data.batches(train, recipe.batch_size, generator=order)
        for images, targets in batches:
            train_step(forward, optimizer, recipe, images, targets)
            if scheduler is not None:
                scheduler.step()

    work = {
        "matrices": (lambda: left @ right, 2 * SIZE**3),
        "step": (steps, 3 * counted * len(train)),
        "evaluation": (
            lambda: evaluation.predict(model, splits.test),
            counted * len(splits.test),
        ),
    }
    rates: dict[str, list[float]] = {name: [] for name in work}
    for repeat in range(repeats + 1):
        for name, (run, operations) in work.items():
            rate = operations / seconds_of(run)
            if repeat > 0:  # the first time is a warm-up
                rates[name].append(rate)
    matrix_rate = statistics.median(rates["matrices"])
    return {
        "dataset": dataset,
        "parameters": models.count_parameters(model),
        "operations_per_image": counted,
        "matrix_rate": matrix_rate,
        **{name: statistics.median(rates[name]) / matrix_rate for name in ("step", "evaluation")},
    }


def scaling(dataset: str, recipe: Recipe, repeats: int) -> list[dict[str, float]]:
    """Seconds of training for 1/8, 1/4, 1/2 and all images, and for 1 to 4 epochs.

    In the precision of the recipe. There are only 100 validation images, so that training dominates
    the time.
    """
    whole = data.load_splits(dataset)
    splits = replace(whole, validation=whole.validation[:100])
    everything = len(splits.train)
    sizes = [(everything // share, 1) for share in (8, 4, 2, 1)]
    sizes += [(everything // 4, epochs) for epochs in (2, 3, 4)]
    seconds: dict[tuple[int, int], list[float]] = {size: [] for size in sizes}
    for _ in range(repeats):
        for images, epochs in sizes:
            one = replace(recipe, train_images=images, epochs=epochs)
            _, history = training.train(one, splits, device=CPU)
            seconds[images, epochs].append(history.seconds)
    return [
        {"images": images, "epochs": epochs, "seconds": statistics.median(measured)}
        for (images, epochs), measured in seconds.items()
    ]


IMPORTS = """
import torch
import torch.nn.functional as F
from helpers import data, training
"""
FIRST_STEP = f"""{IMPORTS}
class Started(Exception): pass
def tell(*_):
    raise Started
torch.optim.SGD.step = tell
splits = data.load_splits("mnist")
try:
    training.train(training.find_recipe("fast", "mnist"), splits, device=torch.device("cpu"))
except Started:
    pass
"""


def start_up(repeats: int) -> list[float]:
    """Seconds from the start of Python to the first optimizer step, with imports and data."""
    command = [sys.executable, "-c", FIRST_STEP]
    return [seconds_of(lambda: subprocess.run(command, check=True)) for _ in range(repeats)]


def peak_memory() -> float:
    """Peak memory in MB of a process that trains `fast` on Fashion-MNIST."""
    code = IMPORTS + (
        'training.train(training.find_recipe("fast", "fashion_mnist"), '
        'data.load_splits("fashion_mnist"), device=torch.device("cpu"))\n'
        "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout) / 1024  # Linux counts in kB


def main(
    repeats: Annotated[int, typer.Option(help="Timings for each median.")] = 9,
    threads: Annotated[int, typer.Option(help="Number of threads.")] = 2,
    out: Annotated[Path, typer.Option(help="File for the results.")] = RESULTS,
) -> None:
    """Measure everything; write and print the results."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)
    found = {dataset: training.find_recipe("fast", dataset) for dataset in data.SPECS}
    results = describe(threads) | {
        "shares": [shares(name, recipe, repeats) for name, recipe in tqdm(found.items())],
        "scaling": scaling("fashion_mnist", found["fashion_mnist"], max(repeats // 3, 1)),
        "start_up_seconds": start_up(max(repeats // 2, 1)),
        "peak_memory_mb": peak_memory(),
    }
    write_atomic(out, json.dumps(results, indent=1) + "\n")
    show(results)


def show(results: dict) -> None:
    typer.echo(f"\n{results['processor']}, {results['threads']} threads, {results['date']}\n")
    rows = pd.DataFrame(results["shares"]).set_index("dataset")
    rows["matrix_rate"] = [f"{rate / 1e9:.0f} GFLOP/s" for rate in rows["matrix_rate"]]
    rows["operations_per_image"] = [f"{n / 1e6:.2f} M" for n in rows["operations_per_image"]]
    for share in ("step", "evaluation"):
        rows[share] = [f"{value:.0%} of it" for value in rows[share]]
    typer.echo(rows.to_string())
    times = pd.DataFrame(results["scaling"])
    times["microseconds per image"] = 1e6 * times["seconds"] / (times["images"] * times["epochs"])
    typer.echo(f"\n{times.round(2).to_string(index=False)}\n")
    started = results["start_up_seconds"]
    typer.echo(
        f"first step after {statistics.median(started):.1f} s "
        f"({min(started):.1f} to {max(started):.1f}), "
        f"peak memory {results['peak_memory_mb']:.0f} MB"
    )


if __name__ == "__main__":
    typer.run(main)
