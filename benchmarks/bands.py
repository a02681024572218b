"""Measure the bands of the accuracies that the notebooks claim.

    python -m benchmarks.bands

The trainings are repeated with several seeds, on one thread and on two, in parallel on all cores.
A band is the mean of the runs ± four standard deviations. Runs are kept in runs/bands/ and not
repeated. Bands that were not measured this time stay as they are.
"""

import datetime
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
import typer
from tqdm import tqdm

from benchmarks.machine import processor
from helpers import claims, data, evaluation, models, runs
from helpers.data import SPECS
from helpers.files import PROJECT, write_atomic

RUNS = PROJECT / "runs" / "bands"
OTHER_PROCESSORS = 5  # images by which shipped weights may differ, since sums are rounded otherwise
TRAINING = ("epochs", "batch_size", "learning_rate", "momentum", "train_images", "shift")
# `notebook` of the record and name in `measured` → name of the band, and the settings it holds for
CLAIMED = {
    ("02_train_mnist", "test_accuracy"): ("mnist tiny_vgg test accuracy", TRAINING),
    ("03_train_fashion_mnist", "test_accuracy"): ("fashion_mnist tiny_vgg test accuracy", TRAINING),
    ("train_mnist", "validation_accuracy"): ("mnist fast validation accuracy", ("recipe",)),
    ("train_fashion_mnist", "validation_accuracy"): (
        "fashion_mnist fast validation accuracy",
        ("recipe",),
    ),
}


class Job(NamedTuple):
    """A run of the command line, its folder, and how many records it writes there."""

    place: Path
    arguments: list[str]
    records: int
    threads: int


def main(
    profile: Annotated[
        list[str] | None, typer.Option(help="Profile of notebooks; repeatable, by default both.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Number of seeds: 0, 1, 2, …")] = 5,
    threads: Annotated[
        list[int] | None, typer.Option(help="Threads. Repeatable; by default 1 and 2.")
    ] = None,
) -> None:
    """Run what is missing, and write benchmarks/results/bands.json."""
    for thread_count in threads or [1, 2]:
        jobs = list(_jobs(profile or ["quick", "standard"], seeds, thread_count))
        with ThreadPool(max(1, (os.cpu_count() or 1) // thread_count)) as pool:
            made = pool.imap_unordered(_run, jobs)
            list(tqdm(made, f"threads: {thread_count}", total=len(jobs), unit=" runs"))
    records = [json.loads(path.read_text()) for path in sorted(RUNS.rglob(runs.RESULT))]
    measured = [*derive(records), *shipped()]
    merged = merge(claims.read_bands(), measured)
    write_atomic(claims.BANDS, json.dumps({"bands": merged}, indent=2) + "\n")


def _jobs(profiles: list[str], seeds: int, threads: int) -> Iterator[Job]:
    for seed in range(seeds):
        suffix = f"seed-{seed}-threads-{threads}"
        for dataset in SPECS:
            train = ["train", dataset, "--recipe", "fast", "--seed", str(seed), "--device", "cpu"]
            yield Job(RUNS / f"fast-{dataset}-{suffix}", train, 1, threads)
        for profile in profiles:
            run = ["run", "--profile", profile, "--only", "02", "--only", "03"]
            for notebook in ("02", "03"):
                run += ["-p", f"{notebook}.seed={seed}", "-p", f"{notebook}.device_name=cpu"]
            yield Job(RUNS / f"{profile}-{suffix}", run, 2, threads)


def _run(job: Job) -> None:
    if len(list(job.place.rglob(runs.RESULT))) == job.records:
        return
    shutil.rmtree(job.place, ignore_errors=True)  # of a run that was stopped
    subprocess.run(
        [sys.executable, "-m", "helpers", *job.arguments, "--root", job.place],
        env=os.environ | {"OMP_NUM_THREADS": str(job.threads)},
        stdout=subprocess.DEVNULL,
        check=True,
    )


def derive(records: Iterable[dict]) -> list[dict]:
    """The bands of records that `runs.save` wrote, one for each combination of settings."""
    groups: dict[str, list[dict]] = {}
    for record in records:
        for (maker, figure), (name, settings) in CLAIMED.items():
            if record["notebook"] == maker:
                given = {setting: record["parameters"][setting] for setting in settings}
                measured = {**record, "value": record["measured"][figure]}
                groups.setdefault(json.dumps([name, given]), []).append(measured)
    return [_band(*json.loads(key), group) for key, group in sorted(groups.items())]


def _band(name: str, settings: dict, group: list[dict]) -> dict:
    values = [record["value"] for record in group]
    mean, sd = statistics.mean(values), statistics.stdev(values)
    seeds = sorted({record["parameters"]["seed"] for record in group})
    devices = sorted({record["device"] for record in group})
    return {
        "name": name,
        "settings": settings,
        "lo": math.floor(1000 * (mean - 4 * sd)) / 1000,
        "hi": min(1.0, math.ceil(1000 * (mean + 4 * sd)) / 1000),
        "mean": round(mean, 5),
        "sd": round(sd, 5),
        "n": len(values),
        "what": f"seeds {seeds[0]} to {seeds[-1]}; {'; '.join(devices)}",
        "date": max(record["finished"] for record in group)[:10],
        "torch": group[-1]["versions"]["torch"],
        "processor": processor(),
    }


def shipped() -> Iterator[dict]:
    """The bands of the shipped weights: their accuracy ± OTHER_PROCESSORS images."""
    for dataset in SPECS:
        model = models.load_pretrained(f"{dataset}/tiny_vgg")
        test = data.load_splits(dataset).test
        accuracy = evaluation.accuracy(evaluation.predict(model, test))
        yield {
            "name": f"{dataset} shipped tiny_vgg test accuracy",
            "settings": {"checkpoint": ""},
            "lo": round(accuracy - OTHER_PROCESSORS / len(test), 6),
            "hi": round(accuracy + OTHER_PROCESSORS / len(test), 6),
            "mean": round(accuracy, 6),
            "sd": 0,
            "n": 1,
            "what": f"the shipped weights, {OTHER_PROCESSORS} images either way",
            "date": datetime.date.today().isoformat(),
            "torch": torch.__version__,
            "processor": processor(),
        }


def merge(earlier: list[dict], measured: list[dict]) -> list[dict]:
    """The earlier bands that were not measured again, then the measured ones."""
    new = {json.dumps([band["name"], band["settings"]]) for band in measured}
    kept = [b for b in earlier if json.dumps([b["name"], b["settings"]]) not in new]
    return kept + measured


if __name__ == "__main__":
    typer.run(main)
