"""Confident learning: estimate how many labels are wrong, and which.

Northcutt, Jiang, Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 70,
2021. Each function takes probabilities, float (N, K), from models that were not trained on the
image, and the labels, int64 (N,); it raises as `thresholds`. The probability of a class is compared
with its mean over the images with that label, so that a general bias toward a class cancels out.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def thresholds(probabilities: Tensor, labels: Tensor) -> Tensor:
    """The mean probability of each class over the images with that label, (K,) in [0, 1].

    Section 3.1, equation 2. A class without labels has threshold 1, so only certainty reaches it.
    Raises ValueError for labels of another shape or outside [0, K), and invalid probabilities.
    """
    n, classes = probabilities.shape
    if labels.shape != (n,) or n == 0:
        raise ValueError(f"Expected labels of shape ({n},), {n} > 0, got {tuple(labels.shape)}.")
    low, high = (int(label) for label in labels.aminmax())
    if low < 0 or high >= classes:
        raise ValueError(f"Labels must lie in [0, {classes}), got {low} to {high}.")
    if not torch.allclose(probabilities.sum(dim=1), torch.ones(n).to(probabilities), atol=1e-3):
        raise ValueError("Probabilities must sum to 1 for each image. Are they logits?")
    if probabilities.min() < 0:
        raise ValueError(f"Probabilities must lie in [0, 1], got {float(probabilities.min()):g}.")
    given = F.one_hot(labels, classes).to(probabilities.dtype)
    counts = given.sum(dim=0)
    means = (probabilities * given).sum(dim=0) / counts.clamp(min=1)
    return torch.where(counts > 0, means, 1.0)


def confident_joint(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Count the images with label i that confidently belong to class j, int64 (K, K).

    An image confidently belongs to the most probable class among those that reach their threshold.
    If none does, it is not counted. Section 3.1, equation 1. Raises as `thresholds`.
    """
    # minus 1e-6, so that rounding cannot keep the only image of a class below its own mean
    reached = probabilities >= thresholds(probabilities, labels) - 1e-6
    confident = torch.where(reached, probabilities, -1).argmax(dim=1)
    counted, classes = reached.any(dim=1), probabilities.shape[1]
    cells = labels[counted] * classes + confident[counted]
    return cells.bincount(minlength=classes**2).view(classes, classes)


def estimate_joint(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Estimate the fraction of all images with label i and true class j, float64 (K, K).

    Each row of the confident joint is scaled to the number of images with that label, since images
    without a confident class are missing from it (section 3.1, equation 3). The sum off the
    diagonal is the fraction of wrong labels. A label without confident images counts as correct.
    """
    counts = confident_joint(probabilities, labels).double()
    given = labels.bincount(minlength=len(counts)).double()
    empty = counts.sum(dim=1) == 0
    counts[empty, empty] = 1
    return counts / counts.sum(dim=1, keepdim=True) * (given / len(labels))[:, None]


def find_label_issues(probabilities: Tensor, labels: Tensor) -> Tensor:
    """The images whose label is probably wrong, bool (N,): prune by noise rate (section 3.2).

    Method 4: the joint estimates how many images with label i have class j. That many are flagged,
    those with the largest margin p_j - p_i, unless their label is the most probable class.
    """
    expected = (estimate_joint(probabilities, labels) * len(labels)).round().long()
    issues = torch.zeros(len(labels), dtype=torch.bool)
    for i, j in (~torch.eye(len(expected), dtype=torch.bool)).nonzero().tolist():
        rows = (labels == i).nonzero().flatten()
        margins = probabilities[rows, j] - probabilities[rows, i]
        issues[rows[margins.topk(min(int(expected[i, j]), len(rows))).indices]] = True
    return issues & (probabilities.argmax(dim=1) != labels)  # argmax agrees: no issue
