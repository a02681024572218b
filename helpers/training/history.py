"""The history of a training, epoch by epoch, and the errors that can end it."""

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from helpers import evaluation
from helpers.evaluation import Predictions

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class EpochRecord:
    """The results of one epoch. `str` makes a line to print while the training runs."""

    epoch: int  # 1-based
    train_loss: float  # nats per image, before each step, with augmentation and label smoothing
    train_accuracy: float  # fraction in [0, 1], of the same forward passes
    validation_loss: float  # mean cross-entropy in nats after the epoch; nan without a split
    validation_accuracy: float  # fraction in [0, 1] after the epoch; nan without a split
    learning_rate: float  # of the first parameter group, at the end of the epoch
    seconds: float  # training and validation

    def __str__(self) -> str:
        parts = [f"epoch {self.epoch:2d}"]
        parts += [f"training loss {self.train_loss:.3f}, accuracy {self.train_accuracy:.2%}"]
        if not math.isnan(self.validation_loss):
            loss, accuracy = self.validation_loss, self.validation_accuracy
            parts += [f"validation loss {loss:.3f}, accuracy {accuracy:.2%}"]
        return "   ".join([*parts, f"{self.seconds:.1f} s"])


@dataclass
class History:
    """The results of a training, epoch by epoch."""

    epochs: list[EpochRecord] = field(default_factory=list)
    planned_epochs: int | None = None  # the argument `epochs` of `fit`
    best_epoch: int | None = None  # 1-based; the one with the lowest validation loss
    stopped_early: bool = False  # because the validation loss did not fall for `patience` epochs
    interrupted: bool = False  # by Ctrl-C, the stop button or, on the command line, SIGTERM

    @property
    def seconds(self) -> float:
        return sum(record.seconds for record in self.epochs)

    def frame(self) -> "pd.DataFrame":
        """A row for each epoch; the columns are the fields of EpochRecord."""
        import pandas as pd  # here, because importing it takes longer than all of this package

        names = [column.name for column in fields(EpochRecord)]
        return pd.DataFrame([asdict(record) for record in self.epochs], columns=names)


Steps = tuple[Tensor, ...]  # of each step: mean loss (float32), correct images, images (int64)


class StepStats:
    """Loss and correct images of each step of an epoch, copied to the CPU only on request.

    `before` holds the steps that were taken before a stop, and `seconds` their time.
    """

    def __init__(self, before: Steps = (), seconds: float = 0.0) -> None:
        self._start = time.perf_counter() - seconds
        self._before = before
        self._steps: list[tuple[Tensor, Tensor, int]] = []

    def add(self, loss: Tensor, logits: Tensor, targets: Tensor) -> None:
        """Add one step: its mean loss, logits (B, K) and targets (B,)."""
        correct = (logits.argmax(dim=1) == targets).sum()
        self._steps.append((loss.detach(), correct, len(targets)))

    def tensors(self, all_reduce: Callable[..., Steps]) -> Steps:
        """All steps of the epoch so far, over all ranks, on the CPU."""
        if not self._steps:
            return self._before
        losses, correct, sizes = zip(*self._steps, strict=True)
        steps = torch.stack(losses).cpu(), torch.stack(correct).cpu(), torch.tensor(sizes)
        after = all_reduce(*steps)
        before = self._before or [torch.empty(0, dtype=tensor.dtype) for tensor in after]
        return tuple(map(torch.cat, zip(before, after, strict=True)))

    def seconds(self) -> float:
        return time.perf_counter() - self._start


@dataclass
class Progress:
    """The progress of a training: its history, best weights, and steps of the current epoch."""

    history: History = field(default_factory=History)
    best_loss: float = float("inf")  # the lowest validation loss so far, nats
    best_weights: dict[str, Tensor] | None = None  # the state_dict with that loss
    steps: Steps = ()  # steps of the current epoch that were taken before a stop
    seconds: float = 0.0  # the time of these steps

    def epoch_stats(self) -> StepStats:
        """The statistics of the current epoch, with the steps that were taken before a stop."""
        stats = StepStats(self.steps, self.seconds)
        self.steps, self.seconds = (), 0.0
        return stats

    def epochs_left(self, epochs: int) -> Iterator[int]:
        """Yield the 1-based numbers of the epochs that are not trained yet, until an early stop."""
        self.history.planned_epochs = epochs
        for epoch in range(len(self.history.epochs) + 1, epochs + 1):
            if self.history.stopped_early:
                return
            yield epoch

    def add(
        self,
        steps: Steps,
        predictions: Predictions | None,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        seconds: float,
        patience: int | None,
    ) -> EpochRecord:
        """Add an epoch from the tensors of its StepStats and its predictions on validation.

        Means are over images, so a smaller last batch has less weight. Raises NonFiniteLossError.
        """
        losses, correct, sizes = steps
        history, loss, accuracy = self.history, math.nan, math.nan
        check_finite(losses, model, predictions, history)
        if predictions is not None:
            loss, accuracy = evaluation.loss(predictions), evaluation.accuracy(predictions)
        record = EpochRecord(
            epoch=len(history.epochs) + 1,
            train_loss=((losses * sizes).sum() / sizes.sum()).item(),
            train_accuracy=(correct.sum() / sizes.sum()).item(),
            validation_loss=loss, validation_accuracy=accuracy,
            learning_rate=float(optimizer.param_groups[0]["lr"]), seconds=seconds,
        )  # fmt: skip
        history.epochs.append(record)
        if loss < self.best_loss:
            self.best_loss, history.best_epoch = loss, record.epoch
            self.best_weights = copy.deepcopy(model.state_dict())
        epochs_since_best = record.epoch - (history.best_epoch or 0)
        history.stopped_early = patience is not None and epochs_since_best >= patience
        return record

    def stopped(self, model: nn.Module) -> "TrainingStopped":
        """Mark the history as interrupted, and return the exception to raise."""
        self.history.interrupted = True
        return TrainingStopped(model, self.history)


class TrainingError(RuntimeError):
    """A training cannot continue. `history` holds the epochs before the error."""

    def __init__(self, message: str, history: History) -> None:
        super().__init__(message)
        self.history = history


class TrainingStopped(KeyboardInterrupt):
    """Ctrl-C, JupyterLab's stop button or, on the command line, SIGTERM has ended a training.

    `history` holds the completed epochs. `model` has its best weights or, before any validation,
    those of the last step. In a notebook, the next cell can use `sys.last_value.history`.
    """

    def __init__(self, model: nn.Module, history: History) -> None:
        epochs, planned = len(history.epochs), history.planned_epochs
        go_on = f"the {epochs} completed epochs: import sys; history = sys.last_value.history"
        where = f"epoch {epochs + 1} of {planned}"
        super().__init__(f"The training was stopped in {where}. To use the history of {go_on}")
        self.model, self.history = model, history


class NonFiniteLossError(TrainingError):
    """The loss became infinite or nan."""


class OutOfMemoryError(TrainingError):
    """A step of training does not fit into the memory of the device."""


def check_finite(
    losses: Tensor, model: nn.Module, predictions: Predictions | None, history: History
) -> None:
    """Raise NonFiniteLossError if a loss of the epoch, float32 (steps,), is infinite or nan.

    The last step changed the weights after its loss, so weights and predictions are checked, too.
    """
    bad = (~losses.isfinite()).nonzero().flatten().tolist()
    after = list(model.state_dict().values())
    if predictions is not None:
        after.append(predictions.logits)
    if not bad and not all(tensor.isfinite().all() for tensor in after):
        bad = [len(losses) - 1]
    if bad:
        where = f"epoch {len(history.epochs) + 1}, step {bad[0] + 1}"
        advice = "Try a tenth of the learning rate, and build a new model."
        raise NonFiniteLossError(f"The loss is infinite or nan in {where}. {advice}", history)
