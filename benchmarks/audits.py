"""Audit the labels of both data sets, and train larger models to check the verdicts.

    python -m benchmarks.audits

If the verdicts are right, a larger model fixes the errors of the smaller model, and repeats those
caused by a wrong label. Predictions of the audits are cached in runs/audit/.
"""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from tqdm import tqdm

from benchmarks.label_noise import CACHE, CPU
from benchmarks.machine import describe
from helpers import evaluation, labels, training
from helpers.data import SPECS, Augmentation
from helpers.files import PROJECT, write_atomic

RESULTS = PROJECT / "benchmarks" / "results" / "audits.json"
# about thirty times the compute of the fast recipe of Fashion-MNIST
LARGER = {"model_kwargs": {"width": 32}, "epochs": 10, "batch_size": 128}


def main(
    seeds: Annotated[int, typer.Option(help="Cross-validations of each data set.")] = 3,
    larger_seeds: Annotated[int, typer.Option(help="Larger models of each data set.")] = 2,
    threads: Annotated[int, typer.Option(help="Number of threads.")] = 2,
    out: Annotated[Path, typer.Option(help="File for the results.")] = RESULTS,
) -> None:
    """Audit both data sets, train the larger models, and write the results."""
    torch.set_num_threads(threads)
    results = describe(threads) | {"audits": []}
    for dataset in SPECS:
        start, fast = time.perf_counter(), training.find_recipe("fast", dataset)
        cached = any(CACHE.glob(f"{dataset}-*"))
        audited = labels.run_audit(
            dataset, fast, cache_dir=CACHE, seeds=range(seeds), device=CPU, progress=True
        )
        found = {"dataset": dataset, "seeds": seeds} | labels.summarize(audited)
        if not cached:  # else the time would be too short
            found["seconds"] = round(time.perf_counter() - start)
        found["near_duplicates"] = labels.count_near_duplicates(audited.evidence).to_dict("index")
        found["larger"] = []
        results["audits"].append(found)
        recipe = replace(fast, **LARGER, augmentation=Augmentation(shift=1))
        for seed in tqdm(range(larger_seeds), f"larger, {dataset}"):
            found["larger"].append(_evaluate(recipe, audited, seed))
        write_atomic(out, json.dumps(results, indent=1) + "\n")
    typer.echo(json.dumps(results["audits"], indent=1))


def _evaluate(recipe: training.Recipe, audited: labels.Audit, seed: int) -> dict[str, object]:
    """The accuracy of a larger model, and the fraction of the smaller models' errors it fixes."""
    model, _ = training.train_on(
        recipe, audited.train, audited.spec, device=CPU, seed=seed,
        execution=training.Execution(progress=False),
    )  # fmt: skip
    predictions = evaluation.predict(model, audited.test)
    fixed = labels.fraction_fixed(
        audited.evidence["test"], audited.predicted_by_model("test"), predictions.predicted
    )
    return {
        "seed": seed,
        "test_accuracy": evaluation.accuracy(predictions),
        "fraction_fixed": fixed.fillna(0).round(4).to_dict(),  # no errors, none fixed
    }


if __name__ == "__main__":
    typer.run(main)
