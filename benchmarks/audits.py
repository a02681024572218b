"""What do the audits of both data sets find, and what does a larger model make of their verdicts?

    python -m benchmarks.audits

If a verdict is right, a larger model learns away the mistakes for which a model was at fault, and
keeps those where the label is wrong. What the judges have said is kept in runs/audit/.
"""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from tqdm import tqdm

from benchmarks.label_noise import CPU, KEEP
from benchmarks.machine import describe
from helpers import evaluation, labels, training
from helpers.data import Augmentation, SPECS
from helpers.files import PROJECT, write_atomic

RESULTS = PROJECT / "benchmarks" / "results" / "audits.json"
# the fast recipe of Fashion-MNIST with about thirty times the work
LARGER = {"settings": {"width": 32}, "epochs": 10, "batch_size": 128}


def main(
    seeds: Annotated[int, typer.Option(help="Divisions into folds.")] = 3,
    larger_seeds: Annotated[int, typer.Option(help="Larger models of each data set.")] = 2,
    threads: Annotated[int, typer.Option(help="Threads to compute on.")] = 2,
    out: Annotated[Path, typer.Option(help="Where results are kept.")] = RESULTS,
) -> None:
    """Audit both data sets, train the larger models, and write what was found."""
    torch.set_num_threads(threads)
    results = describe(threads) | {"audits": []}
    for dataset in SPECS:
        start, fast = time.perf_counter(), training.find_recipe("fast", dataset)
        known = KEEP.is_dir() and any(KEEP.glob(f"{dataset}-*"))
        audited = labels.run_audit(dataset, fast, keep=KEEP, seeds=range(seeds), where=CPU, progress=True)
        found = {"dataset": dataset, "seeds": seeds} | labels.summarize(audited)
        if not known:  # nothing was read that an earlier audit had left
            found["seconds"] = round(time.perf_counter() - start)
        found["near_duplicates"] = labels.count_near_duplicates(audited.evidence).to_dict("index")
        found["larger"] = []
        results["audits"].append(found)
        recipe = replace(fast, **LARGER, augmentation=Augmentation(shift=1))
        for seed in tqdm(range(larger_seeds), f"larger, {dataset}"):
            found["larger"].append(_examine(recipe, audited, seed))
        write_atomic(out, json.dumps(results, indent=1) + "\n")
    typer.echo(json.dumps(results["audits"], indent=1))


def _examine(recipe: training.Recipe, audited: labels.Audit, seed: int) -> dict[str, object]:
    """The accuracy of a larger model, and which share of the judges' mistakes it gets right."""
    model, _ = training.train_on(
        recipe, audited.labelled, audited.spec, where=CPU, seed=seed, progress=False
    )
    predictions = evaluation.predict(model, audited.test)
    removed = labels.fraction_fixed(audited.evidence["test"], audited.named("test"), predictions.labels)
    return {
        "seed": seed,
        "test_accuracy": evaluation.accuracy(predictions),
        "removed": removed.fillna(0).round(4).to_dict(),  # no mistake, none removed
    }


if __name__ == "__main__":
    typer.run(main)
