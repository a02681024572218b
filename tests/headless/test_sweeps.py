"""Many runs on several workers: each once, even if workers fail."""

import errno
import gc
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from distributed import (
    CancelledError,
    Client,
    LocalCluster,
    Scheduler,
    SpecCluster,
    Worker,
    WorkerPlugin,
    get_worker,
)
from distributed.scheduler import KilledWorker

from helpers import headless, runs
from helpers.files import PROJECT
from helpers.headless import NotebookResult, Trial, notebooks, runner, sweeps
from helpers.messages import progress_bar
from tests.faults.notebooks import restore_sigint
from tests.tools import invoke, write_notebook

# Dask leaves some sockets to the garbage collector, which may warn in a later test
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
NAME = "03_train_fashion_mnist"


@pytest.fixture(autouse=True)
def _collect_sockets():
    yield
    gc.collect()


def trials(n: int) -> list[Trial]:
    return [Trial(NAME, {"seed": seed}) for seed in range(n)]


@pytest.fixture
def client(monkeypatch):
    """Two workers that are threads of this process, so that they see what a test has patched.

    They end before the patch is undone: a late thread would run the real notebook, on the event
    loop of the main thread, and no later test could start a kernel. They use TCP, since without it
    Dask looks up this machine's address, and warns if there is no network.
    """
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=False,
            protocol="tcp",
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def executed(monkeypatch):
    """Runs that take no time; those with a seed in `failing` fail that many times."""
    failing: dict[int, int] = {}
    started: list[int] = []

    def execute(name, folder, given, **_):
        seed = given["seed"]
        started.append(seed)
        if failing.get(seed, 0):
            failing[seed] -= 1
            return NotebookResult(name, "failed", 0.5, "cell [3] raised OSError: no", "error")
        (folder / name).mkdir(parents=True)
        record = {"notebook": name, "finished": "2026-01-01", "measured": {"seed": seed}}
        (folder / name / runs.RESULT).write_text(json.dumps(record))
        return NotebookResult(name, "finished", 0.5)

    monkeypatch.setattr(runner, "execute_notebook", execute)
    execute.started, execute.failing = started, failing
    return execute


def test_each_trial_is_run_once_in_a_folder_of_its_own(client, executed, tmp_path):
    reported = []
    results = headless.run_sweep(
        trials(5), tmp_path, client, on_done=lambda p, o: reported.append((p, o))
    )
    assert [result.state for result in results] == ["finished"] * 5
    assert sorted(executed.started) == [0, 1, 2, 3, 4]
    assert sorted(trial.params["seed"] for trial, _ in reported) == [0, 1, 2, 3, 4]
    frame = runs.collect(tmp_path)
    assert sorted(frame["measured.seed"]) == [0, 1, 2, 3, 4]
    assert set(frame["run"]) == {trial.digest for trial in trials(5)}


def test_the_root_may_be_given_as_text(client, executed, tmp_path):
    root = str(tmp_path)
    (result,) = headless.run_sweep(trials(1), root, client)
    assert headless.finished_trial(trials(1)[0], root) == result
    assert headless.expected_seconds(NAME, 2, root, 1) == pytest.approx(1.0)
    with headless.open_client(client.scheduler.address, 1, root=root):
        assert [path.name for path in tmp_path.iterdir()] == ["sweeps"]


def test_no_more_trials_are_submitted_than_there_are_workers(client, executed, tmp_path):
    """Else a lost worker would count against all trials that were submitted to it."""
    submit, done, most = client.submit, [], []

    def counted(*arguments, **named):
        assert not named.get("resources")
        most.append(len(most) + 1 - len(done))
        return submit(*arguments, **named)

    client.submit = counted
    headless.run_sweep(trials(7), tmp_path, client, on_done=lambda *outcome: done.append(outcome))
    assert len(most) == len(done) == 7
    assert max(most) == 2
    most.clear(), done.clear()
    worker_threads = iter([{"a": 1, "b": 1}])  # later there are no workers
    client.nthreads = lambda: next(worker_threads, {})
    todo = [Trial(NAME, {"seed": seed}) for seed in range(10, 15)]
    headless.run_sweep(todo, tmp_path, client, on_done=lambda *outcome: done.append(outcome))
    assert most == [1, 2, 1, 1, 1]


def test_the_cell_timeout_reaches_each_trial(client, monkeypatch, tmp_path):
    given = []

    def execute(name, folder, _, *, cell_timeout):
        given.append(cell_timeout)
        return NotebookResult(name, "failed", 0.1, "slow", "time-out")

    monkeypatch.setattr(runner, "execute_notebook", execute)
    headless.run_sweep(trials(1), tmp_path, client)
    headless.run_sweep(trials(1), tmp_path, client, cell_timeout=7)
    assert given == [3_600, 7]


class FailedFuture:
    """A future with this error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def result(self):
        raise self.error


def test_an_error_of_a_trial_is_recorded_and_one_of_the_sweep_ends_it():
    (trial,) = trials(1)
    lost = NotebookResult(NAME, "failed", 2.0, "cell [1] raised OSError: no", "error")
    trial_error = headless.TrialError(lost)
    assert sweeps._result_of(FailedFuture(trial_error), trial) == lost
    worker = SimpleNamespace(address="tcp://10.0.0.7:1234")
    killed = KilledWorker("a key", worker, 3)
    for error, message, cause in (
        (ModuleNotFoundError("gone"), "ModuleNotFoundError('gone')", "not run"),
        (killed, str(killed), "kernel died"),
    ):
        expected = NotebookResult(NAME, "failed", message=message, cause=cause)
        assert sweeps._result_of(FailedFuture(error), trial) == expected
    with pytest.raises(headless.ClusterError, match=r"has stopped.* same command resumes"):
        sweeps._result_of(FailedFuture(CancelledError("a key")), trial)
    with pytest.raises(OSError, match="No space left"):
        sweeps._result_of(FailedFuture(OSError(28, "No space left on device")), trial)


def test_finished_trials_are_not_run_again(client, executed, tmp_path):
    headless.run_sweep(trials(2), tmp_path, client)
    reported = []
    results = headless.run_sweep(
        trials(4), tmp_path, client, on_done=lambda p, _: reported.append(p)
    )
    assert sorted(executed.started) == [0, 1, 2, 3]
    assert [result.state for result in results] == ["finished"] * 4
    assert [trial.params["seed"] for trial in reported[:2]] == [
        0,
        1,
    ]  # already finished
    assert len(reported) == 4


def test_a_failing_trial_is_retried_up_to_the_given_number(client, executed, tmp_path):
    executed.failing.update({1: 2, 2: 9})
    results = headless.run_sweep(trials(3), tmp_path, client, retries=2)
    assert [result.state for result in results] == ["finished", "finished", "failed"]
    assert results[2].message == "cell [3] raised OSError: no"
    assert {seed: executed.started.count(seed) for seed in range(3)} == {0: 1, 1: 3, 2: 3}
    status = headless.trial_dir(trials(3)[2], tmp_path) / runs.STATUS
    (entry,) = json.loads(status.read_text())["notebooks"]
    assert entry["state"] == "failed"
    assert headless.finished_trial(trials(3)[2], tmp_path) is None  # the next sweep retries it


def test_a_full_disk_ends_the_sweep(client, monkeypatch, tmp_path):
    message = "it could not be run: [Errno 28] No space left on device"
    result = NotebookResult(NAME, "failed", 0.1, message, "not run")
    monkeypatch.setattr(runner, "execute_notebook", lambda *_, **__: result)
    cancelled = []
    monkeypatch.setattr(client, "cancel", cancelled.append)
    with pytest.raises(OSError, match="No space left"):
        headless.run_sweep(trials(3), tmp_path, client)
    assert [len(futures) for futures in cancelled] == [1]  # that of the other worker
    (trial,) = trials(1)
    with pytest.raises(OSError, match="No space left") as full:
        headless.run_trial(trial, tmp_path)
    assert full.value.errno == errno.ENOSPC
    assert full.value.filename == str(headless.trial_dir(trial, tmp_path))


def test_another_error_fails_only_its_trial(client, executed, monkeypatch, tmp_path):
    def execute(name, folder, given, **named):
        if given["seed"] == 1:
            raise ModuleNotFoundError("gone")
        return executed(name, folder, given, **named)

    monkeypatch.setattr(runner, "execute_notebook", execute)
    results = headless.run_sweep(trials(3), tmp_path, client)
    assert [result.state for result in results] == ["finished", "failed", "finished"]
    assert (results[1].notebook, results[1].message) == (NAME, "ModuleNotFoundError('gone')")


def test_the_progress_counts_trials_and_those_that_failed(client, executed, monkeypatch, tmp_path):
    bars = []

    def kept(*arguments, **named):
        bars.append(progress_bar(*arguments, **named))
        return bars[0]

    monkeypatch.setattr(sweeps, "progress_bar", kept)
    executed.failing[1] = 1
    headless.run_sweep(trials(4), tmp_path, client, progress="log")
    (bar,) = bars
    assert re.fullmatch(r"sweep: 100 %, 4 of 4 trials, .* left, failed=1", str(bar))


def test_a_trial_runs_without_the_memory_setting_of_dask(executed, monkeypatch, tmp_path):
    """It makes training in a worker a third slower."""
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    headless.run_trial(trials(1)[0], tmp_path)
    assert "MALLOC_TRIM_THRESHOLD_" not in os.environ


def test_two_sweeps_at_once_run_a_trial_once(executed, monkeypatch, tmp_path):
    """The second waits for the first, and takes its result."""
    import threading

    quick = runner.execute_notebook

    def slow(*arguments, **settings):
        time.sleep(0.5)
        return quick(*arguments, **settings)

    monkeypatch.setattr(runner, "execute_notebook", slow)
    (trial,) = trials(1)
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(headless.run_trial(trial, tmp_path)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert executed.started == [0]
    assert [result.state for result in results] == ["finished", "finished"]


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr(sweeps, "CONNECT_TIMEOUT", 0.2)
    with (
        pytest.raises(headless.ClusterError, match=r"No scheduler answers at tcp://127\.0"),
        headless.open_client("tcp://127.0.0.1:9", 1),
    ):
        pass


class ClientWithVersions:
    """A client whose workers return these versions."""

    def __init__(self, versions: dict[str, str] | Exception) -> None:
        self.versions = versions

    def run(self, call):
        assert call is sweeps.code_version
        if isinstance(self.versions, Exception):
            raise self.versions
        return self.versions


@pytest.mark.parametrize(
    ("versions", "message"),
    [
        (
            {"tcp://a": "here", "tcp://b": "old"},
            "tcp://b has version old .*, this machine has here",
        ),
        ({}, "no workers"),
        (ModuleNotFoundError("No module named 'helpers'"), "do not have this package"),
    ],
)
def test_workers_with_other_code_or_none_are_refused(monkeypatch, versions, message):
    monkeypatch.setattr(sweeps, "code_version", lambda: "here")
    with pytest.raises(headless.ClusterError, match=message):
        sweeps._check_workers(ClientWithVersions(versions), None)


def test_a_cluster_of_the_same_version_is_used(client):
    with headless.open_client(client.scheduler.address, 1) as theirs:
        assert theirs.scheduler.address == client.scheduler.address


def test_a_worker_that_cannot_access_the_folder_is_named(client, tmp_path):
    with headless.open_client(client.scheduler.address, 1, root=tmp_path):
        pass

    class Half:
        def run(self, call, *path):
            assert [Path(name).parent for name in path] in ([], [tmp_path])
            return {"tcp://a": call(*path), "tcp://b": False if path else call()}

    with pytest.raises(headless.ClusterError, match=r"tcp://b cannot access .* with --root"):
        sweeps._check_workers(Half(), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("amount", [1, math.nan, -1, 0])
def test_resources_that_no_worker_has_are_refused(client, tmp_path, amount):
    message = rf"None of the 2 workers has the resources GPU={amount}\. .*GPU={amount}\"$"
    with pytest.raises(headless.ClusterError, match=message):
        headless.run_sweep(trials(1), tmp_path, client, resources={"GPU": amount})
    assert not list(tmp_path.iterdir())


def test_a_trial_that_needs_a_gpu_goes_only_to_the_worker_that_has_one(
    executed, monkeypatch, tmp_path
):
    used = []

    def execute(*arguments, **named):
        used.append(get_worker().name)
        return executed(*arguments, **named)

    monkeypatch.setattr(runner, "execute_notebook", execute)
    local = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    workers = {
        name: {"cls": Worker, "options": local | {"nthreads": threads, "resources": resources}}
        for name, threads, resources in (("with", 1, {"GPU": 1}), ("without", 3, {}))
    }
    scheduler = {"cls": Scheduler, "options": local}
    with SpecCluster(workers, scheduler) as cluster, Client(cluster) as client:
        client.wait_for_workers(2)
        results = headless.run_sweep(trials(4), tmp_path, client, resources={"GPU": 1})
    assert [result.state for result in results] == ["finished"] * 4
    assert used == ["with"] * 4


def test_resources_of_one_worker_are_enough():
    resources = {"a": {"GPU": 2.0}, "b": {}}

    class ClientWithResources:
        def run(self, call):
            return resources

    sweeps._check_resources(ClientWithResources(), {"GPU": 1})
    sweeps._check_resources(ClientWithResources(), {"GPU": 2})
    for needed in ({"GPU": 3}, {"GPU": 1, "TPU": 1}):
        with pytest.raises(headless.ClusterError, match="None of the 2 workers"):
            sweeps._check_resources(ClientWithResources(), needed)


def test_a_trial_fails_if_its_code_differs_from_that_of_the_sweep(
    client, executed, monkeypatch, tmp_path
):
    """The version of a worker that joins later was not checked."""
    started = trials(1)
    assert started[0].digest
    monkeypatch.setattr(sweeps, "code_version", lambda: "newer")
    (result,) = headless.run_sweep(started, tmp_path, client)
    assert (result.notebook, result.state, executed.started) == (NAME, "failed", [])
    assert "differs from where the sweep started" in result.message


def test_the_duration_is_estimated_from_finished_trials(client, executed, tmp_path):
    assert headless.expected_seconds(NAME, 4, tmp_path, 2) is None
    headless.run_sweep(trials(2), tmp_path, client)
    assert headless.expected_seconds(NAME, 4, tmp_path, 2) == pytest.approx(0.5 * 4 / 2)
    assert headless.expected_seconds("02_train_mnist", 1, tmp_path, 2) is None
    (tmp_path / "sweeps" / "damaged").mkdir()
    (tmp_path / "sweeps" / "damaged" / runs.STATUS).write_text("")
    assert headless.expected_seconds(NAME, 4, tmp_path, 2) == pytest.approx(0.5 * 4 / 2)


# From here on real workers and real notebooks; tiny ones replace notebook 3.


class NotebooksFrom(WorkerPlugin):
    """Makes each worker, also later ones, read notebooks from another folder."""

    name = "stand"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def setup(self, worker) -> None:
        notebooks.NOTEBOOKS = self.folder


@pytest.fixture
def tiny_notebook(tmp_path, monkeypatch) -> Path:
    parameters = 'seed: int = 0\nseconds: float = 0.0\noutput: str = ""'
    work = (
        "import json, pathlib, time\n"
        "time.sleep(seconds)\n"
        "record = {'notebook': 'tiny', 'finished': str(time.time()), 'measured': {'seed': seed}}\n"
        "pathlib.Path(output, 'result.json').write_text(json.dumps(record))"
    )
    folder = tmp_path / "notebooks"
    folder.mkdir()
    write_notebook(folder / f"{NAME}.ipynb", work, parameters=parameters)
    monkeypatch.setattr(notebooks, "NOTEBOOKS", folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "repetition", [0, *(pytest.param(i, marks=pytest.mark.long) for i in range(1, 10))]
)
def test_the_trial_of_a_killed_worker_runs_on_another(tiny_notebook, tmp_path, repetition):
    """In each of ten sweeps one of two workers is killed while it is busy.

    Each has its own workers: Dask does not always replace a killed one, and the sweep does not need
    it.
    """
    lengths = [0.5, 3.0, 0.5]  # seconds: the second is still running when the first is done
    todo = [
        Trial(NAME, {"seed": seed, "seconds": seconds + repetition / 100})
        for seed, seconds in enumerate(lengths)
    ]
    killed = []
    with headless.open_client(None, 2) as client:
        client.register_plugin(NotebooksFrom(tiny_notebook))

        def kill(*_):
            if not killed:
                busy = [worker for worker, tasks in client.processing().items() if tasks]
                killed.append(client.run(os.getpid, workers=busy[:1])[busy[0]])
                psutil.Process(killed[0]).send_signal(signal.SIGKILL)

        results = headless.run_sweep(todo, tmp_path, client, on_done=kill)
    assert killed
    assert [result.state for result in results] == ["finished"] * 3
    for trial in todo:
        record = headless.trial_dir(trial, tmp_path) / NAME / runs.RESULT
        assert json.loads(record.read_text())["measured"] == {"seed": trial.params["seed"]}


def test_workers_and_dashboard_listen_to_this_machine_only():
    with headless.open_client(None, 1):
        own = psutil.Process()
        processes = [own, *own.children(recursive=True)]
        name = "net_connections" if psutil.version_info >= (6,) else "connections"
        sockets = [socket for process in processes for socket in getattr(process, name)("inet")]
    listening = [socket for socket in sockets if socket.status == psutil.CONN_LISTEN]
    assert len(listening) >= 3  # of the scheduler, a worker and the dashboard
    assert {socket.laddr.ip for socket in listening} == {"127.0.0.1"}


@pytest.mark.slow
def test_ctrl_c_ends_workers_and_kernels_and_the_command_resumes(tmp_path):
    """The signal goes to the whole process group, as from a terminal."""
    small = {"epochs": 1, "train_images": 1000, "overfit_images": 200, "overfit_epochs": 1}
    given = [part for name, value in small.items() for part in ("-p", f"{name}={value}")]
    command = [sys.executable, "-m", "helpers", "sweep", "03", "--grid", "seed=0:3", *given]
    command += ["--workers", "1", "--root", str(tmp_path)]
    with subprocess.Popen(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, preexec_fn=restore_sigint,
    ) as sweep:  # fmt: skip
        while len(list(tmp_path.glob("sweeps/*/*/result.json"))) < 1:
            assert sweep.poll() is None, sweep.communicate()[1]
            time.sleep(0.1)
        children = psutil.Process(sweep.pid).children(recursive=True)
        os.killpg(sweep.pid, signal.SIGINT)
        _, stderr = sweep.communicate()
    assert sweep.returncode == 130, stderr
    assert "Finished trials are saved; the same command resumes." in stderr
    psutil.wait_procs(children, timeout=30)
    assert not any(child.is_running() for child in children)
    again = subprocess.run([*command, "--dry-run"], cwd=PROJECT, capture_output=True, text=True)
    assert re.match(
        r"3 trials of 03_train_fashion_mnist, [12] already finished; about", again.stdout
    )


def test_a_dry_run_counts_trials_and_runs_none(tmp_path):
    words = ("sweep", "03", "--grid", "seed=0:5", "--grid", "learning_rate=0.1,0.2", "--dry-run")
    stdout = invoke(*words, "--root", tmp_path).stdout
    begin = "trials of 03_train_fashion_mnist, 0 already finished; duration unknown, since no trial"
    assert stdout.startswith(f"10 {begin}")
    one = ("sweep", "03", "--grid", "seed=1", "-p", "epochs=1", "--dry-run")
    assert invoke(*one, "--root", tmp_path).stdout.startswith(f"1 {begin}")
    drawn = ("--range", "learning_rate=0.01:0.3", "--random", 3, "--dry-run")
    stdout = invoke("sweep", "03", "--grid", "seed=0:2", *drawn, "--root", tmp_path).stdout
    assert stdout.startswith(f"6 {begin}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Which notebook?"),
        (("03",), "something that varies"),
        (("03", "--grid", "seed"), "NAME=VALUES, such as seed=0:5, got 'seed'"),
        (("03", "--grid", "seed=1", "--grid", "seed=2"), "seed is given twice"),
        (("03", "--grid", "seed="), "seed has no values"),
        (("03", "--grid", "sead=1"), "no parameter 'sead'"),
        (("03", "--grid", "seed=1", "-p", "sead=1=2"), "no parameter 'sead'"),
        *(
            ((*given, "--plan", "x.yaml"), "give no other settings with --plan")
            for given in (
                ("03",),
                ("--grid", "seed=1"),
                ("--range", "seed=1:9"),
                ("--random", 2),
                ("-p", "seed=1"),
            )
        ),
        (("--plan", "there-is-none.yaml"), "there-is-none.yaml"),
        (
            ("03", "--grid", "seed=1", "--resource", "GPU=one"),
            "GPU must be of type float, got 'one'",
        ),
        (
            ("03", "--grid", "seed=1", "--resource", "GPU=nan"),
            "GPU must be of type float, got 'nan'",
        ),
        (("03", "--grid", "seed=1", "--resource", "GPU=1e400"), "GPU must be a finite number"),
        (("03", "--grid", "seed=1", "--resource", "GPU=-1"), "GPU must be a finite number"),
        (("03", "--grid", "seed=1", "--workers", "-1"), "--workers"),
    ],
)
def test_bad_input_is_reported(tmp_path, arguments, message):
    words = (
        "sweep",
        *arguments,
        "--dry-run",
        "--root",
        tmp_path,
    )  # some may be valid
    assert message in invoke(*words, status=2).stderr
    assert not list(tmp_path.iterdir())


def test_the_command_counts_and_names_failed_trials(client, executed, monkeypatch, tmp_path):
    monkeypatch.setattr(headless, "open_client", lambda *_, **__: nullcontext(client))
    executed.failing[1] = 1
    words = ("sweep", "03", "--grid", "seed=0:3", "--root", tmp_path)
    out = invoke(*words, status=1).stdout
    assert ("Watch it at" in out) == (find_spec("bokeh") is not None)  # bokeh shows the dashboard
    assert "seed=1 failed: cell [3] raised OSError: no; see" in out
    assert "2 trials done, 1 failed" in out
    again = invoke(*words).stdout
    assert "3 trials of 03_train_fashion_mnist, 2 already finished; about 00:00 with" in again
    assert sorted(executed.started) == [0, 1, 1, 2]


def test_ctrl_c_says_how_to_go_on(monkeypatch, tmp_path):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(headless, "open_client", stopped)
    stderr = invoke("sweep", "03", "--grid", "seed=0:3", "--root", tmp_path, status=130).stderr
    assert "the same command resumes" in stderr
