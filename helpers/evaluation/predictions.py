"""What does a model predict, and how good is that?

`predict` runs the model once, in data-set order. Everything else here is a pure function of what
it returns, so no figure can come from another pass, another order or another model.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from helpers.data import Split
if TYPE_CHECKING:
    import pandas as pd
from helpers.data import Augmentation, Split

UNKNOWN = -1  # the target of an image whose class nobody told us


@dataclass(frozen=True)
class Predictions:
    """What a model said of each image, on the CPU. Row i is image i."""

    logits: Tensor  # float32 (N, K), unnormalised log-probabilities
    targets: Tensor  # int64 (N,), the truth, or UNLABELLED

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def labels(self) -> Tensor:
        """The predicted classes, int64 (N,): the largest logit of each row."""
        return self.logits.argmax(dim=1)

    @property
    def probabilities(self) -> Tensor:
        """Softmax of the logits, float32 (N, K), rows sum to 1."""
        return self.logits.softmax(dim=1)

    @property
    def confidence(self) -> Tensor:
        """The probability of the predicted class, float32 (N,), in [1/K, 1]."""
        return self.probabilities.max(dim=1).values


def predict(model: nn.Module, images: Split | Tensor, *, batch_size: int = 250) -> Predictions:
    """Run `model` over `images` in their order, in evaluation mode, without gradients.

    `images` is a Split, or uint8 (N, 1, 28, 28) alone when the targets are not known. They may lie
    on any device; batches are moved to the model's. In batches of 250 the features of a small
    network stay in a processor's cache: a third less time than with 1,000. The model is left in the
    mode it was in.

    Raises ValueError if the images are of another shape or dtype, or if there are none.
    """
    if isinstance(images, Tensor):
        # as many targets as rows, so that Split's own check speaks of the images
        images = Split(images, torch.full(images.shape[:1], UNKNOWN))
    if not isinstance(images, Split):
        raise ValueError(
            f"Images must be a Split or a uint8 tensor (N, 1, 28, 28), got {type(images).__name__}."
        )
    if len(images) == 0:
        raise ValueError("Got 0 images; a prediction needs at least one.")
    device = next(model.parameters()).device
    with preserve_train_mode(model), torch.inference_mode():
        model.eval()
        logits = [model(batch.to(device)) for batch in images.images.split(batch_size)]
    return Predictions(torch.cat(logits).float().cpu(), images.targets.cpu())


@contextmanager
def preserve_train_mode(model: nn.Module) -> Iterator[None]:
    """Leave each layer in the mode, training or evaluation, in which it was, whatever happens."""
    modes = {layer: layer.training for layer in model.modules()}
    try:
        yield
    finally:
        for layer, mode in modes.items():
            layer.training = mode


def accuracy(predictions: Predictions) -> float:
    """The fraction of images given their own class, in [0, 1]: images are counted, not batches."""
    _check_targets(predictions)
    return (predictions.labels == predictions.targets).double().mean().item()


def loss(predictions: Predictions) -> float:
    """Mean cross-entropy per image in nats; ln K, 2.30 for ten classes, is pure guessing."""
    _check_targets(predictions)
    return F.cross_entropy(predictions.logits, predictions.targets).item()


def confusion_matrix(predictions: Predictions) -> Tensor:
    """Count how often each true class was given each label.

    Returns int64 (K, K); entry [i, j] counts images of class i predicted as j, so rows sum to the
    class sizes. Raises ValueError if a target lies outside [0, K).
    """
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    _check_targets(predictions)
    classes = predictions.logits.shape[1]
    return multiclass_confusion_matrix(predictions.labels, predictions.targets, num_classes=classes)


def per_class(
    predictions: Predictions, class_names: Sequence[str], *, resamples: int = 1_000
) -> "pd.DataFrame":
    """Precision, recall and F1 of each class, fractions in [0, 1], and its number of images.

    Of the images *called* Shirt, precision is the share that are shirts; of the images that *are*
    shirts, recall is the share that were called so; F1 is their harmonic mean. A class that was
    never predicted has precision 0. The columns `… low` and `… high` are a 95 % interval: how much
    the measure would vary with other images of the same kind. For it the confusion matrix is drawn
    anew, `resamples` times, always with the same seed (the percentile bootstrap: Efron and
    Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3).
    """
    import pandas as pd

    counts = confusion_matrix(predictions).double()
    chance = np.random.default_rng(0)
    cells = (counts.flatten() / counts.sum()).numpy()
    drawn = chance.multinomial(len(predictions), cells, resamples)
    measured = _precision_recall_f1(counts)  # (3, K)
    varied = _precision_recall_f1(torch.from_numpy(drawn).double().view(-1, *counts.shape))
    low, high = varied.quantile(torch.tensor([0.025, 0.975], dtype=varied.dtype), dim=1)
    columns: dict[str, Tensor] = {}
    for i, name in enumerate(("precision", "recall", "f1")):
        columns |= {name: measured[i], f"{name} low": low[i], f"{name} high": high[i]}
    columns["images"] = counts.sum(dim=1).long()
    return pd.DataFrame(
        {name: column.numpy() for name, column in columns.items()},
        index=pd.Index(class_names, name="class"),
    )


def _precision_recall_f1(counts: Tensor) -> Tensor:
    """From confusion matrices (…, K, K), float64 (3, …, K); 0 where there is nothing to divide."""
    right = counts.diagonal(dim1=-2, dim2=-1)
    called, are = counts.sum(dim=-2), counts.sum(dim=-1)
    return torch.stack([right / called, right / are, 2 * right / (called + are)]).nan_to_num()


def _check_targets(predictions: Predictions) -> None:
    lowest, highest = predictions.targets.min().item(), predictions.targets.max().item()
    classes = predictions.logits.shape[1]
    if lowest < 0 or highest >= classes:
        raise ValueError(
            f"Targets must lie in [0, {classes}), got {lowest} to {highest}. "
            f"Predictions made from bare images have no targets; predict a Split to measure them."
        )




def predict_tta(
    model: nn.Module, split: Split, augmentation: Augmentation, *, batch_size: int = 250
) -> Predictions:
    """The mean of what `model` says of several views of each image (test-time augmentation).

    The views are the image, the image moved by one pixel in each of four directions if the
    training with `augmentation` moved images, and all of these mirrored if it mirrored them. So a
    model is shown nothing that it has not learned from. Ten views cost ten predictions.

    Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks", NIPS 2012,
    section 4.1. Raises what `evaluation.predict` raises.
    """
    return average_predictions(
        [
            predict(model, Split(images, split.targets), batch_size=batch_size)
            for images in tta_views(split.images, augmentation)
        ]
    )


def average_predictions(several: Sequence[Predictions]) -> Predictions:
    """What several predictions of the same images say together, be they of views or of models.

    Probabilities are averaged, not logits; the logits returned are the logarithms of the means
    (N, K). Raises ValueError for none, or if they are not of the same images.
    """
    if not several or any(not torch.equal(p.targets, several[0].targets) for p in several):
        raise ValueError(f"Wanted predictions of the same images, got {len(several)} that are not.")
    mean = torch.stack([predictions.probabilities for predictions in several]).mean(dim=0)
    # a class that nobody thinks possible keeps a finite logarithm
    return Predictions(mean.clamp_min(torch.finfo(mean.dtype).tiny).log(), several[0].targets)


def num_views(augmentation: Augmentation) -> int:
    """How many views there are of each image: 1, 2, 5 or 10."""
    return (5 if augmentation.shift else 1) * (2 if augmentation.flip else 1)


def tta_views(images: Tensor, augmentation: Augmentation) -> Iterator[Tensor]:
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
