"""A training is killed at random moments and started again until it ends: as if unbroken?

The kill is the real one, signal 9, which no process can prepare for.
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
from tests.faults.images import all_at_once

# the moments that chance would seldom hit, by the call that kills instead: those of writing a
# checkpoint, and those between the last step of an epoch and its record
MOMENTS = {
    "nothing written": ("uuid", "uuid4"),
    "half written": ("os", "fsync"),
    "written, not renamed": ("os", "replace"),
    "renamed, its name not synced": ("helpers.files", "_sync_names"),
    "renamed, the old one still there": ("pathlib.Path", "unlink"),
    "validation begun": ("helpers.evaluation.predictions", "preserve_train_mode"),
    "validated, not noted": ("helpers.training.history.Progress", "add"),
}
VALIDATING = ("validation begun", "validated, not noted")  # SIGTERM is aimed at these only


def splits() -> Splits:
    """2,000 training and 500 validation images: six epochs take a few seconds."""
    mnist = data.load_splits("mnist")
    return replace(mnist, train=mnist.train[:2_000], validation=mnist.validation[:500])


def train(
    given: Splits,
    folder: Path | None,
    out: Path,
    begun: Event | None = None,
    arm: Callable[[], None] | None = None,
) -> None:
    """Train six epochs by the fast recipe, and write down what came out; in a process of its own.

    It is saved ten times a second. `arm` is called before the training begins.
    """
    resume.SAVE_EVERY = 0.1
    torch.set_num_threads(1)
    tqdm.set_lock(threading.RLock())  # one shared between processes would outlive a killed one
    recipe = replace(training.find_recipe("fast", "mnist"), epochs=6)
    if arm:
        arm()
    if begun:
        begun.set()
    model, history = training.train(
        recipe, given, device=torch.device("cpu"), seed=5, checkpoint=folder
    )
    weights = [value.numpy().tobytes() for value in model.state_dict().values()]
    told = history.frame().drop(columns="seconds").to_csv()
    write_atomic(out, hashlib.sha256(b"".join([*weights, told.encode()])).hexdigest())


def crowd(processes: int) -> Counter[str]:
    """Train in one folder in several processes at once: one does, the others are `refused`.

    The results are `right` if they are those of a training alone. Other words are counted as well.
    """
    (alone,) = all_at_once(1, _train_or_tell, splits(), None)
    with tempfile.TemporaryDirectory() as folder:
        seen = all_at_once(processes, _train_or_tell, splits(), Path(folder) / "kept")
    return Counter({"right" if told == alone else told: n for told, n in seen.items()})


def _train_or_tell(given: Splits, folder: Path | None, out: Path) -> None:
    try:
        train(given, folder, out)
    except BlockingIOError as error:
        told = "Another process uses this folder" in str(error) and str(folder) in str(error)
        write_atomic(out, "refused" if told else repr(error))


def _arm(die: str, how: signal.Signals, sent: ctypes.c_double) -> None:
    """Put a trap at a moment in MOMENTS: who comes there for the second time is ended by `how`."""
    place_name, name = MOMENTS[die]
    place = pkgutil.resolve_name(place_name)
    call, count = getattr(place, name), Counter()

    def trap(*arguments, **named):
        if name == "fsync" and not stat.S_ISREG(os.fstat(arguments[0]).st_mode):
            return call(*arguments, **named)  # of a folder
        count["calls"] += 1
        if count["calls"] == 2:
            if name == "fsync":  # a file is as long as what has reached the disk
                os.ftruncate(arguments[0], os.fstat(arguments[0]).st_size // 2)
            sent.value = time.monotonic()
            os.kill(os.getpid(), how)
        return call(*arguments, **named)

    setattr(place, name, trap)


def campaign(
    kills: int,
    seed: int,
    tell: Callable[[int], object] = int,
    how: signal.Signals = signal.SIGKILL,
) -> Counter:
    """End trainings by signals, so many in all, at moments drawn with `seed`; count what was seen.

    Counted are the signals that ended one, `kills`, and those of them in MOMENTS, `aimed`; the
    `trainings` that came to their end at last, those of them that ended `different` from the
    unbroken one, those that `failed` to go on; and the files `left over`. `longest` are the most
    seconds from a signal to the end of the process. The first signal of every training comes in one
    of MOMENTS, in turn, until a quarter of all did: SIGKILL in all, SIGTERM in those of VALIDATING.
    """
    chance, given = random.Random(seed), splits()
    seen = Counter(kills=0, aimed=0, trainings=0, different=0, failed=0, left_over=0, longest=0)
    moments = itertools.cycle(MOMENTS if how == signal.SIGKILL else VALIDATING)
    with tempfile.TemporaryDirectory() as scratch:
        _attempt(given, None, Path(scratch) / "first")  # the first starts the server, and imports
        start = time.perf_counter()
        _attempt(given, None, Path(scratch) / "unbroken")
        unbroken = (Path(scratch) / "unbroken").read_text()
        whole = time.perf_counter() - start
        while seen["kills"] < kills:
            folder = Path(scratch) / f"training-{seen['trainings']}"
            folder.mkdir()
            out = folder / "out"
            die = next(moments) if seen["aimed"] < kills / 4 else ""
            while not out.exists():
                spared = seen["kills"] >= kills
                wait = None if spared or die else chance.uniform(0, whole / 2)
                code, seconds = _attempt(given, folder / "kept", out, wait, die, how)
                seen["kills"] += code == -how
                seen["aimed"] += code == -how and bool(die)
                seen["longest"] = max(seen["longest"], seconds if code == -how else 0)
                tell(int(code == -how))
                if code not in (0, -how) or (die and code == 0):
                    seen["failed"] += 1
                    break
                die = ""
            seen["trainings"] += 1
            seen["different"] += out.exists() and out.read_text() != unbroken
            seen["left_over"] += sum(
                not path.name.startswith("epoch-") for path in (folder / "kept").iterdir()
            )
    return seen


def _attempt(
    given: Splits,
    folder: Path | None,
    out: Path,
    wait: float | None = None,
    die: str = "",
    how: signal.Signals = signal.SIGKILL,
) -> tuple[int, float]:
    """Train in a process, which gets a signal at the moment `die` in MOMENTS, or after `wait`
    seconds; its exit code, and how many seconds after the signal it ended.
    """
    begun, sent = PROCESSES.Event(), PROCESSES.RawValue("d")  # when, by a clock of all processes
    arm = functools.partial(_arm, die, how, sent) if die else None
    process = PROCESSES.Process(target=train, args=(given, folder, out, begun, arm))
    process.start()
    if not begun.wait(120):  # it takes seconds
        process.kill()
        raise TimeoutError("a training process has not begun after two minutes")
    if wait is not None:
        process.join(wait)
        if process.is_alive():
            sent.value = time.monotonic()
            os.kill(process.pid, how)
    process.join()
    return process.exitcode, time.monotonic() - sent.value
