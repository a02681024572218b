"""Which learning rate for which batch size? A sweep of a hundred runs, for notebook 7 to read.

    python -m benchmarks.rates        # a quarter of an hour on two cores; it goes on where it was

The same as `python -m helpers sweep --plan benchmarks/rates.yaml`; and the table of its runs goes
into the repository.
"""

import os
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from helpers import clusters, plan_files, runs, sweeps
from helpers.files import PROJECT, write_atomically

PLAN = PROJECT / "benchmarks" / "rates.yaml"
RESULTS = PROJECT / "benchmarks" / "results" / "rates.csv"


def main(
    plan: Annotated[Path, typer.Option(help="What to run.")] = PLAN,
    processes: Annotated[int, typer.Option("--workers", help="By default as many as cores.")] = 0,
    root: Annotated[Path, typer.Option(help="Where runs are kept.")] = runs.ROOT,
    out: Annotated[Path, typer.Option(help="Where the table is kept.")] = RESULTS,
) -> None:
    """Run what has not been run yet, and write the table."""
    points = plan_files.read(plan).points()
    with clusters.workers(None, processes or os.cpu_count() or 1, dashboard=False) as client:
        sweeps.run(points, root, client, progress=True)
    frame = runs.collect(root / "sweeps")
    frame = frame[frame["run"].isin(point.digest for point in points)]
    write_atomically(out, table(frame).to_csv(index=False))


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """What notebook 7 reads of a frame of runs: settings, state, cost, accuracy in percent."""
    names = ["learning_rate", "batch_size", "seed"]
    chosen = frame.rename(columns={f"parameters.{name}": name for name in names})
    chosen["validation accuracy, %"] = (100 * chosen["measured.validation_accuracy"]).round(2)
    columns = [*names, "state", "seconds", "wall_seconds", "validation accuracy, %"]
    return chosen[columns].round({"wall_seconds": 1}).sort_values(names, ignore_index=True)


if __name__ == "__main__":
    typer.run(main)
