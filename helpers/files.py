"""Atomic writes, folder locks and short digests."""

import errno
import hashlib
import os
import platform
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock
import psutil

PROJECT = Path(__file__).resolve().parent.parent  # the clone: data/, notebooks/ and runs/ are in it
TEMPORARY = ".half-written"
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:([/\\]|$)", re.IGNORECASE)  # a drive has one letter


def short_digest(*parts: bytes | memoryview | str) -> str:
    """Twelve hex digits that identify all `parts` together: the start of their SHA-256."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part.encode() if isinstance(part, str) else part)
    return total.hexdigest()[:12]


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write `content` to `path` so that a reader sees the old file or the whole new one.

    That holds after a power loss, too, and once this has returned, it is the new one. Parent
    folders are made. Temporary files of killed processes are deleted. Raises OSError if the folder
    cannot be written to; `path` is then unchanged.
    """
    make_folder(path.parent)
    for left in path.parent.glob(f".*.{platform.node()}.*{TEMPORARY}"):
        writer = int(left.name.removesuffix(TEMPORARY).rpartition(".")[2])
        if not psutil.pid_exists(writer):
            with suppress(OSError):  # another process was quicker, or the folder is read-only
                left.unlink()
    name = f".{path.name}.{uuid.uuid4().hex}.{platform.node()}.{os.getpid()}{TEMPORARY}"
    temporary = path.with_name(name)
    try:
        with temporary.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_names(path.parent)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a full disk does not say where
        raise


def make_folder(folder: Path, *, exist_ok: bool = True) -> None:
    """Make a folder and its parents, as Path.mkdir does, so that they outlast a power loss."""
    if ADDRESS.match(str(folder)):
        raise ValueError(f"Wanted a place on this machine, got the address {folder}.")
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=exist_ok)
    for made in missing:
        _sync_names(made.parent)


def _sync_names(folder: Path) -> None:
    """Write the names of a folder's files to the disk, where the system can do that."""
    if os.name == "nt":  # Windows does it by itself, and cannot open a folder
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EACCES):
            raise


@contextmanager
def lock_folder(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Lock a folder, so that no other process works in it meanwhile. The folder is made if needed.

    A folder that is empty at the end is removed. Raises BlockingIOError if another process has the
    lock, unless it shall `wait` for that one; and OSError if the folder cannot be written to.
    """
    make_folder(folder)
    path = folder / ".lock"
    lock = filelock.FileLock(path)
    try:
        lock.acquire(blocking=wait, poll_interval=1)
    except filelock.Timeout as error:
        message = "Another process works here; wait for its end or stop it"
        raise BlockingIOError(errno.EWOULDBLOCK, message, str(folder)) from error
    try:
        yield
    finally:
        if os.name == "nt":  # Windows cannot delete an open file; there filelock deletes it
            lock.release()
        else:
            path.unlink(missing_ok=True)
        with suppress(OSError):  # usually it is not empty
            folder.rmdir()
        lock.release()
