"""The runner, on small notebooks that fail; test_notebooks.py runs the real ones."""

import io
import json
import re
import subprocess
import sys
import threading
import time
import tomllib
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import nbformat
import papermill
import pytest
from ipykernel.kernelapp import IPKernelApp
from jupyter_client import KernelManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from tqdm import tqdm

from helpers import headless
from helpers.files import PROJECT
from helpers.headless import Notebook, NotebookResult, runner
from helpers.headless import notebooks as series
from tests.tools import write_notebook

PARAMETERS = """\
epochs: int = 5  # passes
rate: float = 0.1
name: str = "x"
flip: bool = False
output: str = ""
checkpoint: str = ""
dataset: str = "mnist"
"""
RECORD = """
import pathlib
pathlib.Path(output, "result.json").write_text("{}")
"""


write = partial(write_notebook, parameters=PARAMETERS)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A series of two notebooks, the second of which needs the first."""
    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    monkeypatch.setattr(series, "NOTEBOOKS", notebooks)
    second = Notebook("02_b", weights_from={"mnist": "01_a", "other": "00"})
    monkeypatch.setattr(series, "SERIES", (Notebook("01_a"), second))
    monkeypatch.setattr(series, "PROFILES", {"standard": {}, "quick": {"01_a": {"epochs": 1}}})
    for name in ("01_a", "02_b"):
        write(notebooks / f"{name}.ipynb", RECORD)
    return notebooks


def test_profiles_name_real_notebooks_and_parameters():
    for profile, by_notebook in headless.PROFILES.items():
        for name, values in by_notebook.items():
            known = headless.parameters_of(headless.find_notebook(name))
            for parameter, value in values.items():
                kind = known[parameter]["inferred_type_name"]
                assert kind == type(value).__name__, (profile, name, parameter)


def test_every_notebook_has_the_parameters_the_runner_sets():
    for notebook in headless.SERIES:
        known = headless.parameters_of(notebook)
        assert "output" in known
        assert all(parameter["help"] for parameter in known.values()), "each says what it is"
        if notebook.weights_from:
            assert "checkpoint" in known
            assert known["dataset"]["default"] == repr(next(iter(notebook.weights_from))).replace(
                "'", '"'
            )


def test_given_parameters_override_the_profile(small):
    assert headless.settings_for("quick") == {"01_a": {"epochs": 1}, "02_b": {}}
    given = ["01.epochs=3", "01_a.rate=1", "02.name=a=b", "02.flip=true"]
    assert headless.settings_for("quick", given) == {
        "01_a": {"epochs": 3, "rate": 1.0},
        "02_b": {"name": "a=b", "flip": True},
    }
    given = ["01.flip=false", "01.name=3", "02.flip=True", "02.rate=1e-3"]
    assert headless.settings_for("standard", given) == {
        "01_a": {"flip": False, "name": "3"},
        "02_b": {"flip": True, "rate": 0.001},
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "01.epoch=3",
            r"01_a: There is no parameter 'epoch'\. Did you mean 'epochs'\?.*: epochs, rate",
        ),
        ("09.epochs=3", r"no notebook '09'.*01_a, 02_b"),
        ("01.epochs=many", "01.epochs must be of type int, got 'many'"),
        (f"01.epochs={'-' * 3_000}1", "01.epochs must be of type int, got '---"),
        (f"01.epochs={'-' * 5_000}1", "01.epochs must be of type int, got '---"),
        (f"01.epochs={'-' * 100_000}1", "01.epochs must be of type int, got '---"),
        ("01.epochs.x=3", r"no parameter 'epochs\.x'"),
        ("01.epochs=3.5", "of type int"),
        ("01.epochs=3 or 4 times", "of type int"),
        ("01.epochs=True", "of type int"),
        ("01.rate=fast", "of type float"),
        ("01.flip=1", "of type bool"),
        ("01.epochs=0", "01.epochs must be a finite number of at least 1, got '0'"),
        ("01.rate=-0.1", "01.rate must be a finite number of at least 0, got '-0.1'"),
        ("01.rate=1e400", "01.rate must be a finite number"),
        ("01.rate=-1e400", "01.rate must be a finite number"),
        ("01.epochs=__import__('os').getcwd()", "of type int"),
        ("02.output=elsewhere", r"02_b: There is no parameter 'output'"),
        ("epochs=3", "NOTEBOOK.NAME=VALUE"),
        ("01.epochs", "NOTEBOOK.NAME=VALUE"),
    ],
)
def test_bad_parameters_are_refused(small, given, message):
    with pytest.raises(ValueError, match=message):
        headless.settings_for("standard", [given])


def test_counts_have_minimum_values_and_the_defaults_satisfy_them():
    known = {
        name: value["default"]
        for notebook in series.SERIES
        for name, value in series.parameters_of(notebook).items()
    }
    least = tomllib.loads((PROJECT / "helpers/headless/notebooks.toml").read_text())["least"]
    assert all(int(known[name]) >= value for name, value in least.items())
    assert set(least) >= {name for name in known if name.endswith(("epochs", "_size", "_images"))}


def test_only_selects_some_notebooks(small):
    assert headless.settings_for("quick", only=["02"]) == {"02_b": {}}
    with pytest.raises(ValueError, match=r"01\.epochs is given, but 01_a is not selected"):
        headless.settings_for("quick", ["01.epochs=2"], only=["02"])


def test_unknown_profiles_are_refused(small):
    with pytest.raises(ValueError, match=r"no profile 'fast'.*standard, quick"):
        headless.settings_for("fast")


def fake_execution(monkeypatch, failing: str = "") -> list[tuple[str, dict]]:
    executed = []

    def execute(name, folder, given, **_):
        folder = Path(folder)
        executed.append((name, dict(given)))
        (status,) = json.loads((folder / "status.json").read_text())["notebooks"][-1:]
        assert (status["notebook"], status["state"]) == (name, "running")
        if name == failing:
            return NotebookResult(name, "failed", 1.0, "boom", "error")
        (folder / name).mkdir()
        (folder / name / "result.json").write_text('{"notebook": "x"}')
        return NotebookResult(name, "finished", 1.0)

    monkeypatch.setattr(runner, "execute_notebook", execute)
    return executed


def test_a_notebook_gets_the_weights_of_the_one_it_needs(small, tmp_path, monkeypatch):
    executed = fake_execution(monkeypatch)
    results = headless.run_notebooks(headless.settings_for("quick"), tmp_path)
    assert executed == [
        ("01_a", {"epochs": 1}),
        ("02_b", {"checkpoint": str(tmp_path / "01_a" / "weights.safetensors")}),
    ]
    assert [result.state for result in results] == ["finished", "finished"]


def test_the_status_on_disk_is_current_at_each_on_done_call(small, tmp_path, monkeypatch):
    fake_execution(monkeypatch, failing="02_b")
    done = []

    def on_done(result: NotebookResult) -> None:
        done.append(result.notebook)
        status = json.loads((tmp_path / "status.json").read_text())
        assert [entry["notebook"] for entry in status["notebooks"]] == done

    headless.run_notebooks(headless.settings_for("standard"), tmp_path, on_done=on_done)
    assert done == ["01_a", "02_b"]
    assert json.loads((tmp_path / "status.json").read_text()) == {
        "settings": {"01_a": {}, "02_b": {}},
        "notebooks": [
            {"notebook": "01_a", "state": "finished", "seconds": 1.0, "message": "", "cause": ""},
            {
                "notebook": "02_b",
                "state": "failed",
                "seconds": 1.0,
                "message": "boom",
                "cause": "error",
            },
        ],
    }


@pytest.mark.parametrize("progress", [True, False])
def test_a_bar_over_the_notebooks_is_shown_on_request(
    small, tmp_path, monkeypatch, capsys, progress
):
    calls = []

    def execute(name, folder, given, **settings):
        calls.append(settings)
        return NotebookResult(name, "finished")

    monkeypatch.setattr(runner, "execute_notebook", execute)
    headless.run_notebooks({"01_a": {}}, tmp_path, cell_timeout=7, progress=progress)
    assert calls == [{"cell_timeout": 7, "progress": progress}]
    shown = capsys.readouterr().err
    assert ("notebook 1 of 1: 100%" in shown) == progress
    headless.run_notebooks({"01_a": {}}, tmp_path)
    assert capsys.readouterr().err == ""
    assert calls[1]["progress"] is False
    assert calls[1]["cell_timeout"] >= 3_600


@pytest.mark.parametrize(
    ("elapsed", "position"),
    [(0, 100), (115, 165), (230, 230), (10_000, 385)],  # the last: 95 % of the remaining 300
)
def test_the_expected_position_scales_with_the_time_taken_so_far(elapsed, position):
    # 200 s passed instead of 100 s: from then on, 230 s of the clock count as 130
    assert runner.expected_position(100, 300, 200, elapsed) == pytest.approx(position)


def test_the_bar_advances_while_a_notebook_runs(small, tmp_path, monkeypatch):
    durations, clock = {"01_a": 60, "02_b": 40, "03_c": 300}, [1_000.0]
    monkeypatch.setattr(series, "SERIES", [Notebook(n, seconds=s) for n, s in durations.items()])
    monkeypatch.setattr(runner, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    bars, positions = [], []

    def quiet_bar(show, **options):
        bars.append(tqdm(file=io.StringIO(), **options))
        return bars[0]

    def execute(name, *_, **__):
        start = bars[0].n
        clock[0] += {"01_a": 120, "02_b": 80, "03_c": 115}[name]
        if name == "03_c":  # the others are not followed by a remaining time
            deadline = time.monotonic() + 20
            while bars[0].n == start and time.monotonic() < deadline:
                time.sleep(0.02)
        positions.append((start, bars[0].n))
        return NotebookResult(name, "finished")

    monkeypatch.setattr(runner, "progress_bar", quiet_bar)
    monkeypatch.setattr(runner, "execute_notebook", execute)
    before = set(threading.enumerate())
    headless.run_notebooks({name: {} for name in durations}, tmp_path)
    assert positions[2] == (100, 165)  # as above
    assert (bars[0].n, bars[0].total, bars[0].unit, bars[0].leave) == (400, 400, " s", True)
    for thread in set(threading.enumerate()) - before:
        assert thread.daemon
        thread.join(20)
        assert not thread.is_alive()


def test_given_settings_are_not_modified(small, tmp_path, monkeypatch):
    fake_execution(monkeypatch)
    settings = headless.settings_for("standard")
    headless.run_notebooks(settings, tmp_path)
    assert settings == {"01_a": {}, "02_b": {}}


def test_a_notebook_alone_uses_the_shipped_weights(small, tmp_path, monkeypatch):
    executed = fake_execution(monkeypatch)
    headless.run_notebooks(headless.settings_for("quick", only=["02"]), tmp_path)
    assert executed == [("02_b", {})]


@pytest.mark.parametrize("given", ["02.checkpoint=mine", "02.dataset=other"])
def test_a_notebook_runs_if_it_needs_no_failed_weights(small, tmp_path, monkeypatch, given):
    executed = fake_execution(monkeypatch, failing="01_a")
    results = headless.run_notebooks(headless.settings_for("standard", [given]), tmp_path)
    assert [result.state for result in results] == ["failed", "finished"]
    assert executed[1][1].get("checkpoint", "") in ("", "mine")


def test_notebooks_that_need_a_failed_one_are_recorded_as_skipped(small, tmp_path, monkeypatch):
    fake_execution(monkeypatch, failing="01_a")
    seen = []
    results = headless.run_notebooks(
        headless.settings_for("standard"), tmp_path, on_done=seen.append
    )
    assert [result.state for result in results] == ["failed", "skipped"]
    assert "it reads the weights of 01_a" in results[1].message
    assert seen == results
    status = json.loads((tmp_path / "status.json").read_text())
    assert [entry["state"] for entry in status["notebooks"]] == ["failed", "skipped"]


def test_notebooks_that_do_not_need_a_failed_one_still_run(small, tmp_path, monkeypatch):
    fake_execution(monkeypatch, failing="01_a")
    monkeypatch.setattr(series, "SERIES", (*series.SERIES, Notebook("03_c")))
    results = headless.run_notebooks({"01_a": {}, "02_b": {}, "03_c": {}}, tmp_path)
    assert [result.state for result in results] == ["failed", "skipped", "finished"]


@pytest.mark.parametrize(
    ("arguments", "message"), [((), "by Ctrl-C"), (("SIGTERM",), "by SIGTERM")]
)
def test_ctrl_c_is_recorded_and_ends_the_run(small, tmp_path, monkeypatch, arguments, message):
    def execute(*_, **__):
        raise KeyboardInterrupt(*arguments)

    monkeypatch.setattr(runner, "execute_notebook", execute)
    with pytest.raises(KeyboardInterrupt):
        headless.run_notebooks(headless.settings_for("standard"), tmp_path)
    status = json.loads((tmp_path / "status.json").read_text())
    assert [entry["state"] for entry in status["notebooks"]] == ["stopped"]
    assert status["notebooks"][0]["message"] == message


def test_folders_may_be_given_as_text(small, tmp_path, monkeypatch):
    settings = headless.settings_for("quick")
    fake_execution(monkeypatch, failing="02_b")
    headless.run_notebooks(settings, f"{tmp_path}/run")
    assert headless.finished_notebooks(f"{tmp_path}/run").keys() == {"01_a"}
    assert headless.find_unfinished(str(tmp_path), settings) == tmp_path / "run"


def test_notebooks_finished_in_an_earlier_run_do_not_run_again(small, tmp_path, monkeypatch):
    settings = headless.settings_for("quick")
    fake_execution(monkeypatch, failing="02_b")
    headless.run_notebooks(settings, tmp_path)
    executed, reported = fake_execution(monkeypatch), []
    results = headless.run_notebooks(settings, tmp_path, on_done=reported.append)
    weights = str(tmp_path / "01_a" / "weights.safetensors")
    assert executed == [("02_b", {"checkpoint": weights})]
    assert [result.state for result in reported] == ["finished", "finished"]
    assert results == reported
    status = json.loads((tmp_path / "status.json").read_text())["notebooks"]
    assert [(entry["notebook"], entry["state"]) for entry in status] == [
        ("01_a", "finished"),
        ("02_b", "finished"),
    ]


@pytest.mark.parametrize(
    "damage", ["", "no json", "{}", "[" * 100_000], ids=["empty", "damaged", "of nothing", "nested"]
)
def test_a_finished_status_without_a_valid_record_is_ignored(small, tmp_path, monkeypatch, damage):
    """Nor are results made with the weights of that notebook used."""
    settings = headless.settings_for("standard")
    fake_execution(monkeypatch)
    headless.run_notebooks(settings, tmp_path)
    assert list(headless.finished_notebooks(tmp_path)) == ["01_a", "02_b"]
    for name in ("01_a", "02_b"):
        (tmp_path / name / "result.json").rename(tmp_path / f"{name}.json")
        (tmp_path / name).rmdir()
    (tmp_path / "02_b").mkdir()
    (tmp_path / "02_b.json").rename(tmp_path / "02_b" / "result.json")
    assert list(headless.finished_notebooks(tmp_path)) == ["02_b"]
    (tmp_path / "01_a").mkdir()
    (tmp_path / "01_a" / "result.json").write_text(damage)
    assert list(headless.finished_notebooks(tmp_path)) == ["02_b"]
    ran = []
    monkeypatch.setattr(
        runner,
        "execute_notebook",
        lambda name, *_, **__: ran.append(name) or NotebookResult(name, "finished"),
    )
    headless.run_notebooks(settings, tmp_path)
    assert ran == ["01_a", "02_b"]


def test_a_run_is_resumed_by_its_settings(small, tmp_path, monkeypatch):
    quick, standard = (headless.settings_for(profile) for profile in ("quick", "standard"))
    fake_execution(monkeypatch, failing="02_b")
    for name, settings in {"1": quick, "2": quick, "3": standard}.items():
        headless.run_notebooks(settings, tmp_path / name)
    (tmp_path / "4").mkdir()
    (tmp_path / "4" / "status.json").write_text('{"notebooks": []}')  # of an older version
    assert headless.find_unfinished(tmp_path, quick) == tmp_path / "2"
    with pytest.raises(ValueError, match="Start one without --resume"):
        headless.find_unfinished(tmp_path, {"01_a": {"epochs": 9}})
    fake_execution(monkeypatch)
    headless.run_notebooks(quick, tmp_path / "2")
    with pytest.raises(ValueError, match="Nothing to resume"):
        headless.find_unfinished(tmp_path, quick)


def test_two_runs_do_not_share_a_folder(small, tmp_path, monkeypatch):
    fake_execution(monkeypatch)
    code = (
        "import sys, pathlib; from helpers.files import lock_folder\n"
        "with lock_folder(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout.readline() == "held\n"
    with pytest.raises(BlockingIOError, match="Another process uses this folder"):
        headless.run_notebooks(headless.settings_for("standard"), tmp_path)
    other.kill()  # without cleaning up
    other.communicate()
    assert len(headless.run_notebooks(headless.settings_for("standard"), tmp_path)) == 2


CELLS = ("a = 1\nb = 2", "c()", "d()\n\ne()")


def stub_papermill(
    monkeypatch, started_cells: int = 3, record: bool = False, error: Exception | None = None
) -> list[tuple]:
    """Write a copy with this many cells started, and perhaps a record; perhaps raise an error."""
    calls = []

    def execute_notebook(source, target, given, **settings):
        calls.append((source, target, given, settings))
        cells = [nbformat.v4.new_markdown_cell("# One", metadata={"papermill": {}})]
        for i, text in enumerate((*CELLS, "f()")):
            started = {"start_time": "2026-01-01"} if i < started_cells else {}
            cells.append(nbformat.v4.new_code_cell(text, metadata={"papermill": started}))
        nbformat.write(nbformat.v4.new_notebook(cells=cells), target)
        if record:
            Path(given["output"], "result.json").write_text("{}")
        if error is not None:
            raise error

    monkeypatch.setattr(papermill, "execute_notebook", execute_notebook)
    return calls


RAISED = papermill.PapermillExecutionError(4, 3, "d()", "ValueError", "no", [])
TIMEOUT = CellTimeoutError.error_from_timeout_and_cell("", 8, nbformat.v4.new_code_cell("d()"))


@pytest.mark.parametrize(
    ("left", "cause", "message"),
    [
        ({"record": True}, "", ""),
        (
            {},
            "no record",
            r"it ended in cell \[3\], 'd\(\)' without writing its record, result\.json",
        ),
        ({"error": RAISED, "record": True}, "error", r"cell \[3\], 'd\(\)', raised ValueError: no"),
        ({"error": TIMEOUT}, "time-out", r"cell \[3\], 'd\(\)' took longer than 8 s"),
        ({"error": DeadKernelError()}, "kernel died", r"its kernel died in cell \[3\], 'd\(\)'.*"),
        (
            {"error": DeadKernelError(), "started_cells": 1},
            "kernel died",
            r"its kernel died in cell \[1\], 'a = 1'.*",
        ),
        (
            {"error": DeadKernelError(), "started_cells": 0},
            "kernel died",
            "its kernel died in no cell yet.*",
        ),
    ],
)
def test_the_outcome_follows_from_the_error_and_the_record(
    small, tmp_path, monkeypatch, left, cause, message
):
    """Without kernels, so that it is quick; tests/faults uses real ones."""
    stub_papermill(monkeypatch, **left)
    (tmp_path / "run" / "01_a").mkdir(parents=True)
    (tmp_path / "run" / "01_a" / "result.json").write_text("{}")  # of an earlier run
    start = time.perf_counter()
    result = headless.execute_notebook("01_a", tmp_path / "run", {}, cell_timeout=8)
    assert 0 <= result.seconds <= time.perf_counter() - start
    assert (result.notebook, result.cause) == ("01_a", cause)
    assert result.state == ("failed" if cause else "finished")
    assert re.fullmatch(message, result.message)


def test_a_kernel_that_dies_before_the_copy_exists_is_reported(small, tmp_path, monkeypatch):
    def die(*_, **__):
        raise DeadKernelError

    monkeypatch.setattr(papermill, "execute_notebook", die)
    result = headless.execute_notebook("01_a", tmp_path, {})
    assert result.message.startswith("its kernel died in no cell yet")


def test_papermill_receives_paths_parameters_and_timeouts(small, tmp_path, monkeypatch):
    calls = stub_papermill(monkeypatch)
    headless.execute_notebook("01_a", tmp_path / "new", {"epochs": 2}, cell_timeout=8)
    headless.execute_notebook("01_a", tmp_path / "new", {}, progress=True)
    (source, target, given, settings), (*_, shown) = calls
    folder = tmp_path / "new" / "01_a"
    assert (source, target) == (str(small / "01_a.ipynb"), str(folder / "01_a.ipynb"))
    assert given == {"epochs": 2, "output": str(folder)}
    assert (settings["kernel_name"], settings["execution_timeout"]) == ("python3", 8)
    assert settings["start_timeout"] >= 60
    assert settings["coalesce_streams"] is True
    assert settings["config"].KernelManager.transport_encryption == "auto"
    assert settings["progress_bar"] is False
    assert shown["progress_bar"] == {"desc": "01_a", "leave": False}
    assert shown["execution_timeout"] >= 3_600


def test_an_os_error_is_reported_as_not_run(small, tmp_path, monkeypatch):
    def no_space(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(papermill, "execute_notebook", no_space)
    result = headless.execute_notebook("01_a", tmp_path / "run", {})
    assert (result.state, result.cause) == ("failed", "not run")
    assert "No space left" in result.message


@pytest.mark.slow
def test_text_parameters_and_paths_arrive_as_they_are(small, tmp_path):
    special = """it's "quoted" \\ {braces}
and a new line; import os"""
    note = "import pathlib; pathlib.Path(output, 'name.txt').write_text(name)"
    write(small / "01_a.ipynb", note, RECORD)
    folder = tmp_path / "runs {x} 100 % ü"
    result = headless.execute_notebook("01_a", str(folder), {"name": special})
    assert (result.state, result.message) == ("finished", "")
    assert (folder / "01_a" / "name.txt").read_text() == special
    assert (folder / "01_a" / "01_a.ipynb").is_file()


@pytest.mark.slow
@pytest.mark.skipif(
    not hasattr(KernelManager, "transport_encryption")
    or not hasattr(IPKernelApp, "curve_secretkey"),
    reason="the installed kernel does not support it",
)
def test_the_connection_to_a_kernel_is_encrypted(small, tmp_path):
    source = (
        "import ipykernel, pathlib\n"
        "known = ipykernel.get_connection_info(unpack=True)\n"
        "pathlib.Path(output, 'key.txt').write_text(str(bool(known['curve_secretkey'])))"
    )
    write(small / "01_a.ipynb", source, RECORD)
    result = headless.execute_notebook("01_a", tmp_path, {})
    assert (result.state, result.message) == ("finished", "")
    assert (tmp_path / "01_a" / "key.txt").read_text() == "True"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "limit", "cause"),
    [("raise ValueError('no')", 60, "error"), ("while True: pass", 3, "time-out")],
)
def test_the_tools_print_nothing_about_a_failure(small, tmp_path, capfd, code, limit, cause):
    """Our own message is enough: kernels would log how they were stopped as an error."""
    write(small / "01_a.ipynb", code)
    result = headless.execute_notebook("01_a", tmp_path, {}, cell_timeout=limit)
    assert result.cause == cause
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_settings_of_the_user_do_not_reach_the_kernels(small, tmp_path, monkeypatch):
    home = tmp_path / "home"
    startup = home / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "own.py").write_text("raise OSError('the startup file of the user was run')")
    (home / "ipython" / "profile_default" / "ipython_kernel_config.py").write_text("1 / 0")
    (home / "matplotlibrc").write_text("text.usetex: True\nimage.cmap: jet\n")
    monkeypatch.setenv("IPYTHONDIR", str(home / "ipython"))
    monkeypatch.setenv("MPLCONFIGDIR", str(home))
    source = (
        "import json, pathlib, matplotlib.pyplot as plt\n"
        "seen = [plt.rcParams['text.usetex'], plt.rcParams['image.cmap']]\n"
        "pathlib.Path(output, 'seen.json').write_text(json.dumps(seen))"
    )
    write(small / "01_a.ipynb", source, RECORD)
    result = headless.execute_notebook("01_a", tmp_path / "run", {})
    assert (result.state, result.message) == ("finished", "")
    seen = json.loads((tmp_path / "run" / "01_a" / "seen.json").read_text())
    assert seen == [False, "viridis"]
    executed = (tmp_path / "run" / "01_a" / "01_a.ipynb").read_text()
    assert "the startup file of the user was run" not in executed


def test_unknown_fields_of_a_status_are_ignored(tmp_path):
    entry = {"notebook": "02", "state": "finished", "seconds": 1.0, "message": "", "new": [1]}
    (tmp_path / "02").mkdir()
    (tmp_path / "02" / "result.json").write_text('{"notebook": "02"}')
    (tmp_path / "status.json").write_text(json.dumps({"notebooks": [entry]}))
    assert headless.finished_notebooks(tmp_path) == {"02": NotebookResult("02", "finished", 1.0)}


def test_a_run_with_a_damaged_status_is_not_resumed(tmp_path):
    (tmp_path / "run").mkdir()
    for content in ("{", "[]", "3"):
        (tmp_path / "run" / "status.json").write_text(content)
        with pytest.raises(ValueError, match=r"No run in .* has these settings"):
            headless.find_unfinished(tmp_path, {"02": {}})
