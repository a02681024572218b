"""`python -m helpers …`: the command line, a thin layer over `series`, `runs` and `report`."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer
from tqdm.auto import tqdm

from helpers import parameters, runs, series, sweep_command, training_commands
from helpers.terminal import RootOption, exit_status, stopped_in_order, told_in_a_line

if TYPE_CHECKING:
    import pandas as pd

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
    with told_in_a_line(ValueError, OSError):
        settings = parameters.settings_for(profile, parameter or (), only or ())
        folder = series.unfinished(root, settings) if resume else runs.new(root, profile)
    typer.echo(f"{'Going on in' if resume else 'Running into'} {folder}")
    outcomes: list[series.Outcome] = []

    def tell(outcome: series.Outcome) -> None:
        outcomes.append(outcome)
        line = f"{outcome.notebook:<24} {outcome.state:<11} {outcome.seconds:5.0f} s"
        tqdm.write(f"{line}  {outcome.message}".rstrip())  # above the progress bars, if any

    status = 0
    with told_in_a_line(OSError), stopped_in_order():
        try:
            series.run(
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
        _show(runs.of(folder))
        from helpers import report

        title = f"Image classification: {profile} run, {folder.name}"
        typer.echo(f"Read it at {report.write_pages(folder, outcomes, title=title)}")
    raise typer.Exit(status or int(any(outcome.state != "done" for outcome in outcomes)))


app.command()(training_commands.train)
app.command()(training_commands.audit)
app.command()(sweep_command.sweep)


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
    with told_in_a_line(ValueError, OSError):
        _show(runs.collect(root))


def _show(frame: "pd.DataFrame") -> None:
    table = runs.summary(frame)
    typer.echo("" if table.empty else f"\n{table.to_string(index=False)}\n")


if __name__ == "__main__":
    app()
