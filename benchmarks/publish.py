"""Put one trained model of each recipe into the package, with a model card.

    python -m benchmarks.publish --only accurate

It reads what `python -m benchmarks.ablation` has saved, and writes helpers/models/weights/.
"""

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import jinja2
import pandas as pd
import typer

from benchmarks import costs
from benchmarks.ablation import FRONTIER_RESULTS, KEEP, RESULTS, key
from benchmarks.ablation_steps import FRONTIER, STEPS, Step, named
from benchmarks.tables import markdown
from helpers import data, evaluation, models, training
from helpers.files import PROJECT, write_atomic

TEMPLATE = PROJECT / "benchmarks" / "card.md.j2"


def main(
    only: Annotated[
        list[str] | None, typer.Option(help="Names of recipes; all by default.")
    ] = None,
) -> None:
    """Write weights and model card of every recipe that was trained with all seeds."""
    for step, rows in finished(only):
        path = publish(step.name, step.dataset, rows)
        typer.echo(f"{path.relative_to(PROJECT)}, {path.stat().st_size / 1e6:.2f} MB")


def finished(only: list[str] | None) -> Iterator[tuple[Step, list[dict]]]:
    """The steps that are recipes and were trained with all seeds, and their records."""
    files = [path for path in (RESULTS, FRONTIER_RESULTS) if path.exists()]
    trainings = [row for path in files for row in json.loads(path.read_text())["trainings"]]
    for step in named([*STEPS, *FRONTIER], only):
        keys = {key(step, seed) for seed in range(step.seeds)}  # of the current recipe
        rows = [row for row in trainings if row["key"] in keys]
        if (step.name, step.dataset) in training.RECIPES and len(rows) == step.seeds:
            yield step, rows


def publish(recipe: str, dataset: str, rows: list[dict]) -> Path:
    """Save the model with the best validation accuracy, and its model card.

    For a recipe that trains on validation, save the model of the first seed.
    """
    chosen, splits = training.find_recipe(recipe, dataset), data.load_splits(dataset)
    best = rows[0]
    if not chosen.train_on_validation:
        best = max(rows, key=lambda row: row["validation"]["accuracy"])
    model = models.load(KEEP / f"{best['key']}.safetensors", dataset=dataset)
    path = models.PRETRAINED / dataset / f"{recipe}.safetensors"
    seen = {
        name: evaluation.predict(model, split)
        for name, split in chosen.held_out_splits(splits).items()
    }
    models.save(
        model, path, dataset=dataset, recipe=recipe, seed=best["seed"],
        **{f"{name}_accuracy": evaluation.accuracy(found) for name, found in seen.items()},
        test_accuracy_of_views=evaluation.accuracy(
            evaluation.predict_tta(model, splits.test, chosen.augmentation)
        ),
        confusion=evaluation.confusion_matrix(seen["test"]).tolist(),
        test_accuracies=[row["test"]["accuracy"] for row in rows],
        test_accuracies_of_views=[row["test_tta"]["accuracy"] for row in rows],
        parameters=best["parameters"], epochs=best["epochs"], seconds=cost(recipe, dataset),
        **{name: best[name] for name in ("images", "precision", "processor", "torch", "date")},
        data_digest=splits.spec.digest,
    )  # fmt: skip
    write_atomic(path.with_suffix(".md"), card(path))
    return path


def cost(recipe: str, dataset: str) -> float:
    """The seconds of a training, from those of an epoch in costs.json."""
    epochs = training.find_recipe(recipe, dataset).epochs
    for row in json.loads(costs.OUT.read_text())["epochs"]:
        if (row["step"], row["dataset"], row["epochs"]) == (recipe, dataset, epochs):
            return round(epochs * row["seconds an epoch"], 1)
    raise ValueError(
        f"{recipe} on {dataset}, {epochs} epochs, has no cost yet: python -m benchmarks.costs"
    )


def card(path: Path) -> str:
    """The model card of published weights, from their metadata."""
    about = models.read_metadata(path)
    notes, architecture = about["notes"], about["architecture"]
    spec, recipe = (
        data.spec(notes["dataset"]),
        training.find_recipe(notes["recipe"], notes["dataset"]),
    )
    counts = pd.DataFrame(notes["confusion"], columns=list(spec.class_names))
    counts.insert(0, "true class", spec.class_names)
    template = jinja2.Template(TEMPLATE.read_text(), keep_trailing_newline=True)
    return template.render(
        notes,
        title=spec.title,
        architecture=_describe(architecture),
        settings=_settings(recipe),
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
    """Mean ± standard deviation, such as "93.71 % ± 0.12 over 5 seeds"."""
    mean, deviation = statistics.mean(accuracies), statistics.stdev(accuracies)
    return f"{100 * mean:.2f} % ± {100 * deviation:.2f} over {len(accuracies)} seeds"


def _describe(architecture: dict) -> str:
    names = "width", "blocks", "stride", "separable"
    settings = {k: v for k, v in architecture.items() if k in names and v}
    return f"{architecture['name']}({', '.join(f'{k}={v}' for k, v in settings.items())})"


def _settings(recipe: training.Recipe) -> str:
    varied = recipe.augmentation
    parts = [
        f"SGD with a Nesterov momentum of {recipe.momentum} in batches of {recipe.batch_size}",
        f"one-cycle schedule up to a rate of {recipe.learning_rate}",
        f"weight decay {recipe.weight_decay}",
        *([f"label smoothing {recipe.label_smoothing}"] if recipe.label_smoothing else []),
        f"images shifted by up to {varied.shift} pixel{'s' if varied.shift > 1 else ''}",
        *([f"turned by up to {varied.degrees}°"] if varied.degrees else []),
        *([f"resized by up to {varied.scale:.0%}"] if varied.scale else []),
        *(["half of them mirrored"] if varied.flip else []),
        *([f"a rectangle erased in {varied.erase:.0%} of them"] if varied.erase else []),
    ]
    return "; ".join(parts) + "."


if __name__ == "__main__":
    typer.run(main)
