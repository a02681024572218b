"""Which labels of a data set are doubtful, and on what evidence?

Nobody who gives evidence has learned from the label in question: the judges are models that were
trained on other images; the neighbours are other images, and so are near-duplicates. The rule that
turns evidence into a verdict stands in `verdicts`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
import torch
from torch import Tensor
from helpers import data, evaluation
from helpers.data import DatasetSpec, Split
from helpers.labels.confident_learning import find_label_issues
from helpers.labels.cross_validation import OutOfSamplePredictions, predict_out_of_sample
from helpers.labels.verdicts import CAUSES, NEAR_DUPLICATE_RMSE, VERDICTS, accuracies_without_doubtful, count_errors_by_cause, decide
from helpers.training import Recipe
if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Audit:
    """The evidence on all labels of a data set, and what it was gathered from."""

    spec: DatasetSpec
    labelled: Split  # the 60,000 training images, in the order in which they were published
    test: Split
    opinions: dict[str, OutOfSamplePredictions]  # by split, "train" or "test"
    evidence: "dict[str, pd.DataFrame]"  # by split, a row for each image

    def image(self, name: str) -> Tensor:
        """One image, uint8 (1, 28, 28), by its split and number, such as "train 123"."""
        split, number = name.split()
        return {"train": self.labelled, "test": self.test}[split].images[int(number)]

    def named(self, split: str) -> dict[str, Tensor]:
        """Which class each judge names, int64 (N,), by the judge's name."""
        named = self.opinions[split].named
        return {f"judge {i}": classes for i, classes in enumerate(named, start=1)}


def run_audit(
    dataset: str,
    recipe: Recipe,
    *,
    keep: Path,
    folds: int = 5,
    seeds: Sequence[int] = (0, 1, 2),
    where: torch.device,
    progress: bool | None = None,
    targets: "dict[str, Tensor] | None" = None,
    compared: Sequence[str] = ("train", "test"),
) -> Audit:
    """Gather the evidence on the labels of "mnist" or "fashion_mnist".

    `keep` is the folder for what models have said, from which an audit that was stopped goes on;
    the rest is as in `cross_validation.out_of_sample`. `targets` may give other labels than those
    published, int64 (60,000,) for "train" and (10,000,) for "test", such as wrong ones on purpose.
    Near-duplicates are sought for the images of the splits in `compared`; for those of "train" that
    takes as long as several trainings.
    Raises what `data.load_splits` and `out_of_sample` raise.
    """
    splits = dict(zip(("train", "test"), data.load_published(dataset), strict=True))
    for name, others in (targets or {}).items():
        splits[name] = Split(splits[name].images, others)
    labelled, test = splits["train"], splits["test"]
    spec = data.spec(dataset)
    opinions = predict_out_of_sample(
        labelled, test, spec, recipe,
        keep=keep, folds=folds, seeds=seeds, where=where, progress=progress,
    )  # fmt: skip
    said = dict(zip(splits, opinions, strict=True))
    alike = nearest_duplicates(splits, where, of=compared)
    evidence = {name: collect_evidence(split, said[name], alike[name]) for name, split in splits.items()}
    return Audit(spec, labelled, test, said, evidence)


def nearest_duplicates(
    splits: "dict[str, Split]", where: torch.device, *, of: Sequence[str] | None = None, k: int = 3
) -> "dict[str, pd.DataFrame]":
    """The image of all splits that is nearest to each by pixels, one with another label preferred.

    Among the `k` nearest the first counts that is a near-duplicate (`verdicts.TWIN`) with another
    label, else the nearest. Returns by split a row for each image: `twin` ("train 123"),
    `twin_distance` (root mean square over the pixels, grey values) and `twin_label`; for splits
    that are not among those in `of`, if it is given, "", infinity and -1.
    """
    import pandas as pd

    images = torch.cat([split.images for split in splits.values()]).to(where)
    targets = torch.cat([split.targets for split in splits.values()])
    names = [f"{name} {i}" for name, split in splits.items() for i in range(len(split))]
    frames, start = {}, 0
    for name, split in splits.items():
        rows = torch.arange(start, start + len(split))
        start += len(split)
        if of is not None and name not in of:
            unknown = {"twin": "", "twin_distance": math.inf, "twin_label": -1}
            frames[name] = pd.DataFrame(unknown, index=range(len(split)))
            continue
        found = evaluation.nearest_neighbours(images[rows], images, k, exclude=rows.to(where))
        near, gaps = found.rows.cpu(), found.distances.cpu() / images[0].numel() ** 0.5
        contradicts = (gaps <= NEAR_DUPLICATE_RMSE) & (targets[near] != split.targets[:, None])
        first = contradicts.int().argmax(dim=1, keepdim=True)  # 0, the nearest, if there is none
        twin = near.gather(1, first).squeeze(1)
        frames[name] = pd.DataFrame(
            {
                "twin": [names[i] for i in twin.tolist()],
                "twin_distance": gaps.gather(1, first).squeeze(1).numpy(),
                "twin_label": targets[twin].numpy(),
            }
        )
    return frames


def collect_evidence(split: Split, opinions: OutOfSamplePredictions, alike: "pd.DataFrame") -> "pd.DataFrame":
    """Put together what is known of each label of a split, a row an image, with the verdict.

    `label` and `suggested`, the likeliest other class; the mean probability of either (`p_…`), the
    share of the judges that name it (`judges_…`), the share of its neighbours that have it
    (`votes_…`); `suspicion` in [0, 1], by which labels are ranked; `suspect`, whether confident
    learning counts the label among the wrong ones; the columns of `twins`; `verdict`.
    """
    import pandas as pd

    label, mean, named = split.targets, opinions.mean, opinions.named
    suggested = mean.scatter(1, label[:, None], -1).argmax(dim=1)
    votes = opinions.votes.mean(dim=0)
    columns = {"label": label, "suggested": suggested}
    for kind, classes in (("label", label), ("suggested", suggested)):
        columns[f"p_{kind}"] = mean.gather(1, classes[:, None]).squeeze(1)
        columns[f"judges_{kind}"] = (named == classes).float().mean(dim=0)
        columns[f"votes_{kind}"] = votes.gather(1, classes[:, None]).squeeze(1)
    columns["suspicion"] = label_issue_score(opinions, label)
    columns["suspect"] = find_label_issues(mean, label)
    frame = pd.DataFrame({name: column.numpy() for name, column in columns.items()})
    frame = pd.concat([frame, alike], axis=1).rename_axis("image")
    frame["verdict"] = decide(frame)
    return frame


def label_issue_score(opinions: OutOfSamplePredictions, labels: Tensor) -> Tensor:
    """How strongly the evidence speaks against each label, float32 (N,) in [0, 1].

    Models and neighbours are two experts; their product (Hinton, "Training Products of Experts by
    Minimizing Contrastive Divergence", 2002, equation 1) is sure of a class if neither rules it
    out. Each class is given one vote more than it has, of ten, so that no class is ruled out by ten
    neighbours alone, and the votes, so coarse a scale, count a third of what a model says. Both
    numbers were chosen on planted errors other than those of `benchmarks/label_noise.py`. The
    suspicion is what is left for other classes than the label.
    """
    together = opinions.mean * (opinions.votes.mean(dim=0) + 0.1) ** (1 / 3)
    of_label = together.gather(1, labels[:, None]).squeeze(1)
    return 1 - of_label / together.sum(dim=1)


def rank_labels(audit: Audit) -> "pd.DataFrame":
    """All labels of both splits, the most suspicious first, with class names for numbers."""
    import pandas as pd

    together = pd.concat(audit.evidence, names=["split", "image"]).reset_index()
    for column in ("label", "suggested", "twin_label"):
        together[column] = together[column].map(dict(enumerate(audit.spec.class_names)))
    return together.sort_values("suspicion", ascending=False, kind="stable", ignore_index=True)


def summarize(audit: Audit) -> dict[str, object]:
    """What an audit found, in numbers: verdicts by split, and whose fault the test mistakes are.

    `share_…` are means over the judges, each a fraction of its mistakes, with the standard
    deviation in `sd_…`; then the mean accuracies of `verdicts.accuracies`.
    """
    found: dict[str, object] = {}
    for split, frame in audit.evidence.items():
        for verdict in VERDICTS:
            found[f"{split}_{_key(verdict)}"] = int((frame["verdict"] == verdict).sum())
        found[f"{split}_suspects"] = int(frame["suspect"].sum())
    evidence, named = audit.evidence["test"], audit.named("test")
    counts = count_errors_by_cause(evidence, named)
    shares = counts.div(counts.sum(axis="columns"), axis="index")
    for cause in CAUSES:
        found[f"share_{_key(cause)}"] = round(shares[cause].mean(), 4)
        found[f"sd_{_key(cause)}"] = round(shares[cause].std(), 4)
    accuracies = accuracies_without_doubtful(evidence, named)
    found["accuracy_as_given"] = round(accuracies["as given"].mean(), 5)
    found["accuracy_less_the_doubtful"] = round(accuracies["less the doubtful"].mean(), 5)
    return found


def _key(words: str) -> str:
    return words.replace(" ", "_").replace("-", "_")
