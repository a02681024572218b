"""Prepare a picture of a handwritten digit as the images of MNIST were prepared."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from helpers.files import PROJECT

SAMPLE_DIGIT = PROJECT / "data" / "own" / "four.png"


def read_digit(path: Path | str) -> Tensor:
    """Read a picture of one digit, dark on light or light on dark, in the format of MNIST.

    The steps are those of MNIST (LeCun et al., "Gradient-based learning applied to document
    recognition", 1998, section III.A): the digit becomes white on black, is scaled to fit into
    20 × 20 pixels without distortion, and its centre of mass is put in the middle of 28 × 28. Grey
    values are stretched to the full range; those below a third of it (paper, shadow) become black.

    Returns uint8 (1, 1, 28, 28). Raises FileNotFoundError if there is no such file, and ValueError
    if it is not a picture or shows nothing.
    """
    try:
        with Image.open(path) as picture:
            upright = ImageOps.exif_transpose(picture)  # phones record how they were held
    except FileNotFoundError:
        raise FileNotFoundError(f"There is no picture at {path}.") from None
    except OSError as error:
        raise ValueError(f"{path} is not a picture that can be read; PNG and JPEG can.") from error
    grey = _to_grey(upright)
    border = torch.cat([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    if border.median() > 127:
        grey = 255 - grey  # dark on light becomes light on dark
    if grey.max() - grey.min() < 32:
        raise ValueError(f"{path} shows nothing: all its pixels have nearly the same brightness.")
    grey = (grey - grey.min()) / (grey.max() - grey.min())
    grey[grey < 1 / 3] = 0

    ink = grey.nonzero()
    (top, left), (bottom, right) = ink.min(dim=0).values.tolist(), ink.max(dim=0).values.tolist()
    return _center(grey[top : bottom + 1, left : right + 1])


def _to_grey(picture: Image.Image) -> Tensor:
    """Grey values from 0 to 255, float32 (H, W); transparent pixels become white."""
    if picture.mode.startswith("I"):  # 16 bits, which `convert` would clip instead of scaling
        values = np.array(picture, dtype=np.float32)
        # cameras and scanners often fill only the lower 10, 12 or 14 of them
        white = next(2**bits - 1 for bits in (8, 10, 12, 14, 16, 32) if values.max() < 2**bits)
        return torch.from_numpy(values * 255 / white)
    picture = picture.convert("RGBA")
    paper = Image.new("RGBA", picture.size, "white")
    grey = Image.alpha_composite(paper, picture).convert("L")
    return torch.from_numpy(np.array(grey, dtype=np.float32))


def _center(digit: Tensor) -> Tensor:
    """Scale a digit (h, w), in [0, 1], to fit into 20 × 20 and center its mass in 28 × 28."""
    height, width = digit.shape
    scale = 20 / max(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    small = torch.nn.functional.interpolate(
        digit[None, None], size, mode="bilinear", antialias=True
    )[0, 0]
    mass = small.sum()
    row = int(14 - (small.sum(dim=1) * torch.arange(size[0])).sum() / mass)
    column = int(14 - (small.sum(dim=0) * torch.arange(size[1])).sum() / mass)
    row, column = min(max(row, 0), 28 - size[0]), min(max(column, 0), 28 - size[1])
    image = torch.zeros(1, 1, 28, 28)
    image[0, 0, row : row + size[0], column : column + size[1]] = small
    return (255 * image / image.max()).round().to(torch.uint8)
