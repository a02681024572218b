"""`python -m helpers …`: the command line, a thin layer over `series`, `runs` and `report`."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from tqdm.auto import tqdm

from helpers import parameters, runs, series

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

RootOption = Annotated[Path, typer.Option(help="Where runs are kept.")]
DeviceOption = Annotated[
    str, typer.Option("--device", help="cpu, cuda, mps, … or auto for the fastest there is.")
]


@app.command()
def run(
    profile: Annotated[
        str,
        typer.Option(help="quick (a look), standard (the notebooks as they stand) or full (long)."),
    ] = "standard",
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", help="Change one, such as 02.epochs=3. Repeatable."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Run this notebook only, such as 03. Repeatable.")
    ] = None,
    cell_timeout: Annotated[int, typer.Option(help="Seconds that one cell may take.")] = 3_600,
    root: RootOption = runs.ROOT,
) -> None:
    """Run the notebooks headlessly and leave notebooks, pages, weights, figures and records."""
    with _told_in_a_line(ValueError, OSError):
        settings = parameters.settings_for(profile, parameter or (), only or ())
        folder = runs.new(root, profile)
    typer.echo(f"Running into {folder}")
    outcomes: list[series.Outcome] = []

    def tell(outcome: series.Outcome) -> None:
        outcomes.append(outcome)
        line = f"{outcome.notebook:<24} {outcome.state:<11} {outcome.seconds:5.0f} s"
        tqdm.write(f"{line}  {outcome.message}".rstrip())  # above the progress bars, if any

    status = 0
    with _told_in_a_line(OSError):
        try:
            series.run(
                settings,
                folder,
                cell_timeout=cell_timeout,
                progress=sys.stderr.isatty(),
                on_done=tell,
            )
        except KeyboardInterrupt:
            typer.echo("Interrupted. What was finished is kept.", err=True)
            status = 130
        _show(folder)
        from helpers import report

        title = f"Image classification: {profile} run, {folder.name}"
        typer.echo(f"Read it at {report.write_pages(folder, outcomes, title=title)}")
    raise typer.Exit(status or int(any(outcome.state != "done" for outcome in outcomes)))


@app.command()
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

    Stopped in the middle, it goes on after its last whole epoch when it is started again.
    """
    from dataclasses import asdict, replace

    from helpers import data, device, evaluation, history, recipes, resume

    with _told_in_a_line(ValueError, OSError):
        where = device.choose(device_name)
        followed = recipes.find(recipe, dataset)
        followed = replace(followed, precision=precision or followed.precision_on(where))
        device.gradient_scaler(where, followed.precision)  # not every device has every format
        splits = data.load_splits(dataset)
    typer.echo(f"{recipe} on {splits.spec.title}, {device.describe(where)}, {followed.precision}")
    unfinished = root / f"unfinished-{dataset}-{recipe}-seed-{seed}"
    with _told_in_a_line(history.NonFiniteLossError, resume.ResumeError, OSError):
        model, trained = recipes.train(
            followed, splits, where=where, seed=seed, compile=compile, checkpoint=unfinished,
            on_epoch=lambda record: tqdm.write(str(record)),
        )  # fmt: skip
    if trained.interrupted:
        epochs = len(trained.epochs)
        typer.echo(f"Interrupted, not tested. The same command goes on after epoch {epochs}.")
        raise typer.Exit(130)
    unseen, test = (evaluation.predict(model, part) for part in (splits.validation, splits.test))
    accuracy = evaluation.accuracy(test)
    settings = asdict(followed) | {"recipe": recipe, "seed": seed, "compile": compile}
    with _told_in_a_line(OSError):
        record = runs.save(
            runs.new(root, recipe) / f"train_{dataset}",
            notebook=f"train_{dataset}",
            dataset=splits.spec,
            parameters={k: v for k, v in settings.items() if k not in ("source", "measured")},
            measured={
                "test_accuracy": accuracy, "validation_accuracy": evaluation.accuracy(unseen),
            },
            model=model, history=trained, device=device.describe(where),
        )  # fmt: skip
    shutil.rmtree(unfinished, ignore_errors=True)  # its end is on record
    typer.echo(f"test accuracy {accuracy:.2%} after {trained.seconds:.1f} s, in {record.parent}")


@app.command()
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

    with _told_in_a_line(ValueError, OSError):
        where = device.choose(device_name)
        followed = recipes.find(recipe, dataset)
        typer.echo(f"{seeds} × {folds} trainings of {recipe}, {device.describe(where)}")
        try:
            audited = audit.run(
                dataset, followed, keep=root / "audit", folds=folds, seeds=range(seeds), where=where
            )
        except KeyboardInterrupt:
            typer.echo("Interrupted. The same command goes on where this one stopped.", err=True)
            raise typer.Exit(130) from None
        folder = runs.new(root, "audit") / f"audit_{dataset}"
        page = gallery.write(audited, folder)
        runs.save(
            folder, notebook=f"audit_{dataset}", dataset=audited.spec,
            parameters={"recipe": recipe, "folds": folds, "seeds": seeds},
            measured=audit.summary(audited), device=device.describe(where),
        )  # fmt: skip
    typer.echo(f"Read it at {page}; the list is {folder / 'labels.csv'}")


@app.command()
def doctor(root: RootOption = runs.ROOT) -> None:
    """Say whether this machine is ready, and what to do where it is not."""
    from helpers import doctor
    from helpers.files import PROJECT

    states = set()
    for finding in doctor.examine(root, PROJECT / "data"):
        states.add(finding.state)
        typer.secho(str(finding), fg={"ok": "green", "hint": "yellow", "bad": "red"}[finding.state])
    raise typer.Exit(int("bad" in states))


@app.command(name="runs")
def show_runs(root: RootOption = runs.ROOT) -> None:
    """List what all runs so far have measured."""
    with _told_in_a_line(ValueError, OSError):
        _show(root)


def _show(root: Path) -> None:
    table = runs.summary(runs.collect(root))
    typer.echo("" if table.empty else f"\n{table.to_string(index=False)}\n")


@contextmanager
def _told_in_a_line(*errors: type[Exception]) -> Iterator[None]:
    """What a user can mend is told in one line, with exit status 2."""
    try:
        yield
    except errors as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from error


if __name__ == "__main__":
    app()
