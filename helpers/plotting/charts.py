"""Charts of numbers.

Each function draws the arrays or records that it is given. A function for one panel returns Axes,
most take `ax=None`; a function for several panels returns a Figure. Nothing is shown or saved.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from torch import Tensor

MARKERS = "osD^v<>PX*"  # one for each of ten classes or lines
PALETTE = sns.color_palette("colorblind")  # ten, for color-blind readers, like Okabe and Ito's


def class_balance(
    counts: Mapping[str, Sequence[int]], class_names: Sequence[str], ax: Axes | None = None
) -> Axes:
    """A bar for each class and split. `counts` maps the name of a split to K counts."""
    ax = ax or plt.subplots(figsize=(9, 3.2), layout="constrained")[1]
    pd.DataFrame(dict(counts), index=list(class_names)).plot.bar(
        ax=ax, width=0.8, color=PALETTE, rot=20 if len("".join(class_names)) > 20 else 0
    )
    ax.set(ylabel="images", title="Images of each class")
    ax.margins(y=0.2)  # room for the legend above the bars
    ax.legend(ncols=len(counts), loc="upper right", frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def pixel_histogram(images: Mapping[str, Tensor], ax: Axes | None = None) -> Axes:
    """The histogram of gray values of up to two sets of uint8 images, on a logarithmic scale."""
    ax = ax or plt.subplots(figsize=(9, 3), layout="constrained")[1]
    for (name, pixels), color, line in zip(images.items(), PALETTE, ("-", "--"), strict=False):
        shares = pixels.flatten().bincount(minlength=256).numpy() / pixels.numel()
        ax.plot(np.arange(256), shares, line, color=color, label=name)
    ax.set(yscale="log", xlabel="gray value (0 is black)", ylabel="share of pixels")
    ax.set_title("Gray values")
    ax.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend()
    return ax


def heatmap(
    values: np.ndarray,
    names: Sequence[str],
    *,
    title: str,
    fmt: str,
    cmap: str = "Blues",
    ax: Axes | None = None,
    **labels: str,
) -> Axes:
    """Draw a matrix (K, K) of numbers >= 0; up to K = 20, each cell shows its number.

    `names` label rows and columns, `fmt` is a format such as ".1f", `labels` are xlabel and ylabel.
    """
    ax = ax or plt.subplots(figsize=(6.5, 5.6), layout="constrained")[1]
    few = len(names) <= 50
    sns.heatmap(
        values, annot=len(names) <= 20, fmt=fmt, annot_kws={"size": 7.5}, ax=ax,
        cmap=cmap, norm=PowerNorm(0.5),  # shades by the square root, so that small values show
        square=True, cbar=False, linewidths=0.5 if few else 0,
        xticklabels=names if few else False, yticklabels=names if few else False,
    )  # fmt: skip
    ax.set(title=title, **labels)
    long_names = max(map(len, names)) > 3
    ax.tick_params(axis="x", rotation=40 if long_names else 0)
    ax.tick_params(axis="y", rotation=0)
    plt.setp(ax.get_xticklabels(), ha="right" if long_names else "center", rotation_mode="anchor")
    return ax


def confusion_matrix(counts: Tensor, class_names: Sequence[str]) -> Figure:
    """Counts int64 (K, K) and percentages of each row. Rows are true classes, columns predicted."""
    figure, axes = plt.subplots(1, 2, figsize=(9.4, 4.7), layout="constrained")
    labels = {"xlabel": "predicted class", "ylabel": "true class"}
    heatmap(counts.numpy(), class_names, title="Images", fmt="d", ax=axes[0], **labels)
    shares = (100 * counts / counts.sum(dim=1, keepdim=True).clamp(min=1)).numpy()
    heatmap(shares, class_names, title="% of the true class", fmt=".1f", ax=axes[1], **labels)
    return figure


def learning_curves(histories: Mapping[str, pd.DataFrame] | pd.DataFrame) -> Figure:
    """Loss and accuracy by epoch: dashed lines for training, solid lines for validation.

    `histories` is the frame of one History, or up to ten frames by name, in the same panels.
    """
    one = isinstance(histories, pd.DataFrame)
    named: Mapping[str, pd.DataFrame]
    named = {"validation": histories} if isinstance(histories, pd.DataFrame) else dict(histories)
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.3), layout="constrained")
    longest = max(1, *(len(frame) for frame in named.values()))
    every = max(1, longest // 10)
    for (name, frame), color, marker in zip(named.items(), PALETTE, MARKERS, strict=False):
        for ax, measure in zip(axes, ("loss", "accuracy"), strict=True):
            style: dict[str, Any] = {"marker": marker, "markersize": 4, "markevery": every}
            trained = {"color": "tab:gray", "label": "training"} if one else {"color": color}
            ax.plot(frame["epoch"], frame[f"train_{measure}"], "--", **trained, **style)
            style |= {"color": color, "label": name}
            ax.plot(frame["epoch"], frame[f"validation_{measure}"], **style)
    axes[0].set(title="Loss", xlabel="epoch", ylabel="cross-entropy (nats)")
    axes[1].set(title="Accuracy", xlabel="epoch", ylabel="images classified correctly")
    axes[1].yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    for ax in axes:
        ax.set_xlim(0.5, longest + 0.5)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        ax.grid(alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
    lines, labels = axes[0].get_legend_handles_labels()
    title = None if one else "validation (training dashed)"
    figure.legend(lines, labels, title=title, loc="outside lower center", ncols=5, frameon=False)
    return figure


def durations(seconds: Mapping[str, float], *, title: str, ax: Axes | None = None) -> Axes:
    """A horizontal bar for each name with its seconds; the first name is on top."""
    ax = ax or plt.subplots(figsize=(9, 0.5 + 0.45 * len(seconds)), layout="constrained")[1]
    bars = ax.barh(list(seconds), list(seconds.values()), color=PALETTE[0])
    texts = [f"{value:.2g} s" if value < 10 else f"{value:.0f} s" for value in seconds.values()]
    ax.bar_label(bars, texts, padding=4)
    ax.set(xlabel="seconds", title=title)
    ax.margins(x=0.1)
    ax.invert_yaxis()
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def embedding(
    points: np.ndarray, targets: Tensor, wrong: Tensor, class_names: Sequence[str]
) -> Axes:
    """Scatter plot of points (N, 2), such as a t-SNE embedding.

    Each class has a color, a marker, and its name at its median, so colors are not needed to tell
    classes apart. `targets` is int64 (N,); `wrong`, bool (N,), marks errors with a ring.
    """
    _, ax = plt.subplots(figsize=(6.6, 4.5), layout="constrained")
    halo = [patheffects.withStroke(linewidth=2.5, foreground="white")]
    for k, name in enumerate(class_names):
        own = points[(targets == k).numpy()]
        color, marker = PALETTE[k % len(PALETTE)], MARKERS[k % len(MARKERS)]
        x, y = own.T
        ax.scatter(x, y, s=11, color=color, marker=marker, label=name, linewidths=0)
        if len(own):
            x, y = np.median(own, axis=0)
            ax.text(x, y, name, fontsize=8, ha="center", path_effects=halo)
    x, y = points[wrong.numpy()].T
    ax.scatter(x, y, s=38, facecolors="none", edgecolors="black", linewidths=0.8, label="mistake")
    ax.set(xticks=[], yticks=[], title="Features of the images in two dimensions")
    ax.spines[:].set_color("lightgray")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, markerscale=1.6)
    return ax


def intervals(
    values: Mapping[str, Sequence[float]], ranges: Mapping[str, tuple[float, float]], *, xlabel: str
) -> Axes:
    """A row for each name: the values as dots, their mean, and a range (low, high) as a bar.

    `values` and `ranges` have the same names. The first name is on top. The dots of a row are drawn
    at different heights, so that equal values can be told apart.
    """
    _, ax = plt.subplots(figsize=(9, 0.6 + 0.36 * len(values)), layout="constrained")
    for row, (name, several) in enumerate(values.items()):
        low, high = ranges[name]
        ax.plot([low, high], [row, row], color=PALETTE[0], alpha=0.3, linewidth=7)
        ax.plot(np.mean(several), row, "|", color=PALETTE[0], markersize=11, markeredgewidth=2)
        ax.plot(several, row + np.linspace(-0.2, 0.2, len(several)), ".", color="black")
    ax.set(xlabel=xlabel, yticks=range(len(values)), yticklabels=list(values))
    ax.set_ylim(len(values) - 0.4, -0.6)
    ax.grid(axis="x", color="lightgray")
    ax.spines[["top", "right", "left"]].set_visible(False)
    return ax


def pareto_front(
    models: pd.DataFrame, cost: str, front: Sequence[str], *, ax: Axes | None = None, xlabel: str
) -> Axes:
    """The `accuracy` (in percent) of models against their cost, on a logarithmic axis.

    `models` has the models' names as index, and `cost` names a column. The models in `front`,
    cheapest first, are labeled and joined by a line. Columns `low` and `high` give error bars.
    """
    ax = ax or plt.subplots(figsize=(6, 4), layout="constrained")[1]
    if {"low", "high"} <= set(models):
        ax.vlines(models[cost], models["low"], models["high"], color="lightgray", linewidth=1)
    ax.plot(models[cost], models["accuracy"], "o", color="lightgray")
    chosen = models.loc[list(front)]
    ax.plot(chosen[cost], chosen["accuracy"], "o-", color=PALETTE[0])
    step = chosen["accuracy"].diff() / (models["accuracy"].max() - models["accuracy"].min())
    for name, row in chosen.iterrows():
        # the label is at the upper left of its dot, or at the lower right if that would overlap
        offset, side = ((6, -10), "left") if step[name] < 0.04 else ((-5, 4), "right")
        place = (row[cost], row["accuracy"])
        ax.annotate(str(name), place, offset, textcoords="offset points", ha=side, fontsize=9)
    ax.set(xscale="log", xlabel=xlabel, ylabel="accuracy on validation, %")
    wide = models[cost].max() > 100 * models[cost].min()  # too many decades for three labels each
    ax.xaxis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:,.10g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.margins(x=0.35, y=0.1)
    ax.grid(color="lightgray", linewidth=0.5)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
