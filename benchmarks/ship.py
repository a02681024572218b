"""Which trained models go out with the package? One of each recipe, with a card.

    python -m benchmarks.ship --only accurate

It reads what `python -m benchmarks.ladder` has left, and writes helpers/weights/.
"""

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import jinja2
import pandas as pd
import typer

from benchmarks import prices
from benchmarks.ladder import KEEP, RESULTS, key
from benchmarks.rungs import RUNGS, Rung, named
from benchmarks.tables import markdown
from helpers import data, evaluation, models, training
from helpers.files import PROJECT, write_atomic

TEMPLATE = PROJECT / "benchmarks" / "card.md.j2"


def main(
    only: Annotated[
        list[str] | None, typer.Option(help="Names of recipes; all by default.")
    ] = None,
) -> None:
    """Write weights and card of every recipe of the ladder that has been trained with all seeds.

    Their weights must be in runs/ladder/, where the trainings have left them.
    """
    measured = json.loads(RESULTS.read_text())
    for rung, rows in finished(measured, only):
        path = ship(rung.name, rung.dataset, rows)
        typer.echo(f"{path.relative_to(PROJECT)}, {path.stat().st_size / 1e6:.2f} MB")


def finished(measured: dict, only: list[str] | None) -> Iterator[tuple[Rung, list[dict]]]:
    """The rungs, or those that are named, that are recipes and have been trained with all seeds.

    With each, what is on record of its trainings, by seed.
    """
    for rung in named(RUNGS, only):
        keys = {key(rung, seed) for seed in range(rung.seeds)}  # as the recipe is now
        rows = [row for row in measured["trainings"] if row["key"] in keys]
        if (rung.name, rung.dataset) in training.RECIPES and len(rows) == rung.seeds:
            yield rung, rows


def ship(recipe: str, dataset: str, rows: list[dict]) -> Path:
    """Save the best of the trained models, as far as one may know, and write its card beside it.

    That is the best on validation; where validation was learned from, the first.
    """
    followed, splits = training.find_recipe(recipe, dataset), data.load_splits(dataset)
    best = rows[0]
    if not followed.refit:
        best = max(rows, key=lambda row: row["validation"]["accuracy"])
    model = models.load(KEEP / f"{best['key']}.safetensors", dataset=dataset)
    path = models.PRETRAINED / dataset / f"{recipe}.safetensors"
    seen = {
        name: evaluation.predict(model, split) for name, split in followed.unseen(splits).items()
    }
    models.save(
        model, path, dataset=dataset, recipe=recipe, seed=best["seed"],
        **{f"{name}_accuracy": evaluation.accuracy(said) for name, said in seen.items()},
        test_accuracy_of_views=evaluation.accuracy(
            evaluation.predict_tta(model, splits.test, followed.augmentation)
        ),
        confusion=evaluation.confusion_matrix(seen["test"]).tolist(),
        test_accuracies=[row["test"]["accuracy"] for row in rows],
        test_accuracies_of_views=[row["test of views"]["accuracy"] for row in rows],
        parameters=best["parameters"], epochs=best["epochs"], seconds=price(recipe, dataset),
        **{name: best[name] for name in ("images", "precision", "processor", "torch", "date")},
        data_digest=splits.spec.digest,
    )  # fmt: skip
    write_atomic(path.with_suffix(".md"), card(path))
    return path


def price(recipe: str, dataset: str) -> float:
    """The seconds of a training, by what an epoch costs on a machine with nothing else to do."""
    epochs = training.find_recipe(recipe, dataset).epochs
    for row in json.loads(prices.OUT.read_text())["epochs"]:
        if (row["rung"], row["dataset"], row["epochs"]) == (recipe, dataset, epochs):
            return round(epochs * row["seconds an epoch"], 1)
    raise ValueError(
        f"{recipe} on {dataset}, {epochs} epochs, has no price yet: python -m benchmarks.prices"
    )


def card(path: Path) -> str:
    """The model card of shipped weights, from what they say of themselves."""
    about = models.read_metadata(path)
    notes, architecture = about["notes"], about["architecture"]
    spec, recipe = data.spec(notes["dataset"]), training.find_recipe(notes["recipe"], notes["dataset"])
    counts = pd.DataFrame(notes["confusion"], columns=list(spec.class_names))
    counts.insert(0, "true class", spec.class_names)
    template = jinja2.Template(TEMPLATE.read_text(), keep_trailing_newline=True)
    return template.render(
        notes,
        title=spec.title,
        architecture=_told(architecture),
        settings=_prose(recipe),
        views=evaluation.num_views(recipe.augmentation),
        test_images=int(counts[list(spec.class_names)].to_numpy().sum()),
        test_right=sum(row[i] for i, row in enumerate(notes["confusion"])),
        minutes=round(notes["seconds"] / 60),
        seeds=list(range(len(notes["test_accuracies"]))),
        mean=mean_and_spread(notes["test_accuracies"]),
        mean_of_views=mean_and_spread(notes["test_accuracies_of_views"]),
        each=", ".join(f"{100 * accuracy:.2f}" for accuracy in notes["test_accuracies"]),
        confusion="\n".join(markdown(counts)),
    )


def mean_and_spread(accuracies: list[float]) -> str:
    """ "93.71 % ± 0.12 over 5 seeds", as README, cards and recipes have it."""
    mean, deviation = statistics.mean(accuracies), statistics.stdev(accuracies)
    return f"{100 * mean:.2f} % ± {100 * deviation:.2f} over {len(accuracies)} seeds"


def _told(architecture: dict) -> str:
    settings = {k: v for k, v in architecture.items() if k in ("width", "blocks", "stride")}
    return f"{architecture['name']}({', '.join(f'{k}={v}' for k, v in settings.items())})"


def _prose(recipe: training.Recipe) -> str:
    varied = recipe.augmentation
    parts = [
        f"SGD with a Nesterov momentum of {recipe.momentum} in batches of {recipe.batch_size}",
        f"one-cycle schedule up to a rate of {recipe.learning_rate}",
        f"weight decay {recipe.weight_decay}",
        f"label smoothing {recipe.label_smoothing}",
        f"images shifted by up to {varied.shift} pixel{'s' if varied.shift > 1 else ''}",
        *([f"turned by up to {varied.degrees}°"] if varied.degrees else []),
        *([f"resized by up to {varied.scale:.0%}"] if varied.scale else []),
        *(["half of them mirrored"] if varied.flip else []),
        *([f"a rectangle erased in {varied.erase:.0%} of them"] if varied.erase else []),
        *([f"weights averaged with a decay of {recipe.average}"] if recipe.average else []),
    ]
    return "; ".join(parts) + "."


if __name__ == "__main__":
    typer.run(main)
