"""Which images are most alike, by their pixels or by what a network makes of them?"""

from dataclasses import dataclass
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from helpers.evaluation.predictions import Predictions, predict


@dataclass(frozen=True)
class Neighbours:
    """The nearest rows of a pool for each query, nearest first."""

    rows: Tensor  # int64 (N, k), rows of the pool
    distances: Tensor  # float32 (N, k), Euclidean, in the unit of what was compared

    def votes(self, targets: Tensor, classes: int) -> Tensor:
        """Which share of the neighbours has each label, float32 (N, K), rows sum to 1.

        `targets` int64 (M,) are the labels of the pool.
        """
        return F.one_hot(targets[self.rows], classes).float().mean(dim=1)


def nearest_neighbours(
    queries: Tensor, pool: Tensor, k: int, *, but_not: Tensor | None = None, chunk: int = 500
) -> Neighbours:
    """The `k` rows of `pool` (M, …) that are nearest to each of the `queries` (N, …).

    Both are images uint8 (N, 1, 28, 28) or features float (N, F), on one device. `but_not` int64
    (N,) is a row of the pool that each query shall not be given, such as itself. Distances are
    searched as |a|² - 2ab + |b|², one matrix product for each `chunk` of queries, and those of the
    `k` found are then computed from the differences, since float32 holds the former to a few units
    only.

    Raises ValueError if the pool has fewer rows than are asked for.
    """
    there = len(pool) - (but_not is not None)
    if k > there:
        raise ValueError(f"Wanted {k} neighbours of each, but there are {there} to choose from.")
    pool = pool.flatten(1).float()
    lengths = pool.square().sum(dim=1)
    found, distances = [], []
    for start in range(0, len(queries), chunk):
        some = queries[start : start + chunk].flatten(1).float()
        gaps = lengths - 2 * some @ pool.T
        if but_not is not None:
            gaps.scatter_(1, but_not[start : start + chunk, None], torch.inf)
        rows = gaps.topk(k, largest=False).indices
        exact, order = (some[:, None] - pool[rows]).norm(dim=2).sort(dim=1, stable=True)
        found.append(rows.gather(1, order))
        distances.append(exact)
    return Neighbours(torch.cat(found), torch.cat(distances))


def extract_features(model: nn.Module, images: Tensor, *, batch_size: int = 250) -> Tensor:
    """What the classifier of a model from `models.build` is given of each image, float32 (N, F).

    `images` is uint8 (N, 1, 28, 28). Vectors are scaled to length 1, so that the distance between
    two tells the angle: how strongly a feature speaks depends on ink and contrast as well. They are
    computed in evaluation mode, in the order of the images, and come back on the CPU.
    """
    return predict_with_features(model, images, batch_size=batch_size)[1]


def predict_with_features(
    model: nn.Module, images: Tensor, *, batch_size: int = 250
) -> tuple[Predictions, Tensor]:
    """The predictions and the `features` of images uint8 (N, 1, 28, 28), from one pass."""
    seen: list[Tensor] = []

    def note(_: nn.Module, inputs: tuple[Tensor]) -> None:
        seen.append(F.normalize(inputs[0].flatten(1).float(), dim=1).cpu())

    classifier: nn.Module = model.get_submodule("classifier")
    hook = classifier.register_forward_pre_hook(note)
    try:
        predictions = predict(model, images, batch_size=batch_size)
    finally:
        hook.remove()
    return predictions, torch.cat(seen)
