"""`python -m helpers …`: the command line, a thin layer over `series`, `runs` and `report`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from helpers import runs, series

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

RootOption = Annotated[Path, typer.Option(help="Where runs are kept.")]


@app.command()
def run(
    profile: Annotated[
        str,
        typer.Option(help="quick (a look), standard (the notebooks as they stand) or full (long)."),
    ] = "standard",
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter", "-p", help="Change a parameter, such as 02.epochs=3. Repeatable."
        ),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Run this notebook only, such as 03. Repeatable.")
    ] = None,
    root: RootOption = runs.ROOT,
) -> None:
    """Run the notebooks headlessly and leave notebooks, pages, weights, figures and records."""
    from helpers import report

    settings = series.settings_for(profile, parameter or ())
    only = [series.find(name).name for name in only or ()]
    folder = runs.new(root, profile)
    typer.echo(f"Running into {folder}")
    watched = sys.stderr.isatty()
    try:
        outcomes = series.run(settings, folder, only=only, progress=watched, on_done=_tell)
    except KeyboardInterrupt:
        typer.echo(f"Interrupted. What was finished is kept in {folder}", err=True)
        raise typer.Exit(130) from None
    index = report.write_pages(
        folder, outcomes, title=f"Image classification: {profile} run, {folder.name}"
    )
    finished = [outcome for outcome in outcomes if outcome.state == "done"]
    if finished:
        table = runs.summary(runs.collect(folder))
        typer.echo("" if table.empty else f"\n{table.to_string(index=False)}\n")
    typer.echo(f"Read it at {index}")
    if len(finished) < len(outcomes):
        raise typer.Exit(1)


@app.command(name="runs")
def show_runs(root: RootOption = runs.ROOT) -> None:
    """List what all runs so far have measured."""
    typer.echo(runs.summary(runs.collect(root)).to_string(index=False))


def _tell(outcome: series.Outcome) -> None:
    line = f"{outcome.notebook:<24} {outcome.state:<8} {outcome.seconds:5.0f} s  {outcome.message}"
    typer.echo(line.rstrip(), err=outcome.state != "done")


def main() -> None:
    """Run the command line; errors that a user can mend end in one line and exit status 2."""
    try:
        app()
    except (ValueError, OSError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
