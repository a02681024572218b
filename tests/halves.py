"""Images of two classes that a model can tell apart."""

import torch

from helpers.data import Split


def images(n: int) -> Split:
    """`n` images, always the same: bright on the left, or on the right."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 60, (n, 1, 28, 28), generator=generator, dtype=torch.uint8)
    targets = torch.arange(n) % 2
    pixels[targets == 0, :, :, :14] += 150
    pixels[targets == 1, :, :, 14:] += 150
    return Split(pixels, targets)
