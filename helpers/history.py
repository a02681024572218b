"""What did a training do, epoch by epoch?"""

import copy
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from helpers import evaluation
from helpers.evaluation import Predictions

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class EpochRecord:
    """One pass over the training images. Its `str` is the line one reads while it runs."""

    epoch: int  # 1-based
    train_loss: float  # mean cross-entropy per image in nats, while learning
    train_accuracy: float  # fraction in [0, 1], while learning
    validation_loss: float  # at the end of the epoch; nan without a validation split
    validation_accuracy: float
    learning_rate: float  # at the end of the epoch
    seconds: float  # training and validation

    def __str__(self) -> str:
        parts = [f"epoch {self.epoch:2d}"]
        parts += [f"training loss {self.train_loss:.3f}, accuracy {self.train_accuracy:.2%}"]
        if not math.isnan(self.validation_loss):
            loss, accuracy = self.validation_loss, self.validation_accuracy
            parts += [f"validation loss {loss:.3f}, accuracy {accuracy:.2%}"]
        return "   ".join([*parts, f"{self.seconds:.1f} s"])


def summarise(
    epoch: int,
    passed: tuple[Tensor, Tensor, Tensor],
    seen: Predictions | None,
    learning_rate: float,
    seconds: float,
) -> EpochRecord:
    """The record of an epoch, from what `training.train_epoch` returned for each of its steps.

    Means are over images, so a smaller last batch counts for less. `seen` are the predictions on
    the validation split, if there is one.
    """
    losses, right, sizes = passed
    return EpochRecord(
        epoch=epoch,
        train_loss=((losses * sizes).sum() / sizes.sum()).item(),
        train_accuracy=(right.sum() / sizes.sum()).item(),
        validation_loss=evaluation.loss(seen) if seen is not None else math.nan,
        validation_accuracy=evaluation.accuracy(seen) if seen is not None else math.nan,
        learning_rate=learning_rate,
        seconds=seconds,
    )


@dataclass
class History:
    """What a training did, epoch by epoch."""

    epochs: list[EpochRecord] = field(default_factory=list)
    best_epoch: int | None = None  # the one of the lowest validation loss
    stopped_early: bool = False  # because that had not improved for `patience` epochs
    interrupted: bool = False  # by Ctrl-C or the stop button

    @property
    def seconds(self) -> float:
        return sum(record.seconds for record in self.epochs)

    def frame(self) -> "pd.DataFrame":
        """A row for each epoch; the columns are the fields of EpochRecord."""
        import pandas as pd  # here, because importing it takes longer than all of this package

        names = [column.name for column in fields(EpochRecord)]
        return pd.DataFrame([asdict(record) for record in self.epochs], columns=names)


@dataclass
class Progress:
    """Where a training stands at the end of an epoch."""

    history: History = field(default_factory=History)
    best_loss: float = float("inf")  # the lowest validation loss so far, nats
    best_weights: dict[str, Tensor] | None = None  # those that had it, if they are kept

    def add(
        self, record: EpochRecord, model: nn.Module, *, keep_best: bool, patience: int | None
    ) -> None:
        """Take in an epoch, after which `model` has what it was judged with."""
        history = self.history
        history.epochs.append(record)
        if record.validation_loss < self.best_loss:
            self.best_loss, history.best_epoch = record.validation_loss, record.epoch
            self.best_weights = copy.deepcopy(model.state_dict()) if keep_best else None
        since = record.epoch - (history.best_epoch or 0)
        history.stopped_early = patience is not None and since >= patience


class TrainingError(RuntimeError):
    """A training cannot go on; the message says what to do. `history` holds the epochs before."""

    def __init__(self, message: str, history: History) -> None:
        super().__init__(message)
        self.history = history


class NonFiniteLossError(TrainingError):
    """The loss became infinite or nan."""


class OutOfMemoryError(TrainingError):
    """A step of training does not fit into the memory of the device."""


def check_finite(
    losses: Tensor, model: nn.Module, seen: Predictions | None, history: History
) -> None:
    """Raise NonFiniteLossError if a loss of an epoch, float32 (steps,), is no finite number.

    What the very last step spoilt no loss has seen yet: it shows in the weights of `model`, and in
    its predictions on validation.
    """
    bad = (~losses.isfinite()).nonzero().flatten().tolist()
    after = [*model.state_dict().values(), *([seen.logits] if seen is not None else [])]
    if not bad and not all(tensor.isfinite().all() for tensor in after):
        bad = [len(losses) - 1]
    if bad:
        raise NonFiniteLossError(
            f"The loss is no finite number any more: epoch {len(history.epochs) + 1}, "
            f"step {bad[0] + 1}. Try a tenth of the learning rate, and build the model anew.",
            history,
        )


def what_to_do(history: History, checkpoint: Path | None) -> str:
    """What to do after an error that is not about the training itself."""
    told = f"The training stopped in epoch {len(history.epochs) + 1}. "
    if checkpoint is None:
        return told + "With a folder as `checkpoint`, it would go on after the last whole epoch."
    return told + f"What came before is kept in {checkpoint}; the same call goes on from there."
