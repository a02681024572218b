"""Save and restore the full state of a training, so that a stopped one resumes exactly.

After each epoch one file is written with everything that the rest of the training depends on. The
SHA-256 of its content is part of its name, so a damaged file is recognized.
"""

import hashlib
import io
import pickle
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from helpers.data import Split
from helpers.files import write_atomic
from helpers.training.history import EpochRecord, History, Progress

Scalar = str | int | float | bool | None
FORMAT = 2  # of the files; older ones have no format number
KEPT = 2  # files: the newest, and the one before it in case that one is damaged
ANEW = "Delete it to train from the beginning."


class ResumeError(ValueError):
    """A training cannot resume from the folder; the message says why, and what to do."""


@dataclass(frozen=True)
class CheckpointManager:
    """Saves the progress of one training in a folder after each epoch, and restores it.

    `parts` are objects with a `state_dict`, such as model and optimizer, or None. A training
    resumes only with the same `settings`. Nothing is saved without a folder; one rank `writes`.
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
        state = {
            "format": FORMAT, "settings": dict(self.settings),
            "parts": {n: part.state_dict() for n, part in self.parts.items() if part is not None},
            "generators": {name: g.get_state() for name, g in self.generators.items()},
            "random": {name: module.get_rng_state() for name, module in _torch_random().items()},
            "history": asdict(progress.history),
            "best_loss": progress.best_loss, "best_weights": progress.best_weights,
        }  # fmt: skip
        buffer = io.BytesIO()
        torch.save(state, buffer)
        digest = hashlib.sha256(buffer.getvalue()).hexdigest()
        name = f"epoch-{len(progress.history.epochs):04d}-{digest}.pt"
        write_atomic(self.folder / name, buffer.getvalue())
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
            raise ResumeError(f"{self.folder} is from another version of this package. {ANEW}")
        there, here = state["settings"], dict(self.settings)
        differ = [name for name in {**there, **here} if there.get(name) != here.get(name)]
        if differ:
            listed = [f"{n} is {there.get(n)!r} there, {here.get(n)!r} here" for n in differ]
            raise ResumeError(
                f"{self.folder} belongs to another training: {'; '.join(listed)}. "
                f"Use its settings, name another folder, or delete it to train from the beginning."
            )
        for name, part in self.parts.items():
            if part is not None:
                part.load_state_dict(state["parts"][name])
        for name, generator in self.generators.items():
            generator.set_state(state["generators"][name])
        for name, module in _torch_random().items():
            if name in state["random"]:
                module.set_rng_state(state["random"][name])
        history = History(**state["history"])
        history.epochs = [EpochRecord(**record) for record in state["history"]["epochs"]]
        return Progress(history, state["best_loss"], state["best_weights"])


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
    groups = optimizer.state_dict()["param_groups"]
    groups = [{k: v for k, v in g.items() if isinstance(v, int | float | str)} for g in groups]
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
        raise ResumeError(f"All {len(files)} files in the folder {folder} are damaged. {ANEW}")
    return None


def _torch_random() -> dict[str, Any]:
    """The modules that hold torch's global generators, from which dropout draws."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    others = {"accelerator": torch.get_device_module(accelerator)} if accelerator else {}
    return {"cpu": torch.random, **others}
