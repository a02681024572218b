"""What did a training do, epoch by epoch?"""

import math
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING

from torch import Tensor

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


class NonFiniteLossError(ArithmeticError):
    """The loss became infinite or nan. `history` holds the epochs before."""

    def __init__(self, message: str, history: History) -> None:
        super().__init__(message)
        self.history = history
