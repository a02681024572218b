"""Error analysis: the errors of a model, the classes that it confuses, and doubtful labels."""

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from helpers.data import Split
from helpers.evaluation.neighbors import nearest_neighbors
from helpers.evaluation.predictions import Predictions, confusion_matrix

if TYPE_CHECKING:
    import pandas as pd

VOTE_OUTCOMES = ("with the label", "with the model", "undecided")


def misclassified(predictions: Predictions) -> Tensor:
    """The rows whose predicted class is not the target, int64 (M,), in data-set order."""
    return (predictions.predicted != predictions.targets).nonzero().flatten()


def random_misclassified(predictions: Predictions, n: int, *, seed: int) -> Tensor:
    """A uniform random sample of at most `n` mistakes, without replacement, int64 (≤ n,)."""
    rows = misclassified(predictions)
    return rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:n]]


def most_confident_misclassified(predictions: Predictions, n: int) -> Tensor:
    """At most `n` mistakes with the highest confidence, highest first, int64 (≤ n,)."""
    rows = misclassified(predictions)
    return rows[predictions.confidence[rows].argsort(descending=True, stable=True)[:n]]


def smallest_margins(predictions: Predictions, n: int) -> Tensor:
    """The `n` images, right or wrong, whose two highest probabilities differ least, int64 (n,)."""
    first, second = predictions.probabilities.topk(2, dim=1).values.T
    return (first - second).argsort(stable=True)[:n]


def most_confused_pairs(predictions: Predictions, class_names: Sequence[str]) -> "pd.DataFrame":
    """Count the errors of each pair of classes, in both directions; most errors first.

    Columns: `pair` ("4 / 9", the lower class first), `errors`, `share` (the fraction of all errors,
    in [0, 1]), and the errors in each direction: `first as second` and `second as first`. Pairs
    without errors are left out.
    """
    import pandas as pd

    counts = confusion_matrix(predictions).tolist()
    rows = [
        (f"{a} / {b}", counts[i][j] + counts[j][i], counts[i][j], counts[j][i])
        for (i, a), (j, b) in combinations(enumerate(class_names), 2)
        if counts[i][j] + counts[j][i]
    ]
    frame = pd.DataFrame(rows, columns=["pair", "errors", "first as second", "second as first"])
    frame.insert(2, "share", frame["errors"] / max(int(frame["errors"].sum()), 1))
    return frame.sort_values("errors", ascending=False, kind="stable", ignore_index=True)


def class_means(split: Split) -> Tensor:
    """The mean image of each class, float32 (K, C, S, S), in [0, 255]; nan if it has no images."""
    classes = int(split.targets.max()) + 1
    means = [split.images[split.targets == k].float().mean(dim=0) for k in range(classes)]
    return torch.stack(means)


def closest_pairs(means: Tensor, class_names: Sequence[str], n: int) -> list[str]:
    """The `n` pairs of classes, such as "4 / 9", whose `means` (K, C, S, S) are nearest."""
    gaps = torch.cdist(means.flatten(1), means.flatten(1))
    first, second = torch.triu_indices(len(means), len(means), offset=1)
    nearest = gaps[first, second].argsort(stable=True)[:n]
    return [f"{class_names[first[i]]} / {class_names[second[i]]}" for i in nearest]


def neighbor_votes(
    predictions: Predictions, test: Split, train: Split, *, k: int = 10, majority: float = 0.7
) -> "pd.DataFrame":
    """For each mistake, compare label and prediction with the labels of similar training images.

    This is a vote of the `k` training images that are nearest by their pixels, without a model.
    Returns a row for each mistake, indexed by its row in `test`: `target`, `prediction`, the
    fractions of the votes `for_target` and `for_prediction`, and `outcome`, one of VOTE_OUTCOMES:
    "with the label" or "with the model" if that fraction reaches `majority`, else "undecided".
    """
    import pandas as pd

    rows = misclassified(predictions)
    votes = train.targets[nearest_neighbors(test.images[rows], train.images, k).rows]
    frame = pd.DataFrame(index=pd.Index(rows.numpy(), name="image"))
    frame["target"] = predictions.targets[rows].numpy()
    frame["prediction"] = predictions.predicted[rows].numpy()
    for name in ("target", "prediction"):
        same = votes.numpy() == frame[[name]].to_numpy()
        frame[f"for_{name}"] = same.mean(axis=1)
    frame["outcome"] = VOTE_OUTCOMES[2]
    frame.loc[frame["for_target"] >= majority, "outcome"] = VOTE_OUTCOMES[0]
    frame.loc[frame["for_prediction"] >= majority, "outcome"] = VOTE_OUTCOMES[1]
    return frame
