"""Terminal input and output of the commands: choices, errors in one line, progress, tables."""

import errno
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import typer

from helpers.messages import check_name

if TYPE_CHECKING:
    import pandas as pd


_FULL = ". Free some space; finished work is saved."
_READ_ONLY = ". Choose a folder that is writable, with --root."
ADVICE = {  # by `errno` of an OSError
    errno.ENOSPC: _FULL, errno.EDQUOT: _FULL, errno.EROFS: _READ_ONLY, errno.EACCES: _READ_ONLY,
}  # fmt: skip


def prepare_streams() -> None:
    """Print "?" for characters that the console cannot show, instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]


@contextmanager
def report_errors(*errors: type[Exception]) -> Iterator[None]:
    """Print errors that the user can correct as one line, and exit with status 2."""
    try:
        yield
    except BrokenPipeError:
        raise  # the reader of the output, such as `head`, has ended
    except errors as error:
        number = error.errno if isinstance(error, OSError) else None
        typer.echo(f"Error: {error}{ADVICE.get(number or 0, '')}", err=True)
        raise typer.Exit(2) from error


@contextmanager
def report_interrupt(message: str) -> Iterator[None]:
    """Print a message after Ctrl-C or SIGTERM, and exit with status 128 + number of the signal."""

    def interrupt(number: int, _: object) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt as stop:
        if message:
            typer.echo(f"Interrupted. {message}", err=True)
        sent = stop.__cause__ if isinstance(stop.__cause__, KeyboardInterrupt) else stop
        number = signal.SIGTERM if sent.args else signal.SIGINT
        raise typer.Exit(128 + number) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def one_of(kind: str, names: Iterable[str], *, or_folder: bool = False) -> dict:
    """Options for a typer argument that must be one of `names`: metavar, completion and check.

    With `or_folder` it may also be a path, which exists or contains a slash.
    """
    names = list(names)

    def check(value: str) -> str:
        is_path = or_folder and (os.path.exists(value) or "/" in value or os.sep in value)
        with report_errors(ValueError):
            if not is_path:
                check_name(kind, value, names)
        return value

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    metavar = "|".join([*names, "FOLDER"] if or_folder else names)
    return {"metavar": metavar, "autocompletion": complete, "callback": check}


def write(line: str, *, err: bool = False) -> None:
    """Print a line above the progress bars, if there are any."""
    from tqdm.auto import tqdm

    tqdm.write(line, file=sys.stderr if err else None)


def echo(line: str, wanted: bool, *, err: bool = False) -> None:
    """Print a line if `wanted`."""
    if wanted:
        typer.echo(line, err=err)


def show_progress() -> Literal[True, "log"]:
    """How to show progress: a bar in a terminal, lines elsewhere."""
    return True if sys.stderr.isatty() else "log"


def print_table(frame: "pd.DataFrame") -> None:
    """Print a frame without its index. In a narrow terminal, long cells are wrapped."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name, column in frame.items():
        number = column.map(lambda cell: str(cell)[:1].isdigit() or cell == "").all()
        table.add_column(str(name), justify="right" if number else "left", overflow="fold")
    for row in frame.itertuples(index=False):
        table.add_row(*map(str, row))
    width = None if sys.stdout.isatty() else 500
    Console(width=width, markup=False, highlight=False, emoji=False).print(table)
