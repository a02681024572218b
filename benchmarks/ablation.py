"""Train and evaluate each step of the ablation with several seeds.

    python -m benchmarks.ablation                  # hours on two cores; continues after a stop
    python -m benchmarks.ablation --only "label smoothing"

As many trainings run at once as there are cores, one thread each. Checkpoints and weights are in
runs/ablation/.
"""

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
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from benchmarks.ablation_steps import STEPS, Step, named
from benchmarks.machine import describe
from helpers import data, evaluation, models, training
from helpers import device as device_module
from helpers.evaluation import Predictions
from helpers.files import PROJECT, short_digest, write_atomic
from helpers.training import Recipe

RESULTS = PROJECT / "benchmarks" / "results" / "ablation.json"
FRONTIER_RESULTS = RESULTS.with_name("frontier.json")
KEEP = PROJECT / "runs" / "ablation"
PLAIN = Recipe(model="", epochs=0, batch_size=0, learning_rate=0, source="", measured="")


def main(
    only: Annotated[list[str] | None, typer.Option(help="Names of steps; all by default.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only steps on this data set.")] = None,
    jobs: Annotated[int, typer.Option(help="Trainings at once, one thread each.")] = 0,
    out: Annotated[Path, typer.Option(help="File for the results.")] = RESULTS,
) -> None:
    """Train every step with every seed that is missing in the results, and add them."""
    train_all(STEPS, only, dataset, jobs, out)


def train_all(
    steps: list[Step], only: list[str] | None, dataset: str | None, jobs: int, out: Path
) -> None:
    """Train the steps with these names on this data set, in parallel."""
    chosen = [step for step in named(steps, only) if dataset in (None, step.dataset)]
    results = json.loads(out.read_text()) if out.exists() else {}
    results = {**results, **describe(threads=1)}
    done = {row["key"]: row for row in results.get("trainings", []) + results.get("past", [])}
    todo = [
        (step, seed) for step in chosen for seed in range(step.seeds)
        if key(step, seed) not in done
    ]  # fmt: skip
    os.environ["OMP_NUM_THREADS"] = "1"
    jobs = jobs or os.cpu_count() or 1
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))
    rows = [pool.submit(measure, step, seed, KEEP) for step, seed in todo]
    try:
        for finished in tqdm(as_completed(rows), total=len(rows), unit=" trainings"):
            row = finished.result()
            done[row["key"]] = row
            tqdm.write(f"{row['step']}, {row['dataset']}, seed {row['seed']}: {row['seconds']} s")
            write_atomic(out, json.dumps(results | arranged(done, steps), indent=1) + "\n")
            shutil.rmtree(KEEP / row["key"], ignore_errors=True)
    finally:
        pool.shutdown(cancel_futures=True)  # after an error, start no other training


def arranged(done: dict[str, dict], steps: list[Step]) -> dict[str, list[dict]]:
    """`trainings`: those of the current steps, in order; `past`: those of changed steps."""
    keys = {key(step, seed): step for step in steps for seed in range(step.seeds)}
    return {
        "trainings": [done[k] | words(step) for k, step in keys.items() if k in done],
        "past": [row for k, row in done.items() if k not in keys],
    }


def words(step: Step) -> dict[str, object]:
    """The name, the baseline and the change of a step."""
    return {"step": step.name, "baseline": step.baseline, "change": step.change}


def key(step: Step, seed: int) -> str:
    """A digest of all that a training depends on, except code and processor: twelve hex digits.

    It omits settings with default values, so that a new setting changes no key. The settings have
    their names of version 0.1, as in the recorded keys.
    """
    plain = asdict(PLAIN)
    old_names = {"model_kwargs": "settings", "train_on_validation": "refit"}
    settings = {
        old_names.get(name, name): value for name, value in asdict(step.recipe).items()
        if value != plain[name] and name not in ("source", "measured", "duration")
    }  # fmt: skip
    settings |= {"average": step.ema_decay} if step.ema_decay else {}
    return short_digest(json.dumps([settings, step.dataset, seed], sort_keys=True))


def measure(step: Step, seed: int, keep: Path) -> dict[str, object]:
    """Train one model of a step, or resume its training, and evaluate it."""
    made_as, splits = key(step, seed), data.load_splits(step.dataset)
    train = train_with_ema if step.ema_decay else training.train
    model, history = train(
        step.recipe, splits, device=torch.device("cpu"), seed=seed, checkpoint=keep / made_as,
        **({"decay": step.ema_decay} if step.ema_decay else {}),
    )  # fmt: skip
    models.save(model, keep / f"{made_as}.safetensors", dataset=step.dataset, seed=seed)
    # the median epoch, since the machine may have been busy
    typical = statistics.median(record.seconds for record in history.epochs)
    machine = describe(threads=1)
    row: dict[str, object] = words(step) | {
        "dataset": step.dataset, "seed": seed, "key": made_as,
        "date": machine["date"], "processor": machine["processor"], "torch": version("torch"),
        "precision": step.recipe.precision_on(torch.device("cpu")),
        "images": len(step.recipe.training_split(splits)),
        "parameters": models.count_parameters(model), "epochs": len(history.epochs),
        "seconds": round(typical * len(history.epochs), 1),
        "training_accuracy": round(history.epochs[-1].train_accuracy, 5),
    }  # fmt: skip
    for name, split in step.recipe.held_out_splits(splits).items():
        if name == "test" and not step.test:
            continue
        row[name] = seen_by(evaluation.predict(model, split))
        if step.test:
            several = evaluation.predict_tta(model, split, step.recipe.augmentation)
            row[f"{name}_tta"] = seen_by(several)
    return row


def train_with_ema(
    recipe: Recipe, splits: data.Splits, *, device: torch.device, seed: int, checkpoint: Path,
    decay: float,
) -> tuple[torch.nn.Module, training.History]:  # fmt: skip
    """As `training.train`, but returns the moving average of the weights, and cannot resume."""
    device_module.seed_everything(seed)
    model = recipe.build(splits.spec).to(device)
    optimizer, scheduler = recipe.optimizer(model, len(splits.train))
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    optimizer.register_step_post_hook(lambda *_: average.update_parameters(model))
    execution = training.Execution(precision=recipe.precision_on(device), channels_last=True)
    history = training.fit(
        model, optimizer, splits.train, validation=splits.validation, epochs=recipe.epochs,
        batch_size=recipe.batch_size, scheduler=scheduler, augment=recipe.augmentation,
        label_smoothing=recipe.label_smoothing, execution=execution,
    )  # fmt: skip
    model.load_state_dict(average.module.state_dict())
    return model, history


def seen_by(predictions: Predictions) -> dict[str, object]:
    """Accuracy, loss, and which predictions are correct, for a record."""
    return {
        "accuracy": round(evaluation.accuracy(predictions), 5),
        "loss": round(evaluation.loss(predictions), 5),
        "right": evaluation.pack_bits(predictions.predicted == predictions.targets),
    }


if __name__ == "__main__":
    typer.run(main)
