"""The messages of `make` during setup, with a fake Python that only pretends to install."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from helpers.files import PROJECT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")

# creates .venv/bin/python, a copy of itself; fails if an environment variable says so
PYTHON = """#!/bin/sh
case "$*" in
  *version_info*) exit ${TOO_OLD:-0} ;;
  --version) echo "Python 3.9.2" ;;
  *"import venv"*) exit ${NO_VENV:-0} ;;
  "-m venv"*) mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
  *"pip install"*) echo "pip shows its progress: $*"; exit ${NO_NETWORK:-0} ;;
  *"pip freeze"*) echo "torch==2.7" ;;
  *"pip wheel"*) mkdir -p wheels; echo "collects $(cat .venv/packages.txt): $*" ;;
  *helpers*) echo "the series runs" ;;
esac
"""


@pytest.fixture
def clone(tmp_path) -> Path:
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(PROJECT / name, tmp_path)
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "df").write_text("#!/bin/sh\necho Filesystem\necho disk 90000 1 89999 1% /\n")
    for name in ("python", "df"):
        (tmp_path / name).chmod(0o755)
    return tmp_path


def make(clone: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    without = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "MAKE"))}
    return subprocess.run(
        ["make", *arguments, f"PYTHON={clone / 'python'}"],
        cwd=clone, env=without | {"PATH": f"{clone}:{os.environ['PATH']}"} | environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_make_alone_lists_every_target(clone):
    listed = [line.split()[1] for line in make(clone).stdout.splitlines()]
    (phony,) = re.findall(r"^\.PHONY: (.*)$", (clone / "Makefile").read_text(), re.MULTILINE)
    assert listed == phony.split()
    assert not (clone / ".venv").exists()


def test_the_first_call_reports_the_size_and_the_second_repeats_no_setup(clone):
    first = make(clone, "run")
    assert "Setting up .venv, once, in 2 to 10 minutes: about " in first.stdout
    assert "pip shows its progress" in first.stdout
    assert make(clone, "run").stdout == "the series runs\n"


def test_a_smaller_torch_is_said_to_be_smaller(clone):
    done = make(clone, "run", "PIP_ARGS=--extra-index-url https://an.index/cpu")
    assert "about 2 GB." in done.stdout
    assert "--extra-index-url https://an.index/cpu" in done.stdout


def test_wheels_collects_the_packages_of_the_environment(clone):
    done = make(clone, "wheels", "PIP_ARGS=--extra-index-url https://an.index/cpu")
    assert "collects torch==2.7: -m pip wheel --extra-index-url https://an.index/cpu" in done.stdout
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"TOO_OLD": "1"}, "Python 3.11 or newer is needed, Python 3.9.2 was found: make run"),
        ({"NO_VENV": "1"}, "This Python lacks venv."),
        ({"NO_NETWORK": "1"}, "The packages could not be installed; pip says why above."),
    ],
)
def test_missing_requirements_are_reported(clone, environment, message):
    done = make(clone, "run", **environment)
    assert done.returncode != 0
    assert message in done.stderr.splitlines()[0]
    assert "the series runs" not in done.stdout
    assert make(clone, "run").stdout.endswith("the series runs\n")  # once it is fixed


def test_a_missing_python_is_reported_with_a_remedy(clone):
    (clone / "python").unlink()
    done = make(clone, "run")
    assert "Install Python 3.11 or newer, or name it: make run PYTHON=" in done.stderr


def test_a_full_disk_is_reported_before_anything_is_made(clone):
    (clone / "df").write_text("#!/bin/sh\necho Filesystem\necho disk 9000 8700 300 97% /\n")
    done = make(clone, "run")
    assert "MB, and 300 MB are free on this disk." in done.stderr
    assert not (clone / ".venv").exists()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_reported(clone):
    clone.chmod(0o555)
    done = make(clone, "run")
    clone.chmod(0o755)
    assert "Nothing can be written into this folder." in done.stderr


def test_lab_opens_copies_and_never_overwrites_one(clone):
    (clone / "notebooks/exercises/student").mkdir(parents=True)
    names = ("01_explore", "02_train_mnist", "exercises/student/01_explore")
    for name in names:
        (clone / "notebooks" / f"{name}.ipynb").write_text("of the course")
    (clone / "my-notebooks").mkdir()
    own_copy = clone / "my-notebooks" / "02_train_mnist.ipynb"
    own_copy.write_text("of the reader")
    (clone / ".venv/bin").mkdir(parents=True)
    (clone / ".venv/.ready").touch()
    jupyter = clone / ".venv/bin/jupyter"
    jupyter.write_text("#!/bin/sh\necho opened: $*\n")
    jupyter.chmod(0o755)
    done = make(clone, "lab")
    assert "Your copies are in my-notebooks/" in done.stdout
    # no --ip: JupyterLab then listens to this machine only
    assert "opened: lab --notebook-dir=. my-notebooks/01_explore.ipynb" in done.stdout.splitlines()
    overrides = clone / ".venv" / "share" / "jupyter" / "lab" / "settings" / "overrides.json"
    (notices,) = json.loads(overrides.read_text()).values()
    assert notices == {"checkForUpdates": False, "fetchNews": "false"}
    assert own_copy.read_text() == "of the reader"
    for name in (names[0], names[2]):
        assert (clone / "my-notebooks" / f"{name}.ipynb").read_text() == "of the course"
    own_copy = clone / "my-notebooks" / f"{names[2]}.ipynb"
    own_copy.write_text("of the reader")
    make(clone, "lab")
    assert own_copy.read_text() == "of the reader"


def test_clean_deletes_only_when_asked_and_runs_only_when_asked_for(clone):
    for name in (".venv", "runs", "mutants"):
        (clone / name).mkdir()
    shown = make(clone, "clean")
    assert ".venv" in shown.stdout
    assert "runs" not in shown.stdout
    assert "make clean YES=1" in shown.stdout
    assert (clone / ".venv").is_dir()
    make(clone, "clean", "YES=1")
    assert not (clone / ".venv").exists()
    assert (clone / "runs").is_dir()
    make(clone, "clean", "YES=1", "RUNS=1")
    assert not (clone / "runs").exists()
