"""`predict` runs a model once, in data-set order; metrics are pure functions of its result."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.data import Augmentation, Split

if TYPE_CHECKING:
    import pandas as pd

UNKNOWN = -1  # the target of an image whose class is not known


@dataclass(frozen=True)
class Predictions:
    """The logits of a model for a set of images, with the targets, on the CPU. Row i is image i."""

    logits: Tensor  # float32 (N, K), unnormalized log-probabilities
    targets: Tensor  # int64 (N,), the true classes, or UNKNOWN

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def predicted(self) -> Tensor:
        """The predicted classes, int64 (N,): the index of the largest logit of each row."""
        return self.logits.argmax(dim=1)

    @property
    def probabilities(self) -> Tensor:
        """Softmax of the logits, float32 (N, K); each row sums to 1."""
        return self.logits.softmax(dim=1)

    @property
    def confidence(self) -> Tensor:
        """The probability of the predicted class, float32 (N,), in [1/K, 1]."""
        return self.probabilities.max(dim=1).values


def predict(model: nn.Module, images: Split | Tensor, *, batch_size: int = 250) -> Predictions:
    """Run `model` over `images` in their order, in evaluation mode, without gradients.

    `images` is a Split, or uint8 (N, C, S, S) if the targets are not known, on any device. Batches
    of 250 are a third faster than of 1,000, since their activations fit in a CPU's cache. Raises
    ValueError if the images have another shape or dtype, or if there are none.
    """
    if isinstance(images, Tensor):
        # Split checks the shape and dtype of the images; it needs a target for each
        images = Split(images, torch.full(images.shape[:1], UNKNOWN))
    if not isinstance(images, Split):
        wanted = "a Split or a uint8 tensor (N, C, S, S)"
        raise ValueError(f"Images must be {wanted}, got {type(images).__name__}.")
    if len(images) == 0:
        raise ValueError("Expected at least 1 image, got 0.")
    built_for, shape = getattr(model, "architecture", {}), tuple(images.images.shape[1:])
    if size := built_for.get("size"):
        wanted = (built_for.get("channels", shape[0]), size, size)
        if shape != wanted:
            raise ValueError(f"The model was built for images of shape {wanted}, got {shape}.")
    device = next(model.parameters()).device
    with preserve_train_mode(model), torch.inference_mode():
        model.eval()
        logits = [model(batch.to(device)) for batch in images.images.split(batch_size)]
    return Predictions(torch.cat(logits).float().cpu(), images.targets.cpu())


@contextmanager
def preserve_train_mode(model: nn.Module) -> Iterator[None]:
    """Restore the mode (training or evaluation) of each layer at the end, also after an error."""
    modes = {layer: layer.training for layer in model.modules()}
    try:
        yield
    finally:
        for layer, mode in modes.items():
            layer.training = mode


def predict_tta(model: nn.Module, split: Split, augmentation: Augmentation) -> Predictions:
    """Test-time augmentation: average the predictions for several views of each image.

    `augmentation` is that of the training. The first view is the image itself. If `augmentation`
    shifts, four views are shifted by one pixel each; if it flips, all views are also mirrored.
    Krizhevsky et al., "ImageNet Classification with Deep CNNs", NIPS 2012, section 4.1.
    """
    views = tta_views(split.images, augmentation)
    return average_predictions([predict(model, Split(view, split.targets)) for view in views])


def average_predictions(several: Sequence[Predictions]) -> Predictions:
    """Average the probabilities of several views or models (an ensemble) for the same images.

    The logits of the result are the logarithms of the mean probabilities, float32 (N, K). Raises
    ValueError if there are no predictions, or if their targets differ.
    """
    if not several:
        raise ValueError("Expected at least 1 Predictions to average, got 0.")
    if any(not torch.equal(p.targets, several[0].targets) for p in several):
        raise ValueError("All predictions must have the same targets; these have different ones.")
    mean = torch.stack([predictions.probabilities for predictions in several]).mean(dim=0)
    # the logarithm of a probability of 0 would be infinite
    return Predictions(mean.clamp_min(torch.finfo(mean.dtype).tiny).log(), several[0].targets)


def num_views(augmentation: Augmentation) -> int:
    """The number of views in test-time augmentation: 1, 2, 5 or 10. Time is proportional to it."""
    return (5 if augmentation.shift else 1) * (2 if augmentation.flip else 1)


def tta_views(images: Tensor, augmentation: Augmentation) -> Iterator[Tensor]:
    """Yield the views of images (N, C, H, W), which are padded with 0 (black)."""
    height, width = images.shape[2:]
    padded = F.pad(images, [1] * 4)
    corners = ((1, 1), (2, 1), (0, 1), (1, 2), (1, 0)) if augmentation.shift else ((1, 1),)
    for top, left in corners:  # as it is, then moved up, down, left and right
        view = padded[:, :, top : top + height, left : left + width]
        yield view
        if augmentation.flip:
            yield view.flip(3)


def accuracy(predictions: Predictions) -> float:
    """The fraction of correctly predicted images, in [0, 1]. ValueError if a target is UNKNOWN."""
    _check_targets(predictions)
    return (predictions.predicted == predictions.targets).double().mean().item()


def loss(predictions: Predictions) -> float:
    """Mean cross-entropy per image, in nats; ln K for a uniform guess. Raises as `accuracy`."""
    _check_targets(predictions)
    return F.cross_entropy(predictions.logits, predictions.targets).item()


def confusion_matrix(predictions: Predictions) -> Tensor:
    """Count the images of each true class by predicted class.

    Returns int64 (K, K); entry [i, j] counts images of class i predicted as j, so rows sum to the
    class sizes. Raises ValueError if a target is outside [0, K).
    """
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    _check_targets(predictions)
    return multiclass_confusion_matrix(
        predictions.predicted, predictions.targets, num_classes=predictions.logits.shape[1]
    )


def per_class(predictions: Predictions, class_names: Sequence[str]) -> "pd.DataFrame":
    """Precision, recall and F1 of each class, fractions in [0, 1], and its number of images.

    Precision is the share of shirts among the images that were *predicted* as Shirt; recall is the
    share of the images that *are* shirts which were predicted as Shirt; F1 is their harmonic mean.
    A class that was never predicted has precision 0. The columns `… low` and `… high` are the ends
    of a 95 % confidence interval over other images of the same kind, by the percentile bootstrap
    (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3): the confusion
    matrix is resampled 1,000 times, always with the same seed. Raises as `confusion_matrix`.
    """
    import pandas as pd

    counts = confusion_matrix(predictions)
    cells = counts.nonzero()  # (M, 2): true and predicted class; the other cells stay empty
    found = counts[*cells.T].double()
    shares = (found / found.sum()).numpy()
    drawn = np.random.default_rng(0).multinomial(len(predictions), shares, 1_000)
    measured = _precision_recall_f1(found[None], cells, len(counts))[:, 0]  # (3, K)
    resampled = _precision_recall_f1(torch.from_numpy(drawn).double(), cells, len(counts))
    low, high = resampled.quantile(torch.tensor([0.025, 0.975], dtype=resampled.dtype), dim=1)
    columns: dict[str, Tensor] = {}
    for i, name in enumerate(("precision", "recall", "f1")):
        columns |= {name: measured[i], f"{name} low": low[i], f"{name} high": high[i]}
    columns["images"] = counts.sum(dim=1).long()
    index = pd.Index(class_names, name="class")
    return pd.DataFrame({name: column.numpy() for name, column in columns.items()}, index=index)


def _precision_recall_f1(counts: Tensor, cells: Tensor, classes: int) -> Tensor:
    """The measures, float64 (3, D, K), of D matrices with `counts` (D, M) in `cells` (M, 2)."""
    actual, predicted, correct = torch.zeros(3, len(counts), classes, dtype=torch.float64)
    on_diagonal = cells[:, 0] == cells[:, 1]
    actual.index_add_(1, cells[:, 0], counts)
    predicted.index_add_(1, cells[:, 1], counts)
    correct.index_add_(1, cells[on_diagonal, 0], counts[:, on_diagonal])
    measures = [correct / predicted, correct / actual, 2 * correct / (predicted + actual)]
    return torch.stack(measures).nan_to_num()


def _check_targets(predictions: Predictions) -> None:
    lowest, highest = predictions.targets.min().item(), predictions.targets.max().item()
    classes = predictions.logits.shape[1]
    if lowest < 0 or highest >= classes:
        raise ValueError(
            f"Targets must be in [0, {classes}), got {lowest} to {highest}. "
            "Predictions of images without targets cannot be measured; pass a Split to `predict`."
        )
