"""The Pareto fronts of test error against parameters, multiply-adds and training time.

    python -m benchmarks.frontier    # hours on two cores; continues after a stop

It trains the recipes for small networks with several seeds, prints the tables of docs/accuracy.md
and draws docs/frontier.png. The other recipes are those of the ablation and of the race. Results
published by others, and how each was chosen, are in public.csv.
"""

import json
import math
import re
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import typer
from matplotlib.axes import Axes

from benchmarks import costs
from benchmarks.ablation import FRONTIER_RESULTS, train_all
from benchmarks.ablation_steps import FRONTIER
from benchmarks.tables import markdown
from helpers import data, evaluation, models, plotting, training
from helpers.files import PROJECT

PUBLIC = Path(__file__).with_name("public.csv")
PICTURE = PROJECT / "docs" / "frontier.png"
TRAIN_IMAGES = 55_000  # in a timed epoch
COSTS = {
    "parameters": "parameters",
    "multiply_adds": "multiply-adds for an image",
    "minutes": "minutes of training, one thread",
}


def main() -> None:
    """Train what is missing, print the tables and draw the figure."""
    train_all(FRONTIER, None, None, 0, FRONTIER_RESULTS)
    for dataset in data.SPECS:
        typer.echo("\n".join(["", data.spec(dataset).title, "", *markdown(table(dataset))]))
    draw().savefig(PICTURE, dpi=110)


def ours(dataset: str) -> pd.DataFrame:
    """A row for each measured recipe, by name, sorted by parameters.

    Its costs, and mean and standard deviation of its test accuracy in % over `n` trainings.
    `minutes` is nan if measured on another processor than those of the ablation.
    """
    timed = json.loads(costs.OUT.read_text())
    seconds = {
        (row["step"], row["epochs"]): row["seconds an epoch"] for row in timed["epochs"]
        if (row["dataset"], row["processor"]) == (dataset, timed["processor"])
    }  # fmt: skip
    rows = {}
    for (name, of), recipe in training.RECIPES.items():
        found = re.fullmatch(r"([\d.]+) % ± ([\d.]+) over (\d+) seeds", recipe.measured)
        if of == dataset and found:
            model = recipe.build(data.spec(dataset))
            epoch = seconds.get((name, recipe.epochs), math.nan)
            part = (recipe.train_images or TRAIN_IMAGES) / TRAIN_IMAGES
            rows[name] = {
                "parameters": models.count_parameters(model),
                "multiply_adds": evaluation.count_flops(model) // 2,
                "minutes": recipe.epochs * part * epoch / 60,
                "accuracy": float(found[1]), "deviation": float(found[2]), "n": int(found[3]),
            }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index").sort_values("parameters", kind="stable")


def public(dataset: str) -> pd.DataFrame:
    """Results published by others: name, parameters, accuracy in %, how it was chosen, source."""
    return pd.read_csv(PUBLIC).fillna({"source": ""}).query("dataset == @dataset")


def table(dataset: str) -> pd.DataFrame:
    """Our recipes and the results of others on a data set, sorted by parameters, as text."""
    rows = [
        {
            "network": f"**`{name}`**", "parameters": int(row["parameters"]),
            "multiply-adds, millions": f"{row['multiply_adds'] / 1e6:.2g}",
            "minutes": "–" if math.isnan(row["minutes"]) else f"{row['minutes']:.2g}",
            "test accuracy": f"{row['accuracy']:.2f} % ± {row['deviation']:.2f}",
            "how it was chosen": f"on validation; {row['n']:.0f} seeds",
        }
        for name, row in ours(dataset).iterrows()
    ]  # fmt: skip
    rows += [
        {
            "network": f"[{row.name}]({row.source})" if row.source else row.name,
            "parameters": row.parameters, "multiply-adds, millions": "–",
            "minutes": "–", "test accuracy": f"{row.accuracy:.2f} %",
            "how it was chosen": row.chosen,
        }
        for row in public(dataset).itertuples(index=False)
    ]  # fmt: skip
    found = pd.DataFrame(rows).sort_values("parameters", kind="stable")
    return found.assign(parameters=found["parameters"].map("{:,}".format))


def draw() -> plt.Figure:
    """Test error against each cost on log-log axes, a row of panels for each data set."""
    figure, panels = plt.subplots(
        2, 3, figsize=(12, 7.5), sharex="col", sharey="row", layout="constrained"
    )
    for row, dataset in zip(panels, data.SPECS, strict=True):
        points, others = ours(dataset), public(dataset)
        for ax, cost in zip(row, COSTS, strict=True):
            known = points.dropna(subset=cost)
            _front(ax, known, cost)
            if cost == "parameters":
                errors = 100 - others["accuracy"]
                ax.plot(others[cost], errors, "x", color="0.5", label="published by others")
                ax.legend(loc="lower left", frameon=False)
        row[0].set_ylabel(f"{data.spec(dataset).title}: test error, %")
        row[0].yaxis.set_major_formatter("{x:g}")
        row[0].yaxis.set_minor_formatter("{x:g}")
    for ax, words in zip(panels[1], COSTS.values(), strict=True):
        ax.set_xlabel(words)
    return figure


def _front(ax: Axes, points: pd.DataFrame, cost: str) -> None:
    """Our recipes; a line joins those on the Pareto front."""
    errors = 100 - points["accuracy"]
    ax.errorbar(points[cost], errors, points["deviation"], fmt="o", color="lightgray", zorder=1)
    front = evaluation.pareto_front(points["accuracy"], points[cost])
    ax.plot(points.loc[front, cost], errors[front], "o-", color=plotting.PALETTE[0], label="ours")
    reach = (points[cost].max() / points[cost].min()) ** 0.2  # about the width of a name
    for name, x in points[cost].items():
        close = points[cost].between(x, reach * x) & (abs(errors / errors[name] - 1) < 0.05)
        side, align = (-5, "right") if close.sum() > 1 else (5, "left")  # away from a neighbor
        offset = {"xytext": (side, 4), "textcoords": "offset points"}
        ax.annotate(name, (x, errors[name]), **offset, ha=align, fontsize=9)
    ax.set(xscale="log", yscale="log")
    ax.margins(x=0.2, y=0.15)
    ax.grid(color="lightgray", linewidth=0.5)
    ax.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    typer.run(main)
