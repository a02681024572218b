"""Statistics: confidence intervals, significance tests, and the Pareto front of several models.

Accuracies vary for two reasons: the sample of test images, and the seed of the training.
"""

import base64
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class PairedComparison:
    """Two models compared on the same images. Images on which both are right or wrong cancel."""

    only_first: int  # images that only the first model predicted correctly
    only_second: int
    images: int  # all images
    p_value: float  # two-sided, of the null hypothesis that both models are equally good

    @property
    def difference(self) -> float:
        """The accuracy of the second model minus that of the first, in [-1, 1]."""
        return (self.only_second - self.only_first) / self.images


def mcnemar(first: Tensor, second: Tensor) -> PairedComparison:
    """Compare two models on the same images: bool (N,) each, True where the model is right.

    The test of McNemar ("Note on the sampling error of the difference between correlated
    proportions", Psychometrika, 1947), in its exact form, by the binomial distribution. The null
    hypothesis is that both models are equally good: if only one predicts an image correctly, it is
    the first with probability one half. Raises ValueError if lengths differ or there are no images.
    """
    from scipy.stats import binomtest

    if first.shape != second.shape or first.ndim != 1 or not len(first):
        wanted = "Expected two vectors of the same length, one entry for each image"
        raise ValueError(f"{wanted}, got {tuple(first.shape)} and {tuple(second.shape)}.")
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    differ = only_first + only_second
    p_value = float(binomtest(only_first, differ).pvalue) if differ else 1.0
    return PairedComparison(only_first, only_second, len(first), p_value)


def pack_bits(values: Tensor) -> str:
    """Encode bool (N,) as text for a record: eight values per byte, in base64."""
    return base64.b64encode(np.packbits(values.cpu().numpy()).tobytes()).decode()


def unpack_bits(text: str, n: int) -> Tensor:
    """Decode the text of `pack_bits`, bool (`n`,)."""
    bits = np.unpackbits(np.frombuffer(base64.b64decode(text), dtype=np.uint8))
    return torch.from_numpy(bits[:n]).bool()


def accuracy_interval(accuracy: float, images: int) -> tuple[float, float]:
    """The 95 % confidence interval (low, high) of an accuracy on a number of `images`.

    It accounts for the sampling of the images, not for the seed of the training (Wilson, "Probable
    inference, the law of succession, and statistical inference", 1927). Raises ValueError if there
    are no images, or if `accuracy` is not in [0, 1].
    """
    from scipy.stats import binomtest

    if images < 1 or not 0 <= accuracy <= 1:
        raise ValueError(f"Expected accuracy in [0, 1], images >= 1, got {accuracy}, {images}.")
    low, high = binomtest(round(accuracy * images), images).proportion_ci(method="wilson")
    return float(low), float(high)


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % confidence interval (low, high) of the mean over all seeds, from a few seeds.

    It accounts for the seed of the training, not for the sampling of the images (Student, "The
    probable error of a mean", 1908). Raises ValueError for fewer than two values.
    """
    from scipy.stats import t

    n = len(values)
    if n < 2:
        raise ValueError(f"An interval needs at least 2 values, got {n}.")
    mean = statistics.mean(values)
    half = float(t.ppf(0.975, n - 1)) * statistics.stdev(values) / math.sqrt(n)
    return mean - half, mean + half


def seeds_needed(difference: float, deviation: float, *, power: float = 0.8) -> int:
    """The sample size of a t-test: seeds for each of two settings, to detect a difference of means.

    `deviation` is the standard deviation over the seeds of one setting, in the same unit as
    `difference`. With so many seeds, a t-test at the 5 % level detects the difference with
    probability `power` (Cohen, "Statistical Power Analysis for the Behavioral Sciences", 1988,
    chapter 2). The result is at least 2, since one value has no standard deviation. Raises
    ValueError if `difference` is 0, `deviation` is negative, or `power` is not in (0, 1).
    """
    from scipy.stats import nct, norm, t

    if not difference or deviation < 0 or not 0 < power < 1:
        got = f"{difference}, {deviation}, {power}"
        raise ValueError(f"Expected difference != 0, deviation >= 0, power in (0, 1), got {got}.")
    if not deviation:
        return 2
    effect = abs(difference) / deviation

    def power_with(n: int) -> float:
        """The power of the test with n seeds each, by the non-central t distribution."""
        freedom, shift = 2 * n - 2, effect * math.sqrt(n / 2)
        return float(nct.sf(t.ppf(0.975, freedom), freedom, shift))

    # start with the sample size for a known deviation (a z-test); a t-test needs a few more
    n = max(2, math.ceil(2 * ((norm.ppf(0.975) + norm.ppf(power)) / effect) ** 2))
    while power_with(n) < power:
        n += 1
    return n


def pareto_front(accuracies: Mapping[str, float], costs: Mapping[str, float]) -> list[str]:
    """The Pareto front: the models for which no other is both cheaper and more accurate.

    Of two models with the same cost, the more accurate one is on the front; of two with the same
    accuracy, the cheaper one. Returns their names, cheapest first.
    """
    front: list[str] = []
    for name in sorted(accuracies.keys(), key=lambda name: (costs[name], -accuracies[name])):
        if not front or accuracies[name] > accuracies[front[-1]]:
            front.append(name)
    return front
