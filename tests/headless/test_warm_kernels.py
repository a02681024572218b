"""Kernels that are forked do what kernels do, sooner."""

import json
import os
import signal
import subprocess
import sys
import time

import nbformat
import psutil
import pytest
import torch
from jupyter_client.provisioning import KernelProvisionerFactory

from helpers import data, headless
from helpers.data import Split
from helpers.files import PROJECT

NAME = "03_train_fashion_mnist"


def test_warm_is_chosen_for_a_while_only():
    factory = KernelProvisionerFactory.instance()
    before = factory.default_provisioner_name
    with headless.in_use():
        assert factory.default_provisioner_name == "warm"
        assert factory.provisioners["warm"].load() is headless.WarmProvisioner
    assert factory.default_provisioner_name == before


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_where_nothing_can_be_forked_kernels_start_as_ever(monkeypatch, platform):
    monkeypatch.setattr(sys, "platform", platform)
    factory = KernelProvisionerFactory.instance()
    before = factory.default_provisioner_name
    with headless.in_use():
        assert factory.default_provisioner_name == before


def test_a_kept_data_set_is_copied_each_time(monkeypatch, tiny):
    reads = []
    monkeypatch.setattr(data, "_kept", {})
    monkeypatch.setattr(data, "_read", lambda raw, part: reads.append(part) or tiny)
    data.keep("mnist")
    assert reads == ["train", "t10k"]
    first, _ = data.load_published("mnist")
    first.images.zero_()
    second, test = data.load_published("mnist")
    assert reads == ["train", "t10k"]
    assert torch.equal(second.images, tiny.images)
    assert isinstance(test, Split)


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs cells as a notebook in a warm kernel, and returns the text that they print."""

    def run(*cells: str, warm: bool = True) -> str:
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
        given = nbformat.v4.new_code_cell('output: str = ""')
        given.metadata["tags"] = ["parameters"]
        end = "import pathlib; pathlib.Path(output, 'result.json').write_text('{}')"
        notebook.cells = [given, *map(nbformat.v4.new_code_cell, (*cells, end))]
        nbformat.write(notebook, tmp_path / f"{NAME}.ipynb")
        monkeypatch.setattr(parameters, "NOTEBOOKS", tmp_path)
        folder = tmp_path / f"run-{time.time()}"
        if warm:
            with headless.in_use():
                outcome = headless.execute_notebook(NAME, folder, {})
        else:
            outcome = headless.execute_notebook(NAME, folder, {})
        executed = nbformat.read(folder / NAME / f"{NAME}.ipynb", 4)
        run.outcome = outcome
        return "".join(
            output.get("text", "")
            for cell in executed.cells
            if cell.cell_type == "code"
            for output in cell.outputs
        )

    return run


@pytest.mark.slow
def test_a_warm_kernel_is_like_any_other(run):
    """Its session, randomness, figures, subprocesses and standard streams are its own."""
    before = run("import os; print(os.getpid(), os.getppid(), os.getsid(0))").split()
    told = run(
        "import sys; print(os.getpid() if 'os' in dir() else 'nothing is left of another')",
        "import os; print('torch' in sys.modules, os.getppid(), os.getsid(0) == os.getpid())",
        "import random, numpy; print(random.random(), numpy.random.rand())",
        "import subprocess; print(subprocess.run(['true']).returncode)",
        "import matplotlib; print(matplotlib.get_backend())",
        "print(__name__)",
    )
    lines = told.splitlines()
    assert lines[0] == "nothing is left of another"
    assert lines[1] == f"True {before[1]} True"
    assert before[0] == before[2]
    assert "inline" in lines.pop(4)  # so it is called by itself, or with the name of its module
    assert lines[3:] == ["0", "__main__"]
    assert run.outcome.state == "done"
    again = run("import random, numpy; print(random.random(), numpy.random.rand())")
    assert again.split() != lines[2].split()
    with pytest.raises(psutil.NoSuchProcess):  # nbclient has shut it down
        psutil.Process(int(before[0]))


@pytest.mark.slow
def test_a_kernel_that_dies_or_raises_is_told_of(run):
    run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert (run.outcome.state, run.outcome.cause) == ("failed", "kernel died")
    run("1 / 0")
    assert run.outcome.cause == "error"
    assert "ZeroDivisionError" in run.outcome.message
    run("print('the next one is sound')")
    assert run.outcome.state == "done"


@pytest.mark.slow
def test_a_server_that_died_is_started_anew(run):
    (server,) = run("import os; print(os.getppid())").split()
    os.kill(int(server), signal.SIGKILL)
    psutil.wait_procs([psutil.Process(int(server))], timeout=10)
    (other,) = run("import os; print(os.getppid())").split()
    assert other != server


@pytest.mark.slow
def test_kernels_have_as_many_threads_as_they_were_given(run, monkeypatch):
    """A pool of threads from before the fork would let them wait for ever."""
    server = headless._Server()
    monkeypatch.setattr(warm_kernels, "_SERVER", server)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):  # Dask sets the second for good
        monkeypatch.setenv(name, "2")
    monkeypatch.setattr(headless.execute_notebook, "__kwdefaults__", {"cell_timeout": 300, "progress": False})
    told = run("import torch; print(torch.get_num_threads(), torch.ones(200_000).add_(1).sum())")
    server._let_go()
    server._process.wait()
    assert told == "2 tensor(400000.)\n"


@pytest.mark.slow
def test_kernels_end_with_their_worker():
    """However it ends: here by SIGKILL, while its kernel is at work."""
    worker = (
        "import asyncio, os, sys, time\n"
        "from helpers.warm_kernels import _Forked\n"
        "kernel = _Forked({'argv': [], 'env': dict(os.environ), 'cwd': '.'})\n"
        "print(kernel.pid, flush=True); time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", worker], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    ) as process:
        kernel = psutil.Process(int(process.stdout.readline()))
        server = kernel.parent()
        time.sleep(2)  # until the kernel watches its parent
        process.kill()
        _, alive = psutil.wait_procs([kernel, server], timeout=30)
    assert not alive


@pytest.mark.slow
def test_warm_and_cold_runs_measure_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    small = {"epochs": 1, "train_images": 500, "overfit_images": 100, "overfit_epochs": 1}
    with headless.in_use():
        warm = headless.execute_notebook(NAME, tmp_path / "warm", small)
    cold = headless.execute_notebook(NAME, tmp_path / "cold", small)
    assert (warm.state, cold.state) == ("done", "done")
    records = [
        json.loads((tmp_path / kind / NAME / "result.json").read_text())["measured"]
        for kind in ("warm", "cold")
    ]
    assert records[0] == records[1]
