"""Where is a model wrong, and is it the model or the label?"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from helpers.data import Split
from helpers.evaluation import Predictions, confusion_matrix

if TYPE_CHECKING:
    import pandas as pd


def mistakes(predictions: Predictions) -> Tensor:
    """The rows whose predicted class is not the target, int64 (M,), in data-set order."""
    return (predictions.labels != predictions.targets).nonzero().flatten()


def random_mistakes(predictions: Predictions, n: int, *, seed: int) -> Tensor:
    """At most `n` rows among the mistakes, drawn without replacement: an unbiased look."""
    rows = mistakes(predictions)
    return rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:n]]


def most_confident_mistakes(predictions: Predictions, n: int) -> Tensor:
    """The `n` mistakes of which the model was surest, surest first, int64 (n,)."""
    rows = mistakes(predictions)
    return rows[predictions.confidence[rows].argsort(descending=True, stable=True)[:n]]


def closest_calls(predictions: Predictions, n: int) -> Tensor:
    """The `n` images, right or wrong, whose two likeliest classes lay closest, int64 (n,)."""
    first, second = predictions.probabilities.topk(2, dim=1).values.T
    return (first - second).argsort(stable=True)[:n]


def ranked_pairs(predictions: Predictions, class_names: Sequence[str]) -> "pd.DataFrame":
    """Which two classes are confused, most often first, both directions counted together.

    Columns: `pair` ("4 / 9", the lower class first), `errors`, `share` of all errors (a fraction
    in [0, 1]; they sum to 1), and the directions `first as second` and `second as first`.
    Pairs that were never confused are left out.
    """
    import pandas as pd

    counts = confusion_matrix(predictions)
    both = counts + counts.T
    rows = [
        {
            "pair": f"{class_names[i]} / {class_names[j]}",
            "errors": int(both[i, j]),
            "first as second": int(counts[i, j]),
            "second as first": int(counts[j, i]),
        }
        for i, j in torch.triu_indices(len(counts), len(counts), offset=1).T.tolist()
        if both[i, j]
    ]
    frame = pd.DataFrame(rows, columns=["pair", "errors", "first as second", "second as first"])
    frame.insert(2, "share", frame["errors"] / max(int(frame["errors"].sum()), 1))
    return frame.sort_values("errors", ascending=False, kind="stable", ignore_index=True)


def nearest_neighbours(images: Tensor, among: Tensor, k: int, *, chunk: int = 500) -> Tensor:
    """The `k` rows of `among` whose pixels are nearest to each image, nearest first, int64 (N, k).

    `images` (N, 1, 28, 28) and `among` (M, 1, 28, 28) are uint8; the distance is Euclidean. It is
    computed as |a|² - 2ab + |b|², one matrix product for each `chunk` of images, in float32, which
    holds these integers well enough: |a|² is at most 784 · 255² = 5.1e7.
    """
    pool = among.flatten(1).float()
    lengths = pool.square().sum(dim=1)
    nearest = [
        (lengths - 2 * query.flatten(1).float() @ pool.T).topk(k, largest=False).indices
        for query in images.split(chunk)
    ]
    return torch.cat(nearest)


def neighbour_verdicts(
    predictions: Predictions, test: Split, train: Split, *, k: int = 10, majority: float = 0.7
) -> "pd.DataFrame":
    """Ask the training images that look most like each mistake whose side they take.

    The `k` nearest training images (by pixels, so no model has a say) vote with their labels.
    Returns a row for each mistake, indexed by its row in `test`: `target`, `prediction`, the
    fractions `for_target` and `for_prediction` of the votes, and a `verdict`:

    - "model": at least `majority` of the neighbours bear the target, so it could have been known;
    - "label": at least `majority` bear the prediction, so the label is the odd one out;
    - "overlap": neither; images like this one bear several labels.
    """
    import pandas as pd

    rows = mistakes(predictions)
    votes = train.targets[nearest_neighbours(test.images[rows], train.images, k)]
    target, prediction = predictions.targets[rows], predictions.labels[rows]
    for_target = (votes == target[:, None]).float().mean(dim=1)
    for_prediction = (votes == prediction[:, None]).float().mean(dim=1)
    frame = pd.DataFrame(
        {
            "target": target,
            "prediction": prediction,
            "for_target": for_target.numpy(),
            "for_prediction": for_prediction.numpy(),
        },
        index=pd.Index(rows.numpy(), name="image"),
    )
    frame["verdict"] = "overlap"
    frame.loc[frame["for_target"] >= majority, "verdict"] = "model"
    frame.loc[frame["for_prediction"] >= majority, "verdict"] = "label"
    return frame
