"""benchmarks/gpu.py, run on the CPU at toy size."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest
import torch
import typer

from benchmarks import gpu
from helpers.files import PROJECT
from helpers.training import resume

TOY = gpu.Setting(torch.device("cpu"), toy=True)
# packages that a machine may lack if nothing was installed for this project
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


def test_all_parts_but_the_last_two_fit_into_the_total_time():
    assert sum(limit for _, limit in list(gpu.PARTS.values())[:-2]) <= gpu.TOTAL


@pytest.mark.slow
def test_a_part_keeps_what_it_has_found_so_far(tmp_path):
    """Marked as unfinished, until all of it is there."""
    path = tmp_path / "execution.json"
    kept = []

    class RecordingSetting(gpu.Setting):
        def keep(self, found):
            super().keep(found)
            kept.append(json.loads(path.read_text()))

    found = gpu.execution(RecordingSetting(TOY.device, toy=True, out=path))
    assert [set(some) - {"error"} for some in kept] == [
        {"channels last"}, {"channels last", "channels first"}
    ]  # fmt: skip
    assert all(some["error"] == "unfinished" for some in kept)
    assert {**kept[-1], "error": None} == {**json.loads(json.dumps(found)), "error": None}


def test_kernels_are_counted_on_the_device_only():
    """Neither the operators that launched them, nor annotations of the program."""
    cpu, cuda = torch.autograd.DeviceType.CPU, torch.autograd.DeviceType.CUDA

    def event(key, device_type, microseconds, **about):
        times = dict(self_device_time_total=microseconds, self_cpu_time_total=1000.0)
        return SimpleNamespace(key=key, device_type=device_type, **times, **about)

    events = [
        event("aten::conv2d", cpu, 7.0), event("winograd", cuda, 7.0), event("gemm", cuda, 2.0),
        event("Optimizer.step", cuda, 9.0, is_user_annotation=True),
        event("k" * 80 + "<1>", cuda, 1.0), event("k" * 80 + "<2>", cuda, 4.0),
    ]  # fmt: skip
    profiled = SimpleNamespace(key_averages=lambda: events)
    found = gpu._kernels(gpu.Setting(torch.device("cuda")), profiled)
    assert found.most_common() == [("winograd", 7.0), ("k" * 80, 5.0), ("gemm", 2.0)]


def test_a_missing_gpu_is_reported(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(gpu.device, "choose", lambda: torch.device("cpu"))
    with pytest.raises(typer.Exit) as ended:
        gpu.main(out=tmp_path, only=None, dry_run=False, here=False)
    assert ended.value.exit_code == 2
    assert "There is no GPU here." in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_part_that_fails_or_times_out_is_reported_and_the_next_one_runs(
    monkeypatch, tmp_path, capsys
):
    def run(name, dry_run, limit):
        assert not dry_run
        sound = {"checks": {"sound": True, "the same weights": name != "memory"}}
        return sound | ({"error": f"not done after {limit}"} if name == "hardware" else {})

    monkeypatch.setattr(gpu, "_in_a_process", run)
    monkeypatch.setattr(gpu, "_age", lambda: 5.0)
    monkeypatch.setattr(gpu.device, "choose", lambda: torch.device("cuda"))
    (tmp_path / "gpu.json").write_text('{"speed": "older", "peers": "as before"}')
    with pytest.raises(typer.Exit) as ended:
        gpu.main(out=tmp_path, only=["hardware", "memory", "speed"], dry_run=False, here=False)
    assert ended.value.exit_code == 1
    assert capsys.readouterr().out.splitlines() == [
        "hardware: not done after 40", "memory: the same weights", "speed: good",
    ]  # fmt: skip
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert {"hardware", "memory", "speed", "peers"} == set(found)
    assert (found["peers"], found["speed"]) == ("as before", run("speed", False, 60))


def test_a_part_is_not_started_with_too_little_time(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(gpu, "_in_a_process", lambda *_: {})
    monkeypatch.setattr(gpu.device, "choose", lambda: torch.device("cuda"))
    monkeypatch.setattr(gpu, "_age", lambda: gpu.TOTAL - gpu.LEAST + 1)
    with pytest.raises(typer.Exit) as ended:
        gpu.main(out=tmp_path, only=["speed"], dry_run=False, here=False)
    assert (ended.value.exit_code, capsys.readouterr().out) == (1, "speed: no time was left\n")


WRITES = """
import pathlib, subprocess, sys, time
place = pathlib.Path(sys.argv[1])
place.write_text('{"first": 1, "error": "unfinished"}')
"""


@pytest.mark.parametrize(
    ("then", "error"),
    [
        ('place.write_text(\'{"first": 1, "last": 2}\')', None),
        ("raise RuntimeError('out of everything')", "status 1"),
        ("place.unlink(); sys.exit(3)", "status 3"),
        (
            "subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])",
            "not done after 10",
        ),
    ],
)
def test_everything_that_a_part_has_written_is_kept(tmp_path, then, error):
    """After the time limit, its child processes end as well."""
    path, before = tmp_path / "part.json", {*psutil.Process().children(recursive=True)}
    found = gpu._limited([sys.executable, "-c", WRITES + then, str(path)], path, 10)
    assert found.get("first") == (None if "unlink" in then else 1)
    assert (found.get("error") or "").startswith(error or "")
    assert ("out of everything" in found.get("messages", "")) == ("everything" in then)
    assert found.get("last") == (None if error else 2)
    assert {*psutil.Process().children(recursive=True)} <= before


def test_a_command_that_hangs_is_ended_and_its_messages_are_kept():
    code = "import sys, time; print('waiting', file=sys.stderr, flush=True); time.sleep(60)"
    done = gpu._quiet([sys.executable, "-c", code], dict(os.environ), 10)
    assert (done.returncode, done.stderr) == (124, "waiting\n\nIt hung.")


@pytest.mark.slow
def test_the_benchmark_runs_without_the_packages_of_this_project(tmp_path):
    """This includes training by the command line, under torchrun."""
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys\nsys.modules.update(dict.fromkeys({BARE}))\n"  # importing them is an error
        "import importlib.metadata as m\n"
        "found = m.version\n"
        "def version(name):\n"
        "    if name.startswith('image-'): raise m.PackageNotFoundError(name)\n"
        "    return found(name)\n"
        "m.version = version\n"
    )
    environment = {"PYTHONPATH": f"{tmp_path}:{PROJECT}", "PATH": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.gpu", "--dry-run", "--only", "processes"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")], cwd=PROJECT, env=environment,
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "processes: good\n"), done.stderr
