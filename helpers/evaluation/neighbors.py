"""Nearest neighbors of images, by their pixels or by the features that a network computes."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.evaluation.predictions import Predictions, predict


@dataclass(frozen=True)
class Neighbors:
    """The nearest rows of a pool for each query, nearest first."""

    rows: Tensor  # int64 (N, k), rows of the pool
    distances: Tensor  # float32 (N, k), Euclidean, in the unit of the vectors

    def votes(self, targets: Tensor, classes: int) -> Tensor:
        """The fraction of neighbors in each class, float32 (N, K); `targets` are the pool's."""
        return F.one_hot(targets[self.rows], classes).float().mean(dim=1)


def nearest_neighbors(
    queries: Tensor, pool: Tensor, k: int, *, exclude: Tensor | None = None, chunk: int = 500
) -> Neighbors:
    """Find the `k` rows of `pool` (M, …) that are nearest to each of the `queries` (N, …).

    Both are images uint8 (N, C, S, S) or features float (N, F), on one device. `exclude` int64 (N,)
    holds for each query a row of the pool to leave out, such as the query itself. `chunk` queries
    are compared at once. Raises ValueError if fewer than `k` rows are left.
    """
    available = len(pool) - (exclude is not None)
    if k > available:
        raise ValueError(f"Expected at least k={k} images to find neighbors in, got {available}.")
    pool = pool.flatten(1).float()
    squares = pool.square().sum(dim=1)
    found, distances = [], []
    for start in range(0, len(queries) or 1, chunk):
        some = queries[start : start + chunk].flatten(1).float()
        # |a - b|² = |a|² - 2ab + |b|² needs one matrix product; |a|² does not change the order
        gaps = squares - 2 * some @ pool.T
        if exclude is not None:
            gaps.scatter_(1, exclude[start : start + chunk, None], torch.inf)
        rows = gaps.topk(k, largest=False).indices
        # float32 rounds that sum too much, so distances are computed again from the differences
        exact, order = (some[:, None] - pool[rows]).norm(dim=2).sort(dim=1, stable=True)
        found.append(rows.gather(1, order))
        distances.append(exact)
    return Neighbors(torch.cat(found), torch.cat(distances))


def extract_features(model: nn.Module, images: Tensor, *, batch_size: int = 250) -> Tensor:
    """The input of the model's last Linear layer, the classifier, float32 (N, F), on the CPU.

    Each vector is normalized to length 1, so distances depend on the angle between two vectors, not
    on the brightness of the images. Raises ValueError if there is no Linear layer.
    """
    return predict_with_features(model, images, batch_size=batch_size)[1]


def predict_with_features(
    model: nn.Module, images: Tensor, *, batch_size: int = 250
) -> tuple[Predictions, Tensor]:
    """The results of `predict` and `extract_features` from one pass over the images."""
    features: list[Tensor] = []

    def record(_: nn.Module, inputs: tuple[Tensor]) -> None:
        features.append(F.normalize(inputs[0].flatten(1).float(), dim=1).cpu())

    linear = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    if not linear:
        raise ValueError("The model has no Linear layer, whose input could be used as features.")
    with linear[-1].register_forward_pre_hook(record):
        predictions = predict(model, images, batch_size=batch_size)
    return predictions, torch.cat(features)
