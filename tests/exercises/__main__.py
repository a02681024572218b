"""Run the exercise notebooks in place, and write the student versions and solutions.

    python -m tests.exercises                 # all of them; or: --only 02

`make exercises` does the same. A source is in notebooks/exercises/, in the format of nbgrader.
"""

from pathlib import Path
from typing import Annotated

import nbformat
import typer

from helpers import headless
from helpers.files import write_atomic
from tests import refresh
from tests.exercises.versions import SOURCES, read, solution_page, student_version, targets


def main(
    only: Annotated[
        list[str] | None, typer.Option(help="This chapter only, such as 02. Repeatable.")
    ] = None,
    run: Annotated[bool, typer.Option(help="Run them, or only write from the last run.")] = True,
) -> None:
    """Run the exercise notebooks, and write what is generated from them."""
    chosen = [headless.find_notebook(name).name for name in only or ()]
    for path in SOURCES:
        if chosen and path.stem not in chosen:
            continue
        typer.echo(f"{'Running' if run else 'Writing from'} {path.stem}")
        write(path, run=run)


def write(path: Path, *, run: bool) -> None:
    """Run one source in place, and write its student version and its solutions."""
    source = read(path)
    if run:
        source = refresh.normalized(refresh.executed(source, path.parent))
        write_atomic(path, nbformat.writes(source) + "\n")
    student, page = targets(path)
    write_atomic(student, nbformat.writes(student_version(source)) + "\n")
    write_atomic(page, solution_page(source))


if __name__ == "__main__":
    typer.run(main)
