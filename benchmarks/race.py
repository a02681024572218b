"""Measure the seconds that each program needs to reach a target accuracy.

    python -m benchmarks.race --rounds 3

Each contestant is a program in `contestants/`, run in a fresh process. Results are written after
each run; `--resume` continues a race that was stopped. With `--tuned`, the peers have the settings
that `benchmarks.tune` chose for each target, instead of their own.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from benchmarks import standings
from benchmarks.machine import describe
from benchmarks.prepare import prepare
from helpers.files import PROJECT, write_atomic

RESULTS = PROJECT / "benchmarks" / "results" / "race.json"
TUNED = RESULTS.with_name("tuned.json")  # settings
TUNED_RESULTS = RESULTS.with_name("race_tuned.json")
TARGETS = {"mnist": (0.98, 0.99), "fashion_mnist": (0.88, 0.90)}


@dataclass(frozen=True)
class Contestant:
    """A program to be timed."""

    name: str  # in tables and figures
    script: str  # in contestants/
    arguments: tuple[str, ...] = ()
    dataset: str | None = None  # the only one; None: all of them
    target: float | None = None  # the only one


OURS = (
    Contestant("ours, sprint", "ours.py", ("--recipe", "sprint")),
    Contestant("ours, fast", "ours.py", ("--recipe", "fast")),
    Contestant("ours, fast, float32", "ours.py", ("--recipe", "fast", "--precision", "float32")),
)
CONTESTANTS = (
    *OURS,
    Contestant("course loop", "course_loop.py"),
    Contestant("PyTorch example", "torch_example.py"),
    Contestant("Lightning", "with_lightning.py"),
    Contestant("Keras 3 on torch", "with_keras.py"),
    Contestant("fastai", "with_fastai.py"),
    Contestant("skorch", "with_skorch.py"),
)


def main(
    rounds: Annotated[int, typer.Option(help="Runs on each data set.")] = 3,
    threads: Annotated[int, typer.Option(help="Threads of each program.")] = 2,
    limit: Annotated[float, typer.Option(help="Time limit of a run in seconds.")] = 140.0,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the race in --out.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="Run only this contestant.")] = None,
    tuned: Annotated[bool, typer.Option("--tuned", help="Peers with tuned settings.")] = False,
    out: Annotated[Path | None, typer.Option(help="File for the results.")] = None,
) -> None:
    """Run the race, print its tables and draw its figure."""
    out = out or (TUNED_RESULTS if tuned else RESULTS)
    chosen = [
        c for c in (tuned_contestants() if tuned else CONTESTANTS) if not only or c.name in only
    ]
    here = describe(threads) | {"limit": limit, "targets": TARGETS}
    results: dict = here | {"runs": _earlier_runs(out, here) if resume else []}
    for dataset in TARGETS:
        prepare(dataset)
    done = {_key(run) for run in results["runs"]}
    for turn in (bar := tqdm(list(_turns(rounds, chosen)), unit=" runs")):
        contestant, dataset, round_number = turn
        about = _about(*turn)
        if _key(about) in done:
            continue
        bar.set_description(f"{contestant.name}, {dataset}, round {round_number}")
        target = ("--target", str(contestant.target or max(TARGETS[dataset])))
        options = (*target, "--limit", str(limit), *contestant.arguments)
        measured = laps(contestant.script, dataset, round_number, threads, options)
        results["runs"].append(about | measured)
        write_atomic(out, json.dumps(results, indent=1) + "\n")
    committed = out in (RESULTS, TUNED_RESULTS)
    picture = PROJECT / "docs" / f"{out.stem}.png" if committed else out.with_suffix(".png")
    standings.show(results, picture=picture)


def _earlier_runs(out: Path, here: dict) -> list[dict]:
    """The runs in `out`. BadParameter if machine, versions or rules were not those of `here`."""
    earlier = json.loads(out.read_text())
    runs = earlier.pop("runs")
    for name in set(here) - {"date"}:
        if json.dumps(earlier.get(name)) != json.dumps(here[name]):
            raise typer.BadParameter(
                f"{out} was measured with another {name}: {earlier.get(name)}, now {here[name]}."
            )
    return runs


def tuned_contestants() -> tuple[Contestant, ...]:
    """Our recipes, and for each target each peer with the settings for it."""
    if not TUNED.exists():
        raise typer.BadParameter(f"{TUNED} is missing: run python -m benchmarks.tune first.")
    chosen = json.loads(TUNED.read_text())["chosen"]
    return *OURS, *(
        Contestant(
            row["peer"], row["script"], tuple(row["settings"]), row["dataset"], row["target"]
        )
        for row in chosen
    )


def _turns(rounds: int, contestants: Sequence[Contestant]) -> Iterator[tuple[Contestant, str, int]]:
    """Each contestant once per round and data set, in random order."""
    for round_number in range(rounds):
        order = random.Random(round_number)
        for dataset in TARGETS:
            here = [c for c in contestants if c.dataset in (None, dataset)]
            for contestant in order.sample(here, len(here)):
                yield contestant, dataset, round_number


def _about(contestant: Contestant, dataset: str, round_number: int) -> dict[str, object]:
    return {
        "contestant": contestant.name,
        "dataset": dataset,
        "round": round_number,
        "target": contestant.target,
    }


def _key(run: dict) -> tuple:
    return run["contestant"], run["dataset"], run["round"], run.get("target")


def laps(script: str, dataset: str, seed: int, threads: int, options: Sequence[str]) -> dict:
    """Run a program of `contestants/` in a fresh process, and return what its stopwatch wrote."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "laps.json"
        command = [
            *(sys.executable, PROJECT / "benchmarks" / "contestants" / script, dataset),
            *("--seed", seed, "--threads", threads, "--out", out, *options),
        ]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "CUDA_VISIBLE_DEVICES": ""}
        subprocess.run([str(word) for word in command], env=environment, check=True)
        return json.loads(out.read_text())


if __name__ == "__main__":
    typer.run(main)
