"""A sound machine is told to be sound, and each thing that can be wrong is told with its remedy."""

import errno
import os
import platform
import tempfile
from collections import namedtuple

import psutil
import pytest
import torch

from helpers import data, device, headless
from helpers.data import DIGESTS
from helpers.files import PROJECT

CPU = torch.device("cpu")


def test_this_machine_is_sound(tmp_path):
    findings = list(headless.examine(tmp_path / "not" / "yet", PROJECT / "data"))
    assert [finding.what for finding in findings] == [
        "Python", "packages", "torch and torchvision", "threads", "memory", "disk", "runs",
        "MNIST files", "FashionMNIST files", "accelerator", "Chromium",
    ]  # fmt: skip
    assert not [finding for finding in findings if finding.state == "bad"]
    assert not (tmp_path / "not").exists()
    told = {finding.what: finding.found for finding in findings}
    assert told["Python"] == platform.python_version()
    assert told["packages"].endswith("none missing or too old")
    assert told["torch and torchvision"].startswith(torch.__version__)
    assert told["threads"] == f"{torch.get_num_threads()}, on {os.cpu_count()} cores"
    assert told["memory"].endswith(" GB free")
    assert told["disk"].endswith(" GB free")
    assert told["runs"] == f"can be written to {tmp_path}"
    assert told["MNIST files"] == "4, as they were published"
    assert str(findings[0]) == f"ok    {'Python':<24}{platform.python_version()}"


def test_an_old_python_is_told(monkeypatch):
    monkeypatch.setattr(headless.platform, "python_version", lambda: "3.9.1")
    finding = headless.python()
    assert finding.state == "bad"
    assert finding.remedy == "Install a Python >=3.11."


def test_packages_that_are_missing_or_too_old_are_told(monkeypatch):
    real = headless.metadata.version

    def version(name):
        if name == "seaborn":
            raise headless.metadata.PackageNotFoundError(name)
        return "0.1" if name == "papermill" else real(name)

    monkeypatch.setattr(headless.metadata, "version", version)
    told = {finding.what: finding for finding in headless.packages()}
    assert "packages" not in told
    assert (told["seaborn"].found, told["seaborn"].state) == ("missing", "bad")
    assert told["papermill"].found == "0.1"
    assert 'pip install "papermill>=' in told["papermill"].remedy


def test_a_torchvision_that_does_not_fit_is_told(monkeypatch):
    real = __import__

    def importing(name, *arguments, **settings):
        if name == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist")
        return real(name, *arguments, **settings)

    monkeypatch.setattr("builtins.__import__", importing)
    *_, finding = headless.packages()
    assert finding.what == "torch and torchvision"
    assert "torchvision::nms" in finding.found
    assert "Install the two together" in finding.remedy


def test_more_threads_than_cores_are_told(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert headless.threads().state == "ok"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert headless.threads().remedy == "Set OMP_NUM_THREADS to 4 or less."


@pytest.mark.parametrize(("free", "state"), [(2.1e9, "ok"), (1.9e9, "bad")])
def test_little_memory_is_told(monkeypatch, free, state):
    Memory = namedtuple("Memory", "available")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory(free))
    assert headless.memory().state == state


def test_a_full_disk_and_a_folder_without_permission_are_told(monkeypatch, tmp_path):
    Usage = namedtuple("Usage", "free")
    monkeypatch.setattr(headless.shutil, "disk_usage", lambda _: Usage(0.9e9))

    def denied(dir):
        assert dir == tmp_path
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", denied)
    disk, runs = headless.room(tmp_path)
    assert (disk.what, disk.state, runs.what, runs.state) == ("disk", "bad", "runs", "bad")
    assert "Permission denied" in runs.found
    assert "--root" in runs.remedy


def test_damaged_data_is_told_and_nothing_is_downloaded(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for stem in DIGESTS["MNIST"]:
        (raw / f"{stem}.gz").write_bytes(b"no archive")
    finding = headless.dataset(tmp_path, "MNIST")
    assert (finding.what, finding.found) == ("MNIST files", "damaged or missing")
    assert finding.state == "bad"
    assert "git checkout" in finding.remedy
    assert "downloads nothing" in headless.dataset(tmp_path, "FashionMNIST").remedy
    assert not (tmp_path / "FashionMNIST").exists()


def test_an_accelerator_is_held_against_the_cpu(monkeypatch):
    other = torch.device("meta")
    monkeypatch.setattr(device, "available", lambda: [CPU, other])
    weights = headless._after_one_step(CPU)
    assert headless._after_one_step(CPU).equal(weights)
    off = {"right": 1e-5, "wrong": 0.1}
    for case, gap in off.items():
        monkeypatch.setattr(
            doctor, "_after_one_step", lambda d, gap=gap: weights + (gap if d == other else 0)
        )
        assert headless.accelerator().state == ("ok" if case == "right" else "bad")
        assert (headless.accelerator().what, headless.accelerator().found) == (
            "accelerator", f"meta, differs by {gap:.0e}",
        )  # fmt: skip

    def broken(where):
        raise RuntimeError("no kernel image is available")

    monkeypatch.setattr(doctor, "_after_one_step", broken)
    assert headless.accelerator().what == "accelerator"
    assert headless.accelerator().found == "meta: no kernel image is available"
    assert "--device cpu" in headless.accelerator().remedy


def test_a_missing_browser_is_a_hint(monkeypatch):
    monkeypatch.setattr(headless.shutil, "which", lambda _: None)
    finding = headless.browser()
    assert (finding.what, finding.found, finding.state) == ("Chromium", "none", "hint")


def test_a_browser_is_told_with_its_place(monkeypatch):
    monkeypatch.setattr(headless.shutil, "which", lambda name: "/there" if "google" in name else None)
    finding = headless.browser()
    assert (finding.what, finding.found, finding.state) == ("Chromium", "/there", "ok")
    assert finding.hint


def test_without_an_accelerator_the_cpu_is_used(monkeypatch):
    monkeypatch.setattr(device, "available", lambda: [CPU])
    assert headless.accelerator() == headless.Finding("accelerator", "none; the CPU is used")


@pytest.mark.parametrize(
    ("remedy", "hint", "status"), [("", False, 0), ("x", True, 0), ("x", False, 1)]
)
def test_the_exit_status_says_whether_anything_is_bad(monkeypatch, capsys, remedy, hint, status):
    monkeypatch.setattr(
        doctor, "examine", lambda *_: [headless.Finding("disk", "tiny", remedy, hint)]
    )
    monkeypatch.setattr("sys.argv", ["helpers", "doctor"])
    with pytest.raises(SystemExit) as ended:
        headless.app()
    assert ended.value.code == status
    told = capsys.readouterr().out
    assert "disk" in told
    assert ("→ x" in told) == bool(remedy)


def test_the_data_sets_are_all_examined():
    assert {spec.folder for spec in data.SPECS.values()} == set(DIGESTS)
