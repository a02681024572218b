"""Where and how may the suite be run? The conditions of `tests.matrix`, each a small function."""

import ctypes
import fcntl
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from helpers.files import PROJECT

CODE = ("helpers", "notebooks", "tests", "benchmarks", "docs", "data")  # what the suite reads


@dataclass(frozen=True)
class Place:
    """Where and how the suite is run."""

    project: Path = PROJECT
    cwd: Path = PROJECT
    python: str = sys.executable
    options: tuple[str, ...] = ()  # for pytest
    environment: dict[str, str] = field(default_factory=dict)
    begin: Callable[[], None] | None = None  # called in the new process, before pytest starts


def threads(n: int) -> Callable[[Place, Path], Place]:
    return lambda place, _: replace(place, environment={"OMP_NUM_THREADS": str(n)})


def no_vector_units(place: Place, _: Path) -> Place:
    return replace(place, environment={"ATEN_CPU_CAPABILITY": "default"})


def two_workers(place: Place, _: Path) -> Place:
    one_thread = {"OMP_NUM_THREADS": "1"}
    return replace(place, options=("-n", "2", "--dist", "loadfile"), environment=one_thread)


def another_folder(place: Place, scratch: Path) -> Place:
    return replace(place, cwd=scratch)


def odd_path(place: Place, scratch: Path) -> Place:
    return copied(place, scratch / "Übung 3 & «données»")


def another_seed(place: Place, scratch: Path) -> Place:
    place = copied(place, scratch / "seed 1")
    for notebook in (place.project / "notebooks").glob("*.ipynb"):
        text, changed = re.subn(r"\bseed: int = 0\b", "seed: int = 1", notebook.read_text())
        assert changed == 1, notebook
        notebook.write_text(text)
    return place


def copied(place: Place, target: Path) -> Place:
    """The project in another folder; its `helpers` come before those that are installed."""
    for name in CODE:
        shutil.copytree(PROJECT / name, target / name)
    for path in PROJECT.iterdir():
        if path.is_file():
            shutil.copy(path, target)
    return replace(place, project=target, cwd=target, environment={"PYTHONPATH": str(target)})


def no_network(place: Place, _: Path) -> Place:
    return replace(place, begin=_leave_the_network)


def _leave_the_network() -> None:
    """Give this process a network of its own (Linux) in which there is nothing but itself."""
    new_user, new_network = 0x10000000, 0x40000000
    flags = new_network if os.geteuid() == 0 else new_network | new_user
    if ctypes.CDLL(None, use_errno=True).unshare(flags):
        raise OSError(ctypes.get_errno(), "a network of its own is not allowed here")
    with socket.socket() as probe:  # loopback is down at first, and kernels talk over it
        request = struct.pack("16sh14x", b"lo", 1)  # IFF_UP
        fcntl.ioctl(probe, 0x8914, request)  # SIOCSIFFLAGS


def oldest_versions(place: Place, scratch: Path) -> Place:
    """An environment of its own, with the oldest versions that pyproject.toml admits.

    They warn of newer packages beneath them, which are not ours to mend: only there, what is
    deprecated is no error.
    """
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    pins = [re.sub(r">=([\w.]+).*", r"==\1", line) for line in wanted]
    place = copied(place, scratch / "project")
    environment = scratch / "venv"
    python = str(environment / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet"]
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    subprocess.run([*pip, *pins], check=True)
    subprocess.run([*pip, "--no-deps", "--editable", place.project], check=True)
    tolerated = [
        f"-W=default::{kind}" for kind in ("DeprecationWarning", "PendingDeprecationWarning")
    ]
    return replace(place, python=python, options=tuple(tolerated))


CONDITIONS: dict[str, Callable[[Place, Path], Place]] = {
    "1 thread": threads(1),
    "2 threads": threads(2),
    "no vector units": no_vector_units,
    "another seed": another_seed,
    "two workers": two_workers,
    "another working directory": another_folder,
    "a path with spaces and accents": odd_path,
    "no network": no_network,
    "oldest versions": oldest_versions,
}
