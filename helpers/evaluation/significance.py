"""Is one model better than another, or was it luck?

Two kinds of luck: which images happened to be in the test split, and which seed a training had.
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
    """What two models made of the same images. Where they agree, nothing can be learned."""

    only_first: int  # images that only the first model got right
    only_second: int
    images: int  # all of them
    p_value: float  # how often luck alone would divide so unevenly, or more so, in [0, 1]

    @property
    def difference(self) -> float:
        """The second model's accuracy less the first's, a fraction in [-1, 1]."""
        return (self.only_second - self.only_first) / self.images


def mcnemar(first: Tensor, second: Tensor) -> PairedComparison:
    """Compare two models on the same images: bool (N,) each, where it is right.

    The exact test of McNemar ("Note on the sampling error of the difference between correlated
    proportions", Psychometrika, 1947): if both were equally good, an image that only one of them
    gets right would be the first's or the second's like the toss of a coin.

    Raises ValueError if the two are not about the same number of images, or about none.
    """
    from scipy.stats import binomtest

    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise ValueError(
            f"Wanted two vectors of the same length, one entry for each image, "
            f"got {tuple(first.shape)} and {tuple(second.shape)}."
        )
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    differ = only_first + only_second
    p_value = float(binomtest(only_first, differ).pvalue) if differ else 1.0
    return PairedComparison(only_first, only_second, len(first), p_value)


def pack_bits(right: Tensor) -> str:
    """Bool (N,), where a model is right, as text for a record: eight images to a byte, base64."""
    return base64.b64encode(np.packbits(right.cpu().numpy()).tobytes()).decode()


def unpack_bits(text: str, images: int) -> Tensor:
    """What `packed` was given, bool (`images`,)."""
    bits = np.unpackbits(np.frombuffer(base64.b64decode(text), dtype=np.uint8))
    return torch.from_numpy(bits[:images]).bool()


def accuracy_interval(accuracy: float, images: int) -> tuple[float, float]:
    """Between which accuracies the truth lies, with 95 % confidence, given one on so many images.

    The luck of the images alone (Wilson, "Probable inference, the law of succession, and
    statistical inference", 1927). Raises ValueError for no image or no fraction.
    """
    from scipy.stats import binomtest

    if images < 1 or not 0 <= accuracy <= 1:
        raise ValueError(f"Wanted a fraction of at least 1 image, got {accuracy} of {images}.")
    low, high = binomtest(round(accuracy * images), images).proportion_ci(method="wilson")
    return float(low), float(high)


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Between which values the mean over all seeds lies, with 95 % confidence, given some seeds.

    The luck of the seeds alone (Student, "The probable error of a mean", 1908). Raises ValueError
    for fewer than two values, which say nothing of their spread.
    """
    from scipy.stats import t

    n = len(values)
    if n < 2:
        raise ValueError(f"An interval needs at least 2 values, got {n}.")
    mean = statistics.mean(values)
    half = float(t.ppf(0.975, n - 1)) * statistics.stdev(values) / math.sqrt(n)
    return mean - half, mean + half


def seeds_needed(difference: float, deviation: float, *, power: float = 0.8) -> int:
    """How many seeds of each of two settings it takes to see a difference of their means.

    `deviation` is that of the seeds of one setting, in the same unit. With so many seeds a t-test
    at the 5 % level finds the difference with probability `power` (Cohen, "Statistical Power
    Analysis for the Behavioral Sciences", 1988, chapter 2). At least 2: fewer have no spread.

    Raises ValueError for a difference of 0, which no number of seeds shows.
    """
    from scipy.stats import nct, norm, t

    if not difference or deviation < 0 or not 0 < power < 1:
        raise ValueError(
            f"Wanted a difference, a deviation >= 0 and a power in (0, 1), "
            f"got {difference}, {deviation}, {power}."
        )
    if not deviation:
        return 2
    effect = abs(difference) / deviation

    def found(n: int) -> float:
        """With what probability n of each are enough, by the non-central t distribution."""
        freedom, shift = 2 * n - 2, effect * math.sqrt(n / 2)
        return float(nct.sf(t.ppf(0.975, freedom), freedom, shift))

    # by the normal distribution, as if the spread were known; what a t-test needs is little more
    n = max(2, math.ceil(2 * ((norm.ppf(0.975) + norm.ppf(power)) / effect) ** 2))
    while found(n) < power:
        n += 1
    return n


def pareto_front(accuracies: Mapping[str, float], prices: Mapping[str, float]) -> list[str]:
    """Of models by name, those than which no cheaper or equally dear one is as good.

    The cheapest first. This is the Pareto frontier: any other model is a waste of its price.
    """
    best: list[str] = []
    for name in sorted(accuracies.keys(), key=lambda name: (prices[name], -accuracies[name])):
        if not best or accuracies[name] > accuracies[best[-1]]:
            best.append(name)
    return best
