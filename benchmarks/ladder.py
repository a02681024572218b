"""What does each change to network and training buy? Every rung is trained with several seeds.

    python -m benchmarks.ladder                  # hours, on two cores; it goes on where it was
    python -m benchmarks.ladder --only "label smoothing"

Each training computes on one thread, as many at once as there are cores: so two cores do nearly
twice the work that they do on one training together. After each epoch its progress is kept below
runs/ladder/, and there the weights stay.
"""

import hashlib
import json
import os
import shutil
import statistics
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import torch
import typer
from tqdm import tqdm

from benchmarks.machine import describe
from benchmarks.rungs import RUNGS, Rung, named
from helpers import data, evaluation, models, training
from helpers.evaluation import Predictions
from helpers.files import PROJECT, write_atomic
from helpers.training import Recipe

RESULTS = PROJECT / "benchmarks" / "results" / "ladder.json"
KEEP = PROJECT / "runs" / "ladder"
PLAIN = Recipe(model="", epochs=0, batch_size=0, learning_rate=0, source="", measured="")


def main(
    only: Annotated[list[str] | None, typer.Option(help="Names of rungs; all by default.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only those on this data set.")] = None,
    jobs: Annotated[int, typer.Option(help="Trainings at once, one thread each.")] = 0,
    out: Annotated[Path, typer.Option(help="Where results are kept.")] = RESULTS,
) -> None:
    """Train every rung with every seed that is not in the results yet, and write them there."""
    chosen = [rung for rung in named(RUNGS, only) if dataset in (None, rung.dataset)]
    results = json.loads(out.read_text()) if out.exists() else {}
    results = {**results, **describe(threads=1)}
    done = {row["key"]: row for row in results.get("trainings", []) + results.get("past", [])}
    todo = [
        (rung, seed) for rung in chosen for seed in range(rung.seeds)
        if key(rung, seed) not in done
    ]  # fmt: skip
    os.environ["OMP_NUM_THREADS"] = "1"
    jobs = jobs or os.cpu_count() or 1
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))
    rows = [pool.submit(measure, rung, seed, KEEP) for rung, seed in todo]
    try:
        for finished in tqdm(as_completed(rows), total=len(rows), unit=" trainings"):
            row = finished.result()
            done[row["key"]] = row
            tqdm.write(f"{row['rung']}, {row['dataset']}, seed {row['seed']}: {row['seconds']} s")
            write_atomic(out, json.dumps(results | arranged(done), indent=1) + "\n")
            shutil.rmtree(KEEP / row["key"], ignore_errors=True)  # its end is on record
    finally:
        pool.shutdown(cancel_futures=True)  # after an error, what waits does not begin


def arranged(done: dict[str, dict]) -> dict[str, list[dict]]:
    """The trainings of the rungs as they are, in their order and words; and those of the past.

    A rung that was changed or removed may come back: what took hours to train is not thrown away.
    """
    rungs = {key(rung, seed): rung for rung in RUNGS for seed in range(rung.seeds)}
    return {
        "trainings": [done[k] | words(rung) for k, rung in rungs.items() if k in done],
        "past": [row for k, row in done.items() if k not in rungs],
    }


def words(rung: Rung) -> dict[str, object]:
    """What a row says of its rung."""
    return {"rung": rung.name, "below": rung.below, "change": rung.change}


def key(rung: Rung, seed: int) -> str:
    """Twelve hex digits for all that a training depends on but code and processor.

    Of a recipe only settings that differ from their defaults count, so that a new one changes
    nothing; augmentation counts as a whole.
    """
    plain, told_only = asdict(PLAIN), ("source", "measured")
    settings = {
        name: value for name, value in asdict(rung.recipe).items()
        if value != plain[name] and name not in told_only
    }  # fmt: skip
    told = json.dumps([settings, rung.dataset, seed], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def measure(rung: Rung, seed: int, keep: Path) -> dict[str, object]:
    """Train one model by the recipe of a rung, or go on with it, and say what it gets right."""
    made_as, splits = key(rung, seed), data.load_splits(rung.dataset)
    model, history = training.train(
        rung.recipe, splits, where=torch.device("cpu"), seed=seed, checkpoint=keep / made_as
    )
    if history.interrupted:
        raise KeyboardInterrupt
    models.save(model, keep / f"{made_as}.safetensors", dataset=rung.dataset, seed=seed)
    # by the median epoch, since a busy machine, or one that slept, is not the rung's fault
    typical = statistics.median(record.seconds for record in history.epochs)
    machine = describe(threads=1)
    row: dict[str, object] = words(rung) | {
        "dataset": rung.dataset, "seed": seed, "key": made_as,
        "date": machine["date"], "processor": machine["processor"], "torch": version("torch"),
        "precision": rung.recipe.precision_on(torch.device("cpu")),
        "images": len(rung.recipe.learned(splits)),
        "parameters": models.count_parameters(model), "epochs": len(history.epochs),
        "seconds": round(typical * len(history.epochs), 1),
        "training_accuracy": round(history.epochs[-1].train_accuracy, 5),
    }  # fmt: skip
    for name, split in rung.recipe.unseen(splits).items():
        if name == "test" and not rung.test:
            continue
        row[name] = seen_by(evaluation.predict(model, split))
        if rung.test:
            several = evaluation.predict_tta(model, split, rung.recipe.augmentation)
            row[f"{name} of views"] = seen_by(several)
    return row


def seen_by(predictions: Predictions) -> dict[str, object]:
    """Accuracy, loss, and which images are right, as a record keeps them."""
    return {
        "accuracy": round(evaluation.accuracy(predictions), 5),
        "loss": round(evaluation.loss(predictions), 5),
        "right": evaluation.pack_bits(predictions.labels == predictions.targets),
    }


if __name__ == "__main__":
    typer.run(main)
