"""`python -m helpers …`: the command line, a thin layer over `series`, `runs` and `report`."""

import errno
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated
import typer
import sys
from typing import TYPE_CHECKING, Annotated
from tqdm.auto import tqdm
from helpers import runs
from helpers.headless.notebooks import settings_for
from helpers.headless.runner import NotebookResult, find_unfinished, run_notebooks
if TYPE_CHECKING:
    import pandas as pd
import shutil
if TYPE_CHECKING:
    from torch.nn import Module

    from helpers.data import Splits
    from helpers.training import EpochRecord, History, Recipe
from importlib.util import find_spec
from helpers.headless.clusters import ClusterError, open_client
from helpers.headless.plans import Plan, Trial, parse_values
from helpers.headless.runner import NotebookResult
from helpers.headless.sweeps import expected_seconds, finished_trial, run_sweep, trial_dir

RootOption = Annotated[Path, typer.Option("--root", help="Where runs are kept.")]
DeviceOption = Annotated[
    str, typer.Option("--device", help="cpu, cuda, mps, … or auto for the fastest there is.")
]


@contextmanager
def report_errors(*errors: type[Exception]) -> Iterator[None]:
    """What a user can mend is told in one line, and ends with exit status 2."""
    try:
        yield
    except errors as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = ". Free some space; what was finished before is kept." if full else ""
        typer.echo(f"Error: {error}{advice}", err=True)
        raise typer.Exit(2) from error


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """SIGTERM ends the work as Ctrl-C does, so that what is half done is told and cleared away."""

    def stop(number: int, _: object) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def exit_status(stop: KeyboardInterrupt) -> int:
    """What a shell expects of a process that was stopped: 128 and the number of the signal."""
    return 128 + (signal.SIGTERM if stop.args else signal.SIGINT)



app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


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
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the last run that was begun like this one.")
    ] = False,
    root: RootOption = runs.ROOT,
) -> None:
    """Run the notebooks headlessly and leave notebooks, pages, weights, figures and records."""
    with report_errors(ValueError, OSError):
        settings = settings_for(profile, parameter or (), only or ())
        folder = find_unfinished(root, settings) if resume else runs.create_run(root, profile)
    typer.echo(f"{'Going on in' if resume else 'Running into'} {folder}")
    outcomes: list[NotebookResult] = []

    def tell(outcome: NotebookResult) -> None:
        outcomes.append(outcome)
        line = f"{outcome.notebook:<24} {outcome.state:<11} {outcome.seconds:5.0f} s"
        tqdm.write(f"{line}  {outcome.message}".rstrip())  # above the progress bars, if any

    status = 0
    with report_errors(OSError), sigterm_as_interrupt():
        try:
            run_notebooks(
                settings,
                folder,
                cell_timeout=cell_timeout,
                progress=sys.stderr.isatty(),
                on_done=tell,
            )
        except KeyboardInterrupt as stop:
            typer.echo(
                "Interrupted. What was finished is kept; the same command with --resume goes on.",
                err=True,
            )
            status = exit_status(stop)
        _show(runs.load_run(folder))
        from helpers import headless

        title = f"Image classification: {profile} run, {folder.name}"
        typer.echo(f"Read it at {report.write_pages(folder, outcomes, title=title)}")
    raise typer.Exit(status or int(any(outcome.state != "done" for outcome in outcomes)))


app.command()(train)
app.command()(audit)
app.command()(sweep)


@app.command()
def doctor(root: RootOption = runs.ROOT) -> None:
    """Say whether this machine is ready, and what to do where it is not."""
    from helpers.files import PROJECT
    from helpers.headless.doctor import examine

    states = set()
    for finding in examine(root, PROJECT / "data"):
        states.add(finding.state)
        typer.secho(str(finding), fg={"ok": "green", "hint": "yellow", "bad": "red"}[finding.state])
    raise typer.Exit(int("bad" in states))


@app.command(name="runs")
def show_runs(root: RootOption = runs.ROOT) -> None:
    """List what all runs so far have measured."""
    with report_errors(ValueError, OSError):
        _show(runs.collect(root))


def _show(frame: "pd.DataFrame") -> None:
    table = runs.summary(frame)
    typer.echo("" if table.empty else f"\n{table.to_string(index=False)}\n")


if __name__ == "__main__":
    app()




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

    from helpers import data, device, training

    mendable = (ValueError, OSError, training.TrainingError)
    with report_errors(*mendable), training.join_process_group(device_name) as (ranks, where):
        followed = training.find_recipe(recipe, dataset)
        followed = replace(followed, precision=precision or followed.precision_on(where))
        training.gradient_scaler(where, followed.precision)  # not every device has every format
        splits = data.load_splits(dataset)
        first = ranks.rank == 0  # of several processes one talks, tests and writes
        if first:
            computer = f"{ranks.size} × {device.describe(where)}".removeprefix("1 × ")
            typer.echo(f"{recipe} on {splits.spec.title}, {computer}, {followed.precision}")
        unfinished = root / f"unfinished-{dataset}-{recipe}-seed-{seed}"
        with sigterm_as_interrupt():
            model, trained = training.train(
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

    from helpers import evaluation

    measured, several = {}, evaluation.num_views(followed.augmentation) > 1
    for name, split in followed.unseen(splits).items():
        measured[f"{name}_accuracy"] = evaluation.accuracy(evaluation.predict(model, split))
        if several:
            seen = evaluation.predict_tta(model, split, followed.augmentation)
            measured[f"{name}_accuracy_of_views"] = evaluation.accuracy(seen)
    settings = {k: v for k, v in asdict(followed).items() if k not in ("source", "measured")}
    record = runs.save(
        runs.create_run(root, str(told["recipe"])) / f"train_{splits.spec.name}",
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
    from helpers import device, labels, training

    with report_errors(ValueError, OSError):
        where = device.choose(device_name)
        followed = training.find_recipe(recipe, dataset)
        typer.echo(f"{seeds} × {folds} trainings of {recipe}, {device.describe(where)}")
        try:
            with sigterm_as_interrupt():
                audited = labels.run_audit(
                    dataset, followed,
                    keep=root / "audit", folds=folds, seeds=range(seeds), where=where,
                )  # fmt: skip
        except KeyboardInterrupt as stop:
            typer.echo("Interrupted. The same command goes on where this one stopped.", err=True)
            raise typer.Exit(exit_status(stop)) from None
        folder = runs.create_run(root, "audit") / f"audit_{dataset}"
        page = labels.write_gallery(audited, folder)
        runs.save(
            folder, notebook=f"audit_{dataset}", dataset=audited.spec,
            parameters={"recipe": recipe, "folds": folds, "seeds": seeds},
            measured=labels.summarize(audited), device=device.describe(where),
        )  # fmt: skip
    typer.echo(f"Read it at {page}; the list is {folder / 'labels.csv'}")



Repeatable = list[str] | None


def sweep(
    notebook: Annotated[
        str | None, typer.Argument(help="Which notebook, such as 03; or see --plan.")
    ] = None,
    grid: Annotated[
        Repeatable, typer.Option(help="NAME=1,2,3 or NAME=0:5. Repeatable: all combinations.")
    ] = None,
    ranges: Annotated[
        Repeatable, typer.Option("--range", help="NAME=0.01:0.3 or NAME=0.01:0.3:log. Repeatable.")
    ] = None,
    random: Annotated[int, typer.Option(min=0, help="How many draws from the ranges.")] = 0,
    parameter: Annotated[
        Repeatable, typer.Option("-p", "--parameter", help="NAME=VALUE, the same at every point.")
    ] = None,
    plan: Annotated[Path | None, typer.Option(help="A YAML file that says all of this.")] = None,
    processes: Annotated[
        int, typer.Option("--workers", min=0, help="Worker processes; by default one a core.")
    ] = 0,
    scheduler: Annotated[
        str | None, typer.Option(help="Of a Dask cluster, such as tcp://10.0.0.1:8786.")
    ] = None,
    resource: Annotated[
        Repeatable, typer.Option(help="What a worker must have, such as GPU=1.")
    ] = None,
    retries: Annotated[
        int, typer.Option(min=0, help="How often a failing point is tried again.")
    ] = 0,
    cell_timeout: Annotated[int, typer.Option(help="Seconds that one cell may take.")] = 3_600,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be run.")] = False,
    root: RootOption = runs.ROOT,
) -> None:
    """Run a notebook at many points, on all cores or on a cluster; what is done stays done."""
    from dask.system import CPU_COUNT  # those that this process may use, in a container as well

    processes = processes or CPU_COUNT
    root = root.resolve()  # it has another meaning in a worker's folder
    with report_errors(ValueError, OSError):
        points = _plan(notebook, grid, ranges, random, parameter, plan).points()
        needed = {name: float(amount) for name, amount in _pairs(resource).items()}
        before = sum(finished_trial(point, root) is not None for point in points)
        name, left = points[0].notebook, len(points) - before
        at_once = 1 if scheduler else processes  # how many workers a cluster has, it says later
        seconds = expected_seconds(name, left, root, at_once)
    expected = "none has run yet, so nobody knows how long one takes"
    if seconds is not None:
        expected = f"about {tqdm.format_interval(seconds)} on {_counted(at_once, 'worker')}"
    typer.echo(f"{_counted(len(points), 'point')} of {name}, {before} done before; {expected}")
    if dry_run:
        return
    with report_errors(ClusterError, OSError), sigterm_as_interrupt():
        try:
            with open_client(scheduler, processes, root=root, needed=needed) as client:
                if scheduler or find_spec("bokeh"):
                    typer.echo(f"Watch it at {client.dashboard_link}")
                else:
                    typer.echo("To watch it in a browser as well: pip install bokeh")

                def tell(point: Trial, outcome: NotebookResult) -> None:
                    if outcome.state != "done":
                        place = trial_dir(point, root)
                        tqdm.write(f"{_words(point)} failed: {outcome.message}; see {place}")

                outcomes = run_sweep(
                    points, root, client, retries=retries, resources=needed,
                    cell_timeout=cell_timeout, on_done=tell, progress=sys.stderr.isatty(),
                )  # fmt: skip
        except KeyboardInterrupt as stop:
            typer.echo("Interrupted. Finished points are kept; the same command goes on.", err=True)
            raise typer.Exit(exit_status(stop)) from None
    good = sum(outcome.state == "done" for outcome in outcomes)
    failed = len(outcomes) - good
    typer.echo(f"{_counted(good, 'point')} done, {failed} failed, in {root / 'sweeps'}")
    raise typer.Exit(int(failed > 0))


def _plan(
    notebook: str | None,
    grid: Repeatable,
    ranges: Repeatable,
    random: int,
    parameter: Repeatable,
    path: Path | None,
) -> Plan:
    if path is not None:
        from helpers.headless.plan_files import read_plan

        if notebook or grid or ranges or random or parameter:
            raise ValueError("A plan file says everything; give nothing else with --plan.")
        return read_plan(path)
    if notebook is None:
        raise ValueError("Which notebook? Name one, such as 03, or a plan file with --plan.")
    listed = {name: parse_values(text) for name, text in _pairs(grid).items()}
    return Plan(notebook, listed, _pairs(ranges), random, _pairs(parameter))


def _pairs(assignments: Repeatable) -> dict[str, str]:
    """From ["seed=0:5"] {"seed": "0:5"}; ValueError where there is no name, or one twice."""
    pairs: dict[str, str] = {}
    for assignment in assignments or ():
        name, equals, text = assignment.partition("=")
        if not equals or not name:
            raise ValueError(f"Wanted NAME=VALUES, such as seed=0:5, got {assignment!r}.")
        if name in pairs:
            raise ValueError(f"{name} is given twice.")
        pairs[name] = text
    return pairs


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'s' if n != 1 else ''}"


def _words(point: Trial) -> str:
    return ", ".join(f"{name}={value}" for name, value in point.given.items())
