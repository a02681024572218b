"""Read handwriting from a picture: which digits, how probable, and what is no digit."""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from helpers.data import Augmentation, Handwriting, Split, read_digits
from helpers.evaluation.predictions import UNKNOWN, predict_tta

LEAST_PROBABILITY = 0.85  # of 97 % of photographed validation digits, with `mnist/accurate`


@dataclass(frozen=True)
class Reading:
    """What a model read on a picture. Row i is thing i in reading order."""

    found: Handwriting
    digits: Tensor  # int64 (D,), the predicted digits, or UNKNOWN for what is no digit
    probabilities: Tensor  # float32 (D,), of the most probable digit, whatever the thing is
    seen: list[str]  # D reasons why it is no digit, empty for digits

    def __str__(self) -> str:
        """The digits, with "?" for other things, or what was seen instead of digits."""
        if (self.digits == UNKNOWN).all():
            return f"nothing that looks like a digit: {(self.seen or ['no strokes'])[0]}"
        return " ".join("?" if digit == UNKNOWN else str(digit) for digit in self.digits.tolist())


def read_handwriting(model: nn.Module, path: Path | str | BinaryIO) -> Reading:
    """Read a picture of digits, such as a photograph of a page, with a model trained on MNIST.

    Probabilities are means over five views of a thing (`predict_tta`). It is no digit if the most
    probable digit has less than LEAST_PROBABILITY, if it has another shape than digits, or if most
    things on the picture are no digits. With `mnist/accurate`, 94 % of photographed test digits are
    read right, 0.4 % wrong, and 8 % of other things are called a digit. Raises as `read_digits`.
    """
    found = read_digits(path)
    if len(found.images) == 0:
        return Reading(found, torch.zeros(0, dtype=torch.int64), torch.zeros(0), [])
    things = Split(found.images, torch.full((len(found.images),), UNKNOWN))
    mean = predict_tta(model, things, Augmentation(shift=1))
    seen = [
        _odd_shape(image[0].numpy()) or (f"probability {p:.0%}" if p < LEAST_PROBABILITY else "")
        for image, p in zip(found.images, mean.confidence.tolist(), strict=True)
    ]
    if seen.count("") < len(seen) / 2:
        seen = [reason or "among things that are no digits" for reason in seen]
    digits = mean.predicted.where(torch.tensor([not reason for reason in seen]), UNKNOWN)
    return Reading(found, digits, mean.confidence, seen)


def _odd_shape(image: np.ndarray) -> str:
    """Why an image (28, 28) has no shape of a digit, or "". The limits hold for 99 % of digits."""
    pieces = ndimage.label(image > 85, np.ones((3, 3)))[1]
    holes = ndimage.label(np.pad(image, 1) < 128)[1] - 1
    width = 2 * ndimage.distance_transform_edt(np.pad(image, 1) >= 128).max()
    if pieces > 2 or holes > 2:
        return f"a drawing of {pieces} pieces with {holes} holes"
    return f"an area {width:.0f} of 28 pixels wide" if width > 10 else ""
