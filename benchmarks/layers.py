"""Where the time of a training step goes: each layer of the network of `fast`, and the rest.

    python -m benchmarks.layers    # half a minute, on an otherwise idle machine

Each layer is timed alone, forward and backward, with the input that it has in the network, in
float32. Its arithmetic is compared with the rate of large matrix products, timed in turn.
"""

import itertools
import json
import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import torch.nn.functional as F
import typer
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from benchmarks.limits import SIZE, seconds_of, train_step
from benchmarks.machine import describe
from benchmarks.tables import markdown
from helpers import data, training
from helpers.files import PROJECT, write_atomic
from helpers.training import Recipe

RESULTS = PROJECT / "benchmarks" / "results" / "layers.json"
CALLS = 20  # per timing
WHOLE, ONE_IMAGE, MATRICES = "whole step", "whole step with one image", "matrices"
NAMES = {
    nn.Conv2d: "convolution", nn.Linear: "linear layer", nn.BatchNorm2d: "batch norms",
    nn.ReLU: "ReLUs", nn.MaxPool2d: "max poolings",
}  # fmt: skip
Part = tuple[str, Callable[[], object], int]  # name, work, floating-point operations


def parts(dataset: str, recipe: Recipe) -> Iterator[Part]:
    """The parts of a training step, the whole step, and for comparison a matrix product."""
    splits = data.load_splits(dataset)
    model = recipe.build(splits.spec)
    optimizer, _ = recipe.optimizer(model, len(splits.train))
    forward = training.make_forward(model, training.Execution(channels_last=True))
    order = torch.Generator()
    batches = itertools.chain.from_iterable(
        data.batches(splits.train, recipe.batch_size, generator=order) for _ in itertools.count()
    )
    images, targets = next(batches)

    def step(rows: int) -> None:
        train_step(forward, optimizer, recipe, images[:rows], targets[:rows])

    def loss() -> None:
        F.cross_entropy(logits, targets, label_smoothing=recipe.label_smoothing).backward()

    inputs = layer_inputs(model, lambda: forward(images))
    logits = forward(images).detach().requires_grad_()
    yield "batch of shuffled images", lambda: next(batches), 0
    yield "normalization", lambda: model.normalize(images), 0  # type: ignore[operator]
    for layer, given in inputs:
        yield _name(layer, given), *_work(layer, given, is_first=given is inputs[0][1])
    yield "loss", loss, 0
    yield "update of the weights", optimizer.step, 0
    yield WHOLE, lambda: step(len(images)), 0
    yield ONE_IMAGE, lambda: step(1), 0
    left, right = torch.randn(2, SIZE, SIZE)
    yield MATRICES, lambda: left @ right, 2 * SIZE**3


def layer_inputs(model: nn.Module, run: Callable[[], object]) -> list[tuple[nn.Module, Tensor]]:
    """The layers that are in NAMES, in the order in which they run, each with its input."""
    found: list[tuple[nn.Module, Tensor]] = []

    def keep(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        found.append((layer, given[0].detach()))

    with ExitStack() as hooks:
        for layer in model.modules():
            if type(layer) in NAMES:
                hooks.enter_context(layer.register_forward_pre_hook(keep))
        run()
    return found


def _name(layer: nn.Module, given: Tensor) -> str:
    name = NAMES[type(layer)]
    if isinstance(layer, nn.Conv2d):
        name += (
            f" {layer.in_channels} → {layer.out_channels}, {given.shape[-1]} × {given.shape[-1]}"
        )
    return name


def _work(layer: nn.Module, given: Tensor, is_first: bool) -> tuple[Callable[[], object], int]:
    """Forward and backward pass of a layer, and its operations; the first layer's input needs no
    gradient.
    """
    given = given.requires_grad_(not is_first)
    with FlopCounterMode(display=False) as counter:
        output = layer(given)
        gradient = torch.ones_like(output)
        output.backward(gradient)
    return lambda: layer(given).backward(gradient), counter.get_total_flops()


def measure(dataset: str, recipe: Recipe, repeats: int) -> list[dict[str, object]]:
    """A row for each part: its seconds, the median of `repeats` timings in turn, and operations.
    Parts of the same name are added.
    """
    listed = list(parts(dataset, recipe))
    took: list[list[float]] = [[] for _ in listed]
    for repeat in tqdm(range(repeats + 1), desc=dataset):
        for (name, work, _), seconds in zip(listed, took, strict=True):
            calls = 1 if name == MATRICES else CALLS
            each = seconds_of(lambda work=work, calls=calls: [work() for _ in range(calls)]) / calls
            if repeat > 0:  # the first time is a warm-up
                seconds.append(each)
    rows: dict[str, dict[str, object]] = {}
    for (name, _, operations), seconds in zip(listed, took, strict=True):
        row = rows.setdefault(name, {"part": name, "seconds": 0.0, "operations": 0})
        row["seconds"] += statistics.median(seconds)
        row["operations"] += operations
    return list(rows.values())


def table(rows: list[dict]) -> pd.DataFrame:
    """The parts of a step, with their share of its time and of the matrix rate, as text."""
    known = {row["part"]: row for row in rows}
    rate = known[MATRICES]["operations"] / known[MATRICES]["seconds"]
    shown = [row for row in rows if row["part"] != MATRICES]
    operations = sum(row["operations"] for row in shown)
    return pd.DataFrame({
        "part": row["part"], "µs": f"{1e6 * row['seconds']:,.0f}",
        "share of the step": f"{100 * row['seconds'] / known[WHOLE]['seconds']:.0f} %",
        "share of the matrix rate": _share(row, rate, operations),
    } for row in shown)  # fmt: skip


def _share(row: dict, rate: float, operations: int) -> str:
    counted = operations if row["part"] == WHOLE else row["operations"]
    return f"{100 * counted / row['seconds'] / rate:.0f} %" if counted else "–"


def main(
    repeats: Annotated[int, typer.Option(help="Timings for each median.")] = 15,
    threads: Annotated[int, typer.Option(help="Number of threads.")] = 2,
    out: Annotated[Path, typer.Option(help="File for the results.")] = RESULTS,
) -> None:
    """Measure the parts for both data sets; write and print the results."""
    torch.set_num_threads(threads)
    steps = {
        dataset: measure(dataset, training.find_recipe("fast", dataset), repeats)
        for dataset in data.SPECS
    }
    write_atomic(out, json.dumps(describe(threads) | {"steps": steps}, indent=1) + "\n")
    for dataset, rows in steps.items():
        typer.echo("\n".join(["", data.spec(dataset).title, "", *markdown(table(rows))]))


if __name__ == "__main__":
    typer.run(main)
