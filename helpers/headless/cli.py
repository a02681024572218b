"""The command line: `python -m helpers run | train | audit | sweep | doctor | runs`.

Heavy packages are imported inside the commands, so that `--help` answers at once.
"""

import errno
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from helpers import headless, runs

if TYPE_CHECKING:
    import pandas as pd
    from torch.nn import Module

    from helpers.data import Splits
    from helpers.headless import NotebookResult, Plan, Trial
    from helpers.training import EpochRecord, History, Recipe

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Repeatable = list[str] | None
RootOption = Annotated[Path, typer.Option("--root", help="The folder for runs.")]
DeviceOption = Annotated[str, typer.Option("--device", help="cpu, cuda, mps, … or auto.")]
RecipeOption = Annotated[str, typer.Option(help="sprint, fast, report, compact or accurate.")]
TimeoutOption = Annotated[int, typer.Option(help="Seconds that one cell may take.")]


@contextmanager
def report_errors(*errors: type[Exception]) -> Iterator[None]:
    """Print errors that a user can correct in one line, and end with exit status 2."""
    try:
        yield
    except errors as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = ". Free some space; what was finished is kept." if full else ""
        typer.echo(f"Error: {error}{advice}", err=True)
        raise typer.Exit(2) from error


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM end the work as Ctrl-C does, so that it is cleaned up and reported."""

    def stop(number: int, _: object) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def report_interrupt(message: str) -> Iterator[None]:
    """Print a message after Ctrl-C or SIGTERM, and end with the status that a shell expects."""
    try:
        with sigterm_as_interrupt():
            yield
    except KeyboardInterrupt as stop:
        if message:
            typer.echo(f"Interrupted. {message}", err=True)
        sent = stop.__cause__ if isinstance(stop.__cause__, KeyboardInterrupt) else stop
        number = signal.SIGTERM if sent.args else signal.SIGINT
        raise typer.Exit(128 + number) from None


def write(line: str) -> None:
    """Print a line above the progress bars, if there are any."""
    from tqdm.auto import tqdm

    tqdm.write(line)


@app.command()
def run(
    profile: Annotated[
        str, typer.Option(help="quick, standard (the notebooks as they are) or full (long).")
    ] = "standard",
    parameter: Annotated[
        Repeatable, typer.Option("--parameter", "-p", help="Such as 02.epochs=3. Repeatable.")
    ] = None,
    only: Annotated[
        Repeatable, typer.Option(help="Run this notebook only, such as 03. Repeatable.")
    ] = None,
    cell_timeout: TimeoutOption = 3_600,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the last run that had these settings.")
    ] = False,
    root: RootOption = runs.ROOT,
) -> None:
    """Run the notebooks headlessly; write notebooks, pages, weights, figures and records."""
    with report_errors(ValueError, OSError):
        settings = headless.settings_for(profile, parameter or (), only or ())
        find = headless.find_unfinished
        folder = find(root, settings) if resume else runs.create_run(root, profile)
    typer.echo(f"{'Resuming' if resume else 'Running into'} {folder}")
    results: list[NotebookResult] = []

    def report(result: "NotebookResult") -> None:
        results.append(result)
        line = f"{result.notebook:<24} {result.state:<11} {result.seconds:5.0f} s"
        write(f"{line}  {result.message}".rstrip())

    try:
        with (
            report_errors(OSError),
            report_interrupt(
                "Finished notebooks are kept; the same command with --resume goes on."
            ),
        ):
            headless.run_notebooks(
                settings, folder, cell_timeout=cell_timeout, progress=sys.stderr.isatty(),
                on_done=report,
            )  # fmt: skip
    finally:
        if results:
            _print_summary(runs.load_run(folder))
            title = f"Image classification: {profile} run, {folder.name}"
            typer.echo(f"Read it at {headless.write_pages(folder, results, title=title)}")
    raise typer.Exit(int(any(result.state != "finished" for result in results)))


@app.command()
def train(
    dataset: Annotated[str, typer.Argument(help="mnist or fashion_mnist.")],
    recipe: RecipeOption = "fast",
    seed: Annotated[int, typer.Option(help="Of the weights, the order and augmentation.")] = 0,
    device_name: DeviceOption = "auto",
    precision: Annotated[
        str | None, typer.Option(help="float32, bfloat16 or float16; else that of the recipe.")
    ] = None,
    compile: Annotated[bool, typer.Option("--compile", help="Compile the model first.")] = False,
    root: RootOption = runs.ROOT,
) -> None:
    """Train one model by a recipe, test it once, and save weights, history and record.

    A stopped training resumes after its last full epoch when the same command is given again. On
    several devices: torchrun --nproc-per-node=2 -m helpers train …
    """
    from dataclasses import replace

    from helpers import data, device, training

    errors = (ValueError, OSError, training.TrainingError)
    with report_errors(*errors), training.join_process_group(device_name) as (group, chosen):
        settings = training.find_recipe(recipe, dataset)
        settings = replace(settings, precision=precision or settings.precision_on(chosen))
        splits = data.load_splits(dataset)
        first = group.rank == 0  # only one of several processes prints, tests and writes
        hardware = f"{group.size} × {device.describe(chosen)}".removeprefix("1 × ")
        echo = typer.echo if first else lambda line, **_: None
        echo(f"{recipe} on {splits.spec.title}, {hardware}, {settings.precision}")
        unfinished = root / f"unfinished-{dataset}-{recipe}-seed-{seed}"
        with report_interrupt("It is not tested. The same command resumes." if first else ""):
            try:
                model, history = training.train(
                    settings, splits, device=chosen, seed=seed, checkpoint=unfinished,
                    on_epoch=lambda record: write(_epoch_line(record, settings)) if first else None,
                    execution=training.Execution(compile=compile, process_group=group),
                )  # fmt: skip
            except training.TrainingStopped as stop:
                if first and stop.history.epochs:
                    _note_stop(unfinished, f"train_{dataset}", stop.history, settings)
                raise
            if first:
                options = dict(recipe=recipe, seed=seed, compile=compile, processes=group.size)
                _test_and_save(model, history, splits, settings, options, hardware, root)
                shutil.rmtree(unfinished, ignore_errors=True)


def _note_stop(folder: Path, name: str, history: "History", recipe: "Recipe") -> None:
    """Leave a status beside the checkpoints, so that `runs` lists the training as stopped."""
    from dataclasses import asdict

    message = f"after {len(history.epochs)} of {history.planned_epochs} epochs"
    result = headless.NotebookResult(name, "stopped", round(history.seconds, 2), message)
    headless.write_status(folder, {name: asdict(recipe)}, [result])


def _test_and_save(
    model: "Module", history: "History", splits: "Splits", recipe: "Recipe",
    options: dict[str, object], hardware: str, root: Path,
) -> None:  # fmt: skip
    from dataclasses import asdict

    from helpers import evaluation

    measured, use_tta = {}, evaluation.num_views(recipe.augmentation) > 1
    for name, split in recipe.held_out_splits(splits).items():
        predictions = evaluation.predict(model, split)
        measured[f"{name}_accuracy"] = evaluation.accuracy(predictions)
        if use_tta:
            averaged = evaluation.predict_tta(model, split, recipe.augmentation)
            measured[f"{name}_accuracy_tta"] = evaluation.accuracy(averaged)
    settings = {k: v for k, v in asdict(recipe).items() if k not in ("source", "measured")}
    record = runs.save(
        runs.create_run(root, str(options["recipe"])) / f"train_{splits.spec.name}",
        notebook=f"train_{splits.spec.name}", dataset=splits.spec, parameters=settings | options,
        measured=measured, model=model, history=history, device=hardware,
    )  # fmt: skip
    line = f"test accuracy {measured['test_accuracy']:.2%}"
    if use_tta:
        line += f", {measured['test_accuracy_tta']:.2%} with test-time augmentation"
    typer.echo(f"{line}, after {history.seconds:.1f} s, in {record.parent}")


def _epoch_line(record: "EpochRecord", recipe: "Recipe") -> str:
    """The record and the time left, for logs without a progress bar."""
    from tqdm.auto import tqdm

    seconds = (recipe.epochs - record.epoch) * record.seconds
    return f"{record}   {tqdm.format_interval(seconds)} left" if seconds else str(record)


@app.command()
def audit(
    dataset: Annotated[str, typer.Argument(help="mnist or fashion_mnist.")],
    recipe: RecipeOption = "fast",
    folds: Annotated[int, typer.Option(help="Number of folds of the cross-validation.")] = 5,
    seeds: Annotated[int, typer.Option(help="Repeat it with so many seeds: 0, 1, 2, …")] = 3,
    device_name: DeviceOption = "auto",
    root: RootOption = runs.ROOT,
) -> None:
    """Find the doubtful labels of a data set; write a ranked list, a gallery and a record.

    A stopped audit resumes when the same command is given again.
    """
    from helpers import device, labels, training

    with report_errors(ValueError, OSError):
        chosen = device.choose(device_name)
        settings = training.find_recipe(recipe, dataset)
        typer.echo(f"{seeds} × {folds} trainings of {recipe}, {device.describe(chosen)}")
        with report_interrupt("The same command resumes."):
            audited = labels.run_audit(
                dataset, settings, cache_dir=root / "audit", folds=folds, seeds=range(seeds),
                device=chosen,
            )  # fmt: skip
        folder = runs.create_run(root, "audit") / f"audit_{dataset}"
        page = labels.write_gallery(audited, folder)
        runs.save(
            folder, notebook=f"audit_{dataset}", dataset=audited.spec,
            parameters={"recipe": recipe, "folds": folds, "seeds": seeds},
            measured=labels.summarize(audited), device=device.describe(chosen),
        )  # fmt: skip
    typer.echo(f"Read it at {page}; the list is {folder / 'labels.csv'}")


# fmt: off
@app.command()
def sweep(
    notebook: Annotated[str | None, typer.Argument(help="Such as 03; or see --plan.")] = None,
    grid: Annotated[Repeatable, typer.Option(
        help="NAME=1,2,3 or NAME=0:5. Repeatable: all combinations.")] = None,
    ranges: Annotated[Repeatable, typer.Option(
        "--range", help="NAME=0.01:0.3 or NAME=0.01:0.3:log. Repeatable.")] = None,
    random: Annotated[int, typer.Option(min=0, help="Number of draws from the ranges.")] = 0,
    parameter: Annotated[Repeatable, typer.Option(
        "-p", "--parameter", help="NAME=VALUE, the same in all trials.")] = None,
    plan: Annotated[Path | None, typer.Option(help="A YAML file with all of this.")] = None,
    processes: Annotated[int, typer.Option(
        "--workers", min=0, help="Worker processes; by default one a core.")] = 0,
    scheduler: Annotated[str | None, typer.Option(
        help="Of a Dask cluster, such as tcp://10.0.0.1:8786.")] = None,
    resource: Annotated[Repeatable, typer.Option(
        help="What a worker must have, such as GPU=1.")] = None,
    retries: Annotated[int, typer.Option(min=0, help="How often to retry a failed trial.")] = 0,
    cell_timeout: TimeoutOption = 3_600,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be run.")] = False,
    root: RootOption = runs.ROOT,
) -> None:
    # fmt: on
    """Run a notebook with many settings, on all cores or on a cluster. Finished trials are kept."""
    from dask.system import CPU_COUNT  # of this process, also in a container

    processes = processes or CPU_COUNT
    root = root.resolve()  # workers have other working directories
    with report_errors(ValueError, OSError):
        trials = _plan(notebook, grid, ranges, random, parameter, plan).trials()
        resources = {name: float(amount) for name, amount in _pairs(resource).items()}
        typer.echo(_expectation(trials, root, 1 if scheduler else processes))
    if dry_run:
        return

    def report(trial: "Trial", result: "NotebookResult") -> None:
        if result.state != "finished":
            params = ", ".join(f"{name}={value}" for name, value in trial.params.items())
            place = headless.trial_dir(trial, root)
            write(f"{params} failed: {result.message}; see {place}")

    with (
        report_errors(headless.ClusterError, OSError),
        report_interrupt("Finished trials are kept; the same command goes on."),
        headless.open_client(scheduler, processes, root=root, resources=resources) as client,
    ):
        if scheduler or find_spec("bokeh"):  # which draws the page
            typer.echo(f"Watch it at {client.dashboard_link}")
        results = headless.run_sweep(
            trials, root, client, retries=retries, resources=resources, cell_timeout=cell_timeout,
            on_done=report, progress=sys.stderr.isatty(),
        )  # fmt: skip
    done = sum(result.state == "finished" for result in results)
    typer.echo(f"{done} trials done, {len(results) - done} failed, in {root / 'sweeps'}")
    raise typer.Exit(int(done < len(results)))


def _plan(
    notebook: str | None, grid: Repeatable, ranges: Repeatable, random: int,
    parameter: Repeatable, path: Path | None,
) -> "Plan":  # fmt: skip
    if path is not None:
        if notebook or grid or ranges or random or parameter:
            raise ValueError("A plan file holds all settings; give nothing else with --plan.")
        return headless.read_plan(path)
    if notebook is None:
        raise ValueError("Which notebook? Name one, such as 03, or a plan file with --plan.")
    lists = {name: headless.parse_values(text) for name, text in _pairs(grid).items()}
    return headless.Plan(notebook, lists, _pairs(ranges), random, _pairs(parameter))


def _pairs(assignments: Repeatable) -> dict[str, str]:
    """From ["seed=0:5"] {"seed": "0:5"}; ValueError for a missing name, or one given twice."""
    pairs: dict[str, str] = {}
    for assignment in assignments or ():
        name, equals, text = assignment.partition("=")
        if not equals or not name:
            raise ValueError(f"Wanted NAME=VALUES, such as seed=0:5, got {assignment!r}.")
        if name in pairs:
            raise ValueError(f"{name} is given twice.")
        pairs[name] = text
    return pairs


def _expectation(trials: "list[Trial]", root: Path, workers: int) -> str:
    """How many trials there are, how many are finished, and how long the others may take."""
    from tqdm.auto import tqdm

    name = trials[0].notebook
    finished = sum(headless.finished_trial(trial, root) is not None for trial in trials)
    seconds = headless.expected_seconds(name, len(trials) - finished, root, workers)
    time = "time unknown, since none has been run yet"
    if seconds is not None:
        time = f"about {tqdm.format_interval(seconds)} with {workers} at once"
    return f"{len(trials)} trials of {name}, {finished} finished before; {time}"


@app.command()
def doctor(root: RootOption = runs.ROOT) -> None:
    """Check whether this machine is ready, and say what to do where it is not."""
    from helpers.files import PROJECT
    from helpers.headless.doctor import examine

    states = set()
    for finding in examine(root, PROJECT / "data"):
        states.add(finding.state)
        typer.secho(str(finding), fg={"ok": "green", "hint": "yellow", "bad": "red"}[finding.state])
    raise typer.Exit(int("bad" in states))


@app.command(name="runs")
def show_runs(root: RootOption = runs.ROOT) -> None:
    """List the accuracies that all runs have measured."""
    with report_errors(ValueError, OSError):
        _print_summary(runs.collect(root))


def _print_summary(frame: "pd.DataFrame") -> None:
    table = runs.summary(frame)
    typer.echo("" if table.empty else f"\n{table.to_string(index=False)}\n")
