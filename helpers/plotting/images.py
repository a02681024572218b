"""Figures of images, alone or with predictions. The rules of charts.py apply here as well."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from helpers.data import Split
from helpers.evaluation import UNKNOWN, Predictions, Reading
from helpers.plotting.charts import PALETTE

RIGHT, WRONG = "#1a7a4c", "#c0392b"
# 0 is always black and 255 white, whatever an image contains; pixels are drawn as sharp squares
GRAY: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255, "interpolation": "nearest"}
subplots: Callable[..., tuple[Figure, Any]] = partial(plt.subplots, layout="constrained")


def image_grid(
    images: Tensor,
    titles: Sequence[str] | None = None,
    *,
    columns: int = 10,
    colors: Sequence[str] | None = None,
    heading: str | None = None,
    cell: float = 0.9,
) -> Figure:
    """A grid of images (N, C, H, W) in [0, 255], `cell` inches wide, with `titles` in `colors`."""
    columns = max(1, min(columns, len(images)))
    rows = max(1, -(-len(images) // columns))
    height = rows * (cell + (0.32 if titles else 0.05)) + (0.4 if heading else 0)
    figure, axes = subplots(rows, columns, figsize=(columns * cell, height), squeeze=False)
    for i, ax in enumerate(axes.flat):
        ax.axis("off")
        if i < len(images):
            ax.imshow(pixels(images[i]), **GRAY)
            if titles:
                ax.set_title(titles[i], fontsize=9, color=colors[i] if colors else "black")
    if heading:
        figure.suptitle(heading, fontsize=12)
    return figure


def class_samples(split: Split, class_names: Sequence[str], *, per_class: int = 10) -> Axes:
    """The first `per_class` images of each of the first 30 classes, one row for each class."""
    names, size = class_names[:30], split.images.shape[-1] + 2
    strips = [_strip(split.images[split.targets == k], per_class) for k in range(len(names))]
    _, ax = subplots(figsize=(per_class * 0.6 + 1, len(names) * 0.6))
    ax.imshow(np.vstack(strips), **GRAY)
    ax.set_yticks(size * (0.5 + np.arange(len(names))), names, fontsize=11)
    ax.set_xticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax


def pixels(image: Tensor) -> np.ndarray:
    """An image (C, H, W) as an array for imshow: (H, W), or (H, W, 3) with colors."""
    return image.movedim(0, 2).squeeze(2).numpy()


def _strip(images: Tensor, places: int) -> np.ndarray:
    """`places` images of (N, C, H, W) in a row with white borders of a pixel; missing are white."""
    blank = images.new_full((places, *images.shape[1:]), 255)
    shown = torch.nn.functional.pad(torch.cat([images, blank])[:places], [1] * 4, value=255)
    return pixels(shown.movedim(0, 2).flatten(2))


def augmentation_preview(
    originals: Tensor, varied: Mapping[str, Tensor], *, variants: int
) -> Figure:
    """Original images (R, C, H, W) in the first column, with their variants beside them.

    `varied` maps the name of an augmentation to images (R * variants, C, H, W): first all
    `variants` of the first original, then those of the second.
    """
    size = (0.7 * (1 + variants * len(varied)), 0.7 * len(originals) + 0.3)
    ratios = [1] + [variants] * len(varied)
    figure, axes = subplots(
        len(originals), 1 + len(varied), squeeze=False, figsize=size, width_ratios=ratios
    )
    for row, original in enumerate(originals):
        strips = [_strip(original[None], 1)]
        for images in varied.values():
            strips.append(_strip(images[row * variants : (row + 1) * variants], variants))
        for ax, strip in zip(axes[row], strips, strict=True):
            ax.imshow(strip, **GRAY)
            ax.axis("off")
    for ax, title in zip(axes[0], ["original", *varied], strict=True):
        ax.set_title(title, fontsize=10)
    return figure


def predicted_images(
    split: Split,
    predictions: Predictions,
    rows: Tensor,
    class_names: Sequence[str],
    *,
    columns: int = 5,
) -> Figure:
    """The images in `rows` int64 (M,), each with its predicted class, confidence and true class."""
    titles, colors = [], []
    about = (predictions.predicted, predictions.targets, predictions.confidence)
    for p, t, confidence in zip(*(column[rows].tolist() for column in about), strict=True):
        titles.append(f"{class_names[p]} ({confidence:.0%})\ntrue: {class_names[t]}")
        colors.append(RIGHT if p == t else WRONG)
    return image_grid(split.images[rows], titles, columns=columns, colors=colors, cell=1.75)


def probability_bars(image: Tensor, probabilities: Tensor, class_names: Sequence[str]) -> Figure:
    """One image (C, H, W), and beside it the predicted probability (K,) of each class."""
    figure, (left, right) = subplots(1, 2, figsize=(7, 2.8), width_ratios=[1, 1.6])
    left.imshow(pixels(image), **GRAY)
    left.axis("off")
    right.barh(class_names, probabilities.numpy(), color=PALETTE[0])
    right.invert_yaxis()
    right.set(xlim=(0, 1), xlabel="probability")
    right.xaxis.set_major_formatter(PercentFormatter(1))
    right.spines[["top", "right"]].set_visible(False)
    return figure


def handwriting(read: Reading, *, ax: Axes | None = None) -> Axes:
    """A picture with a box around each digit, and above it the predicted digit and its probability.
    Objects that are no digits have a red box and a question mark.
    """
    ax = ax or plt.figure(figsize=(7, 5.5), layout="constrained").add_subplot()
    ax.imshow(read.handwriting.picture.numpy(), **GRAY)
    ax.axis("off")
    columns = (read.handwriting.boxes, read.digits, read.probabilities)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    for (left, top, right, bottom), digit, probability in rows:
        text, color = (f"{digit} {probability:.0%}", RIGHT) if digit != UNKNOWN else ("?", WRONG)
        frame = (left - 0.5, top - 0.5), right - left, bottom - top
        ax.add_patch(plt.Rectangle(*frame, fill=False, color=color))
        ax.text(left, top - 2, text, color="white", fontsize=8, va="bottom",
                bbox={"facecolor": color, "edgecolor": "none", "pad": 1})  # fmt: skip
    return ax


def activations(maps: Mapping[str, Tensor]) -> Figure:
    """A row for each layer: its channels (C, H, W) for one image, each with its own color scale."""
    columns = max(len(channels) for channels in maps.values())
    size = (0.8 * columns + 1, 0.85 * len(maps))
    figure, axes = subplots(len(maps), columns, figsize=size, squeeze=False)
    for row, (name, channels) in zip(axes, maps.items(), strict=True):
        for i, ax in enumerate(row):
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
            if i < len(channels):
                ax.imshow(channels[i].numpy(), cmap="viridis")
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=10)
    return figure


def occlusion_maps(images: Tensor, maps: Sequence[Tensor], titles: Sequence[str]) -> Figure:
    """Images (N, C, H, W), and below each its map (H, W) from `evaluation.occlusion`.

    On their common color scale, covering red pixels lowers the log-probability; blue, raises it.
    """
    largest = max(float(values.abs().max()) for values in maps) or 1.0
    figure, axes = subplots(2, len(images), figsize=(2.6 * len(images) + 0.8, 5.2), squeeze=False)
    for image, values, title, (above, below) in zip(images, maps, titles, axes.T, strict=True):
        above.imshow(pixels(image), **GRAY)
        above.set_title(title, fontsize=10)
        drawn = below.imshow(values.numpy(), cmap="RdBu_r", vmin=-largest, vmax=largest)
        gray = image.float().mean(dim=0).numpy()
        below.contour(gray, levels=[100], colors="black", linewidths=0.5)
        for ax in (above, below):
            ax.axis("off")
    figure.colorbar(drawn, ax=axes[1].tolist(), label="decrease in log-probability (nats)")
    return figure
