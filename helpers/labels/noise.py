"""Label noise: make labels wrong on purpose, to measure how well an audit finds them."""

from collections.abc import Iterable

import torch
from torch import Tensor


def symmetric_noise(targets: Tensor, rate: float, *, classes: int, seed: int) -> Tensor:
    """Change a fraction `rate` of the labels to another class, all other classes equally likely.
    Returns int64 (N,) with round(rate * N) labels changed. Raises ValueError unless 0 ≤ rate ≤ 1.
    """
    rows, generator = _draw(torch.arange(len(targets)), rate, seed)
    noisy = targets.clone()
    shifts = torch.randint(1, classes, (len(rows),), generator=generator)
    noisy[rows] = (noisy[rows] + shifts) % classes
    return noisy


def pair_flip(
    targets: Tensor, pairs: Iterable[tuple[int, int]], rate: float, *, seed: int
) -> Tensor:
    """Flip a fraction `rate` of the labels in each pair of similar classes, such as (4, 9).

    People confuse similar classes, so this is more realistic than symmetric noise. Of the n images
    of a pair, round(rate * n) get the other label. Returns and raises as `symmetric_noise`.
    """
    noisy = targets.clone()
    for first, second in pairs:
        of_pair = ((targets == first) | (targets == second)).nonzero().flatten()
        rows, _ = _draw(of_pair, rate, seed)
        noisy[rows] = first + second - targets[rows]
    return noisy


def _draw(rows: Tensor, rate: float, seed: int) -> tuple[Tensor, torch.Generator]:
    """Sample a fraction `rate` of the rows without replacement; also returns the generator."""
    if not 0 <= rate <= 1:
        raise ValueError(f"The rate of wrong labels must lie in [0, 1], got {rate}.")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(rows), generator=generator)
    return rows[order[: round(rate * len(rows))]], generator
