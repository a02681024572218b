"""The tables and the figure of a race."""

import json
import math
import statistics
from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import pandas as pd
import typer
from matplotlib.axes import Axes

from helpers.data import SPECS

OURS = "ours"


def seconds_to(laps: list[list[float]], target: float) -> float:
    """Seconds until the first evaluation that reaches `target`; infinite if none does."""
    return next((seconds for seconds, accuracy in laps if accuracy >= target), math.inf)


def by_contestant(results: dict, dataset: str, target: float) -> dict[str, list[dict]]:
    """The runs on a data set, by contestant. Not those with settings for another target."""
    runs: dict[str, list[dict]] = {}
    for run in results["runs"]:
        if run["dataset"] == dataset and run.get("target") in (None, target):
            runs.setdefault(run["contestant"], []).append(run)
    return runs


def table(results: dict, dataset: str, target: float) -> pd.DataFrame:
    """A row for each contestant, the fastest first: `arrived` (how often), `seconds` (median),
    `lowest to highest`, and `times ours`, the ratio to the fastest of ours.

    If the median run does not reach the target, `seconds` is a lower bound, "more than", if the
    time limit ended a run, else "not reached".
    """
    by_name = by_contestant(results, dataset, target)
    times = {
        name: sorted(seconds_to(run["laps"], target) for run in runs)
        for name, runs in by_name.items()
    }
    medians = {name: statistics.median_low(seconds) for name, seconds in times.items()}
    ours = [seconds for name, seconds in medians.items() if name.startswith(OURS)]
    best = min(ours, default=math.inf)
    rows = {}
    for name, median in sorted(medians.items(), key=lambda item: item[1]):
        arrived = [seconds for seconds in times[name] if math.isfinite(seconds)]
        seconds, ratio = f"{median:.1f}", f"{median / best:.1f}"
        if math.isinf(median):
            limited = [
                run["laps"][-1][0]
                for run in by_name[name]
                if run["ended"] == "limit" and math.isinf(seconds_to(run["laps"], target))
            ]
            bound = statistics.median_low(limited) if limited else None
            seconds = f"more than {bound:.1f}" if bound else "not reached"
            ratio = f"> {bound / best:.1f}" if bound else ""
        rows[name] = {
            "arrived": f"{len(arrived)} of {len(times[name])}",
            "seconds": seconds,
            "lowest to highest": f"{arrived[0]:.1f} to {arrived[-1]:.1f}" if arrived else "",
            "times ours": ratio if math.isfinite(best) else "",
        }
    return pd.DataFrame(rows).T.rename_axis("contestant")


def spread(results: dict) -> float:
    """The largest relative distance of a run from the median of its contestant.

    Over all targets, and all runs that reached them.
    """
    furthest = 0.0
    pairs = ((dataset, target) for dataset, ts in results["targets"].items() for target in ts)
    for dataset, target in pairs:
        for runs in by_contestant(results, dataset, target).values():
            times = [t for run in runs if math.isfinite(t := seconds_to(run["laps"], target))]
            middle = statistics.median_low(times) if times else math.inf
            furthest = max([furthest, *(abs(t / middle - 1) for t in times)])
    return furthest


def overview(results: dict) -> str:
    """The table of docs/benchmarks.md: seconds to each target, and their ratio to ours."""
    columns = {
        title(dataset, target): table(results, dataset, target)
        for dataset, targets in results["targets"].items()
        for target in targets
    }
    names = list(dict.fromkeys(name for column in columns.values() for name in column.index))
    names.sort(key=lambda name: not name.startswith(OURS))  # stable: ours first
    lines = [f"| seconds to | {' | '.join(columns)} |", "| --- |" + " ---: |" * len(columns)]
    for name in names:
        cells = [
            _cell(name, column.loc[name]) if name in column.index else "–"
            for column in columns.values()
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def title(dataset: str, target: float) -> str:
    """A data set and an accuracy, as the head of a column."""
    return f"{SPECS[dataset].title} {100 * target:.0f} %"


def _cell(name: str, row: pd.Series) -> str:
    arrived, of = row["arrived"].split(" of ")
    note = "" if arrived in ("0", of) else f", {row['arrived']} arrived"
    if name.startswith(OURS):
        return f"**{row['seconds']}**{note}"
    ratio = f" ({row['times ours']} ×)" if row["times ours"] else ""
    return f"{row['seconds']}{ratio}{note}"


def draw(results: dict) -> plt.Figure:
    """Error against seconds, both on log axes, a panel for each data set, a line for each run."""
    figure, panels = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
    names = list(dict.fromkeys(run["contestant"] for run in results["runs"]))
    names.sort(key=lambda name: not name.startswith(OURS))
    colors = dict(zip(names, plt.get_cmap("tab10").colors, strict=False))
    for axes, dataset in zip(panels, results["targets"], strict=True):
        _panel(axes, [run for run in results["runs"] if run["dataset"] == dataset], colors)
        for target in results["targets"][dataset]:
            axes.axhline(1 - target, color="0.4", linewidth=0.8, linestyle="--")
        axes.set(title=SPECS[dataset].title, xlabel="seconds, loading the data included")
    panels[0].set_ylabel("test accuracy")
    panels[0].legend(loc="lower left", fontsize=9)
    return figure


def _panel(axes: Axes, runs: list[dict], colors: dict[str, tuple]) -> None:
    for name, color in colors.items():
        for index, run in enumerate(r for r in runs if r["contestant"] == name):
            seconds, accuracy = zip(*run["laps"], strict=True)
            errors = [_error(a) for a in accuracy]
            axes.plot(
                seconds, errors, marker="*" if name.startswith(OURS) else "o", color=color,
                markersize=12 if name.startswith(OURS) else 4, linewidth=1, alpha=0.8,
                label=name if index == 0 else None,
            )  # fmt: skip
    axes.set(xscale="log", yscale="log")
    axes.invert_yaxis()
    lowest = min(_error(a) for run in runs for _, a in run["laps"])
    highest = min(0.25, max(_error(a) for run in runs for _, a in run["laps"]))
    axes.set_ylim(highest * 1.1, lowest * 0.9)
    ticks = [
        e for e in (0.2, 0.15, 0.12, 0.1, 0.08, 0.05, 0.03, 0.02, 0.01) if lowest <= e <= highest
    ]
    axes.set_yticks(ticks, [f"{1 - e:.0%}" for e in ticks])
    axes.set_yticks([], minor=True)
    times = (1, 2, 5, 10, 20, 50, 100, 200)
    axes.set_xticks(times, [str(t) for t in times])
    axes.grid(alpha=0.3)


def _error(accuracy: float) -> float:
    return max(1 - accuracy, 1e-4)  # one of 10,000 images: a logarithmic axis has no 0


def show(results: dict, *, picture: Path) -> None:
    """Print a table for each target, and save the figure to `picture`."""
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    typer.echo(f"\n{results['processor']}, {results['threads']} threads, {results['date']}")
    typer.echo(versions)
    for dataset, targets in results["targets"].items():
        for target in targets:
            typer.echo(f"\n{SPECS[dataset].title}, {target:.0%}\n")
            typer.echo(table(results, dataset, target).to_string())
    typer.echo(f"\nFor docs/benchmarks.md:\n\n{overview(results)}")
    draw(results).savefig(picture, dpi=110)
    typer.echo(f"\n{picture} drawn")


def main(
    results: Annotated[Path, typer.Argument(help="Results file of a race.")],
    picture: Annotated[Path, typer.Argument(help="The PNG file to draw.")],
) -> None:
    """Show the results of an earlier race."""
    show(json.loads(results.read_text()), picture=picture)


if __name__ == "__main__":
    typer.run(main)
