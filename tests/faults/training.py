"""A training is killed at random moments and started again until it ends: as if unbroken?

The kill is the real one, signal 9, which no process can prepare for.
"""

import hashlib
import os
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

# the moments of writing a checkpoint that chance would seldom hit, by the call that kills instead
WRITING = {
    "nothing written": ("uuid", "uuid4"),
    "half written": ("os", "fsync"),
    "written, not renamed": ("os", "replace"),
    "renamed, its name not synced": ("helpers.files", "_sync_names"),
    "renamed, the old one still there": ("pathlib.Path", "unlink"),
}


def splits() -> Splits:
    """2,000 training and 500 validation images: six epochs take a few seconds."""
    mnist = data.load_splits("mnist")
    return replace(mnist, train=mnist.train[:2_000], validation=mnist.validation[:500])


def train(given: Splits, folder: Path | None, out: Path, begun: Event, die: str = "") -> None:
    """Train six epochs by the fast recipe, and write down what came out; in a process of its own.

    It is saved ten times a second. With the name of a moment in WRITING as `die`, the process kills
    itself there, when it comes there for the second time.
    """
    resume.SAVE_EVERY = 0.1
    torch.set_num_threads(1)
    tqdm.set_lock(threading.RLock())  # one shared between processes would outlive a killed one
    recipe = replace(training.find_recipe("fast", "mnist"), epochs=6)
    if die:
        _arm(die)
    begun.set()
    model, history = training.train(
        recipe, given, device=torch.device("cpu"), seed=5, checkpoint=folder
    )
    weights = [value.numpy().tobytes() for value in model.state_dict().values()]
    told = history.frame().drop(columns="seconds").to_csv()
    write_atomic(out, hashlib.sha256(b"".join([*weights, told.encode()])).hexdigest())


def _arm(die: str) -> None:
    """Put a trap where a checkpoint is written."""
    import importlib

    module, name = WRITING[die]
    parts = module.split(".")
    place = importlib.import_module(parts[0])
    for part in parts[1:]:
        place = getattr(place, part)
    call, count = getattr(place, name), Counter()

    def trap(*arguments, **named):
        if name == "fsync" and not stat.S_ISREG(os.fstat(arguments[0]).st_mode):
            return call(*arguments, **named)  # of a folder
        count["calls"] += 1
        if count["calls"] == 2:
            if name == "fsync":  # a file is as long as what has reached the disk
                os.ftruncate(arguments[0], os.fstat(arguments[0]).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **named)

    setattr(place, name, trap)


def campaign(kills: int, seed: int, tell: Callable[[int], object] = int) -> Counter:
    """Kill so many times, at moments drawn with `seed`; count what was seen.

    Counted are `kills`; the `trainings` that were killed until they came to their end, those of
    them that ended `different` from the unbroken one, those that `failed` to go on; and the files
    `left over`. Each training is killed at a moment of WRITING first, while there are any.
    """
    chance, given = random.Random(seed), splits()
    seen = Counter(kills=0, trainings=0, different=0, failed=0, left_over=0)
    moments = list(WRITING)
    with tempfile.TemporaryDirectory() as scratch:
        _attempt(given, None, Path(scratch) / "first")  # the first starts the server, and imports
        start = time.perf_counter()
        unbroken = _attempt(given, None, Path(scratch) / "unbroken")[1]
        whole = time.perf_counter() - start
        while seen["kills"] < kills:
            folder = Path(scratch) / f"training-{seen['trainings']}"
            folder.mkdir()
            out, die = folder / "out", moments.pop() if moments else ""
            while not out.exists():
                spared = seen["kills"] >= kills
                wait = None if spared or die else chance.uniform(0, whole / 2)
                code, _ = _attempt(given, folder / "kept", out, wait, die)
                seen["kills"] += code == -signal.SIGKILL
                tell(int(code == -signal.SIGKILL))
                die = ""
                if code not in (0, -signal.SIGKILL):
                    seen["failed"] += 1
                    break
            seen["trainings"] += 1
            seen["different"] += out.exists() and out.read_text() != unbroken
            seen["left_over"] += sum(
                not path.name.startswith("epoch-") for path in (folder / "kept").iterdir()
            )
    return seen


def _attempt(
    given: Splits, folder: Path | None, out: Path, wait: float | None = None, die: str = ""
) -> tuple[int, str]:
    """Train in a process, which is killed after `wait` seconds; its exit code and its result."""
    begun = PROCESSES.Event()
    process = PROCESSES.Process(target=train, args=(given, folder, out, begun, die))
    process.start()
    begun.wait()
    if wait is not None:
        process.join(wait)
        process.kill()
    process.join()
    return process.exitcode, out.read_text() if out.exists() else ""
