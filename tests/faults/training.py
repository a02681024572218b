"""A training is killed at random moments and resumed until it ends, with the same result.

SIGKILL is used, which no process can handle.
"""

import ctypes
import functools
import hashlib
import itertools
import os
import pkgutil
import random
import signal
import stat
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.synchronize import Event
from pathlib import Path

import torch
from tqdm import tqdm

from helpers import data, training
from helpers.data import Splits
from helpers.files import write_atomic
from helpers.training import resume
from tests.faults import PROCESSES
from tests.faults.images import run_concurrently

# moments that random times seldom hit, and the call at which the signal comes: while a
# checkpoint is written, and between the last step of an epoch and its record
MOMENTS = {
    "nothing written": ("uuid", "uuid4"),
    "half written": ("os", "fsync"),
    "written, not renamed": ("os", "replace"),
    "renamed, its name not synced": ("helpers.files", "_sync_names"),
    "renamed, the old one still there": ("pathlib.Path", "unlink"),
    "validation begun": ("helpers.evaluation.predictions", "preserve_train_mode"),
    "validated, not noted": ("helpers.training.history.Progress", "add"),
}
VALIDATING = ("validation begun", "validated, not noted")  # for SIGTERM, only these are targeted


def splits() -> Splits:
    """2,000 training and 500 validation images: six epochs take a few seconds."""
    mnist = data.load_splits("mnist")
    return replace(mnist, train=mnist.train[:2_000], validation=mnist.validation[:500])


def train(
    given: Splits,
    folder: Path | None,
    out: Path,
    started: Event | None = None,
    arm: Callable[[], None] | None = None,
) -> None:
    """Train six epochs with the fast recipe in this process, and write a digest of the result.

    It is saved ten times a second. `arm` is called before the training starts.
    """
    resume.SAVE_EVERY = 0.1
    torch.set_num_threads(1)
    tqdm.set_lock(threading.RLock())  # a shared one would stay locked after a kill
    recipe = replace(training.find_recipe("fast", "mnist"), epochs=6)
    if arm:
        arm()
    if started:
        started.set()
    model, history = training.train(
        recipe, given, device=torch.device("cpu"), seed=5, checkpoint=folder
    )
    weights = [value.numpy().tobytes() for value in model.state_dict().values()]
    log = history.frame().drop(columns="seconds").to_csv()
    write_atomic(out, hashlib.sha256(b"".join([*weights, log.encode()])).hexdigest())


def train_concurrently(processes: int) -> Counter[str]:
    """Train in one folder in several processes at once: one trains, the others are `refused`.

    Results equal to those of a single training are `right`. All other results are counted as well.
    """
    (expected,) = run_concurrently(1, _train_or_report, splits(), None)
    with tempfile.TemporaryDirectory() as folder:
        seen = run_concurrently(processes, _train_or_report, splits(), Path(folder) / "kept")
    return Counter({"right" if result == expected else result: n for result, n in seen.items()})


def _train_or_report(given: Splits, folder: Path | None, out: Path) -> None:
    try:
        train(given, folder, out)
    except BlockingIOError as error:
        is_clear = "Another process uses this folder" in str(error) and str(folder) in str(error)
        write_atomic(out, "refused" if is_clear else repr(error))


def _set_trap(moment: str, how: signal.Signals, sent: ctypes.c_double) -> None:
    """Make the second call at a moment in MOMENTS send this process the signal `how`."""
    owner_name, name = MOMENTS[moment]
    owner = pkgutil.resolve_name(owner_name)
    call, count = getattr(owner, name), Counter()

    def trap(*arguments, **named):
        if name == "fsync" and not stat.S_ISREG(os.fstat(arguments[0]).st_mode):
            return call(*arguments, **named)  # of a folder
        count["calls"] += 1
        if count["calls"] == 2:
            if name == "fsync":  # truncate: only what was synced is on the disk
                os.ftruncate(arguments[0], os.fstat(arguments[0]).st_size // 2)
            sent.value = time.monotonic()
            os.kill(os.getpid(), how)
        return call(*arguments, **named)

    setattr(owner, name, trap)


def stop_repeatedly(
    kills: int,
    seed: int,
    on_progress: Callable[[int], object] = int,
    how: signal.Signals = signal.SIGKILL,
) -> Counter:
    """Stop trainings by `kills` signals at random moments, resume them, and count the results.

    `kills` counts the signals that ended a training, `aimed` those of them in MOMENTS, `trainings`
    the complete trainings, `different` results unlike the uninterrupted one, `failed` failures to
    resume, and `left_over` files. `longest` is the longest time in seconds from a signal to the end
    of the process. The first signal of each training comes at one of MOMENTS, in turn, until a
    quarter of all did: all of them for SIGKILL, those in VALIDATING for SIGTERM.
    """
    rng, given = random.Random(seed), splits()
    seen = Counter(kills=0, aimed=0, trainings=0, different=0, failed=0, left_over=0, longest=0)
    moments = itertools.cycle(MOMENTS if how == signal.SIGKILL else VALIDATING)
    with tempfile.TemporaryDirectory() as scratch:
        _attempt(given, None, Path(scratch) / "first")  # a first run starts the server and imports
        start = time.perf_counter()
        _attempt(given, None, Path(scratch) / "uninterrupted")
        uninterrupted = (Path(scratch) / "uninterrupted").read_text()
        duration = time.perf_counter() - start
        while seen["kills"] < kills:
            folder = Path(scratch) / f"training-{seen['trainings']}"
            folder.mkdir()
            out = folder / "out"
            moment = next(moments) if seen["aimed"] < kills / 4 else ""
            while not out.exists():
                enough = seen["kills"] >= kills
                wait = None if enough or moment else rng.uniform(0, duration / 2)
                code, seconds = _attempt(given, folder / "kept", out, wait, moment, how)
                seen["kills"] += code == -how
                seen["aimed"] += code == -how and bool(moment)
                seen["longest"] = max(seen["longest"], seconds if code == -how else 0)
                on_progress(int(code == -how))
                if code not in (0, -how) or (moment and code == 0):
                    seen["failed"] += 1
                    break
                moment = ""
            seen["trainings"] += 1
            seen["different"] += out.exists() and out.read_text() != uninterrupted
            seen["left_over"] += sum(
                not path.name.startswith("epoch-") for path in (folder / "kept").iterdir()
            )
    return seen


def _attempt(
    given: Splits,
    folder: Path | None,
    out: Path,
    wait: float | None = None,
    moment: str = "",
    how: signal.Signals = signal.SIGKILL,
) -> tuple[int, float]:
    """Train in a process that gets a signal at `moment` in MOMENTS, or after `wait` seconds;
    returns its exit code, and how many seconds after the signal it ended.
    """
    started, sent = PROCESSES.Event(), PROCESSES.RawValue("d")  # sent: the time of the signal
    arm = functools.partial(_set_trap, moment, how, sent) if moment else None
    process = PROCESSES.Process(target=train, args=(given, folder, out, started, arm))
    process.start()
    if not started.wait(120):  # it takes seconds
        process.kill()
        raise TimeoutError("a training process has not begun after two minutes")
    if wait is not None:
        process.join(wait)
        if process.is_alive():
            sent.value = time.monotonic()
            os.kill(process.pid, how)
    process.join()
    return process.exitcode, time.monotonic() - sent.value
