"""Shared fixtures. One thread: more do not speed up tiny tensors, and slow down a busy machine."""

import importlib
import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler reads it once per process

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch
from tqdm import tqdm

from helpers import data
from helpers.data import Split
from helpers.evaluation import Predictions
from tests import halves

# Windows has no SIGKILL, and there torch cannot select the loopback device
collect_ignore = ["test_faults.py", "training/test_distributed.py"] if os.name == "nt" else []
FIXTURES = Path(__file__).parent / "fixtures"  # files that older versions wrote
matplotlib.rcdefaults()  # the user's settings must not affect the tests
matplotlib.use("agg")  # not by an environment variable: kernels started by tests draw as usual
# mutmut forks: a shared lock, or a thread, may block a child forever
tqdm.set_lock(threading.RLock())
tqdm.monitor_interval = 0
if "mutmut" in sys.modules:  # so that its children need not import these
    for name in ("nbconvert", "rich.table", "scipy.stats", "torchmetrics"):
        importlib.import_module(name)

# files whose tests start browsers, workers, kernels or exports; those in fuzz/ try many inputs
MEDIUM = (
    "test_browser.py", "test_doctor.py", "test_exercises.py", "test_export.py",
    "test_model_commands.py", "test_site.py", "test_student_report.py", "test_sweeps.py",
)  # fmt: skip
LONGEST = (
    "06_doubtful_labels.ipynb", "test_exercises.py", "03_train_fashion_mnist.ipynb",
    "test_browser.py", "02_train_mnist.ipynb", "07_many_runs.ipynb", "test_defects.py",
    "test_faults.py", "05_better_architecture.ipynb", "test_pretrained.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark medium tests, and run the longest files first, so that no worker is left with one."""
    for item in items:
        if item.path.name in MEDIUM or item.path.parent.name == "fuzz":
            item.add_marker(pytest.mark.medium)
    if "__mutmut_" in (mutant := os.environ.get("MUTANT_UNDER_TEST", "")):
        _select_for_mutant(mutant, items)
        return
    last = len(LONGEST)
    items.sort(key=lambda i: LONGEST.index(i.path.name) if i.path.name in LONGEST else last)


def _select_for_mutant(mutant: str, items: list[pytest.Item]) -> None:
    """Run the tests of the mutant's module first, then those of its subpackage. With MUTANTS=fast,
    run only these, if there are any: mutants that survive them are retested with all.
    """
    if dask := sys.modules.get("distributed.utils"):  # its thread is not forked
        dask._offload_executor = ThreadPoolExecutor(1)
    subpackage, module = mutant.split(".")[1:3]
    own = [i for i in items if i.path.stem in (f"test_{subpackage}", f"test_{module}")]
    others = [i for i in items if i not in own]
    fast = [i for i in others if not i.get_closest_marker("medium")]
    first = own + [i for i in fast if i.path.parent.name == subpackage]
    if os.environ.get("MUTANTS") == "fast":
        items[:] = first or fast
    else:
        items[:] = first + [i for i in others if i not in first]


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Each test draws the same random numbers, whichever tests run before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def mnist() -> data.Splits:
    return data.load_splits("mnist")


@pytest.fixture(scope="session")
def fashion() -> data.Splits:
    return data.load_splits("fashion_mnist")


@pytest.fixture
def tiny() -> Split:
    """70 images of two classes that are easy to separate: bright on the left, or on the right."""
    return halves.images(70)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def predictions_from(predicted: list[int], targets: list[int], classes: int = 3) -> Predictions:
    """Predictions of the classes in `predicted`."""
    logits = torch.nn.functional.one_hot(torch.tensor(predicted), classes).float()
    return Predictions(logits, torch.tensor(targets))
