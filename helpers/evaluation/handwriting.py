"""Read handwritten digits in a picture, with probabilities, and reject other objects."""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from helpers.data import Augmentation, Handwriting, Split, read_digits
from helpers.evaluation.predictions import UNKNOWN, predict_tta

MIN_CONFIDENCE = 0.85  # 97 % of photographed validation digits reach it with `mnist/accurate`


@dataclass(frozen=True)
class Reading:
    """What a model read in a picture. Row i is object i in reading order."""

    handwriting: Handwriting
    digits: Tensor  # int64 (D,), the predicted digits, or UNKNOWN for objects that are no digits
    probabilities: Tensor  # float32 (D,), of the most probable digit, also for other objects
    rejections: list[str]  # D reasons why an object is no digit; "" for digits

    def __str__(self) -> str:
        """The digits, with "?" for other objects; or, if there are no digits, the first reason."""
        if (self.digits == UNKNOWN).all():
            return f"nothing that looks like a digit: {(self.rejections or ['no strokes'])[0]}"
        return " ".join("?" if digit == UNKNOWN else str(digit) for digit in self.digits.tolist())


def read_handwriting(model: nn.Module, path: Path | str | BinaryIO) -> Reading:
    """Read a picture of digits, such as a photograph of a page, with a model trained on MNIST.

    Probabilities are means over five views of an object (`predict_tta`). An object is rejected if
    no digit has MIN_CONFIDENCE, if its shape is not that of a digit, or if most objects in the
    picture are rejected. With `mnist/accurate`, 94 % of photographed test digits are read correctly
    and 0.4 % wrongly, and 8 % of other objects are taken for digits. Raises as `read_digits`.
    """
    handwriting = read_digits(path)
    if len(handwriting.images) == 0:
        return Reading(handwriting, torch.zeros(0, dtype=torch.int64), torch.zeros(0), [])
    things = Split(handwriting.images, torch.full((len(handwriting.images),), UNKNOWN))
    mean = predict_tta(model, things, Augmentation(shift=1))
    reasons = [
        _odd_shape(image[0].numpy()) or (f"probability {p:.0%}" if p < MIN_CONFIDENCE else "")
        for image, p in zip(handwriting.images, mean.confidence.tolist(), strict=True)
    ]
    if reasons.count("") < len(reasons) / 2:
        reasons = [reason or "most objects in the picture are not digits" for reason in reasons]
    digits = mean.predicted.where(torch.tensor([not reason for reason in reasons]), UNKNOWN)
    return Reading(handwriting, digits, mean.confidence, reasons)


def _odd_shape(image: np.ndarray) -> str:
    """Why an image (28, 28) does not look like a digit, or "". 99 % of digits pass this check."""
    pieces = ndimage.label(image > 85, np.ones((3, 3)))[1]
    holes = ndimage.label(np.pad(image, 1) < 128)[1] - 1
    width = 2 * ndimage.distance_transform_edt(np.pad(image, 1) >= 128).max()
    if pieces > 2 or holes > 2:
        return f"a drawing of {pieces} pieces with {holes} holes"
    return f"an area {width:.0f} of 28 pixels wide" if width > 10 else ""
