"""A quick version of `make faults`: a few of all faults, on the real data and with real kills."""

import signal
import time

import pytest

from helpers import data
from helpers.files import PROJECT
from tests.faults import concurrency, images, notebooks, sweeps, training

pytestmark = [
    pytest.mark.slow,
    # urllib, when the server hangs up, and pyzmq leave sockets to the garbage collector
    pytest.mark.filterwarnings("default::ResourceWarning"),
    pytest.mark.filterwarnings("default::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def right() -> dict[str, str]:
    return {name: images.digest(name, PROJECT / "data") for name in data.SPECS}


@pytest.mark.parametrize("how", images.FAULTS)
def test_a_damaged_archive_is_reported(right, how):
    case = ("mnist", "train-labels-idx1-ubyte.gz", how)
    assert images.outcome(case, right) == "reported"


@pytest.mark.parametrize("behavior", images.MIRROR_BEHAVIORS)
def test_a_wrong_file_from_a_mirror_is_reported(right, behavior):
    seen = images.download_outcome(behavior, data.MNIST, right["mnist"])
    assert seen == ("right" if behavior == "sound" else "reported")


def test_several_processes_may_load_at_once(right):
    assert images.load_concurrently("mnist", right["mnist"], processes=4) == "right"


def test_several_processes_may_read_own_pictures_at_once():
    assert concurrency.own_pictures(4) == {"right": 4}


def test_several_processes_that_begin_a_run_at_once_get_different_folders():
    assert concurrency.run_folders(4) == {"right": 4}


def test_trainings_in_one_folder_end_right_or_are_refused():
    seen = training.train_concurrently(4)
    assert seen["right"] + seen["refused"] == 4
    assert seen["right"] >= 1


def test_a_sweep_whose_worker_is_killed_has_every_result_once(tmp_path):
    seen = sweeps.kill_workers_repeatedly(6, 1, seed=2, folder=tmp_path)
    assert seen == {"right": 6, "wrong": 0, "kills": 1}


def test_a_read_only_folder_is_enough(right):
    assert images.read_only("mnist", right["mnist"]) == "right"


QUICK = """an error, exit 0, exit 1, exit(), no memory, killed, aborted, runs for ever,
a record that is taken away, ignores the interrupt, all is well"""


@pytest.mark.parametrize("name", [name.strip() for name in QUICK.split(",")])
def test_the_failure_of_a_bad_notebook_is_reported(tmp_path, name):
    failure = notebooks.BAD[name]
    result = notebooks.outcome(failure, tmp_path, cell_timeout=5)
    assert notebooks.verdict(failure, result, tmp_path) == "right"


@pytest.mark.parametrize(("where", "how"), [(1, signal.SIGTERM), (2, signal.SIGKILL)])
def test_a_run_that_was_killed_is_resumed(tmp_path, where, how):
    assert notebooks.killed_run(tmp_path, where, how, notebooks=3) == "right"


def test_a_repeatedly_killed_training_ends_like_an_uninterrupted_one():
    seen = training.stop_repeatedly(8, seed=1)
    assert seen["kills"] == 8
    assert (seen["different"], seen["failed"], seen["left_over"]) == (0, 0, 0)


def test_a_training_stopped_repeatedly_by_sigterm_ends_like_an_uninterrupted_one():
    start = time.monotonic()
    seen = training.stop_repeatedly(4, seed=1, how=signal.SIGTERM)
    assert seen["kills"] == 4
    assert (seen["different"], seen["failed"], seen["left_over"]) == (0, 0, 0)
    assert seen["aimed"] > 0
    assert 0 < seen["longest"] < time.monotonic() - start
