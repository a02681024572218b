"""Which labels contradict what well-informed models say, and how many are wrong in all?

Northcutt, Jiang, Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 70,
2021. Everything here is a function of two things: the given labels (N,), and out-of-sample
probabilities (N, K), from models that were not trained on the image that they judge. The idea: a
model that is biased towards a class is so for all images; whether it is *confident* of a class is
measured by how sure it usually is where that class is given.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def thresholds(probabilities: Tensor, labels: Tensor) -> Tensor:
    """How sure the models usually are of each class where it is the given label, (K,) in [0, 1].

    Section 3.1, equation 2. A class that nobody is labelled with has threshold 1: it is never
    believed in. Raises ValueError if the two do not fit together.
    """
    _check(probabilities, labels)
    given = F.one_hot(labels, probabilities.shape[1]).to(probabilities.dtype)
    counts = given.sum(dim=0)
    means = (probabilities * given).sum(dim=0) / counts.clamp(min=1)
    return torch.where(counts > 0, means, 1.0)


def confident_classes(probabilities: Tensor, labels: Tensor) -> Tensor:
    """The class that each image confidently belongs to, int64 (N,), or -1 for none.

    Confident are the classes whose probability reaches their threshold; of several the likeliest
    counts. Section 3.1, equation 1.
    """
    # a millionth less, so that a class with one image reaches what is its own mean
    reached = probabilities >= thresholds(probabilities, labels) - 1e-6
    likeliest = torch.where(reached, probabilities, -1).argmax(dim=1)
    return torch.where(reached.any(dim=1), likeliest, -1)


def confident_joint(probabilities: Tensor, labels: Tensor) -> Tensor:
    """How many images with label i confidently belong to class j, int64 (K, K)."""
    believed = confident_classes(probabilities, labels)
    classes, sure = probabilities.shape[1], believed >= 0
    cells = labels[sure] * classes + believed[sure]
    return cells.bincount(minlength=classes**2).view(classes, classes)


def estimate_joint(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Estimate which share of all images has label i but truly is of class j, float64 (K, K).

    The rows of the confident joint are scaled to the numbers of labels, since confidence leaves
    images out (section 3.1, equation 3). What lies off the diagonal is the share of wrong labels.
    A class of which no image is confident keeps its labels.
    """
    counts = confident_joint(probabilities, labels).double()
    given = labels.bincount(minlength=len(counts)).double()
    empty = counts.sum(dim=1) == 0
    counts[empty, empty] = 1
    return counts / counts.sum(dim=1, keepdim=True) * (given / len(labels))[:, None]


def find_label_issues(probabilities: Tensor, labels: Tensor) -> Tensor:
    """The images whose label is to be doubted, bool (N,): pruning by noise rate.

    Section 3.2, method 4: the joint says how many images with label i are of class j; that many
    are taken, those whose probability of j most exceeds that of i.
    """
    expected = (estimate_joint(probabilities, labels) * len(labels)).round().long()
    doubted = torch.zeros(len(labels), dtype=torch.bool)
    for i, j in (~torch.eye(len(expected), dtype=torch.bool)).nonzero().tolist():
        rows = (labels == i).nonzero().flatten()
        margins = probabilities[rows, j] - probabilities[rows, i]
        doubted[rows[margins.topk(min(int(expected[i, j]), len(rows))).indices]] = True
    likeliest = probabilities.argmax(dim=1)
    return doubted & (likeliest != labels)  # a label that all the same is the likeliest stands


def normalized_margins(probabilities: Tensor, labels: Tensor) -> Tensor:
    """How much likelier the given label is than the likeliest other class, (N,) in [-1, 1].

    The normalised margin of section 3.2: the lower, the more a label is to be doubted.
    """
    _check(probabilities, labels)
    given = probabilities.gather(1, labels[:, None]).squeeze(1)
    others = probabilities.scatter(1, labels[:, None], -1).max(dim=1).values
    return given - others


def _check(probabilities: Tensor, labels: Tensor) -> None:
    n, classes = probabilities.shape
    if labels.shape != (n,) or n == 0:
        raise ValueError(f"Wanted a label for each of {n} > 0 images, got {tuple(labels.shape)}.")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"Labels must lie in [0, {classes}), got {int(labels.min())} to {int(labels.max())}."
        )
    if not torch.allclose(probabilities.sum(dim=1), torch.ones(n).to(probabilities), atol=1e-3):
        raise ValueError("Probabilities must sum to 1 for each image; got logits, perhaps?")
