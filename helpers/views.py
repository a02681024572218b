"""What if a model may look at an image more than once, or several models look at it?

A model that was trained on shifted and mirrored images can be shown an image so at the test as
well. Its answers are averaged: where one view misleads it, the others outvote it.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from helpers import evaluation
from helpers.augmentation import Augmentation
from helpers.data import Split
from helpers.evaluation import Predictions


def predict(
    model: nn.Module, split: Split, augmentation: Augmentation, *, batch_size: int = 250
) -> Predictions:
    """The mean of what `model` says of several views of each image (test-time augmentation).

    The views are the image, the image moved by one pixel in each of four directions if the
    training with `augmentation` moved images, and all of these mirrored if it mirrored them. So a
    model is shown nothing that it has not learned from. Ten views cost ten predictions.

    Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks", NIPS 2012,
    section 4.1. Raises what `evaluation.predict` raises.
    """
    return mean_of(
        [
            evaluation.predict(model, Split(images, split.targets), batch_size=batch_size)
            for images in views_of(split.images, augmentation)
        ]
    )


def mean_of(several: Sequence[Predictions]) -> Predictions:
    """What several predictions of the same images say together, be they of views or of models.

    Probabilities are averaged, not logits; the logits returned are the logarithms of the means
    (N, K). Raises ValueError for none, or if they are not of the same images.
    """
    if not several or any(not torch.equal(p.targets, several[0].targets) for p in several):
        raise ValueError(f"Wanted predictions of the same images, got {len(several)} that are not.")
    mean = torch.stack([predictions.probabilities for predictions in several]).mean(dim=0)
    # a class that nobody thinks possible keeps a finite logarithm
    return Predictions(mean.clamp_min(torch.finfo(mean.dtype).tiny).log(), several[0].targets)


def number(augmentation: Augmentation) -> int:
    """How many views there are of each image: 1, 2, 5 or 10."""
    return (5 if augmentation.shift else 1) * (2 if augmentation.flip else 1)


def views_of(images: Tensor, augmentation: Augmentation) -> Iterator[Tensor]:
    """The views of images (N, 1, H, W), one after another: tensors as large as they."""
    for moved in _moved(images) if augmentation.shift else [images]:
        yield moved
        if augmentation.flip:
            yield moved.flip(3)


def _moved(images: Tensor) -> Iterator[Tensor]:
    """As they are, then one pixel up, down, left and right; what moves in is black."""
    padded = torch.nn.functional.pad(images, [1] * 4)
    height, width = images.shape[2:]
    for top, left in ((1, 1), (2, 1), (0, 1), (1, 2), (1, 0)):
        yield padded[:, :, top : top + height, left : left + width]
