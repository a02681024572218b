"""Measure how well the audit finds injected label noise.

    python -m benchmarks.label_noise

Labels of each data set are changed in several ways, with several seeds. The audit and cleanlab rank
them by the same probabilities. Then models are trained on the noisy labels, on them without the
label issues that the audit found, and on the correct labels. Predictions are cached in runs/audit/.
"""

import itertools
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from sklearn.metrics import average_precision_score
from torch import Tensor
from tqdm import tqdm

from benchmarks.machine import describe
from helpers import data, evaluation, labels, training
from helpers.data import SPECS, Split
from helpers.files import PROJECT, write_atomic
from helpers.labels import OutOfSamplePredictions

RESULTS = PROJECT / "benchmarks" / "results" / "label_noise.json"
CACHE = PROJECT / "runs" / "audit"
CPU = torch.device("cpu")
SIMILAR = {"mnist": (4, 9), "fashion_mnist": (0, 6)}  # T-shirt/top and shirt
# fraction of all labels, or of the pair's; "pair_flip" exchanges the two classes of the pair
RATES = {"symmetric": (0.02, 0.05, 0.10), "pair_flip": (0.10,)}


def main(
    noise_seeds: Annotated[int, typer.Option(help="Seeds of the noise: 0, 1, 2, …")] = 3,
    training_seeds: Annotated[int, typer.Option(help="Trainings on each set of labels.")] = 3,
    threads: Annotated[int, typer.Option(help="Number of threads.")] = 2,
    out: Annotated[Path, typer.Option(help="File for the results.")] = RESULTS,
) -> None:
    """Audit noisy labels, train on them and on cleaned ones, and write the results."""
    torch.set_num_threads(threads)
    results = describe(threads) | {"found": [], "cleaned": []}
    cases = list(itertools.product(range(noise_seeds), SPECS, _kinds()))
    for seed, dataset, (kind, rate) in tqdm(cases, unit=" audits"):
        splits = dict(zip(("train", "test"), data.load_published(dataset), strict=True))
        noisy = {
            name: Split(split.images, _change(dataset, split.targets, kind, rate, seed + 100 * i))
            for i, (name, split) in enumerate(splits.items())
        }
        recipe = training.find_recipe("fast", dataset)
        found = labels.predict_out_of_sample(
            *noisy.values(), data.spec(dataset), recipe, cache_dir=CACHE, seeds=(0,), device=CPU
        )
        case = {"dataset": dataset, "kind": kind, "rate": rate, "seed": seed}
        for (name, split), predictions in zip(noisy.items(), found, strict=True):
            wrong = split.targets != splits[name].targets
            row = case | {"split": name} | _measure(predictions, split.targets, wrong)
            results["found"].append(row)
        if seed == 0 and rate > 0.02:
            issues = labels.find_label_issues(found[0].mean, noisy["train"].targets)
            for how, train in {
                "wrong labels": noisy["train"],
                "cleaned": noisy["train"][~issues],
                "right labels": splits["train"],
            }.items():
                accuracies = _train(dataset, train, splits["test"], training_seeds)
                results["cleaned"].append(case | {"labels": how, "test_accuracy": accuracies})
        write_atomic(out, json.dumps(results, indent=1) + "\n")
    typer.echo(_table(results).to_string())


def _kinds() -> Iterator[tuple[str, float]]:
    return ((kind, rate) for kind, rates in RATES.items() for rate in rates)


def _change(dataset: str, targets: Tensor, kind: str, rate: float, seed: int) -> Tensor:
    if kind == "symmetric":
        return labels.symmetric_noise(targets, rate, classes=10, seed=seed)
    return labels.pair_flip(targets, [SIMILAR[dataset]], rate, seed=seed)


def _measure(predictions: OutOfSamplePredictions, given: Tensor, wrong: Tensor) -> dict[str, float]:
    """Precision and recall of the audit, and of cleanlab with the same probabilities."""
    probabilities = predictions.mean.numpy()
    ours = labels.find_label_issues(predictions.mean, given).numpy()
    theirs = find_label_issues(given.numpy(), probabilities)
    score = labels.label_issue_score(predictions, given)
    quality = get_label_quality_scores(given.numpy(), probabilities)
    return {
        "wrong": int(wrong.sum()),
        "average_precision": average_precision_score(wrong, score),
        "average_precision_cleanlab": average_precision_score(wrong, -quality),
        "precision": wrong.numpy()[ours].mean(),
        "recall": ours[wrong.numpy()].mean(),
        "precision_cleanlab": wrong.numpy()[theirs].mean(),
        "recall_cleanlab": theirs[wrong.numpy()].mean(),
    }


def _train(dataset: str, train: Split, test: Split, seeds: int) -> list[float]:
    recipe = training.find_recipe("fast", dataset)
    accuracies = []
    for seed in range(seeds):
        model, _ = training.train_on(
            recipe, train, data.spec(dataset), device=CPU, seed=seed,
            execution=training.Execution(progress=False),
        )  # fmt: skip
        accuracies.append(evaluation.accuracy(evaluation.predict(model, test)))
    return accuracies


def _table(results: dict) -> pd.DataFrame:
    """Means over the noise seeds, and the mean accuracies after training."""
    found = pd.DataFrame(results["found"])
    keys = ["dataset", "kind", "rate", "split"]
    table = found.drop(columns="seed").groupby(keys, sort=False).mean().round(3)
    for row in results["cleaned"]:
        key = (row["dataset"], row["kind"], row["rate"], "train")
        table.loc[key, row["labels"]] = round(statistics.mean(row["test_accuracy"]), 4)
    return table


if __name__ == "__main__":
    typer.run(main)
