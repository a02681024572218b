"""Atomic writes, folder locks, short digests, and the JSON files of many folders."""

import errno
import hashlib
import json
import os
import platform
import re
import time
import uuid
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock
import psutil

PROJECT = Path(__file__).resolve().parent.parent  # the clone: data/, notebooks/ and runs/ are in it
TEMPORARY = ".half-written"
INDEX, INDEX_FORMAT = ".index.json", 2  # of `read_tree`; an index of another format is ignored
MIN_INDEX_CHANGES = 2_000  # changes that are worth an index: reading them again takes half a second
URL = re.compile(r"[a-z][a-z0-9+.-]+:([/\\]|$)", re.IGNORECASE)  # a URL; a drive has one letter


def short_digest(*parts: bytes | memoryview | str) -> str:
    """Twelve hex digits that identify all `parts` together: the start of their SHA-256."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part.encode() if isinstance(part, str) else part)
    return total.hexdigest()[:12]


def write_atomic(path: Path | str, content: bytes | str) -> None:
    """Write `content` to `path` so that a reader sees the old file or the whole new one.

    This holds after a power loss, too. After this function returns, readers see the new file.
    Parent folders are made. Temporary files of killed processes are deleted. Raises OSError if the
    folder cannot be written to; `path` is then unchanged. Raises ValueError for a URL.
    """
    path = Path(path)
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


def make_folder(folder: Path | str, *, exist_ok: bool = True) -> None:
    """Make a folder and its parents as Path.mkdir does, flushed to disk. ValueError for a URL."""
    if URL.match(str(folder)):
        raise ValueError(f"Expected a local path, got the URL {folder}.")
    folder = Path(folder)
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=exist_ok)
    for made in missing:
        _sync_names(made.parent)


def _sync_names(folder: Path) -> None:
    """Flush the entries of a folder to the disk (fsync), where the system can do that."""
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
def lock_folder(folder: Path | str, *, wait: bool = False) -> Iterator[None]:
    """Lock a folder, so that no other process can lock it meanwhile. The folder is made if needed.

    A folder that is empty at the end is removed. If another process has the lock, this function
    waits, or without `wait` raises BlockingIOError. Raises OSError if it cannot write there.
    """
    make_folder(folder)
    path = Path(folder, ".lock")
    lock = filelock.FileLock(path)
    try:
        lock.acquire(blocking=wait, poll_interval=1)
    except filelock.Timeout as error:
        message = "Another process uses this folder; wait until it ends, or stop it"
        raise BlockingIOError(errno.EWOULDBLOCK, message, str(folder)) from error
    try:
        yield
    finally:
        if os.name == "nt":  # Windows cannot delete an open file; there filelock deletes it
            lock.release()
        else:
            path.unlink(missing_ok=True)
        with suppress(OSError):  # usually it is not empty
            path.parent.rmdir()
        lock.release()


def read_tree(
    root: Path, names: Collection[str], read: Callable[[Path], dict]
) -> dict[str, dict[str, dict]]:
    """Apply `read` to all files in `root` and below that have one of the `names`. Returns the
    results by path of the folder and by name. Links to folders are not followed.

    If 2,000 or more files and folders are new or changed, the results are cached in an index, a
    file in `root`, with the time and size of each. The next call reads only what has changed since.
    """
    from tqdm import tqdm

    index, places, changes = _read_index(root / INDEX), [""], 0  # `places` grow meanwhile
    entries: dict[str, list] = {}
    found: dict[str, dict[str, dict]] = {}
    settled = time.time_ns() - 2 * 10**9  # younger files may change within the same time stamp
    for place in tqdm(iter(places), unit=" folders", delay=5, leave=False, disable=None):
        folder, entry = f"{root}{place}", index.get(place)
        stamp = _stamp(folder, settled)
        if entry is None or not stamp or entry[0] != stamp:
            entry = [stamp, *_list_folder(folder, names)]
            changes += 1
        for name, kept in entry[2].items():
            stamp = _stamp(path := f"{folder}{os.sep}{name}", settled)
            if not stamp or kept[0] != stamp:
                kept[:] = [], None
                with suppress(FileNotFoundError):  # deleted meanwhile
                    kept[:] = stamp, read(Path(path))
                changes += 1
            if kept[1] is not None:
                found.setdefault(folder, {})[name] = kept[1]
        entries[place] = entry
        places += [f"{place}{os.sep}{name}" for name in entry[1]]
    if changes >= MIN_INDEX_CHANGES:
        with suppress(OSError):  # it only saves time, and the folder may be read-only
            _write_index(root / INDEX, entries)
    return found


def _stamp(path: str, settled: int) -> list[int]:
    """Time and size of a file or folder; nothing if it is gone or younger than `settled`."""
    try:
        status = os.stat(path)
    except OSError:
        return []
    return [status.st_mtime_ns, status.st_size] if status.st_mtime_ns < settled else []


def _list_folder(folder: str, names: Collection[str]) -> tuple[list[str], dict[str, list]]:
    """The subfolders of a folder, and its files with these names: stamp and content still empty."""
    folders: list[str] = []
    files: dict[str, list] = {}
    with suppress(FileNotFoundError, PermissionError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            elif entry.name in names and entry.is_file():
                files[entry.name] = [[], None]
    return folders, files


def _write_index(path: Path, entries: dict[str, list]) -> None:
    """Write the index: for each folder its stamp, its subfolders, and its files by name with stamp
    and content. A content is stored as the number of its tuple of keys, followed by its values.
    """
    numbers: dict[tuple, int] = {}
    for kept in _files(entries):
        keys = tuple(kept[1] or ())
        kept[1:] = numbers.setdefault(keys, len(numbers)), *(kept[1] or {}).values()
    text = json.dumps([list(numbers), entries], separators=(",", ":")).encode()
    write_atomic(path, b"%08x %d\n%s" % (zlib.crc32(text), INDEX_FORMAT, text))


def _read_index(path: Path) -> dict[str, list]:
    """The entries that `_write_index` wrote; none if the index is missing, damaged or outdated."""
    with suppress(OSError):
        checksum, _, text = path.read_bytes().partition(b"\n")
        if checksum == b"%08x %d" % (zlib.crc32(text), INDEX_FORMAT):
            keys, entries = json.loads(text)
            for kept in _files(entries):
                kept[1:] = [dict(zip(keys[kept[1]], kept[2:], strict=True))]
            return entries
    return {}


def _files(entries: dict[str, list]) -> Iterator[list]:
    return (kept for entry in entries.values() for kept in entry[2].values())
