"""The audit: evidence on every label of a data set, and a ranking of the labels by it.

No evidence comes from the label itself: models predict images that they were not trained on, and
neighbors and near-duplicates are other images. `verdicts` holds the rule that judges the evidence.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from helpers import data, evaluation
from helpers.data import DatasetSpec, Split, Splits
from helpers.labels import verdicts
from helpers.labels.confident_learning import find_label_issues
from helpers.labels.cross_validation import OutOfSamplePredictions, predict_out_of_sample
from helpers.messages import Show, progress_bar
from helpers.training import Recipe


@dataclass(frozen=True)
class Audit:
    """The evidence on all labels of a data set, and what it was computed from."""

    spec: DatasetSpec
    train: Split  # the 60,000 images in their published order; for own data, `splits.labeled`
    test: Split
    predictions: dict[str, OutOfSamplePredictions]  # by split, "train" or "test"
    evidence: dict[str, pd.DataFrame]  # by split, a frame from `collect_evidence`
    files: Mapping[str, Sequence[str]] = field(default_factory=dict)  # by split, for own data

    def image(self, name: str) -> Tensor:
        """One image, uint8 (C, S, S), by its split and number, such as "train 123"."""
        split, number = name.split()
        return {"train": self.train, "test": self.test}[split].images[int(number)]

    def predicted_by_model(self, split: str) -> dict[str, Tensor]:
        """The predicted classes int64 (N,) of each model by name: "model 1", "model 2", …"""
        predicted = self.predictions[split].predicted
        return {f"model {i}": classes for i, classes in enumerate(predicted, start=1)}


def run_audit(
    dataset: str | Splits,
    recipe: Recipe,
    *,
    cache_dir: Path | str,
    folds: int = 5,
    seeds: Sequence[int] = (0, 1, 2),
    device: torch.device,
    progress: Show = None,
    compared: Collection[str] = ("train", "test"),
) -> Audit:
    """Collect the evidence on the labels of "mnist", "fashion_mnist", or splits of your own.

    The nearest image is searched for each image of the splits in `compared`; for "train" that takes
    as long as several trainings. All else is as in `predict_out_of_sample` and `data.load_splits`.
    """
    files: dict[str, Sequence[str]] = {}
    if isinstance(dataset, str):
        spec, pair = data.spec(dataset), data.load_published(dataset)
    else:
        spec, pair = dataset.spec, (dataset.labeled, dataset.test)
        if dataset.files:
            labeled = [*dataset.files["train"], *dataset.files["validation"]]
            files = {"train": labeled, "test": dataset.files["test"]}
    splits = dict(zip(("train", "test"), pair, strict=True))
    found = predict_out_of_sample(
        splits["train"], splits["test"], spec, recipe,
        cache_dir=cache_dir, folds=folds, seeds=seeds, device=device, progress=progress,
    )  # fmt: skip
    predictions = dict(zip(splits, found, strict=True))
    nearest = nearest_duplicates(splits, device, compared, progress)
    evidence = {n: collect_evidence(s, predictions[n], nearest[n]) for n, s in splits.items()}
    return Audit(spec, splits["train"], splits["test"], predictions, evidence, files)


def nearest_duplicates(
    splits: Mapping[str, Split],
    device: torch.device,
    compared: Collection[str],
    progress: Show = False,
) -> dict[str, pd.DataFrame]:
    """Find the nearest image, by pixels and in all splits, for each image of splits in `compared`.

    If one of the three nearest is a near-duplicate (`verdicts.NEAR_DUPLICATE_RMSE`) with another
    label, the nearest of these is taken instead. Returns a frame for each split: `nearest` (such as
    "train 123"), `nearest_distance` (root mean square over the pixels, in gray values 0 to 255) and
    `nearest_label`. In splits that are not in `compared`, they are "", infinity and -1.
    """
    images = torch.cat([split.images for split in splits.values()]).to(device)
    targets = torch.cat([split.targets for split in splits.values()])
    names = [f"{name} {i}" for name, split in splits.items() for i in range(len(split))]
    frames, start = {}, 0
    unknown = {"nearest": "", "nearest_distance": math.inf, "nearest_label": -1}
    for name, split in splits.items():
        rows = torch.arange(start, start + len(split))
        start += len(split)
        if name not in compared:
            frames[name] = pd.DataFrame(unknown, index=range(len(split)))
            continue
        about = dict(total=len(rows), unit=" images", desc="comparing images")
        found = []
        with progress_bar(progress, **about) as bar:
            for some in rows.to(device).split(5_000):
                found.append(evaluation.nearest_neighbors(images[some], images, 3, exclude=some))
                bar.update(len(some))
        near = torch.cat([some.rows for some in found]).cpu()  # (N, 3)
        distances = torch.cat([some.distances for some in found]).cpu() / images[0].numel() ** 0.5
        other_label = targets[near] != split.targets[:, None]
        contradicts = (distances <= verdicts.NEAR_DUPLICATE_RMSE) & other_label
        first = contradicts.int().argmax(dim=1, keepdim=True)  # 0, the nearest, if there is none
        nearest = near.gather(1, first).squeeze(1)
        frames[name] = pd.DataFrame({"nearest": [names[i] for i in nearest.tolist()]})
        frames[name]["nearest_distance"] = distances.gather(1, first).squeeze(1).numpy()
        frames[name]["nearest_label"] = targets[nearest].numpy()
    return frames


def collect_evidence(
    split: Split, predictions: OutOfSamplePredictions, nearest: pd.DataFrame
) -> pd.DataFrame:
    """Collect the evidence on each label of a split, a row for each image.

    The columns are:
    - `label`, and `suggested`: the most probable other class.
    - `p_label`, `p_suggested`: the mean probability of each of the two.
    - `models_label`, `models_suggested`: the fraction of the models that predict it.
    - `votes_label`, `votes_suggested`: the fraction of the neighbors that have it as their label.
    - `issue_score`: see `label_issue_score`. Labels are ranked by it.
    - `is_issue`: whether confident learning counts the label as wrong (`find_label_issues`).
    - `nearest`, `nearest_distance`, `nearest_label`: see `nearest_duplicates`.
    - `verdict`: see `verdicts.decide`.
    """
    label, mean, predicted = split.targets, predictions.mean, predictions.predicted
    suggested = mean.scatter(1, label[:, None], -1).argmax(dim=1)
    votes = predictions.votes.mean(dim=0)
    columns = {"label": label, "suggested": suggested}
    for kind, classes in (("label", label), ("suggested", suggested)):
        columns[f"p_{kind}"] = mean.gather(1, classes[:, None]).squeeze(1)
        columns[f"models_{kind}"] = (predicted == classes).float().mean(dim=0)
        columns[f"votes_{kind}"] = votes.gather(1, classes[:, None]).squeeze(1)
    columns["issue_score"] = label_issue_score(predictions, label)
    columns["is_issue"] = find_label_issues(mean, label)
    frame = pd.DataFrame({name: column.numpy() for name, column in columns.items()})
    frame = pd.concat([frame, nearest], axis=1).rename_axis("image")
    frame["verdict"] = verdicts.decide(frame)
    return frame


def label_issue_score(predictions: OutOfSamplePredictions, labels: Tensor) -> Tensor:
    """How strongly models and neighbors contradict each label, float32 (N,) in [0, 1].

    A product of two experts (Hinton, "Training Products of Experts by Minimizing Contrastive
    Divergence", 2002, equation 1): the mean probability of a class times its fraction of the votes.
    0.1 is added to each fraction, so that ten neighbors cannot exclude a class; then its cube root
    is taken, since votes are a coarse scale. Both numbers were chosen on other planted errors than
    those of `benchmarks/label_noise.py`. The score is one minus the label's share of all products.
    """
    scores = predictions.mean * (predictions.votes.mean(dim=0) + 0.1) ** (1 / 3)
    of_label = scores.gather(1, labels[:, None]).squeeze(1)
    return 1 - of_label / scores.sum(dim=1)


def rank_labels(audit: Audit) -> pd.DataFrame:
    """The evidence on all labels of both splits, with class names, by descending `issue_score`.

    For your own data, a column `file` names the picture.
    """
    ranked = pd.concat(audit.evidence, names=["split", "image"]).reset_index()
    if audit.files:
        places = zip(ranked["split"], ranked["image"], strict=True)
        ranked.insert(2, "file", [audit.files[split][image] for split, image in places])
    for column in ("label", "suggested", "nearest_label"):
        ranked[column] = ranked[column].map(dict(enumerate(audit.spec.class_names)))
    return ranked.sort_values("issue_score", ascending=False, kind="stable", ignore_index=True)


def summarize(audit: Audit) -> dict[str, object]:
    """The results of an audit as numbers: counts of verdicts and label issues, fractions in [0, 1].

    For each cause, `share_…` is the fraction of a model's errors on the test images that have this
    cause, as mean over the models, and `sd_…` its standard deviation. Undefined ones are left out.
    """
    result: dict[str, object] = {}
    for split, frame in audit.evidence.items():
        for verdict in verdicts.VERDICTS:
            result[f"{split}_{verdict}"] = int((frame["verdict"] == verdict).sum())
        result[f"{split}_label_issues"] = int(frame["is_issue"].sum())
    evidence, predicted = audit.evidence["test"], audit.predicted_by_model("test")
    counts = verdicts.count_errors_by_cause(evidence, predicted)
    shares = counts.div(counts.sum(axis="columns"), axis="index")
    for cause in verdicts.CAUSES:
        result[f"share_{cause}"] = round(shares[cause].mean(), 4)
        result[f"sd_{cause}"] = round(shares[cause].std(), 4)
    accuracies = verdicts.accuracies_without_doubtful(evidence, predicted).mean()
    result["accuracy_as_given"] = round(accuracies["all labels"], 5)
    result["accuracy_less_the_doubtful"] = round(accuracies["without doubtful"], 5)
    return {key.replace(" ", "_").replace("-", "_"): v for key, v in result.items() if v == v}
