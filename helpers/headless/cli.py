"""The command line: `digits`, or `python -m helpers`; docs/command-line.md describes it.

Heavy packages are imported inside the commands, so that `--help` answers at once.
"""

import json
import os
import shutil
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from tqdm.auto import tqdm

from helpers import __version__, headless, runs
from helpers.files import PROJECT
from helpers.headless import model_commands, runs_commands, terminal
from helpers.headless.notebooks import read_value
from helpers.headless.runs_commands import JsonOption, RootOption
from helpers.headless.terminal import one_of, report_errors, report_interrupt, write

if TYPE_CHECKING:
    from torch.nn import Module

    from helpers.data import Splits
    from helpers.headless import NotebookResult, Plan, Trial
    from helpers.training import EpochRecord, History, Recipe

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
app.add_typer(runs_commands.app, name="runs")
app.command()(model_commands.predict)
app.command()(model_commands.export)
app.command()(model_commands.explore)
app.command()(runs_commands.report)
DATASETS = ("mnist", "fashion_mnist")  # copied from `data`, since the help must not import torch
NOTES = ("source", "measured", "duration")  # fields of a recipe that are not settings
RECIPES = tuple(tomllib.loads((PROJECT / "helpers/training/recipes.toml").read_bytes().decode()))

Repeatable = list[str] | None
DatasetArgument = Annotated[str, typer.Argument(**one_of("data set", DATASETS, or_folder=True))]
SizeOption = Annotated[int, typer.Option(min=16, max=96, help="Pixels per side of your pictures.")]
ChannelsOption = Annotated[
    Literal["1", "3"] | None, typer.Option(help="1 (gray) or 3; by default, as in your pictures.")
]
SkipOption = Annotated[
    bool, typer.Option("--skip-broken", help="Leave out pictures that cannot be read.")
]
OwnModelOption = Annotated[
    str, typer.Option("--model", help="Your own model class, such as my_file.py:MyNet.")
]
RecipeOption = Annotated[
    str, typer.Option(help="How to train; see `recipes`.", **one_of("recipe", RECIPES))
]
ProfileOption = Annotated[
    str, typer.Option(help="standard: as in the notebooks.", **one_of("profile", headless.PROFILES))
]
PrecisionOption = Annotated[
    str | None, typer.Option(help="float32, bfloat16 or float16; by default, the recipe's.")
]
DeviceOption = Annotated[str, typer.Option("--device", help="cpu, cuda, mps, … or auto.")]
TimeoutOption = Annotated[int, typer.Option(help="Time limit for one cell, in seconds.")]


def main(prog_name: str | None = None) -> None:
    """The entry point of `digits` and `python -m helpers`."""
    terminal.prepare_streams()
    app(prog_name=prog_name)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, help="Show the version.")
    ] = False,
) -> None:
    """Train and test classifiers of digits and clothes, audit labels, run the notebooks."""
    with report_errors(ValueError):
        if not headless.NOTEBOOKS.is_dir():
            raise ValueError(f"No notebooks at {PROJECT}. In a clone: pip install --editable .")


@app.command()
def run(
    profile: ProfileOption = "standard",
    parameter: Annotated[
        Repeatable, typer.Option("--parameter", "-p", help="Such as 02.epochs=3. Repeatable.")
    ] = None,
    only: Annotated[
        Repeatable, typer.Option(help="Run only this notebook, such as 03. Repeatable.")
    ] = None,
    dataset: Annotated[
        Path | None, typer.Option(help="Run notebook 8 on this folder of your own pictures.")
    ] = None,
    cell_timeout: TimeoutOption = 3_600,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume the last run with these settings.")
    ] = False,
    root: RootOption = runs.ROOT,
) -> None:
    """Run the notebooks; write executed notebooks, pages, weights, figures and records."""
    with report_errors(ValueError, OSError):
        if dataset is not None:
            if not dataset.is_dir():
                raise ValueError(f"--dataset must be a folder; there is none at {dataset}.")
            parameter = [f"08.dataset={dataset.resolve()}", *(parameter or ())]
            only = [*(only or ()), "08"]
        settings = headless.settings_for(profile, parameter or (), only or ())
        find = headless.find_unfinished
        folder = find(root, settings) if resume else runs.create_run(root, profile)
    typer.echo(f"{'Resuming' if resume else 'Running into'} {folder}")
    results: list[NotebookResult] = []

    def report(result: "NotebookResult") -> None:
        results.append(result)
        write(_result_line(result, folder))

    try:
        with (
            report_errors(OSError),
            report_interrupt("Finished notebooks are saved; add --resume to continue."),
        ):
            headless.run_notebooks(
                settings, folder, cell_timeout=cell_timeout, on_done=report,
                progress=terminal.show_progress(),
            )  # fmt: skip
    finally:
        if results:
            _write_pages(folder)
    if any(result.state != "finished" for result in results):
        typer.echo("The same command with --resume resumes the unfinished notebooks.", err=True)
        raise typer.Exit(1)


def _write_pages(folder: Path) -> None:
    from helpers.headless.report_writer import write_report
    from helpers.headless.student_report import collect_facts

    with report_errors(ValueError, OSError):
        try:
            if not (table := runs.summary(runs.load_run(folder))).empty:
                terminal.print_table(table)
            facts = collect_facts(folder)
            if facts.trainings:
                typer.echo(f"The report: {write_report(facts, folder)[0]}")
        finally:  # the pages name damaged records, and link to the report
            typer.echo(f"Read it at {headless.write_pages(folder)}")
            headless.write_runs_index(folder.parent)


def _result_line(result: "NotebookResult", folder: Path) -> str:
    line = f"{result.notebook:<24} {result.state:<11} {result.seconds:5.0f} s  {result.message}"
    if result.state == "failed":
        line += f"; see {folder / result.notebook / result.notebook}.ipynb"
    return line.rstrip()


@app.command()
def train(
    dataset: DatasetArgument,
    recipe: RecipeOption = "fast",
    seed: Annotated[int, typer.Option(help="Random seed of the training.")] = 0,
    device_name: DeviceOption = "auto",
    precision: PrecisionOption = None,
    compile: Annotated[bool, typer.Option("--compile", help="Compile the model first.")] = False,
    model_name: OwnModelOption = "",
    size: SizeOption = 28,
    channels: ChannelsOption = None,
    skip_broken: SkipOption = False,
    as_json: JsonOption = False,
    root: RootOption = runs.ROOT,
) -> None:
    """Train one model by a recipe, test it once, and save weights, history and record.

    FOLDER holds a folder of pictures for each class; see docs/own-data.md. A stopped training
    resumes where it was when the same command is given again. On several devices:
    torchrun --nproc-per-node=2 --max-restarts=3 -m helpers train …
    """
    from helpers import device, training

    errors = (ValueError, OSError, training.TrainingError)
    with report_errors(*errors), training.join_process_group(device_name) as (group, chosen):
        first = group.rank == 0  # only one of several processes prints, tests and writes
        own = dict(size=size, channels=channels and int(channels), skip_broken=skip_broken)
        splits, settings, options = _load(dataset, recipe, model_name, own, root, first, as_json)
        settings = replace(settings, precision=precision or settings.precision_on(chosen))
        hardware = f"{group.size} × {device.describe(chosen)}".removeprefix("1 × ")
        line = f"{recipe} on {splits.spec.title}, {hardware}, {settings.precision}"
        terminal.echo(line, first, err=as_json)
        show = partial(_show_epoch, recipe=settings, err=as_json) if first else None
        unfinished = root / f"unfinished-{splits.spec.name}-{recipe}-seed-{seed}"
        with (
            report_interrupt("Not tested yet. The same command resumes." if first else ""),
            _note_stop(unfinished if first else None, f"train_{splits.spec.name}", settings),
        ):
            model, history = training.train(
                settings, splits, device=chosen, seed=seed, checkpoint=unfinished, on_epoch=show,
                execution=training.Execution(
                    compile=compile, process_group=group, progress=terminal.show_progress()
                ),
            )  # fmt: skip
            if first:
                options |= dict(recipe=recipe, seed=seed, compile=compile, processes=group.size)
                _test_and_save(model, history, splits, settings, options, hardware, root, as_json)
                shutil.rmtree(unfinished, ignore_errors=True)
                headless.write_runs_index(root)


def _load(
    dataset: str, recipe: str, model: str, own: dict, root: Path, printed: bool, err: bool
) -> "tuple[Splits, Recipe, dict[str, object]]":
    """The data set, its recipe, and for a folder of your own the options to save in the record.

    Notes on what was found in that folder are printed.
    """
    from helpers import data, models, training

    options: dict[str, object] = {}
    if dataset in DATASETS:
        splits = data.load_splits(dataset)
    else:
        options = {"dataset": str(Path(dataset).resolve()), **own}
        progress = printed and terminal.show_progress()
        splits = data.from_folder(dataset, cache_dir=root / "data", progress=progress, **own)
    for note in splits.notes:
        terminal.echo(note, printed, err=err)
    found = training.find_recipe(recipe, splits, model)
    models.count_parameters(found.build(splits.spec))  # an error in your model shows here
    return splits, found, options | ({"model": found.model} if model else {})


@contextmanager
def _note_stop(folder: Path | None, name: str, recipe: "Recipe") -> Iterator[None]:
    """Write a status beside the checkpoints, so that `runs` lists the training as stopped."""
    from helpers.training import TrainingStopped

    try:
        yield
    except TrainingStopped as stop:
        history = stop.history
        if folder is not None and folder.is_dir():
            message = f"after {len(history.epochs)} of {history.planned_epochs} epochs"
            result = headless.NotebookResult(name, "stopped", round(history.seconds, 2), message)
            headless.write_status(folder, {name: asdict(recipe)}, [result])
        raise


def _test_and_save(
    model: "Module", history: "History", splits: "Splits", recipe: "Recipe",
    options: dict[str, object], hardware: str, root: Path, as_json: bool,
) -> None:  # fmt: skip
    """Test the model once, save it, and print its accuracy, or with `as_json` the record."""
    from helpers import evaluation

    measured, use_tta = {}, evaluation.num_views(recipe.augmentation) > 1
    for name, split in recipe.held_out_splits(splits).items():
        predictions = evaluation.predict(model, split)
        measured[f"{name}_accuracy"] = evaluation.accuracy(predictions)
        if use_tta:
            averaged = evaluation.predict_tta(model, split, recipe.augmentation)
            measured[f"{name}_accuracy_tta"] = evaluation.accuracy(averaged)
    settings = {k: v for k, v in asdict(recipe).items() if k not in NOTES}
    record = runs.save(
        runs.create_run(root, str(options["recipe"])) / f"train_{splits.spec.name}",
        notebook=f"train_{splits.spec.name}", dataset=splits.spec, parameters=settings | options,
        measured=measured, model=model, history=history, device=hardware,
        predictions=predictions,  # on the test split, which comes last
    )  # fmt: skip
    line = f"test accuracy {measured['test_accuracy']:.2%}"
    if use_tta:
        line += f", {measured['test_accuracy_tta']:.2%} with test-time augmentation"
    typer.echo(f"{line}, after {history.seconds:.1f} s, in {record.parent}", err=as_json)
    terminal.echo(record.read_text(encoding="utf-8").rstrip(), as_json)


def _show_epoch(record: "EpochRecord", recipe: "Recipe", err: bool) -> None:
    """Print the record of an epoch and the time left."""
    seconds = (recipe.epochs - record.epoch) * record.seconds
    left = f"   {tqdm.format_interval(seconds)} left" if seconds else ""
    write(f"{record}{left}", err=err)


@app.command()
def audit(
    dataset: DatasetArgument,
    recipe: RecipeOption = "fast",
    folds: Annotated[int, typer.Option(min=2, help="Number of folds of the cross-validation.")] = 5,
    seeds: Annotated[int, typer.Option(min=1, help="Number of repetitions (seeds).")] = 3,
    device_name: DeviceOption = "auto",
    model_name: OwnModelOption = "",
    size: SizeOption = 28,
    channels: ChannelsOption = None,
    skip_broken: SkipOption = False,
    as_json: JsonOption = False,
    root: RootOption = runs.ROOT,
) -> None:
    """Find the doubtful labels of a data set; write a ranked list, a gallery and a record.

    For your own FOLDER, the list names the file of each picture. A stopped audit resumes when the
    same command is given again.
    """
    from helpers import device, labels

    with report_errors(ValueError, OSError):
        chosen = device.choose(device_name)
        own = dict(size=size, channels=channels and int(channels), skip_broken=skip_broken)
        splits, settings, options = _load(dataset, recipe, model_name, own, root, True, as_json)
        name = splits.spec.name
        about = f"{seeds} × {folds} trainings of {recipe}, {device.describe(chosen)}"
        typer.echo(about, err=as_json)
        with report_interrupt("The same command resumes."):
            audited = labels.run_audit(
                dataset if dataset in DATASETS else splits, settings, cache_dir=root / "audit",
                folds=folds, seeds=range(seeds), device=chosen, progress=terminal.show_progress(),
            )  # fmt: skip
        folder = runs.create_run(root, "audit") / f"audit_{name}"
        page = labels.write_gallery(audited, folder)
        record = runs.save(
            folder, notebook=f"audit_{name}", dataset=audited.spec, device=device.describe(chosen),
            parameters=options | dict(recipe=recipe, folds=folds, seeds=seeds),
            measured=labels.summarize(audited),
        )  # fmt: skip
        headless.write_runs_index(root)
    typer.echo(f"Read it at {page}; the list is {folder / 'labels.csv'}", err=as_json)
    terminal.echo(record.read_text(encoding="utf-8").rstrip(), as_json)


# fmt: off
@app.command()
def sweep(
    notebook: Annotated[str | None, typer.Argument(help="Such as 03; not with --plan.")] = None,
    grid: Annotated[Repeatable, typer.Option(
        help="NAME=1,2,3 or NAME=0:5. Repeatable: all combinations.")] = None,
    ranges: Annotated[Repeatable, typer.Option(
        "--range", help="NAME=0.01:0.3 or NAME=0.01:0.3:log. Repeatable.")] = None,
    random: Annotated[int, typer.Option(min=0, help="Number of draws from the ranges.")] = 0,
    parameter: Annotated[Repeatable, typer.Option(
        "-p", "--parameter", help="NAME=VALUE, the same in all trials.")] = None,
    plan: Annotated[Path | None, typer.Option(help="A YAML file with these settings.")] = None,
    processes: Annotated[int, typer.Option(
        "--workers", min=0, help="Worker processes; by default, one per core.")] = 0,
    scheduler: Annotated[str | None, typer.Option(
        help="Address of a Dask scheduler, such as tcp://10.0.0.1:8786.")] = None,
    resource: Annotated[Repeatable, typer.Option(
        help="Resource that a worker must have, such as GPU=1.")] = None,
    retries: Annotated[int, typer.Option(min=0, help="How often to retry a failed trial.")] = 0,
    cell_timeout: TimeoutOption = 3_600,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count the trials; run none.")] = False,
    root: RootOption = runs.ROOT,
) -> None:
    # fmt: on
    """Run a notebook with many settings, on all cores or a cluster. Finished trials are saved."""
    from dask.system import CPU_COUNT  # CPUs of this process, also in a container
    processes = processes or CPU_COUNT
    with report_errors(ValueError, OSError):
        trials = _plan(notebook, grid, ranges, random, parameter, plan).trials()
        resources = {n: read_value(text, "float", n) for n, text in _pairs(resource).items()}
        expectation = _expectation(trials, root, 1 if scheduler else processes)
    if dry_run:
        typer.echo(expectation)
        return

    def report(trial: "Trial", result: "NotebookResult") -> None:
        if result.state != "finished":
            params = ", ".join(f"{name}={value}" for name, value in trial.params.items())
            write(f"{params} failed: {result.message}; see {headless.trial_dir(trial, root)}")

    with (
        report_errors(headless.ClusterError, OSError),
        report_interrupt("Finished trials are saved; the same command resumes."),
        headless.open_client(scheduler, processes, root=root) as client,
    ):
        typer.echo(expectation)
        if scheduler or find_spec("bokeh"):  # bokeh draws the dashboard
            typer.echo(f"Watch it at {client.dashboard_link}")
        results = headless.run_sweep(
            trials, root, client, retries=retries, resources=resources, cell_timeout=cell_timeout,
            on_done=report, progress=terminal.show_progress(),
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
            raise ValueError("A plan file holds all settings; give no other settings with --plan.")
        return headless.read_plan(path)
    if notebook is None:
        raise ValueError("Which notebook? Name one, such as 03, or a plan file with --plan.")
    lists = {name: headless.parse_values(text) for name, text in _pairs(grid).items()}
    return headless.Plan(notebook, lists, _pairs(ranges), random, _pairs(parameter))


def _pairs(assignments: Repeatable) -> dict[str, str]:
    """Turn ["seed=0:5"] into {"seed": "0:5"}. ValueError for a missing name, or one given twice."""
    pairs: dict[str, str] = {}
    for assignment in assignments or ():
        name, equals, text = assignment.partition("=")
        if not equals or not name:
            raise ValueError(f"Expected NAME=VALUES, such as seed=0:5, got {assignment!r}.")
        if name in pairs:
            raise ValueError(f"{name} is given twice.")
        pairs[name] = text
    return pairs


def _expectation(trials: "list[Trial]", root: Path, workers: int) -> str:
    """How many trials there are, how many are finished, and how long the others may take."""
    name = trials[0].notebook
    finished = sum(headless.finished_trial(trial, root) is not None for trial in trials)
    seconds = headless.expected_seconds(name, len(trials) - finished, root, workers)
    time = "duration unknown, since no trial has finished yet"
    if seconds is not None:
        time = f"about {tqdm.format_interval(seconds)} with {workers} at once"
    return f"{len(trials)} trials of {name}, {finished} already finished; {time}"


@app.command()
def doctor(as_json: JsonOption = False, root: RootOption = runs.ROOT) -> None:
    """Check whether this machine is ready, and say what to do where it is not."""
    from helpers.headless.doctor import examine
    findings = []
    for finding in examine(root, PROJECT / "data"):
        findings.append(finding)
        if not as_json:
            colors = {"ok": "green", "hint": "yellow", "bad": "red"}
            color = None if os.environ.get("NO_COLOR") else colors[finding.state]
            typer.secho(str(finding), fg=color)
    if as_json:
        typer.echo(json.dumps([asdict(f) | {"state": f.state} for f in findings], indent=2))
    raise typer.Exit(int("bad" in {finding.state for finding in findings}))


@app.command()
def recipes(as_json: JsonOption = False) -> None:
    """List the recipes, with the accuracy that each reaches and the time that it takes."""
    import pandas as pd

    from helpers import data, models, training
    rows = []
    for (name, dataset), recipe in training.RECIPES.items():
        parameters = models.count_parameters(recipe.build(data.spec(dataset)))
        rows.append({
            "recipe": name, "dataset": dataset, "model": recipe.model, "parameters": parameters,
            "epochs": recipe.epochs, "test accuracy": recipe.measured, "duration": recipe.duration,
        })  # fmt: skip
    frame = pd.DataFrame(rows)
    if as_json:
        typer.echo(frame.to_json(orient="records", indent=2, force_ascii=False))
        return
    terminal.print_table(frame.assign(parameters=frame["parameters"].map("{:,}".format)))
    typer.echo("Durations on two cores; from tiny to accurate, on one.")
