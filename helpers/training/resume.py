"""Save and restore the full state of a training, so that a stopped one resumes exactly.

After each epoch one file is written with everything that the rest of the training depends on. The
SHA-256 of its content is part of its name, so a damaged file is recognized.
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
from helpers.files import write_atomic
from helpers.training.history import EpochRecord, History, Progress

Scalar = str | int | float | bool | None
FORMAT = 2  # of the files; versions of this package before the wings wrote none
KEPT = 2  # files: the newest, and the one before it in case that one is damaged


class ResumeError(ValueError):
    """A training cannot resume from the folder; the message says why, and what to do."""


@dataclass(frozen=True)
class CheckpointManager:
    """Saves the progress of one training in a folder after each epoch, and restores it.

    `parts` are objects with a `state_dict`, such as model and optimizer, or None. A training only
    resumes with the same `settings`. Without a folder nothing is saved; of several processes only
    one `writes`.
    """

    folder: Path | None
    parts: Mapping[str, Any]
    generators: Mapping[str, torch.Generator]
    settings: Mapping[str, Scalar]
    writes: bool = True

    def save(self, progress: Progress) -> None:
        """Write the state after an epoch atomically, and delete all files but the last two.

        Raises OSError if the folder cannot be written to; older files are then unchanged.
        """
        if self.folder is None or not self.writes:
            return
        history = progress.history
        state = {
            "format": FORMAT,
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
        digest = hashlib.sha256(content).hexdigest()
        write_atomic(self.folder / f"epoch-{len(history.epochs):04d}-{digest}.pt", content)
        for old in _newest_first(self.folder)[KEPT:]:
            old.unlink(missing_ok=True)

    def restore(self) -> Progress:
        """Bring all parts and generators to the newest intact state, if there is one.

        Raises ResumeError if all files are damaged, or belong to a training with other settings.
        """
        state = _load_newest(self.folder) if self.folder is not None else None
        if state is None:
            return Progress()
        if state.get("format") != FORMAT:
            raise ResumeError(
                f"{self.folder} was written by another version of this package. "
                f"Delete it to train from the beginning."
            )
        saved, own = state["settings"], dict(self.settings)
        differ = [name for name in {**saved, **own} if saved.get(name) != own.get(name)]
        if differ:
            listed = "; ".join(
                f"{n} is {saved.get(n)!r} there, {own.get(n)!r} here" for n in differ
            )
            raise ResumeError(
                f"{self.folder} belongs to another training: {listed}. "
                f"Use its settings, name another folder, or delete it to train from the beginning."
            )
        for name, part in self._parts():
            part.load_state_dict(state["parts"][name])
        for name, generator in self.generators.items():
            generator.set_state(state["generators"][name])
        _set_random_states(state["random"])
        records = [EpochRecord(**record) for record in state["epochs"]]
        history = History(records, state["best_epoch"], state["stopped_early"])
        return Progress(history, state["best_loss"], state["best_weights"])

    def _parts(self) -> Iterator[tuple[str, Any]]:
        return ((name, part) for name, part in self.parts.items() if part is not None)


def training_settings(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: LRScheduler | None,
    train: Split,
    validation: Split | None,
    augment: Callable[..., object] | None,
    **numbers: Scalar,
) -> dict[str, Scalar]:
    """What decides the course of a training, as text and numbers that can be compared."""
    groups = [
        {name: value for name, value in group.items() if isinstance(value, int | float | str)}
        for group in optimizer.state_dict()["param_groups"]
    ]
    return {
        "model": str(getattr(model, "architecture", None) or model),
        "device": next(model.parameters()).device.type,  # generator states fit no other type
        "optimizer": f"{type(optimizer).__name__} {groups}",
        "schedule": f"{type(scheduler).__name__} {getattr(scheduler, 'total_steps', '')}".strip(),
        "training images": train.digest,
        "validation images": validation.digest if validation is not None else None,
        # a function by its name, a record by its settings; not by an address in memory
        "augmentation": getattr(augment, "__qualname__", None) or repr(augment),
        **numbers,
    }


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
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise ResumeError(
                f"{path} holds something other than numbers and text, which could run code. It is "
                f"not loaded. Delete it if you do not know where it comes from."
            ) from error
    if files:
        raise ResumeError(
            f"All {len(files)} files in {folder} are damaged. Delete the folder to train from the "
            f"beginning."
        )
    return None


def _random_states() -> dict[str, Any]:
    """Of Python, NumPy and torch, in types that `torch.load` accepts without running code."""
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
