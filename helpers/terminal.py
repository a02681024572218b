"""How does the command line talk to a person? What its commands share."""

import errno
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

RootOption = Annotated[Path, typer.Option("--root", help="Where runs are kept.")]
DeviceOption = Annotated[
    str, typer.Option("--device", help="cpu, cuda, mps, … or auto for the fastest there is.")
]


@contextmanager
def told_in_a_line(*errors: type[Exception]) -> Iterator[None]:
    """What a user can mend is told in one line, and ends with exit status 2."""
    try:
        yield
    except errors as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = ". Free some space; what was finished before is kept." if full else ""
        typer.echo(f"Error: {error}{advice}", err=True)
        raise typer.Exit(2) from error


@contextmanager
def stopped_in_order() -> Iterator[None]:
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
