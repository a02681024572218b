"""Measure the ensemble of the models of all seeds of a recipe.

    python -m benchmarks.ensemble --only accurate

It reads the weights that `python -m benchmarks.ablation` has saved in runs/ablation/.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.ablation import KEEP, seen_by
from benchmarks.ablation_steps import Step
from benchmarks.machine import describe
from benchmarks.publish import finished
from helpers import data, evaluation, models
from helpers.files import PROJECT, write_atomic

OUT = PROJECT / "benchmarks" / "results" / "ensemble.json"


def main(
    only: Annotated[
        list[str] | None, typer.Option(help="Names of recipes; all by default.")
    ] = None,
    out: Annotated[Path, typer.Option(help="File for the results.")] = OUT,
) -> None:
    """Measure the ensemble of every recipe that was trained with all seeds."""
    ensembles = [measure(step, rows) for step, rows in finished(only)]
    new = {(entry["step"], entry["dataset"]) for entry in ensembles}
    others = json.loads(out.read_text())["ensembles"] if out.exists() else []
    kept = [entry for entry in others if (entry["step"], entry["dataset"]) not in new]
    write_atomic(
        out, json.dumps(describe(threads=1) | {"ensembles": kept + ensembles}, indent=1) + "\n"
    )
    for entry in ensembles:
        accuracy, tta = (entry[name]["accuracy"] for name in ("test", "test_tta"))
        typer.echo(f"{entry['step']}, {entry['dataset']}: {accuracy:.2%}, with TTA {tta:.2%}")


def measure(step: Step, rows: list[dict]) -> dict[str, object]:
    """The mean predictions of the models in `rows` on the test images."""
    paths = [KEEP / f"{row['key']}.safetensors" for row in rows]
    members = [models.load(path, dataset=step.dataset) for path in paths]
    test, augmentation = data.load_splits(step.dataset).test, step.recipe.augmentation
    once = [evaluation.predict(model, test) for model in members]
    tta = [evaluation.predict_tta(model, test, augmentation) for model in members]
    return {
        "step": step.name, "dataset": step.dataset, "models": len(members),
        "parameters": sum(row["parameters"] for row in rows),
        "test": seen_by(evaluation.average_predictions(once)),
        "test_tta": seen_by(evaluation.average_predictions(tta)),
    }  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
