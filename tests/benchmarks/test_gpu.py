"""What benchmarks/gpu.py does on a GPU, tried on the CPU at toy size."""

import json
import subprocess
import sys

import pytest
import torch
import typer

from benchmarks import gpu
from helpers.files import PROJECT
from helpers.training import resume

TOY = gpu.Setting(torch.device("cpu"), toy=True)
# packages that a machine may lack on which nothing was installed for this project
BARE = ("papermill", "nbclient", "nbformat", "nbconvert", "jupyter_client", "jupyterlab", "dask",
        "distributed", "IPython", "ipykernel", "babel", "anywidget")  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in gpu.PARTS if name != "processes"])
def test_each_part_runs_at_toy_size_and_all_its_checks_hold(name, monkeypatch):
    monkeypatch.setattr(resume, "SAVE_EVERY", resume.SAVE_EVERY)  # a part may change it
    found = gpu.PARTS[name][0](TOY)
    assert found
    assert all(found.get("checks", {}).values()), found["checks"]
    json.dumps(found)


def test_the_parts_fit_into_eight_minutes_but_for_the_last():
    assert sum(limit for _, limit in list(gpu.PARTS.values())[:-2]) <= gpu.TOTAL


def test_without_a_gpu_it_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(gpu.device, "choose", lambda: torch.device("cpu"))
    with pytest.raises(typer.Exit) as ended:
        gpu.main(out=tmp_path, only=None, dry_run=False, here=False)
    assert ended.value.exit_code == 2
    assert "There is no GPU here." in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_part_that_fails_or_takes_too_long_is_told_and_the_next_one_runs(
    monkeypatch, tmp_path, capsys
):
    def run(command, timeout, **_):
        name = command[command.index("--only") + 1]
        if name == "hardware":
            raise subprocess.TimeoutExpired(command, timeout)
        if name == "parity":
            return subprocess.CompletedProcess(command, -6, "", "out of everything")
        found = {"checks": {"sound": True, "the same weights": name != "memory"}}
        (tmp_path / f"{name}.json").write_text(json.dumps(found))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(gpu.subprocess, "run", run)
    monkeypatch.setattr(gpu.device, "choose", lambda: torch.device("cuda"))
    with pytest.raises(typer.Exit) as ended:
        gpu.main(
            out=tmp_path, only=["hardware", "parity", "memory", "speed"], dry_run=False, here=False
        )
    assert ended.value.exit_code == 1
    assert capsys.readouterr().out.splitlines() == [
        "hardware: not done after 30 seconds", "parity: status -6: out of everything",
        "memory: the same weights", "speed: good",
    ]  # fmt: skip


@pytest.mark.slow
def test_it_runs_where_nothing_was_installed_for_this_project(tmp_path):
    """Training by the command line as well, under torchrun."""
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys\nsys.modules.update(dict.fromkeys({BARE}))\n"  # importing them is an error
    )
    environment = {"PYTHONPATH": f"{tmp_path}:{PROJECT}", "PATH": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.gpu", "--dry-run", "--only", "processes"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")], cwd=PROJECT, env=environment,
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "processes: good\n"), done.stderr
