"""Does the audit find wrong labels? It is examined on labels that were made wrong on purpose.

    python -m benchmarks.label_noise

Into the labels of each data set errors are planted, of several kinds and with several seeds, and
the audit is to find them; cleanlab is given the same probabilities. Then models are trained on the
wrong labels, on what the audit leaves of them, and on the right ones. What models have said is kept
in runs/audit/, and is not asked again.
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
KEEP = PROJECT / "runs" / "audit"
CPU = torch.device("cpu")
ALIKE = {"mnist": (4, 9), "fashion_mnist": (0, 6)}  # T-shirt/top and shirt
RATES = {"symmetric": (0.02, 0.05, 0.10), "between": (0.10,)}  # share of the labels, or of the pair


def main(
    noise_seeds: Annotated[int, typer.Option(help="Plant errors with seeds 0, 1, 2, …")] = 3,
    training_seeds: Annotated[int, typer.Option(help="Train on the cleaned labels so often.")] = 3,
    threads: Annotated[int, typer.Option(help="Threads to compute on.")] = 2,
    out: Annotated[Path, typer.Option(help="Where results are kept.")] = RESULTS,
) -> None:
    """Plant, audit, compare, clean, train; print tables and write the results."""
    torch.set_num_threads(threads)
    results = describe(threads) | {"found": [], "cleaned": []}
    cases = list(itertools.product(range(noise_seeds), SPECS, _kinds()))
    for seed, dataset, (kind, rate) in tqdm(cases, unit=" audits"):
        splits = dict(zip(("train", "test"), data.load_published(dataset), strict=True))
        noisy = {
            name: Split(split.images, _plant(dataset, split.targets, kind, rate, seed + 100 * i))
            for i, (name, split) in enumerate(splits.items())
        }
        recipe = training.find_recipe("fast", dataset)
        said = labels.predict_out_of_sample(
            *noisy.values(), data.spec(dataset), recipe, keep=KEEP, seeds=(0,), where=CPU
        )
        case = {"dataset": dataset, "kind": kind, "rate": rate, "seed": seed}
        for (name, split), opinions in zip(noisy.items(), said, strict=True):
            wrong = split.targets != splits[name].targets
            row = case | {"split": name} | _found(opinions, split.targets, wrong)
            results["found"].append(row)
        if seed == 0 and rate > 0.02:
            doubted = labels.find_label_issues(said[0].mean, noisy["train"].targets)
            for how, learned in {
                "wrong labels": noisy["train"],
                "cleaned": noisy["train"][~doubted],
                "right labels": splits["train"],
            }.items():
                accuracies = _train(dataset, learned, splits["test"], training_seeds)
                results["cleaned"].append(case | {"labels": how, "test_accuracy": accuracies})
        write_atomic(out, json.dumps(results, indent=1) + "\n")
    typer.echo(_table(results).to_string())


def _kinds() -> Iterator[tuple[str, float]]:
    return ((kind, rate) for kind, rates in RATES.items() for rate in rates)


def _plant(dataset: str, targets: Tensor, kind: str, rate: float, seed: int) -> Tensor:
    if kind == "symmetric":
        return labels.symmetric_noise(targets, rate, classes=10, seed=seed)
    return labels.pair_flip(targets, [ALIKE[dataset]], rate, seed=seed)


def _found(opinions: OutOfSamplePredictions, labels: Tensor, wrong: Tensor) -> dict[str, float]:
    """How many of the wrong labels the audit finds, and cleanlab on the same probabilities."""
    probabilities = opinions.mean.numpy()
    doubted = labels.find_label_issues(opinions.mean, labels).numpy()
    theirs = find_label_issues(labels.numpy(), probabilities)
    quality = get_label_quality_scores(labels.numpy(), probabilities)
    return {
        "wrong": int(wrong.sum()),
        "average_precision": average_precision_score(wrong, labels.label_issue_score(opinions, labels)),
        "average_precision_cleanlab": average_precision_score(wrong, -quality),
        "precision": wrong.numpy()[doubted].mean(),
        "recall": doubted[wrong.numpy()].mean(),
        "precision_cleanlab": wrong.numpy()[theirs].mean(),
        "recall_cleanlab": theirs[wrong.numpy()].mean(),
    }


def _train(dataset: str, learned: Split, test: Split, seeds: int) -> list[float]:
    recipe = training.find_recipe("fast", dataset)
    reached = []
    for seed in range(seeds):
        model, _ = training.train_on(
            recipe, learned, data.spec(dataset), where=CPU, seed=seed, progress=False
        )
        reached.append(evaluation.accuracy(evaluation.predict(model, test)))
    return reached


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
