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
from functools import partial
from pathlib import Path

from helpers.files import PROJECT

# what the suite reads
CODE = ("helpers", "notebooks", "tests", "benchmarks", "docs", "data", ".github")


@dataclass(frozen=True)
class Place:
    """Where and how the suite is run."""

    project: Path = PROJECT
    notebooks: Path = PROJECT / "notebooks"
    cwd: Path = PROJECT
    python: str = sys.executable
    options: tuple[str, ...] = ()  # for pytest
    environment: dict[str, str] = field(default_factory=dict)
    begin: Callable[[], None] | None = None  # called in the new process, before pytest starts


def environment(**variables: str) -> Callable[[Place, Path], Place]:
    return lambda place, _: replace(place, environment=variables)


def warnings_are_errors(place: Place, _: Path) -> Place:
    return replace(place, options=("-W", "error"))  # also those that pyproject.toml tolerates


def two_workers(place: Place, _: Path) -> Place:
    one_thread = {"OMP_NUM_THREADS": "1"}
    return replace(place, options=("-n", "2", "--dist", "loadfile"), environment=one_thread)


def another_folder(place: Place, scratch: Path) -> Place:
    return replace(place, cwd=scratch)


def odd_path(place: Place, scratch: Path) -> Place:
    return copied(place, scratch / "Übung {3} 100% & «données»")


def read_only(place: Place, scratch: Path) -> Place:
    """A clone in which nothing can be written; root, who may write anywhere, has it mounted so.

    As docs/teaching.md says, students work with copies of the notebooks.
    """
    course = shutil.copytree(PROJECT / "notebooks", scratch / "course" / "notebooks")
    place = replace(copied(place, scratch / "read-only"), notebooks=course, cwd=course)
    if os.geteuid() == 0:
        return replace(place, begin=partial(_mount_read_only, place.project))
    for path in (place.project, *place.project.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o222)
    return place


def _mount_read_only(folder: Path) -> None:
    """Mount a folder on itself, read-only, for this process and its children only (Linux)."""
    new_mounts = 0x00020000
    if ctypes.CDLL(None, use_errno=True).unshare(new_mounts):
        raise OSError(ctypes.get_errno(), "mounts of its own are not allowed here")
    for words in (
        ("--make-rprivate", "/"), ("--bind", folder, folder), ("-o", "remount,ro,bind", folder)
    ):  # fmt: skip
        subprocess.run(["mount", *words], check=True)


def another_seed(place: Place, scratch: Path) -> Place:
    """For those notebooks that have one; the sweeps of notebook 7 have several anyway."""
    place, changed = copied(place, scratch / "seed 1"), 0
    for notebook in place.notebooks.glob("*.ipynb"):
        text, found = re.subn(r"\bseed: int = 0\b", "seed: int = 1", notebook.read_text())
        notebook.write_text(text)
        changed += found
    assert changed == 6, f"{changed} notebooks have a seed"
    return place


def copied(place: Place, target: Path) -> Place:
    """The project in another folder; its `helpers` come before those that are installed."""
    for name in CODE:
        shutil.copytree(PROJECT / name, target / name)
    for path in PROJECT.iterdir():
        if path.is_file():
            shutil.copy(path, target)
    return replace(
        place, project=target, notebooks=target / "notebooks", cwd=target,
        environment={"PYTHONPATH": str(target)},
    )  # fmt: skip


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
    deprecated is no error. The table of licenses is that of the newest.
    """
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    pins = [re.sub(r">=([\w.]+).*", r"==\1", line) for line in wanted]
    tolerated = [
        f"-W=default::{kind}" for kind in ("DeprecationWarning", "PendingDeprecationWarning")
    ]
    place = _installed(place, scratch, sys.executable, pins)
    table = "tests/test_licenses.py::test_the_table_of_licenses_lists_the_installed_packages"
    return replace(place, options=(*tolerated, f"--deselect={table}"))


def python(version: str) -> Callable[[Place, Path], Place]:
    """The newest packages with another Python, which must be on the PATH."""

    def newest_versions(place: Place, scratch: Path) -> Place:
        if not (found := shutil.which(f"python{version}")):
            raise FileNotFoundError(f"There is no python{version} on the PATH.")
        return _installed(place, scratch, found, [f"{PROJECT}[test]"])

    return newest_versions


def _installed(place: Place, scratch: Path, python: str, packages: list[str]) -> Place:
    """A copy of the project in an environment of its own, with these packages."""
    place = copied(place, scratch / "project")
    own = str(scratch / "venv" / "bin" / "python")
    pip = [own, "-m", "pip", "install", "--quiet"]
    subprocess.run([python, "-m", "venv", scratch / "venv"], check=True)
    subprocess.run([*pip, *packages], check=True)
    subprocess.run([*pip, "--no-deps", "--editable", place.project], check=True)
    return replace(place, python=own)


CONDITIONS: dict[str, Callable[[Place, Path], Place]] = {
    "1 thread": environment(OMP_NUM_THREADS="1"),
    "2 threads": environment(OMP_NUM_THREADS="2"),
    "no vector units": environment(ATEN_CPU_CAPABILITY="default"),
    "another seed": another_seed,
    "two workers": two_workers,
    "another working directory": another_folder,
    "a path with spaces, braces, % and accents": odd_path,
    "a clone that is read-only": read_only,
    "no network": no_network,
    "no language (LC_ALL=C), 14 hours east of UTC": environment(
        LC_ALL="C", TZ="Pacific/Kiritimati"
    ),
    "9.5 hours west of UTC, hashes by chance": environment(
        TZ="Pacific/Marquesas", PYTHONHASHSEED="random"
    ),
    "every warning is an error": warnings_are_errors,
    "oldest versions": oldest_versions,
    "Python 3.12": python("3.12"),
    "Python 3.13": python("3.13"),
    "Python 3.14": python("3.14"),
}
