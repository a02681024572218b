"""What do the models of all seeds say together?

    python -m benchmarks.committee --only accurate

It reads the weights that `python -m benchmarks.ladder` has left in runs/ladder/, and asks all seeds
of a recipe about the test images: their mean is the best that a night of training has to offer, and
another figure than that of one model.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.ladder import KEEP, RESULTS, seen_by
from benchmarks.machine import describe
from benchmarks.rungs import Rung
from benchmarks.ship import finished
from helpers import data, evaluation, models
from helpers.files import PROJECT, write_atomic

OUT = PROJECT / "benchmarks" / "results" / "committee.json"


def main(
    only: Annotated[
        list[str] | None, typer.Option(help="Names of recipes; all by default.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where results are kept.")] = OUT,
) -> None:
    """Ask every recipe of the ladder that has been trained with all seeds."""
    measured = json.loads(RESULTS.read_text())
    committees = [ask(rung, rows) for rung, rows in finished(measured, only)]
    asked = {(told["rung"], told["dataset"]) for told in committees}
    others = json.loads(out.read_text())["committees"] if out.exists() else []
    kept = [told for told in others if (told["rung"], told["dataset"]) not in asked]
    write_atomic(
        out, json.dumps(describe(threads=1) | {"committees": kept + committees}, indent=1) + "\n"
    )
    for told in committees:
        accuracy, of_views = (told[name]["accuracy"] for name in ("test", "test of views"))
        typer.echo(f"{told['rung']}, {told['dataset']}: {accuracy:.2%}, of views {of_views:.2%}")


def ask(rung: Rung, rows: list[dict]) -> dict[str, object]:
    """What the models in `rows` get right of the test images if they answer together."""
    paths = [KEEP / f"{row['key']}.safetensors" for row in rows]
    models = [models.load(path, dataset=rung.dataset) for path in paths]
    test, augmentation = data.load_splits(rung.dataset).test, rung.recipe.augmentation
    once = evaluation.average_predictions([evaluation.predict(model, test) for model in models])
    often = evaluation.average_predictions([evaluation.predict_tta(model, test, augmentation) for model in models])
    return {
        "rung": rung.name, "dataset": rung.dataset, "models": len(models),
        "parameters": sum(row["parameters"] for row in rows),
        "test": seen_by(once), "test of views": seen_by(often),
    }  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
