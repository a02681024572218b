"""Save and restore the full state of a training, so that a stopped one resumes exactly.

After each epoch, every minute within an epoch, and before Ctrl-C or SIGTERM ends the training, a
file is written with everything that the rest of the training depends on. The SHA-256 of its content
is part of its name, so a damaged file is detected.
"""

import hashlib
import inspect
import io
import pickle
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from helpers.data import Split
from helpers.files import write_atomic
from helpers.training.distributed import SINGLE_PROCESS, SingleProcess
from helpers.training.history import EpochRecord, History, Progress, Steps, StepStats, check_finite

Scalar = str | int | float | bool | None
FORMAT = 3  # of the files; format 2 has no steps within an epoch, older files have no number
SAVE_EVERY = 60.0  # seconds within an epoch
NUM_KEPT = 2  # files: the newest, and the one before it in case that one is damaged
RESTART = "Delete it to train from the beginning."


class ResumeError(ValueError):
    """A training cannot resume from the folder; the message says why, and what to do."""


@dataclass
class CheckpointManager:
    """Saves the progress of one training in a folder, and restores it.

    `parts` are objects with a `state_dict`, such as model and optimizer, or None. A training
    resumes only with the same `settings`. Only rank 0 writes; without a folder, nothing is saved.
    """

    folder: Path | None
    parts: Mapping[str, Any]
    generators: Mapping[str, torch.Generator]
    settings: Mapping[str, Scalar]
    group: SingleProcess = SINGLE_PROCESS
    signal: Callable[[], int] = lambda: 0  # number of a signal to end the training, or 0
    saved: float = 0.0  # time of the last save, on the monotonic clock

    def after_step(self, progress: Progress, stats: StepStats) -> None:
        """Save every SAVE_EVERY seconds. On a signal to any rank, save and raise KeyboardInterrupt.
        Raises NonFiniteLossError, and as `save`.
        """
        if self.folder is None:
            return
        is_time = time.monotonic() - self.saved >= SAVE_EVERY
        wanted = self.group.maximum(self.signal() or int(is_time))  # 1: only time to save
        if wanted:
            steps = stats.tensors(self.group.all_reduce_stats)
            check_finite(steps[0], self.parts["model"], None, progress.history)
            self.save(progress, steps, stats.seconds())
        if wanted > 1:
            raise KeyboardInterrupt

    def save(self, progress: Progress, steps: Steps = (), seconds: float = 0.0) -> None:
        """Write the state atomically, and delete all files but the newest two.

        Within an epoch, `steps` holds the steps taken so far, and `seconds` their time. Raises
        OSError if the folder cannot be written to; older files are then unchanged.
        """
        self.saved = time.monotonic()
        if self.folder is None or self.group.rank > 0:
            return
        state = {
            "format": FORMAT, "settings": dict(self.settings),
            "parts": {n: part.state_dict() for n, part in self.parts.items() if part is not None},
            "generators": {name: g.get_state() for name, g in self.generators.items()},
            "random": {name: module.get_rng_state() for name, module in self._generators().items()},
            "history": asdict(progress.history),
            "best_loss": progress.best_loss, "best_weights": progress.best_weights,
            "steps": steps, "seconds": seconds,
        }  # fmt: skip
        buffer = io.BytesIO()
        torch.save(state, buffer)
        digest = hashlib.sha256(buffer.getvalue()).hexdigest()
        place = f"epoch-{len(progress.history.epochs):04d}"  # completed epochs
        place += f"-step-{len(steps[0]):06d}" if steps else ""  # sorts after the name without steps
        name = f"{place}-{digest}.pt"
        write_atomic(self.folder / name, buffer.getvalue())
        for old in _newest_first(self.folder)[NUM_KEPT:]:
            old.unlink(missing_ok=True)

    def restore(self) -> Progress:
        """Load the newest intact state, if there is one, into all parts and generators.
        Raises ResumeError if all files are damaged, or from another training or version.
        """
        self.saved = time.monotonic()
        state = _load_newest(self.folder) if self.folder is not None else None
        if state is None:
            return Progress()
        try:
            return self._resume(state)
        except (ResumeError, torch.OutOfMemoryError):
            raise
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise ResumeError(f"{self.folder} is damaged: {error!r:.200}. {RESTART}") from error

    def _resume(self, state: dict[str, Any]) -> Progress:
        """Restore the state that one file holds. An altered file can raise many kinds of errors."""
        if state.get("format") not in (2, FORMAT):
            raise ResumeError(f"{self.folder} is from another version of this package. {RESTART}")
        here = dict(self.settings)
        there = {"arguments": here.get("arguments")} | state["settings"]  # older files lack them
        differ = [name for name in {**there, **here} if there.get(name) != here.get(name)]
        if differ:
            listed = [f"{n} is {there.get(n)!r} there, {here.get(n)!r} here" for n in differ]
            raise ResumeError(
                f"{self.folder} belongs to another training: {'; '.join(listed)}. "
                "Use its settings, choose another folder, or delete it to train from the beginning."
            )
        best_loss, best_weights = float(state["best_loss"]), state["best_weights"]
        if best_weights is not None:  # check that they fit before hours of training
            self.parts["model"].load_state_dict(best_weights)
        for name, part in self.parts.items():
            if part is not None:
                part.load_state_dict(state["parts"][name])
        for name, generator in self.generators.items():
            generator.set_state(state["generators"][name])
        for name, module in self._generators().items():
            if (generator_state := state["random"].get(name)) is not None:
                module.set_rng_state(generator_state)
        history = History(**state["history"])
        history.epochs = [EpochRecord(**record) for record in state["history"]["epochs"]]
        if state["format"] == 2:  # it was saved between two epochs
            state |= {"steps": (), "seconds": 0.0}
        steps = tuple(state["steps"])
        if steps and [numbers.shape for numbers in steps] != 3 * [(len(steps[0]),)]:
            raise ValueError("the steps are not three lists of numbers")
        return Progress(history, best_loss, best_weights, steps, float(state["seconds"]))

    def _generators(self) -> dict[str, Any]:
        """The modules that hold torch's global generators, from which dropout draws."""
        device = str(self.settings.get("device", "cpu"))
        others = {"accelerator": torch.get_device_module(device)} if device != "cpu" else {}
        return {"cpu": torch.random, **others}


@contextmanager
def hold_signals(hold: bool = True) -> Iterator[Callable[[], int]]:
    """Defer Ctrl-C and SIGTERM, so that the current step can end and be saved.

    Yields a function that returns the number of the deferred signal, or 0. At the end, the previous
    handler gets the signal; it gets a second Ctrl-C at once. Only the main thread gets signals, so
    in other threads nothing is deferred.
    """
    came: list[int] = []
    before: dict[int, Any] = {}

    def keep(number: int, _: object) -> None:
        if came and number == signal.SIGINT:
            signal.signal(number, before[number])
            signal.raise_signal(number)
        came.append(number)

    if hold and threading.current_thread() is threading.main_thread():
        for kind in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(kind) not in (signal.SIG_IGN, None):
                before[kind] = signal.signal(kind, keep)
    try:
        yield lambda: came[0] if came else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def training_settings(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: LRScheduler | None,
    train: Split,
    validation: Split | None,
    augment: Callable[..., object] | None,
    **numbers: Scalar,
) -> dict[str, Scalar]:
    """What a training depends on, as text and numbers that can be compared."""
    groups = optimizer.state_dict()["param_groups"]
    single = [{k: v for k, v in g.items() if isinstance(v, int | float | str)} for g in groups]
    return {
        "model": str(getattr(model, "architecture", None) or model),
        "device": next(model.parameters()).device.type,  # generator states fit no other type
        "optimizer": f"{type(optimizer).__name__} {single}",
        "schedule": f"{type(scheduler).__name__} {getattr(scheduler, 'total_steps', '')}".strip(),
        "arguments": f"{[g.get('betas') for g in groups]} {scheduler and _arguments(scheduler)}",
        "training images": train.digest,
        "validation images": validation.digest if validation is not None else None,
        # a function by its name, a record by its fields; neither by an address in memory
        "augmentation": getattr(augment, "__qualname__", None)
        or re.sub(r"(<function \S+) at 0x\w+", r"\1", repr(augment)),
        "seed": torch.initial_seed(),
        **numbers,
    }


def _arguments(scheduler: LRScheduler) -> list[object]:
    """The numbers that a scheduler was made with, as far as it keeps them; also of those in it."""
    kept = {n.strip("_"): v for n, v in vars(scheduler).items() if n != "last_epoch"}
    inner = [_arguments(one) for one in kept.pop("schedulers", ())]
    names = [name for name in inspect.signature(type(scheduler)).parameters if name in kept]
    numbers = {n: kept[n] for n in names if isinstance(kept[n], int | float | list | dict)}
    return [type(scheduler).__name__, numbers, *inner]


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch-*.pt"), reverse=True)


def _load_newest(folder: Path) -> dict[str, Any] | None:
    """The newest intact state, or None if there are no files."""
    files = _newest_first(folder)
    for path in files:
        content = path.read_bytes()
        if not path.stem.endswith(hashlib.sha256(content).hexdigest()):
            continue
        try:
            return {**torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)}
        except pickle.UnpicklingError as error:
            raise ResumeError(
                f"{path} holds something other than numbers and text, which could run code. It is "
                f"not loaded. Delete it if you do not know where it comes from."
            ) from error
        except Exception as error:  # torch raises many kinds of errors for other files
            raise ResumeError(f"{path} is not a training checkpoint. {RESTART}") from error
    if files:
        raise ResumeError(f"All {len(files)} files in the folder {folder} are damaged. {RESTART}")
    return None
