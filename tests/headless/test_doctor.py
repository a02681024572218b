"""A correct setup passes all checks, and each problem is reported with its remedy."""

import errno
import os
import platform
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from helpers import device, models
from helpers.data import DIGESTS
from helpers.files import PROJECT
from helpers.headless import doctor
from tests.tools import invoke

CPU = torch.device("cpu")


def test_a_machine_with_enough_memory_and_disk_is_ready(tmp_path, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=4e9))
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=9e9))
    findings = list(doctor.examine(tmp_path / "not" / "yet", PROJECT / "data"))
    assert [finding.what for finding in findings] == [
        "Python", "packages", "torch and torchvision", "threads", "memory", "disk", "runs",
        "MNIST files", "FashionMNIST files", "accelerator", "Chromium",
    ]  # fmt: skip
    assert not [finding for finding in findings if finding.state == "bad"]
    assert not (tmp_path / "not").exists()
    found = {finding.what: finding.found for finding in findings}
    assert found["Python"] == platform.python_version()
    assert found["packages"] == "none missing or too old"
    assert found["torch and torchvision"].startswith(torch.__version__)
    assert found["threads"] == f"{torch.get_num_threads()}, on {os.cpu_count()} cores"
    assert found["memory"].endswith(" GB free")
    assert found["disk"].endswith(" GB free")
    assert found["runs"] == f"can be written to {tmp_path}"
    assert found["MNIST files"] == "4, as published"
    assert str(findings[0]) == f"ok    {'Python':<24}{platform.python_version()}"


@pytest.mark.parametrize(
    ("stdout", "stderr", "state", "found"),
    [
        ("image-classification-notebooks 0.1 requires seaborn, which is not installed.", "",
         "bad", "requires seaborn"),
        ("another 1.0 has requirement numpy<1, but you have numpy 2.0.", "", "ok", "none missing"),
        ("", "/usr/bin/python: No module named pip", "hint", "not checked"),
    ],
)  # fmt: skip
def test_pip_checks_the_packages_of_this_project(monkeypatch, stdout, stderr, state, found):
    done = subprocess.CompletedProcess([], 1, stdout, stderr)

    def run(*_, check=False, **__):
        if check:
            done.check_returncode()
        return done

    monkeypatch.setattr(subprocess, "run", run)
    _, finding, _ = doctor.packages()
    assert (finding.what, finding.state) == ("packages", state)
    assert found in finding.found


def test_a_torchvision_that_does_not_fit_is_reported(monkeypatch):
    real = __import__

    def importing(name, *arguments, **settings):
        if name == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist")
        return real(name, *arguments, **settings)

    monkeypatch.setattr("builtins.__import__", importing)
    *_, finding = doctor.packages()
    assert finding.what == "torch and torchvision"
    assert "torchvision::nms" in finding.found
    assert "Install the two together" in finding.remedy


def test_more_threads_than_cores_are_reported(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    threads, _ = doctor.threads_and_memory()
    assert threads.state == "ok"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    threads, _ = doctor.threads_and_memory()
    assert threads.remedy == "Set OMP_NUM_THREADS to 4 or less."


@pytest.mark.parametrize(("free", "state"), [(2.1e9, "ok"), (1.9e9, "bad")])
def test_little_memory_is_reported(monkeypatch, free, state):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free))
    _, memory = doctor.threads_and_memory()
    assert memory.state == state


def test_a_full_disk_and_a_folder_without_permission_are_reported(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=0.9e9))

    def denied(dir):
        assert dir == tmp_path
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", denied)
    disk, runs = doctor.disk(tmp_path)
    assert (disk.what, disk.state, runs.what, runs.state) == ("disk", "bad", "runs", "bad")
    assert "Permission denied" in runs.found
    assert "--root" in runs.remedy


def test_damaged_data_is_reported_and_nothing_is_downloaded(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for stem in DIGESTS["MNIST"]:
        (raw / stem).write_bytes(b"no archive")
    finding = doctor.dataset(tmp_path, "MNIST")
    assert (finding.what, finding.found) == ("MNIST files", "damaged or missing")
    assert finding.state == "bad"
    assert "git checkout" in finding.remedy
    assert "No such file" in doctor.dataset(tmp_path, "FashionMNIST").remedy
    assert not (tmp_path / "FashionMNIST").exists()


def test_an_accelerator_is_compared_with_the_cpu_after_a_training_step(monkeypatch):
    other = torch.device("meta")
    monkeypatch.setattr(device, "available", lambda: [CPU, other])
    weights = doctor._after_one_step(CPU)
    assert doctor._after_one_step(CPU).equal(weights)
    torch.manual_seed(0)
    untrained = models.build("tiny_vgg", mean=0.5, std=0.5)
    sizes = [parameter.numel() for parameter in untrained.parameters()]
    for before, after in zip(untrained.parameters(), weights.split(sizes), strict=True):
        assert not after.equal(before.flatten())  # every layer was trained
    off = {"right": 1e-5, "wrong": 0.1}
    for case, gap in off.items():
        monkeypatch.setattr(
            doctor, "_after_one_step", lambda d, gap=gap: weights + (gap if d == other else 0)
        )
        assert doctor.accelerator().state == ("ok" if case == "right" else "bad")
        assert (doctor.accelerator().what, doctor.accelerator().found) == (
            "accelerator", f"meta, differs by {gap:.0e}",
        )  # fmt: skip

    def broken(device):
        raise RuntimeError("no kernel image is available")

    monkeypatch.setattr(doctor, "_after_one_step", broken)
    assert doctor.accelerator().what == "accelerator"
    assert doctor.accelerator().found == "meta: no kernel image is available"
    assert "--device cpu" in doctor.accelerator().remedy


@pytest.mark.parametrize("name", ["chromium", "google-chrome", "chrome"])
@pytest.mark.parametrize(("path", "state"), [(None, "hint"), ("/there", "ok")])
def test_a_browser_is_reported_with_its_place_and_a_missing_one_is_a_hint(
    monkeypatch, name, path, state
):
    monkeypatch.setattr(doctor.shutil, "which", {name: path}.get)
    *_, finding = doctor.examine(Path(), PROJECT / "data")
    assert (finding.what, finding.found, finding.state) == ("Chromium", path or "none", state)
    assert finding.optional


def test_without_an_accelerator_the_cpu_is_used(monkeypatch):
    monkeypatch.setattr(device, "available", lambda: [CPU])
    assert doctor.accelerator() == doctor.Finding("accelerator", "none; the CPU is used")


@pytest.mark.parametrize(
    ("remedy", "hint", "status"), [("", False, 0), ("x", True, 0), ("x", False, 1)]
)
def test_the_exit_status_is_1_only_if_a_finding_is_bad(monkeypatch, remedy, hint, status):
    finding = doctor.Finding("disk", "tiny", remedy, hint)
    monkeypatch.setattr(doctor, "examine", lambda *_: [finding])
    stdout = invoke("doctor", status=status).stdout
    assert "disk" in stdout
    assert ("→ x" in stdout) == bool(remedy)
