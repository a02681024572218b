"""Damage each data file in every way; loading must give the right images, or a clear error.

The files are links to the real ones, or copies, except the damaged one.
"""

import hashlib
import http.server
import os
import random
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest import mock

import torchvision.datasets  # imported now: an unprivileged user may not be able to read it later

from helpers import data
from helpers.data import SPECS, DamagedDataError, DatasetSpec
from helpers.files import PROJECT
from tests.faults import PROCESSES

UNPRIVILEGED_UID = 65534  # a user id without rights: root may read and write everything
OTHER = {"MNIST": "FashionMNIST", "FashionMNIST": "MNIST"}


def digest(name: str, root: Path) -> str:
    """A digest of all images and labels loaded from `root`."""
    parts = "".join(split.digest for split in data.load_published(name, root))
    return hashlib.sha256(parts.encode()).hexdigest()


def damage(path: Path, how: str, rng: random.Random) -> None:
    """Replace a file by a damaged one."""
    content = path.read_bytes()
    path.unlink()
    if how == "cut short":
        path.write_bytes(content[: rng.randrange(1, len(content))])
    elif how == "emptied":
        path.write_bytes(b"")
    elif how == "a bit flipped":
        damaged = bytearray(content)
        # after the header of the archive, whose time stamp and flags do not matter
        damaged[rng.randrange(10, len(damaged) - 8)] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
    elif how == "the other data set's":
        other = path.parents[2] / OTHER[path.parents[1].name] / "raw" / path.name
        path.write_bytes(other.read_bytes())
    elif how == "a folder":
        path.mkdir()
    elif how == "a link to nothing":
        path.symlink_to("nothing")
    elif how == "unreadable":
        path.write_bytes(content)
        path.chmod(0)


FAULTS = (
    "cut short",
    "emptied",
    "a bit flipped",
    "the other data set's",
    "a folder",
    "a link to nothing",
    "unreadable",
)


def cases() -> Iterator[tuple[str, str, str]]:
    """Each data set and archive with each fault."""
    for name, spec in SPECS.items():
        for archive in data.DIGESTS[spec.folder]:
            for how in FAULTS:
                yield name, archive, how


def outcome(case: tuple[str, str, str], right: dict[str, str], seed: int = 0) -> str:
    """Load a data set with one damaged file.

    "right" for the published images, "reported" for an error that names the file; any other result
    is a fault of this project.
    """
    name, archive, how = case
    with data_copy() as root:
        raw = root / data.spec(name).folder / "raw"
        damage(raw / archive, how, random.Random(f"{seed} {case}"))
        before = {entry.name for entry in raw.iterdir()}
        seen = attempt(name, root, right[name], named=archive)
        left = {entry.name for entry in raw.iterdir()} - before
        return f"{seen}, and left {left}" if left else seen


def attempt(name: str, root: Path, right: str, *, named: str = "") -> str:
    """Load without rights and without a network; returns the outcome."""
    with tempfile.TemporaryDirectory() as spare, unprivileged(Path(spare)), offline():
        try:
            seen = "right" if digest(name, root) == right else "WRONG IMAGES"
        except (DamagedDataError, FileNotFoundError) as error:
            names_both = named in str(error) and "git checkout" in str(error)
            seen = "reported" if names_both else f"{error!r}"
        left = list(Path(spare).iterdir())
    return f"{seen}, and left {left}" if left else seen


@contextmanager
def data_copy() -> Iterator[Path]:
    """A data folder with all archives of both data sets, readable by every user.

    It is a temporary folder, since other users may not be able to read the project's folder.
    """
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for spec in SPECS.values():
            raw = root / spec.folder / "raw"
            raw.mkdir(parents=True)
            for path in (PROJECT / "data" / spec.folder / "raw").glob("*.gz"):
                link_or_copy(path, raw / path.name)
            raw.chmod(0o777)
        root.chmod(0o755)
        yield root


def link_or_copy(path: Path, new: Path) -> None:
    """Link the file, or copy it if it is on another disk."""
    try:
        os.link(path, new)
    except OSError:
        shutil.copyfile(path, new)


@contextmanager
def unprivileged(spare: Path) -> Iterator[None]:
    """Drop root's rights, and use `spare` for temporary files."""
    spare.chmod(0o777)
    root = os.geteuid() == 0
    with mock.patch.object(tempfile, "tempdir", str(spare)):
        if root:
            os.seteuid(UNPRIVILEGED_UID)
        try:
            yield
        finally:
            if root:
                os.seteuid(0)


@contextmanager
def offline() -> Iterator[None]:
    """A network in which no address is known."""
    error = OSError("there is no network")
    with mock.patch("urllib.request.urlopen", side_effect=error):
        yield


class Mirror(http.server.BaseHTTPRequestHandler):
    """A local mirror that serves archives according to its server's `behavior`."""

    def do_GET(self) -> None:
        behavior, name = self.server.behavior, self.path.rpartition("/")[2]
        content = (PROJECT / "data" / self.server.folder / "raw" / name).read_bytes()
        if behavior == "not found":
            self.send_error(404)
            return
        if behavior == "hangs":
            self.server.closing.wait()
            return
        if behavior == "a page":
            content = b"<html><body>Please log in to the network of this hotel.</body></html>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        half = len(content) // 2
        with suppress(ConnectionError):
            self.wfile.write(content[:half])
            if behavior == "hangs half-way":
                self.server.closing.wait()
            if behavior != "half a file":
                self.wfile.write(content[half:])

    def log_message(self, *_: object) -> None:
        """Log nothing."""


MIRROR_BEHAVIORS = (
    "sound",
    "a page",
    "half a file",
    "not found",
    "hangs",
    "hangs half-way",
    "refuses",
)


def download_outcome(behavior: str, spec: DatasetSpec, right: str) -> str:
    """Load a data set of which one archive is missing, from a mirror with this behavior."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    server.behavior, server.folder, server.closing = behavior, spec.folder, threading.Event()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}/"
    if behavior == "refuses":
        server.socket.close()
    try:
        with (
            data_copy() as root,
            mock.patch.object(getattr(torchvision.datasets, spec.folder), "mirrors", [address]),
            mock.patch("helpers.data.datasets.DOWNLOAD_TIMEOUT", 0.5),
            tempfile.TemporaryDirectory() as spare,
            mock.patch.object(tempfile, "tempdir", spare),
        ):
            raw = root / spec.folder / "raw"
            (raw / "t10k-labels-idx1-ubyte.gz").unlink()
            try:
                seen = "right" if digest(spec.name, root) == right else "WRONG IMAGES"
            except FileNotFoundError as error:
                seen = "reported" if "t10k-labels-idx1-ubyte.gz" in str(error) else f"{error!r}"
            files = {path.name for path in raw.iterdir()}
            expected = set(data.DIGESTS[spec.folder])
            if seen == "reported":
                expected -= {"t10k-labels-idx1-ubyte.gz"}
            left = (files ^ expected) | {path.name for path in Path(spare).iterdir()}
            return f"{seen}, and left {left}" if left else seen
    finally:
        server.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _load(name: str, root: Path, out: Path) -> None:
    out.write_text(digest(name, root))


def load_concurrently(name: str, right: str, processes: int = 8) -> str:
    """Load in several processes at once."""
    with data_copy() as root:
        seen = run_concurrently(processes, _load, name, root)
        return "right" if seen == {right: processes} else f"{seen}"


def run_concurrently(processes: int, call: Callable[..., None], *arguments: object) -> Counter[str]:
    """Call it with these arguments and a path, in several processes; count what they wrote."""
    with tempfile.TemporaryDirectory() as scratch:
        paths = [Path(scratch) / str(i) for i in range(processes)]
        running = [PROCESSES.Process(target=call, args=(*arguments, out)) for out in paths]
        for process in running:
            process.start()
        for process in running:
            process.join()
        return Counter(out.read_text() if out.exists() else "nothing" for out in paths)


def read_only(name: str, right: str) -> str:
    """Load from a folder that cannot be written to."""
    with data_copy() as root:
        raw = root / data.spec(name).folder / "raw"
        raw.chmod(0o555)
        before = sorted(raw.iterdir())
        seen = attempt(name, root, right)
        return seen if sorted(raw.iterdir()) == before else f"{seen}, and wrote there"
