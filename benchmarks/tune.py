"""Choose the fastest settings of each peer of the race, on validation.

    .venv-bench/bin/python -m benchmarks.tune    # hours on two cores; continues after a stop

For each peer and target: batch size, maximum of a one-cycle schedule, number of epochs; bfloat16 if
the peer supports it on CPUs and it is faster. 5,000 training images replace the test images. One
training may reach a target by luck, so two more must confirm the settings.
`python -m benchmarks.race --tuned` races the peers with these settings.
"""

import itertools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Annotated, Any

import pandas as pd
import typer
from tqdm import tqdm

from benchmarks import race, standings
from benchmarks.machine import describe
from benchmarks.prepare import prepare
from benchmarks.tables import markdown
from helpers.files import write_atomic

BATCH_SIZES = (128, 512)
EPOCHS = (1, 2, 3, 4, 6, 8, 12)
RATE_EPOCHS = 2  # of the trainings by which the rate for a batch size is chosen
MARGIN = 0.001  # above the target, since the race has other seeds
SEED = 100  # not one of the race
MORE_SEEDS = (101, 102)  # of the trainings that confirm the settings
# validation accuracy less test accuracy of our recipe `fast` in results/reliability.json
EASIER = {"mnist": 0.0001, "fashion_mnist": 0.0076}
DIVERGED = 0.5  # accuracy below which a training has diverged
LIMIT = 600.0  # seconds of a training


@dataclass(frozen=True)
class Peer:
    """A contestant of the race, and the maxima of the schedule to try with its own optimizer."""

    name: str
    rates: tuple[float, ...]
    bfloat16: bool = False  # whether it has it on CPUs


PEERS = (
    Peer("course loop", (0.05, 0.1, 0.2, 0.4), bfloat16=True),
    Peer("PyTorch example", (0.5, 1.0, 2.0), bfloat16=True),
    Peer("Lightning", (0.5, 1.0, 2.0), bfloat16=True),
    Peer("Keras 3 on torch", (0.002, 0.005, 0.01), bfloat16=True),
    Peer("fastai", (0.02, 0.05, 0.1)),
    Peer("skorch", (0.002, 0.005, 0.01)),
)
SCRIPTS = {contestant.name: contestant.script for contestant in race.CONTESTANTS}
Settings = tuple[str, ...]  # options of a script
Result = tuple[float, float]  # seconds and accuracy
Train = Callable[..., Result]  # of settings and a seed
Tried = dict[Settings, Result]
Row = dict[str, Any]  # of the results, for a peer, a data set and a target


def main(
    only: Annotated[list[str] | None, typer.Option(help="Name of a peer. Repeatable.")] = None,
    jobs: Annotated[int, typer.Option(help="Trainings at once, one thread each.")] = 0,
) -> None:
    """Choose and confirm the settings that are missing in the results, and add them."""
    known = json.loads(race.TUNED.read_text())["chosen"] if race.TUNED.exists() else []
    rows = {_key(row): row for row in known}
    done = {key[:2] for key in rows}
    for dataset in race.TARGETS:
        prepare(dataset)
    todo = [
        (peer, dataset) for peer, dataset in itertools.product(PEERS, race.TARGETS)
        if (peer.name, dataset) not in done and (not only or peer.name in only)
    ]  # fmt: skip

    def save(finished: Sequence[Row]) -> None:
        rows.update({_key(row): row for row in finished})
        results = describe(threads=1) | {"chosen": list(rows.values())}
        write_atomic(race.TUNED, json.dumps(results, indent=1) + "\n")

    for finished in _each(_choose, todo, jobs):
        save(finished)
    unconfirmed = [
        (row,) for row in rows.values()
        if row["reached"] and "confirmed" not in row and (not only or row["peer"] in only)
    ]  # fmt: skip
    for row in _each(_confirm, unconfirmed, jobs):
        save([row])
    typer.echo("\n".join(["For benchmarks/README.md:", "", *markdown(table(list(rows.values())))]))


def _key(row: Row) -> tuple[str, str, float]:
    return row["peer"], row["dataset"], row["target"]


def _each(function: Callable, arguments: Sequence[tuple], jobs: int) -> Iterator[Any]:
    """The results of the calls, `jobs` at a time (0: one for each processor), as they finish."""
    pool = ThreadPoolExecutor(jobs or os.cpu_count())
    calls = [pool.submit(function, *given) for given in arguments]
    try:
        for finished in tqdm(as_completed(calls), total=len(calls), desc=function.__name__[1:]):
            yield finished.result()
    finally:
        pool.shutdown(cancel_futures=True)  # after an error, start no other training


def _choose(peer: Peer, dataset: str) -> list[Row]:
    """The settings for each target of a data set, as a record."""
    script = SCRIPTS[peer.name]
    rows = choose(peer, race.TARGETS[dataset], _training(script, dataset))
    return [{"peer": peer.name, "script": script, "dataset": dataset, **row} for row in rows]


def _confirm(row: Row) -> Row:
    train = _training(row["script"], row["dataset"])
    return row | confirm(row["settings"], row["target"] + EASIER[row["dataset"]], train)


def _training(script: str, dataset: str) -> Train:
    def train(settings: Settings, seed: int = SEED) -> Result:
        options = ("--validate", "--limit", str(LIMIT), *settings)
        return tuple(race.laps(script, dataset, seed, 1, options)["laps"][-1])

    return train


def choose(peer: Peer, targets: Sequence[float], train: Train) -> list[Row]:
    """For each target, the fastest settings that reach it by MARGIN, with seconds and accuracy.

    For each batch size the rate is chosen with RATE_EPOCHS epochs, then the number of epochs grows
    until all targets are reached, or were reached in less time. If no training reaches a target,
    the most accurate one counts.
    """
    tried: Tried = {}

    def measure(size: int, rate: float, epochs: int, extra: Settings) -> Result:
        numbers = {"batch-size": size, "rate": rate, "epochs": epochs}
        settings = tuple(word for name, n in numbers.items() for word in (f"--{name}", str(n)))
        if (*settings, *extra) not in tried:
            tried[*settings, *extra] = train((*settings, *extra))
        return tried[*settings, *extra]

    extra: Settings = ()
    if peer.bfloat16:
        first = BATCH_SIZES[0], peer.rates[0], 1
        extra = min(((), ("--bfloat16",)), key=lambda extra: measure(*first, extra)[0])
    for size in BATCH_SIZES:
        rate = max(peer.rates, key=lambda rate: measure(size, rate, RATE_EPOCHS, extra)[1])
        for epochs in EPOCHS:
            seconds, _ = measure(size, rate, epochs, extra)
            enough = _reaching(tried, max(targets)).values()
            if seconds >= min(enough, default=(float("inf"),))[0]:
                break  # more epochs would be slower than settings that reach all targets
    return [_fastest(tried, target) for target in targets]


def _reaching(tried: Tried, target: float) -> Tried:
    return {key: found for key, found in tried.items() if found[1] >= target + MARGIN}


def _fastest(tried: Tried, target: float) -> Row:
    reached = _reaching(tried, target)
    if reached:
        settings = min(reached, key=lambda key: reached[key][0])
    else:
        settings = max(tried, key=lambda key: tried[key][1])
    seconds, accuracy = tried[settings]
    return {
        "target": target, "settings": settings, "reached": bool(reached),
        "seconds": seconds, "accuracy": accuracy,
    }  # fmt: skip


def confirm(settings: Sequence[str], target: float, train: Train) -> Row:
    """The settings with enough epochs for each of MORE_SEEDS to reach a target, and their results.

    If a training diverges, the rate is halved. Without enough epochs in EPOCHS, `confirmed` is
    false, and the settings are the last ones tried.
    """
    settings = list(settings)
    rate, epochs = (settings.index(name) + 1 for name in ("--rate", "--epochs"))
    while True:
        found = [train(tuple(settings), MORE_SEEDS[0])]
        if found[0][1] >= target:
            found += [train(tuple(settings), seed) for seed in MORE_SEEDS[1:]]
        lowest = min(accuracy for _, accuracy in found)
        more = [n for n in EPOCHS if n > int(settings[epochs])]
        if lowest >= target or not more:
            break
        if lowest < DIVERGED:
            settings[rate] = str(float(settings[rate]) / 2)
        else:
            settings[epochs] = str(more[0])
    return {
        "settings": settings, "confirmed": lowest >= target,
        "seconds": max(seconds for seconds, _ in found),
        "more_accuracies": [accuracy for _, accuracy in found],
    }  # fmt: skip


def table(chosen: Sequence[Row]) -> pd.DataFrame:
    """A row for each peer, with its settings for each target. A star: not confirmed."""
    peers: dict[str, dict[str, str]] = {}
    for row in chosen:
        options = dict(zip(row["settings"][::2], row["settings"][1::2], strict=False))
        cell = f"{options['--epochs']} × {options['--batch-size']} at {options['--rate']}"
        cell += ", bfloat16" if "--bfloat16" in row["settings"] else ""
        cell += "" if row.get("confirmed") else " \\*"
        column = standings.title(row["dataset"], row["target"])
        peers.setdefault(row["peer"], {})[column] = cell
    columns = [
        standings.title(name, target) for name in race.TARGETS for target in race.TARGETS[name]
    ]
    frame = pd.DataFrame(peers.values(), columns=columns)
    frame.insert(0, "peer", list(peers))
    return frame.sort_values("peer", key=lambda names: names.map(list(SCRIPTS).index))


if __name__ == "__main__":
    typer.run(main)
