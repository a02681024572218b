"""`python -m helpers sweep`: from one run of a notebook to hundreds."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from tqdm.auto import tqdm

from helpers import clusters, plans, runs, sweeps
from helpers.plans import Plan, Point
from helpers.series import Outcome
from helpers.terminal import RootOption, exit_status, stopped_in_order, told_in_a_line

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
    with told_in_a_line(ValueError, OSError):
        points = _plan(notebook, grid, ranges, random, parameter, plan).points()
        needed = {name: float(amount) for name, amount in _pairs(resource).items()}
        before = sum(sweeps.done(point, root) is not None for point in points)
        name, left = points[0].notebook, len(points) - before
        at_once = 1 if scheduler else processes  # how many workers a cluster has, it says later
        seconds = sweeps.expected_seconds(name, left, root, at_once)
    expected = "none has run yet, so nobody knows how long one takes"
    if seconds is not None:
        expected = f"about {tqdm.format_interval(seconds)} on {_counted(at_once, 'worker')}"
    typer.echo(f"{_counted(len(points), 'point')} of {name}, {before} done before; {expected}")
    if dry_run:
        return
    with told_in_a_line(clusters.ClusterError, OSError), stopped_in_order():
        try:
            with clusters.workers(scheduler, processes, root=root, needed=needed) as client:
                if scheduler or find_spec("bokeh"):
                    typer.echo(f"Watch it at {client.dashboard_link}")
                else:
                    typer.echo("To watch it in a browser as well: pip install bokeh")

                def tell(point: Point, outcome: Outcome) -> None:
                    if outcome.state != "done":
                        place = sweeps.folder_of(point, root)
                        tqdm.write(f"{_words(point)} failed: {outcome.message}; see {place}")

                outcomes = sweeps.run(
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
        from helpers import plan_files

        if notebook or grid or ranges or random or parameter:
            raise ValueError("A plan file says everything; give nothing else with --plan.")
        return plan_files.read(path)
    if notebook is None:
        raise ValueError("Which notebook? Name one, such as 03, or a plan file with --plan.")
    listed = {name: plans.values(text) for name, text in _pairs(grid).items()}
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


def _words(point: Point) -> str:
    return ", ".join(f"{name}={value}" for name, value in point.given.items())
