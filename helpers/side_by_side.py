"""How do several models look beside each other?

As in `plotting`, numbers go in and a picture comes out; nothing is computed here.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter


def intervals(
    values: Mapping[str, Sequence[float]], ranges: Mapping[str, tuple[float, float]], *, xlabel: str
) -> Axes:
    """A row for each name, the first on top: values as dots, the mean, and a range as a bar.

    `values` and `ranges` have the same names; numbers are drawn as they are given, the dots of a
    row one below another, so that equal ones can be told apart.
    """
    _, ax = plt.subplots(figsize=(9, 0.6 + 0.36 * len(values)), layout="constrained")
    for row, (name, several) in enumerate(values.items()):
        low, high = ranges[name]
        ax.plot([low, high], [row, row], color="tab:blue", alpha=0.3, linewidth=7)
        ax.plot(np.mean(several), row, "|", color="tab:blue", markersize=11, markeredgewidth=2)
        ax.plot(several, row + np.linspace(-0.2, 0.2, len(several)), ".", color="black")
    ax.set(xlabel=xlabel, yticks=range(len(values)), yticklabels=list(values))
    ax.set_ylim(len(values) - 0.4, -0.6)
    ax.grid(axis="x", color="lightgray")
    ax.spines[["top", "right", "left"]].set_visible(False)
    return ax


def frontier(
    models: pd.DataFrame, price: str, best: Sequence[str], *, ax: Axes | None = None, xlabel: str
) -> Axes:
    """Each model at its price (its row in that column) and its `accuracy`, in percent.

    The names in `best` are those than which no cheaper one is as good, the cheapest first: they are
    labelled, and joined by a line. Where there are columns `low` and `high`, an upright line goes
    from one to the other. Prices are drawn on a logarithmic axis.
    """
    ax = ax or plt.subplots(figsize=(6, 4), layout="constrained")[1]
    if {"low", "high"} <= set(models):
        ax.vlines(models[price], models["low"], models["high"], color="lightgray", linewidth=1)
    ax.plot(models[price], models["accuracy"], "o", color="lightgray")
    chosen = models.loc[list(best)]
    ax.plot(chosen[price], chosen["accuracy"], "o-", color="tab:blue")
    step = chosen["accuracy"].diff() / (models["accuracy"].max() - models["accuracy"].min())
    for name, row in chosen.iterrows():
        # a label stands upper left of its dot; where that of the one below stands, lower right
        crowded = step[name] < 0.04
        offset, side = ((6, -10), "left") if crowded else ((-5, 4), "right")
        place = (row[price], row["accuracy"])
        ax.annotate(str(name), place, offset, textcoords="offset points", ha=side, fontsize=9)
    ax.set(xscale="log", xlabel=xlabel, ylabel="accuracy on validation, %")
    wide = models[price].max() > 100 * models[price].min()  # too wide for three labels a decade
    ax.xaxis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:,.10g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.margins(x=0.35, y=0.1)
    ax.grid(color="lightgray", linewidth=0.5)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
