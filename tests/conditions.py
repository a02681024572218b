"""The conditions of `tests.matrix`: functions that change where and how the suite is run."""

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

# the folders that the suite reads
CODE = ("helpers", "notebooks", "tests", "benchmarks", "docs", "data", ".github")


@dataclass(frozen=True)
class SuiteSetup:
    """Where and how the suite is run."""

    project: Path = PROJECT
    notebooks: Path = PROJECT / "notebooks"
    cwd: Path = PROJECT
    python: str = sys.executable
    options: tuple[str, ...] = ()  # for pytest
    environment: dict[str, str] = field(default_factory=dict)
    preexec: Callable[[], None] | None = None  # called in the new process, before pytest starts


def environment(**variables: str) -> Callable[[SuiteSetup, Path], SuiteSetup]:
    return lambda setup, _: replace(setup, environment=variables)


def warnings_are_errors(setup: SuiteSetup, _: Path) -> SuiteSetup:
    return replace(setup, options=("-W", "error"))  # including those that pyproject.toml allows


def two_workers(setup: SuiteSetup, _: Path) -> SuiteSetup:
    one_thread = {"OMP_NUM_THREADS": "1"}
    return replace(setup, options=("-n", "2", "--dist", "loadfile"), environment=one_thread)


def another_folder(setup: SuiteSetup, scratch: Path) -> SuiteSetup:
    return replace(setup, cwd=scratch)


def odd_path(setup: SuiteSetup, scratch: Path) -> SuiteSetup:
    return copied(setup, scratch / "Übung {3} 100% & «données»")


def read_only(setup: SuiteSetup, scratch: Path) -> SuiteSetup:
    """A clone in which nothing can be written; for root, it is mounted read-only.

    As docs/teaching.md says, students work with copies of the notebooks.
    """
    course = shutil.copytree(PROJECT / "notebooks", scratch / "course" / "notebooks")
    setup = replace(copied(setup, scratch / "read-only"), notebooks=course, cwd=course)
    if os.geteuid() == 0:
        return replace(setup, preexec=partial(_mount_read_only, setup.project))
    for path in (setup.project, *setup.project.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o222)
    return setup


def _mount_read_only(folder: Path) -> None:
    """Mount a folder on itself, read-only, for this process and its children only (Linux)."""
    new_mounts = 0x00020000
    if ctypes.CDLL(None, use_errno=True).unshare(new_mounts):
        raise OSError(ctypes.get_errno(), "mounts of its own are not allowed here")
    for words in (
        ("--make-rprivate", "/"), ("--bind", folder, folder), ("-o", "remount,ro,bind", folder)
    ):  # fmt: skip
        subprocess.run(["mount", *words], check=True)


def another_seed(setup: SuiteSetup, scratch: Path) -> SuiteSetup:
    """For the notebooks that have a seed; the sweeps of notebook 7 have several anyway."""
    setup, changed = copied(setup, scratch / "seed 1"), 0
    for notebook in setup.notebooks.glob("*.ipynb"):
        text, found = re.subn(r"\bseed: int = 0\b", "seed: int = 1", notebook.read_text())
        notebook.write_text(text)
        changed += found
    assert changed == 6, f"{changed} notebooks have a seed"
    return setup


def copied(setup: SuiteSetup, target: Path) -> SuiteSetup:
    """The project in another folder; its `helpers` take precedence over the installed ones."""
    for name in CODE:
        shutil.copytree(PROJECT / name, target / name)
    for path in PROJECT.iterdir():
        if path.is_file():
            shutil.copy(path, target)
    return replace(
        setup, project=target, notebooks=target / "notebooks", cwd=target,
        environment={"PYTHONPATH": str(target)},
    )  # fmt: skip


def no_network(setup: SuiteSetup, _: Path) -> SuiteSetup:
    return replace(setup, preexec=_isolate_network)


def _isolate_network() -> None:
    """Move this process to an empty network namespace (Linux)."""
    new_user, new_network = 0x10000000, 0x40000000
    flags = new_network if os.geteuid() == 0 else new_network | new_user
    if ctypes.CDLL(None, use_errno=True).unshare(flags):
        raise OSError(ctypes.get_errno(), "a network of its own is not allowed here")
    with socket.socket() as loopback:  # loopback is down at first, and kernels communicate over it
        request = struct.pack("16sh14x", b"lo", 1)  # IFF_UP
        fcntl.ioctl(loopback, 0x8914, request)  # SIOCSIFFLAGS


def oldest_versions(setup: SuiteSetup, scratch: Path) -> SuiteSetup:
    """A new virtual environment with the oldest versions that pyproject.toml allows.

    Old packages warn about newer dependencies, which we cannot fix: only here, deprecation warnings
    are no errors. The table of licenses is for the newest versions.
    """
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    requirements = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    pins = [re.sub(r">=([\w.]+).*", r"==\1", line) for line in requirements]
    tolerated = [
        f"-W=default::{kind}" for kind in ("DeprecationWarning", "PendingDeprecationWarning")
    ]
    setup = _installed(setup, scratch, sys.executable, pins)
    table = "tests/test_licenses.py::test_the_table_of_licenses_lists_the_installed_packages"
    return replace(setup, options=(*tolerated, f"--deselect={table}"))


def python(version: str) -> Callable[[SuiteSetup, Path], SuiteSetup]:
    """The newest packages with another Python, which must be on the PATH."""

    def newest_versions(setup: SuiteSetup, scratch: Path) -> SuiteSetup:
        if not (found := shutil.which(f"python{version}")):
            raise FileNotFoundError(f"There is no python{version} on the PATH.")
        return _installed(setup, scratch, found, [f"{PROJECT}[test]"])

    return newest_versions


def _installed(setup: SuiteSetup, scratch: Path, python: str, packages: list[str]) -> SuiteSetup:
    """A copy of the project in a new virtual environment with these packages."""
    setup = copied(setup, scratch / "project")
    executable = str(scratch / "venv" / "bin" / "python")
    pip = [executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([python, "-m", "venv", scratch / "venv"], check=True)
    subprocess.run([*pip, *packages], check=True)
    subprocess.run([*pip, "--no-deps", "--editable", setup.project], check=True)
    return replace(setup, python=executable)


CONDITIONS: dict[str, Callable[[SuiteSetup, Path], SuiteSetup]] = {
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
