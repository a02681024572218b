"""The commands `report`, `runs`, `runs show`, `runs compare` and `runs rm`."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from helpers import runs
from helpers.files import URL
from helpers.headless.report import write_pages, write_runs_index
from helpers.headless.terminal import one_of, print_table, report_errors
from helpers.messages import unknown_name

if TYPE_CHECKING:
    import pandas as pd

LOCALES = Path(__file__).parent / "locales"
LANGUAGES = ("en", *sorted(path.stem for path in LOCALES.glob("*.po")))
FORMATS = ("html", "pdf", "md")  # of a report
app = typer.Typer(pretty_exceptions_enable=False, help="List, show, compare and delete runs.")


def _resolve(root: Path) -> Path:
    with report_errors(ValueError):
        if URL.match(str(root)):
            raise ValueError(f"Expected a local path for --root, got the URL {root}.")
    return root.resolve()  # workers, for example, may have other working directories


RootOption = Annotated[Path, typer.Option("--root", help="Folder of runs.", callback=_resolve)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print only the result, as JSON.")]
RunArgument = Annotated[str, typer.Argument(help="A run listed by `runs`, or part of its name.")]


@app.callback(invoke_without_command=True)
def list_runs(
    context: typer.Context,
    sort: Annotated[
        str, typer.Option(help="Column to sort by: when, test, seconds, parameters.epochs, …")
    ] = "when",
    last: Annotated[int, typer.Option(min=0, help="Number of newest runs; 0: all.")] = 0,
    best: Annotated[bool, typer.Option("--best", help="Only the best run per data set.")] = False,
    as_json: JsonOption = False,
    root: RootOption = runs.ROOT,
) -> None:
    """List all runs with their date, notebook, epochs and test accuracy."""
    if context.invoked_subcommand is not None:
        return
    with report_errors(ValueError, OSError):
        frame = runs.collect(root)
        frame = _sorted(frame.tail(last) if last else frame, sort)
        if best:
            tested = frame.reindex(columns=["dataset", "measured.test_accuracy"]).dropna()
            order = tested.sort_values("measured.test_accuracy", ascending=False, kind="stable")
            frame = frame[frame.index.isin(order.groupby("dataset").head(1).index)]
    if as_json:
        typer.echo(json.dumps([_record(row) for row in frame.to_dict("records")], indent=2))
    elif frame.empty:
        typer.echo(f"There are no runs in {root}.")
    else:
        print_table(runs.overview(frame.tail(runs.MAX_LISTED), root))
        if len(frame) > runs.MAX_LISTED:
            left = f"{len(frame) - runs.MAX_LISTED:,}"
            typer.echo(f"{left} more come before these. --json prints all of them.")


def _sorted(frame: "pd.DataFrame", column: str) -> "pd.DataFrame":
    """Sort by a column, with its name in `collect` or in `overview`."""
    short = {
        "run": "folder", "when": "finished", "what": "notebook", "data set": "dataset",
        "seed": "parameters.seed", "test": "measured.test_accuracy",
    }  # fmt: skip
    column = short.get(column, column)
    if column not in frame and not frame.empty:
        raise ValueError(unknown_name("column", column, [*short, *sorted(frame.columns)]))
    is_sorted = column == "finished" or column not in frame  # `collect` sorts by time
    return frame if is_sorted else frame.sort_values(column, kind="stable")


def _record(row: dict) -> dict:
    """A row without missing values: nan, which differs from itself, and empty text."""
    return {name: value for name, value in row.items() if value == value and value != ""}


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


@app.command()
def show(run: RunArgument, as_json: JsonOption = False, root: RootOption = runs.ROOT) -> None:
    """Show the settings, results and files of one run."""
    with report_errors(ValueError, OSError):
        folder = runs.find(root, run)
        records = [_record(row) for row in runs.load_run(folder).to_dict("records")]
    if as_json:
        typer.echo(json.dumps(records, indent=2))
        return
    for record in records:
        files = sorted(path.name for path in Path(record["folder"]).glob("*"))  # may be missing
        lines = record | {"files": ", ".join(files)}
        width = max(map(len, lines))
        typer.echo("\n".join(f"{name:<{width}} {_text(value)}" for name, value in lines.items()))


@app.command()
def compare(first: RunArgument, second: RunArgument, root: RootOption = runs.ROOT) -> None:
    """Show what differs between two runs, and compare their accuracies by McNemar's test."""
    import pandas as pd

    with report_errors(ValueError, OSError):
        pair = [_only(runs.find(root, name)) for name in (first, second)]
    names = [name for name in {**pair[0], **pair[1]} if name not in ("folder", "run", "finished")]
    rows = [
        {"": name, "first": _text(pair[0].get(name, "-")), "second": _text(pair[1].get(name, "-"))}
        for name in names if pair[0].get(name) != pair[1].get(name)
    ]  # fmt: skip
    if rows:
        print_table(pd.DataFrame(rows))
    else:
        typer.echo("The runs do not differ.")
    typer.echo(_test(*(Path(record["folder"]) for record in pair)))


def _only(folder: Path) -> dict:
    rows = runs.load_run(folder).to_dict("records")
    if len(rows) != 1:
        name = folder.name
        raise ValueError(f"{name} has {len(rows)} notebooks. Name one, such as {name}/02.")
    return _record(rows[0])


def _test(first: Path, second: Path) -> str:
    """McNemar's test, if both runs have saved their predictions of the same test images."""
    import pandas as pd
    import torch

    from helpers import evaluation

    paths = [folder / runs.PREDICTIONS for folder in (first, second)]
    if not all(path.is_file() for path in paths):
        return "No test: not both runs saved their predictions."
    one, other = (pd.read_csv(path) for path in paths)
    if not one["target"].equals(other["target"]):
        return "No test: the runs were tested on different images."
    right = [torch.tensor((f["predicted"] == f["target"]).tolist()) for f in (one, other)]
    found = evaluation.mcnemar(*right)
    verdict = "differ" if found.p_value < 0.05 else "do not differ significantly"
    return (
        f"Only the first is right on {found.only_first} test images, only the second on "
        f"{found.only_second}: they {verdict} (McNemar's test, p = {found.p_value:.2g})."
    )


@app.command()
def rm(
    run: Annotated[list[str], typer.Argument(help="Runs listed by `runs`, or name parts.")],
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
    root: RootOption = runs.ROOT,
) -> None:
    """Delete runs, after asking."""
    with report_errors(ValueError, OSError):
        named = {runs.find(root, name) for name in run}
        folders = sorted(folder for folder in named if named.isdisjoint(folder.parents))
        for folder in folders:
            files = [path for path in folder.rglob("*") if path.is_file()]
            size = sum(path.stat().st_size for path in files) / 1e6
            typer.echo(f"{folder}: {len(files)} files, {size:.1f} MB")
        if not yes and not typer.confirm("Delete?"):
            typer.echo("Nothing was deleted.")
            raise typer.Exit(1)
        for folder in folders:
            shutil.rmtree(folder)
            if folder.parent != root and not any(folder.parent.iterdir()):
                folder.parent.rmdir()
        write_runs_index(root)


def report(
    run: Annotated[str, typer.Argument(help="A run; by default, the newest.")] = "",
    language: Annotated[str, typer.Option(**one_of("language", LANGUAGES))] = "en",
    to: Annotated[str, typer.Option(help="html, pdf, md, or several: html,pdf.")] = "html",
    author: Annotated[str, typer.Option(help="Your name.")] = "",
    title: Annotated[str, typer.Option(help="Title of the report.")] = "",
    root: RootOption = runs.ROOT,
) -> None:
    """Write a technical report of what a run has measured, in the folder of that run."""
    from helpers.headless.report_writer import write_report
    from helpers.headless.student_report import collect_facts

    with report_errors(ValueError, OSError):
        formats = to.split(",")
        for name in formats:
            if name not in FORMATS:
                raise ValueError(unknown_name("format", name, FORMATS))
        folder = _find(root.resolve(), run)
        facts = collect_facts(folder)
        written = write_report(
            facts, folder, formats, language=language, author=author, title=title
        )
        if (folder / "index.html").is_file():
            write_pages(folder)  # the index page links to all reports
    for path in written:
        typer.echo(f"The report: {path} ({path.stat().st_size / 1e3:,.0f} kB)")
    if "pdf" in formats and not any(path.suffix == ".pdf" for path in written):
        typer.echo(
            "No PDF: chromium is not installed, or failed. Print the page from a browser.", err=True
        )


def _find(root: Path, name: str) -> Path:
    """The folder of the run with that name, or without a name, of the run that changed last."""
    if name:
        place = (root / name).resolve()
        inside = place.rglob("*.json") if root in place.parents else ()  # never of the whole disk
        recorded = any(file.name in (runs.RESULT, runs.STATUS) for file in inside)
        return place if recorded else runs.find(root, name)
    files = [*root.glob(f"*/*/{runs.RESULT}"), *root.glob(f"*/{runs.STATUS}")]
    for path in sorted(files, key=lambda path: path.stat().st_mtime, reverse=True):
        name = path.relative_to(root).parts[0]
        if root in path.resolve().parents and not name.startswith("unfinished-"):  # nor a link
            return root / name
    raise ValueError(f"There are no runs in {root}. `python -m helpers run` starts one.")
