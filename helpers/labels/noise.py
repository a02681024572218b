"""What if labels were wrong, and one knew which?

Errors are planted with a fixed seed, so that whoever claims to find wrong labels can be examined.
"""

from collections.abc import Iterable
import torch
from torch import Tensor


def symmetric_noise(targets: Tensor, rate: float, *, classes: int, seed: int) -> Tensor:
    """Give a share `rate` in [0, 1] of the labels another class, each other class as likely.

    Returns int64 (N,), with exactly round(rate * N) labels changed. Raises ValueError for another
    rate.
    """
    chance, rows = _draw(torch.arange(len(targets)), rate, seed)
    noisy = targets.clone()
    noisy[rows] = (
        noisy[rows] + torch.randint(1, classes, (len(rows),), generator=chance)
    ) % classes
    return noisy


def pair_flip(targets: Tensor, pairs: Iterable[tuple[int, int]], rate: float, *, seed: int) -> Tensor:
    """Swap a share `rate` of the labels of each pair of classes, such as 4 and 9, for its partner.

    This is what people get wrong: not any class for any other, but one for its like. Returns int64
    (N,), with exactly round(rate * n) labels changed among the n images of a pair.
    """
    noisy = targets.clone()
    for first, second in pairs:
        of_pair = ((targets == first) | (targets == second)).nonzero().flatten()
        _, rows = _draw(of_pair, rate, seed)
        noisy[rows] = first + second - targets[rows]
    return noisy


def _draw(rows: Tensor, rate: float, seed: int) -> tuple[torch.Generator, Tensor]:
    """A share of the rows without replacement, and the generator for what is drawn next."""
    if not 0 <= rate <= 1:
        raise ValueError(f"A rate of wrong labels lies in [0, 1], got {rate}.")
    chance = torch.Generator().manual_seed(seed)
    return chance, rows[torch.randperm(len(rows), generator=chance)[: round(rate * len(rows))]]
