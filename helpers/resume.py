"""How does a training that was stopped go on as if nothing had happened?

After each epoch one file is written with everything that the rest of the training depends on. The
SHA-256 of its content stands in its name: a file is as it was written, or known to be damaged.
"""

import hashlib
import io
import pickle
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from helpers.data import Split
from helpers.files import write_atomically
from helpers.history import EpochRecord, History, Progress

Scalar = str | int | float | bool | None
KEPT = 2  # files: the newest, and the one before should that be damaged


class ResumeError(ValueError):
    """What is in the folder cannot be gone on with; the message says why, and what to do."""


@dataclass(frozen=True)
class Keeper:
    """Keeps the progress of one training in a folder, and finds it there again.

    `parts` are objects with a `state_dict`, such as model and optimizer, or None; `settings` are
    what must be the same for the training to go on.
    """

    folder: Path
    parts: Mapping[str, Any]
    generators: Mapping[str, torch.Generator]
    settings: Mapping[str, Scalar]
    writes: bool = True  # of several processes one keeps, the others only go on from there

    def save(self, progress: Progress) -> None:
        """Write the state after an epoch, whole or not at all, and delete all but the last two.

        Raises OSError if the folder cannot be written to; what was there is still there then.
        """
        if not self.writes:
            return
        history = progress.history
        state = {
            "settings": dict(self.settings),
            "parts": {name: part.state_dict() for name, part in self._parts()},
            "generators": {name: g.get_state() for name, g in self.generators.items()},
            "random": _random_states(),
            "epochs": [asdict(record) for record in history.epochs],
            "best_epoch": history.best_epoch,
            "stopped_early": history.stopped_early,
            "best_loss": progress.best_loss,
            "best_weights": progress.best_weights,
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getvalue()
        path = self.folder / f"epoch-{len(history.epochs):04d}-{_digest(content)}.pt"
        write_atomically(path, content)
        for old in _files(self.folder)[KEPT:]:
            old.unlink(missing_ok=True)

    def restore(self) -> Progress:
        """Bring all parts and generators to where they were, or leave them if nothing was kept.

        The newest file that is sound is taken. Raises ResumeError if there are files but none is
        sound, or if they belong to a training with other settings.
        """
        state = self._newest()
        if state is None:
            return Progress()
        there, here = state["settings"], dict(self.settings)
        other = [name for name in {**there, **here} if there.get(name) != here.get(name)]
        if other:
            told = "; ".join(f"{n} is {there.get(n)!r} there, {here.get(n)!r} here" for n in other)
            raise ResumeError(
                f"{self.folder} belongs to another training: {told}. "
                f"Go on with its settings, name another folder, or delete it to begin anew."
            )
        for name, part in self._parts():
            part.load_state_dict(state["parts"][name])
        for name, generator in self.generators.items():
            generator.set_state(state["generators"][name])
        _set_random_states(state["random"])
        history = History(
            [EpochRecord(**record) for record in state["epochs"]],
            state["best_epoch"],
            state["stopped_early"],
        )
        return Progress(history, state["best_loss"], state["best_weights"])

    def _parts(self) -> Iterator[tuple[str, Any]]:
        return ((name, part) for name, part in self.parts.items() if part is not None)

    def _newest(self) -> dict[str, Any] | None:
        files = _files(self.folder)
        for path in files:
            content = path.read_bytes()
            if not path.stem.endswith(_digest(content)):
                continue
            try:
                return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            except pickle.UnpicklingError as error:
                raise ResumeError(
                    f"{path} holds something other than numbers and text, which could run code; "
                    f"it is not loaded. Delete it if you do not know where it is from."
                ) from error
        if files:
            raise ResumeError(
                f"All {len(files)} files in {self.folder} are damaged. Delete the folder to train "
                f"from the beginning."
            )
        return None


def settings_of(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: LRScheduler | None,
    train: Split,
    validation: Split | None,
    augment: Callable[..., object] | None,
    **numbers: Scalar,
) -> dict[str, Scalar]:
    """What decides how a training goes, as text and numbers that two trainings are compared by."""
    rates = [
        {name: value for name, value in group.items() if isinstance(value, int | float | str)}
        for group in optimizer.state_dict()["param_groups"]
    ]
    return {
        "model": str(getattr(model, "architecture", None) or model),
        "device": next(model.parameters()).device.type,  # the state of its generator fits no other
        "optimizer": f"{type(optimizer).__name__} {rates}",
        "schedule": f"{type(scheduler).__name__} {getattr(scheduler, 'total_steps', '')}".strip(),
        "training images": train.digest,
        "validation images": validation.digest if validation is not None else None,
        # a function by its name, a record by its settings; neither by its address
        "augmentation": getattr(augment, "__qualname__", None) or repr(augment),
        **numbers,
    }


def _files(folder: Path) -> list[Path]:
    """The newest first."""
    return sorted(folder.glob("epoch-*.pt"), reverse=True)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _random_states() -> dict[str, Any]:
    """Of Python, NumPy and torch, as what `torch.load` accepts without running code."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "accelerator": torch.get_device_module(accelerator).get_rng_state()
        if accelerator
        else None,
    }


def _set_random_states(states: dict[str, Any]) -> None:
    random.setstate(states["python"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator and states["accelerator"] is not None:
        torch.get_device_module(accelerator).set_rng_state(states["accelerator"])
