"""Measure the overhead of a sweep, and extrapolate to ten thousand runs.

    python -m benchmarks.scale            # a quarter of an hour on two idle cores

A thousand trials that do nothing measure scheduler and records. Small trials of notebook 3 measure
the throughput (eight with one worker and eight with two, in turn), and the time of a trial beyond
the cells of its notebook (forty). A worker's first trial also imports packages and reads data; it
is reported apart.
"""

import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated
from unittest import mock

import typer
from distributed import Client

from benchmarks.machine import describe
from helpers import headless, runs
from helpers.files import PROJECT, write_atomic
from helpers.headless import NotebookResult, Trial

RESULTS = PROJECT / "benchmarks" / "results" / "scale.json"
NOTEBOOK = "03_train_fashion_mnist"
SMALL = {"epochs": 1, "train_images": 2_000, "overfit_images": 200, "overfit_epochs": 2}
FAR = {"runs": 10_000, "workers": 256}


def main(
    rounds: Annotated[int, typer.Option(help="Timings with one and with two workers.")] = 2,
    trivial: Annotated[int, typer.Option(help="Trials that do nothing.")] = 1_000,
    real: Annotated[int, typer.Option(help="Trials of notebook 3.")] = 40,
    out: Annotated[Path, typer.Option(help="File for the results.")] = RESULTS,
) -> None:
    """Measure, extrapolate, and write the results."""
    found: dict[str, object] = {}
    runs.ROOT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=runs.ROOT) as folder:  # a disk, not memory
        root = Path(folder)
        found["scheduler"] = _of_trivial_points(trivial, root)
        found["throughput"] = _throughput(rounds, root)
        found["point"] = _of_real_points(real, root)
    found["predicted"] = predict(found["scheduler"], found["point"])
    write_atomic(out, json.dumps(describe(threads=1) | found, indent=1) + "\n")
    typer.echo(json.dumps(found, indent=1))


def nothing(point: Trial, root: Path, _: int) -> NotebookResult:
    """Replaces `run_trial`: writes the records of a trial, without a notebook."""
    folder = headless.trial_dir(point, root)
    outcome = NotebookResult(point.notebook, "finished")
    write_atomic(folder / point.notebook / runs.RESULT, json.dumps({"finished": "2026-11-24"}))
    headless.write_status(folder, {}, [outcome])
    return outcome


def _of_trivial_points(n: int, root: Path) -> dict[str, float]:
    points = [Trial(NOTEBOOK, {"seed": seed}) for seed in range(n)]
    spent = {}
    with headless.open_client(None, 2) as client:
        for name, call in (("scheduler alone", _answer), ("with records", nothing)):
            with mock.patch("helpers.headless.sweeps.run_trial", call):
                start = time.perf_counter()
                _all_done(headless.run_sweep(points, root / name, client))
                spent[name] = (time.perf_counter() - start) / n
    start = time.perf_counter()
    runs.collect(root / "with records")
    return {
        "points": n,
        "milliseconds a point, scheduler alone": round(1e3 * spent["scheduler alone"], 2),
        "milliseconds a point, with records": round(1e3 * spent["with records"], 2),
        "milliseconds a point, to collect": round(1e3 * (time.perf_counter() - start) / n, 2),
    }


def _answer(point: Trial, root: Path, _: int) -> NotebookResult:
    return NotebookResult(point.notebook, "finished")


def _throughput(rounds: int, root: Path) -> dict[str, object]:
    """Trials per minute with one worker and with two, in turn, and the ratio of each turn."""
    seeds = itertools.count()
    rates: dict[int, list[float]] = {1: [], 2: []}
    first: list[float] = []
    for _ in range(rounds):
        for processes in (1, 2):
            with headless.open_client(None, processes) as client:
                first.append(_seconds_for(processes, seeds, root, client))
                rates[processes].append(8 / _seconds_for(8, seeds, root, client))
    ratios = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
    return {
        "points a minute": {str(k): [round(60 * r, 2) for r in v] for k, v in rates.items()},
        "two workers for one": [round(ratio, 2) for ratio in ratios],
        "seconds until each worker's first point is done": [round(seconds, 1) for seconds in first],
    }


def _seconds_for(n: int, seeds: Iterator[int], root: Path, client: Client) -> float:
    points = [Trial(NOTEBOOK, SMALL | {"seed": next(seeds)}) for _ in range(n)]
    start = time.perf_counter()
    _all_done(headless.run_sweep(points, root, client))
    return time.perf_counter() - start


def _of_real_points(n: int, root: Path) -> dict[str, float]:
    """Seconds of a trial, and how many of them are spent outside its cells."""
    points = [Trial(NOTEBOOK, SMALL | {"seed": 1_000 + i}) for i in range(n)]
    with headless.open_client(None, os.cpu_count() or 1) as client:
        start = time.perf_counter()
        _all_done(headless.run_sweep(points, root, client))
        whole = time.perf_counter() - start
        workers = len(client.scheduler_info()["workers"])
    beyond, seconds = [], []
    for point in points:
        folder = headless.trial_dir(point, root)
        (entry,) = json.loads((folder / runs.STATUS).read_text())["notebooks"]
        seconds.append(entry["seconds"])
        beyond.append(entry["seconds"] - _in_cells(folder / NOTEBOOK / f"{NOTEBOOK}.ipynb"))
    return {
        "points": n,
        "workers": workers,
        "seconds a point": round(statistics.median(seconds), 2),
        "of these beyond its cells": round(statistics.median(beyond), 2),
        "at most": round(max(beyond), 2),
        "seconds a point and worker beyond the notebook": round(
            whole * workers / n - statistics.mean(seconds), 3
        ),
    }


def _all_done(outcomes: list[NotebookResult]) -> None:
    failed = [outcome.message for outcome in outcomes if outcome.state != "finished"]
    if failed:
        raise RuntimeError(f"{len(failed)} points failed: {failed[0]}")


def _in_cells(executed: Path) -> float:
    """The seconds that the cells of an executed notebook took together."""
    cells = json.loads(executed.read_text())["cells"]
    told = (cell["metadata"].get("papermill", {}).get("duration") for cell in cells)
    return sum(duration or 0.0 for duration in told)


def predict(scheduler: dict, point: dict) -> dict[str, object]:
    """Hours for many runs on many workers, limited by the workers or by the scheduler.

    The throughput is the smaller of their two rates.
    """
    wanted = FAR["workers"] / point["seconds a point"]
    possible = 1e3 / scheduler["milliseconds a point, scheduler alone"]
    return FAR | {
        "hours": round(FAR["runs"] / min(wanted, possible) / 3_600, 2),
        "points a second that the workers ask for": round(wanted, 1),
        "points a second that the scheduler can hand out": round(possible, 1),
        "workers that one scheduler can feed": int(possible * point["seconds a point"]),
    }


if __name__ == "__main__":
    typer.run(main)
