"""Cause faults of all kinds, many times, and count the results.

    python -m tests.faults               # about half an hour on two cores; writes docs/faults.md
    python -m tests.faults --seed 7

tests/test_faults.py has a quick version.
"""

import os
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from tqdm import tqdm

from benchmarks.machine import describe
from benchmarks.tables import markdown, write_below_mark
from helpers import runs
from helpers.data import SPECS
from helpers.files import PROJECT
from tests import records
from tests.faults import concurrency, images, notebooks, sweeps, training

REPORT = PROJECT / "docs" / "faults.md"
WORDS = {"right": "correct"} | dict.fromkeys(("reported", "told", "refused"), "clear error")
MEASURED = runs.commit()  # read now: later commits may follow while this runs
PROCESSES = 64
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)


def main(
    seed: Annotated[int, typer.Option(help="Decides when and where faults happen.")] = 0,
    kills: Annotated[int, typer.Option(help="How often a training is killed.")] = 300,
    trials: Annotated[int, typer.Option(help="Of a sweep whose workers are killed.")] = 1_000,
) -> None:
    """Cause all faults, and write docs/faults.md. The exit status is 1 if a result is wrong."""
    typer.echo(f"seed {seed}, commit {MEASURED}")
    code, rows = records.behavior(), []
    for row in chain(_data(seed), _runs(), _training(seed, kills), _sweep(seed, trials)):
        rows.append(row)
        tqdm.write(" | ".join(map(str, row.values())))
    table = pd.DataFrame(rows)
    write_below_mark(REPORT, _report(table, seed))
    records.note("faults", code, MEASURED)
    raise typer.Exit(int((table["wrong"] != 0).any()))


def _row(what: str, seen: Counter, sound: tuple[str, ...]) -> dict[str, object]:
    """A table row: the number of faults, their results, and how many of these are wrong."""
    wrong = seen.total() - sum(seen[name] for name in sound)
    results = ", ".join(f"{n} {WORDS.get(name, name)}" for name, n in sorted(seen.items()))
    return {"fault": what, "times": seen.total(), "result": results, "wrong": wrong}


def _data(seed: int) -> Iterator[dict[str, object]]:
    right = {name: images.digest(name, PROJECT / "data") for name in SPECS}
    seen: dict[str, Counter] = {}
    for case in tqdm(list(images.cases()), "data files"):
        seen.setdefault(case[-1], Counter())[images.outcome(case, right, seed)] += 1
    for how, counted in seen.items():
        yield _row(f"archive: {how}", counted, ("reported",))
    for behavior in images.MIRROR_BEHAVIORS:
        counted = Counter(
            images.download_outcome(behavior, spec, right[name]) for name, spec in SPECS.items()
        )
        yield _row(
            f"download: {behavior}", counted, ("right",) if behavior == "sound" else ("reported",)
        )
    counted = Counter(images.load_concurrently(name, right[name], PROCESSES) for name in SPECS)
    yield _row(f"first use of a data set by {PROCESSES} processes at once", counted, ("right",))
    what = f"a folder of one's own pictures, read by {PROCESSES} processes at once with a new cache"
    yield _row(what, concurrency.own_pictures(PROCESSES), ("right",))
    counted = Counter(images.read_only(name, right[name]) for name in SPECS)
    yield _row("a folder that cannot be written to", counted, ("right",))


def _runs() -> Iterator[dict[str, object]]:
    counted = Counter()
    for example in tqdm(notebooks.BAD.values(), "notebooks"):
        with tempfile.TemporaryDirectory() as scratch:
            result = notebooks.outcome(example, Path(scratch))
            counted[notebooks.verdict(example, result, Path(scratch))] += 1
    yield _row("notebooks and kernels that fail: what is reported", counted, ("right",))
    with tempfile.TemporaryDirectory() as scratch:
        counted = Counter([notebooks.full_disk(Path(scratch))])
        sound = ("told", "not tried, for want of rights")
        yield _row("a disk that is full in the middle of a run", counted, sound)
    what = f"a run begun by {PROCESSES} processes at once: a folder for each"
    yield _row(what, concurrency.run_folders(PROCESSES), ("right",))
    for how in SIGNALS:
        counted = Counter()
        for where in range(1, 5):
            with tempfile.TemporaryDirectory() as scratch:
                counted[notebooks.killed_run(Path(scratch), where, how)] += 1
        yield _row(f"a run ended by {how.name} in each notebook, continued", counted, ("right",))


def _sweep(seed: int, trials: int) -> Iterator[dict[str, object]]:
    kills = trials // 40
    with tempfile.TemporaryDirectory() as scratch, tqdm(total=trials, desc="sweep") as bar:
        seen = sweeps.kill_workers_repeatedly(trials, kills, seed, Path(scratch), bar.update)
    results = f"{seen['right']:,} correct"
    what = f"a trial of a sweep of {trials:,}, while workers are killed {seen['kills']} times"
    yield {"fault": what, "times": trials, "result": results, "wrong": seen["wrong"]}


def _training(seed: int, kills: int) -> Iterator[dict[str, object]]:
    seen = training.train_concurrently(PROCESSES)
    what = f"a training begun by {PROCESSES} processes at once in one folder"
    yield _row(what, seen, ("right", "refused") if seen["right"] else ())
    for how, signals in {signal.SIGKILL: kills, signal.SIGTERM: kills // 5}.items():
        with tqdm(total=signals, desc=how.name) as bar:
            seen = training.stop_repeatedly(signals, seed, bar.update, how)
        aimed = f", {seen['aimed']} times at chosen ones" if seen["aimed"] else ""
        results = (
            f"{seen['trainings']} complete trainings: {seen['different']} different from one "
            f"without signals; {seen['failed']} failed, {seen['left_over']} left files behind"
        )
        if how == signal.SIGTERM:  # it saves the state first; SIGKILL ends it at once
            results += f"; longest {seen['longest']:.1f} s from the signal to the end"
        yield {
            "fault": f"a training ended by {how.name} at a random moment{aimed}, continued",
            "times": seen["kills"],
            "result": results,
            "wrong": seen["different"] + seen["failed"] + seen["left_over"],
        }


def _report(table: pd.DataFrame, seed: int) -> list[str]:
    """The measured part of docs/faults.md."""
    about = describe(os.cpu_count() or 1)
    torch = about["versions"]["torch"]
    measured = f"Measured with seed {seed}: {about['date']}, {about['processor']}, torch {torch}"
    return [f"{measured}, commit {records.short(MEASURED)}.", "", *markdown(table)]


if __name__ == "__main__":
    typer.run(main)
