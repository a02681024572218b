"""How is a file written so that it is whole or not there, and a folder worked in by one only?"""

import errno
import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock
import psutil

PROJECT = Path(__file__).resolve().parent.parent  # the clone: data/, notebooks/ and runs/ are in it
TEMPORARY = ".half-written"


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write `content` to `path` such that a reader sees the old file or the whole new one.

    The bytes go to a temporary file in the same folder, are forced to the disk, and are then
    renamed; a crash, a full disk or a second writer leaves no half-written file under its name.
    What a killed process has left under temporary names is cleared away. Parent folders are made.
    Raises OSError if the folder cannot be written to; `path` is then as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    clear_leftovers(path.parent)
    suffix = f".{platform.node()}.{os.getpid()}{TEMPORARY}"
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=suffix)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())  # mkstemp makes files that only their owner can read
        os.replace(name, path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a full disk does not say where
        raise


def clear_leftovers(folder: Path) -> None:
    """Delete what processes of this machine that are no longer alive were writing to a folder."""
    for path in folder.glob(f".*.{platform.node()}.*{TEMPORARY}"):
        writer = int(path.name.removesuffix(TEMPORARY).rpartition(".")[2])
        if not psutil.pid_exists(writer):
            with suppress(OSError):  # somebody else was quicker, or nothing may be deleted here
                path.unlink()


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder, which is made if need be, so that no other process works in it meanwhile.

    The system lets go of it when the process ends, however that comes. A folder that is empty at
    the end is removed. Raises BlockingIOError if another process holds it, OSError if it cannot be
    written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / ".lock"
    lock = filelock.FileLock(place)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout as error:
        raise BlockingIOError(
            errno.EWOULDBLOCK,
            "Another process works here; wait for its end or stop it",
            str(folder),
        ) from error
    try:
        yield
    finally:
        if os.name == "nt":  # Windows deletes no open file; there filelock deletes it itself
            lock.release()
        else:
            place.unlink(missing_ok=True)
        with suppress(OSError):  # it is not empty, as a rule
            folder.rmdir()
        lock.release()


def _umask() -> int:
    current = os.umask(0o022)  # the only way to read it is to set it
    os.umask(current)
    return current
