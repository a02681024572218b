"""`python -m helpers train` and `audit`: what takes a data set and a recipe, and many minutes."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from tqdm.auto import tqdm

from helpers import runs
from helpers.terminal import DeviceOption, RootOption, exit_status, stopped_in_order, told_in_a_line

if TYPE_CHECKING:
    from torch.nn import Module

    from helpers.data import Splits
    from helpers.history import EpochRecord, History
    from helpers.recipe import Recipe


def train(
    dataset: Annotated[str, typer.Argument(help="mnist or fashion_mnist.")],
    recipe: Annotated[str, typer.Option(help="Which settings: fast, report, …")] = "fast",
    seed: Annotated[int, typer.Option(help="Decides first weights, order, augmentation.")] = 0,
    device_name: DeviceOption = "auto",
    precision: Annotated[
        str | None,
        typer.Option(help="float32, bfloat16 or float16; by default what the recipe says."),
    ] = None,
    compile: Annotated[bool, typer.Option("--compile", help="Compile the model first.")] = False,
    root: RootOption = runs.ROOT,
) -> None:
    """Train one model by a recipe, test it once, and keep weights, history and record.

    Stopped in the middle, it goes on after its last whole epoch when it is started again. On
    several devices: torchrun --nproc-per-node=2 -m helpers train …
    """
    from dataclasses import replace

    from helpers import data, device, distributed, history, recipes

    mendable = (ValueError, OSError, history.TrainingError)
    with told_in_a_line(*mendable), distributed.joined(device_name) as (ranks, where):
        followed = recipes.find(recipe, dataset)
        followed = replace(followed, precision=precision or followed.precision_on(where))
        device.gradient_scaler(where, followed.precision)  # not every device has every format
        splits = data.load_splits(dataset)
        first = ranks.rank == 0  # of several processes one talks, tests and writes
        if first:
            computer = f"{ranks.size} × {device.describe(where)}".removeprefix("1 × ")
            typer.echo(f"{recipe} on {splits.spec.title}, {computer}, {followed.precision}")
        unfinished = root / f"unfinished-{dataset}-{recipe}-seed-{seed}"
        with stopped_in_order():
            model, trained = recipes.train(
                followed, splits, where=where, seed=seed, compile=compile, checkpoint=unfinished,
                progress=None if first else False, ranks=ranks,
                on_epoch=lambda record: (
                    tqdm.write(f"{record}{_left(record, followed.epochs)}") if first else None
                ),
            )  # fmt: skip
        if trained.interrupted:
            epochs = len(trained.epochs)
            if first:
                typer.echo(
                    f"Interrupted, not tested. The same command goes on after epoch {epochs}."
                )
            raise typer.Exit(130)
        if first:
            told = {"recipe": recipe, "seed": seed, "compile": compile, "processes": ranks.size}
            _test_and_keep(model, trained, splits, followed, told, computer, root)
            shutil.rmtree(unfinished, ignore_errors=True)  # its end is on record


def _test_and_keep(
    model: "Module",
    trained: "History",
    splits: "Splits",
    followed: "Recipe",
    told: dict[str, object],
    computer: str,
    root: Path,
) -> None:
    from dataclasses import asdict

    from helpers import evaluation, views

    measured, several = {}, views.number(followed.augmentation) > 1
    for name, split in followed.unseen(splits).items():
        measured[f"{name}_accuracy"] = evaluation.accuracy(evaluation.predict(model, split))
        if several:
            seen = views.predict(model, split, followed.augmentation)
            measured[f"{name}_accuracy_of_views"] = evaluation.accuracy(seen)
    settings = {k: v for k, v in asdict(followed).items() if k not in ("source", "measured")}
    record = runs.save(
        runs.new(root, str(told["recipe"])) / f"train_{splits.spec.name}",
        notebook=f"train_{splits.spec.name}", dataset=splits.spec, parameters=settings | told,
        measured=measured, model=model, history=trained, device=computer,
    )  # fmt: skip
    line = f"test accuracy {measured['test_accuracy']:.2%}"
    if several:
        line += f", {measured['test_accuracy_of_views']:.2%} as the mean of several views"
    typer.echo(f"{line}, after {trained.seconds:.1f} s, in {record.parent}")


def _left(record: "EpochRecord", epochs: int) -> str:
    """How long the rest will take, for who reads a log in which no bar moves."""
    seconds = (epochs - record.epoch) * record.seconds
    return f"   {tqdm.format_interval(seconds)} left" if seconds else ""


def audit(
    dataset: Annotated[str, typer.Argument(help="mnist or fashion_mnist.")],
    recipe: Annotated[str, typer.Option(help="How the judges are trained.")] = "fast",
    folds: Annotated[int, typer.Option(help="Parts of which each is judged by the others.")] = 5,
    seeds: Annotated[int, typer.Option(help="Repeat with seeds 0, 1, 2, …, so many.")] = 3,
    device_name: DeviceOption = "auto",
    root: RootOption = runs.ROOT,
) -> None:
    """Judge every label of a data set; leave a ranked list, a gallery and a record.

    Stopped in the middle, it goes on there when it is started again.
    """
    from helpers import audit, device, gallery, recipes

    with told_in_a_line(ValueError, OSError):
        where = device.choose(device_name)
        followed = recipes.find(recipe, dataset)
        typer.echo(f"{seeds} × {folds} trainings of {recipe}, {device.describe(where)}")
        try:
            with stopped_in_order():
                audited = audit.run(
                    dataset, followed,
                    keep=root / "audit", folds=folds, seeds=range(seeds), where=where,
                )  # fmt: skip
        except KeyboardInterrupt as stop:
            typer.echo("Interrupted. The same command goes on where this one stopped.", err=True)
            raise typer.Exit(exit_status(stop)) from None
        folder = runs.new(root, "audit") / f"audit_{dataset}"
        page = gallery.write(audited, folder)
        runs.save(
            folder, notebook=f"audit_{dataset}", dataset=audited.spec,
            parameters={"recipe": recipe, "folds": folds, "seeds": seeds},
            measured=audit.summary(audited), device=device.describe(where),
        )  # fmt: skip
    typer.echo(f"Read it at {page}; the list is {folder / 'labels.csv'}")
