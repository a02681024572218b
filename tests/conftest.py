"""What the tests share. One thread: tiny tensors gain nothing from more, a busy machine loses."""

import importlib
import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler reads it once in a process

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

# on Windows there is no SIGKILL, and torch has no loop-back device to name
collect_ignore = ["test_faults.py", "training/test_distributed.py"] if os.name == "nt" else []
FIXTURES = Path(__file__).parent / "fixtures"  # files that older versions wrote
matplotlib.rcdefaults()  # settings of the user must not change what the tests see
matplotlib.use("agg")  # not by the environment: kernels that tests start shall draw as ever
# mutmut forks: a lock shared with its other children, or a thread, may stop a child for ever
tqdm.set_lock(threading.RLock())
tqdm.monitor_interval = 0
if "mutmut" in sys.modules:  # so that no child has to import these
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
    """Mark what is medium, and put the longest files first, so that no worker is left with one."""
    for item in items:
        if item.path.name in MEDIUM or item.path.parent.name == "fuzz":
            item.add_marker(pytest.mark.medium)
    if "__mutmut_" in (mutant := os.environ.get("MUTANT_UNDER_TEST", "")):
        _choose_for(mutant, items)
        return
    last = len(LONGEST)
    items.sort(key=lambda i: LONGEST.index(i.path.name) if i.path.name in LONGEST else last)


def _choose_for(mutant: str, items: list[pytest.Item]) -> None:
    """Put the tests of the mutant's own module first, then those of its wing. With MUTANTS=fast,
    run no others, if there are some: the few mutants that survive these are tried again with all.
    """
    if dask := sys.modules.get("distributed.utils"):  # a thread of it is not forked
        dask._offload_executor = ThreadPoolExecutor(1)
    wing, module = mutant.split(".")[1:3]
    own = [i for i in items if i.path.stem in (f"test_{wing}", f"test_{module}")]
    others = [i for i in items if i not in own]
    fast = [i for i in others if not i.get_closest_marker("medium")]
    first = own + [i for i in fast if i.path.parent.name == wing]
    if os.environ.get("MUTANTS") == "fast":
        items[:] = first or fast
    else:
        items[:] = first + [i for i in others if i not in first]


@pytest.fixture(autouse=True)
def _seed() -> None:
    """A test draws the same numbers alone as among others."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def mnist() -> data.Splits:
    return data.load_splits("mnist")


@pytest.fixture(scope="session")
def fashion() -> data.Splits:
    return data.load_splits("fashion_mnist")


@pytest.fixture
def tiny() -> Split:
    """70 images of two classes that a model can tell apart: bright on the left, or on the right."""
    return halves.images(70)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def predictions_from(predicted: list[int], targets: list[int], classes: int = 3) -> Predictions:
    """Predictions of the classes in `predicted`."""
    logits = torch.nn.functional.one_hot(torch.tensor(predicted), classes).float()
    return Predictions(logits, torch.tensor(targets))
