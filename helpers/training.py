"""How does a model learn?

`train_epoch` is the textbook loop; `fit` repeats it, and puts around it a validation split to
choose by, a history of what happened, and a guard against a loss that is no number.
"""

import copy
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from tqdm.auto import tqdm

from helpers import data, device, evaluation, memory, resume
from helpers.data import Split
from helpers.files import held
from helpers.history import (
    EpochRecord,
    History,
    OutOfMemoryError,
    check_finite,
    summarise,
    what_to_do,
)
from helpers.preconditions import check_fit
from helpers.resume import Progress


def train_epoch(
    forward: Callable[[Tensor], Tensor],
    optimizer: torch.optim.Optimizer | device.ScaledOptimizer,
    batches: Iterable[tuple[Tensor, Tensor]],
    scheduler: LRScheduler | None = None,
    *,
    label_smoothing: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """One pass over the batches: the loop that every textbook shows.

    Returns three tensors on the CPU with an entry for each step: mean loss (float32, nats), number
    of images right (int64), number of images (int64). They are read off the device at the end, all
    at once, so that no step waits for a number.
    """
    losses, right, sizes = [], [], []
    for images, targets in batches:
        logits = forward(images)
        loss = F.cross_entropy(logits, targets, label_smoothing=label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        losses.append(loss.detach())
        right.append((logits.argmax(dim=1) == targets).sum())
        sizes.append(len(targets))
    return torch.stack(losses).cpu(), torch.stack(right).cpu(), torch.tensor(sizes)


def fit(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    train: Split,
    *,
    validation: Split | None = None,
    epochs: int,
    batch_size: int = 32,
    scheduler: LRScheduler | None = None,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    seed: int = 0,
    patience: int | None = None,
    keep_best: bool = True,
    on_epoch: Callable[[EpochRecord], object] | None = None,
    progress: bool | None = None,
    label_smoothing: float = 0.0,
    precision: str = "float32",
    channels_last: bool = False,
    compile: bool = False,
    checkpoint: Path | None = None,
) -> History:
    """Train `model` in place by cross-entropy, and return what happened.

    The images move to the model's device once. `scheduler` is stepped after every batch: a schedule
    over the whole training has `epochs * ceil(len(train) / batch_size)` steps. `augment` is given a
    batch of images and a generator. `seed` decides the order of the images and their augmentation;
    dropout draws from torch's global generator.

    With `validation`, each epoch ends with a look at it, the model ends with the weights of the
    lowest validation loss (unless `keep_best` is off), and with `patience` the training stops after
    that many epochs without a new lowest. `on_epoch` is called with each EpochRecord;
    `on_epoch=print` shows a line an epoch. A bar over all images appears where somebody watches, or
    as `progress` says. `precision="bfloat16"`, `channels_last` and `compile` are for hardware that
    is faster with them.

    With a folder as `checkpoint`, all that the training depends on is kept there after each epoch;
    called again with the same settings, it goes on from there, to the same weights as if it had
    never been stopped. Ctrl-C ends the training without an error, and the history says so. The
    model is left in the mode, training or evaluation, in which it was.

    Raises ValueError for settings that make no sense; NonFiniteLossError when the loss is no longer
    a number, and OutOfMemoryError, both with the history so far; ResumeError if the folder holds
    another training or is damaged; OSError if it cannot be written to, or another process uses it.
    """
    check_fit(model, optimizer, train, validation, epochs, batch_size, scheduler, patience)
    where = next(model.parameters()).device
    train = train.to(where)
    validation = validation.to(where) if validation is not None else None
    scaler = device.gradient_scaler(where, precision)
    forward = device.forward_of(
        model, precision=precision, channels_last=channels_last, compile=compile, scaler=scaler
    )
    scaled = device.ScaledOptimizer(optimizer, scaler)
    order = torch.Generator().manual_seed(seed)
    chance = torch.Generator(where).manual_seed(seed)
    keeper = None
    if checkpoint is not None:
        keeper = resume.Keeper(
            checkpoint,
            {"model": model, "optimizer": optimizer, "scheduler": scheduler, "scaler": scaler},
            {"order": order, "chance": chance},
            resume.settings_of(
                model, optimizer, scheduler, train, validation, augment,
                epochs=epochs, batch_size=batch_size, seed=seed, patience=patience,
                keep_best=keep_best, label_smoothing=label_smoothing, precision=precision,
            ),
        )  # fmt: skip
    alone = held(checkpoint) if checkpoint is not None else nullcontext()
    full = False
    with alone, evaluation.modes_restored(model), _bar(epochs * len(train), progress) as bar:
        now = keeper.restore() if keeper else Progress()
        history = now.history
        bar.update(len(history.epochs) * len(train))
        try:
            for epoch in range(len(history.epochs) + 1, epochs + 1):
                if history.stopped_early:
                    break
                start = time.perf_counter()
                bar.set_description(f"epoch {epoch}/{epochs}")
                steps = _steps(train, batch_size, order, chance, augment, bar)
                model.train()
                passed = train_epoch(
                    forward, scaled, steps, scheduler, label_smoothing=label_smoothing
                )
                seen = evaluation.predict(model, validation) if validation is not None else None
                check_finite(passed[0], seen, history)
                rate = float(optimizer.param_groups[0]["lr"])
                record = summarise(epoch, passed, seen, rate, time.perf_counter() - start)
                history.epochs.append(record)
                if record.validation_loss < now.best_loss:
                    now.best_loss, history.best_epoch = record.validation_loss, epoch
                    now.best_weights = copy.deepcopy(model.state_dict()) if keep_best else None
                history.stopped_early = (
                    patience is not None and epoch - (history.best_epoch or 0) >= patience
                )
                if keeper:
                    keeper.save(now)
                if on_epoch is not None:
                    on_epoch(record)
            bar.total = bar.n  # it came to its end, so the bar shall not turn red
        except KeyboardInterrupt:
            history.interrupted = True
        except Exception as error:
            full = memory.exhausted(error)
            if not full:
                error.add_note(what_to_do(history, checkpoint))
                raise
        finally:
            if now.best_weights is not None:
                model.load_state_dict(now.best_weights)
    if full:  # out here, where the error no longer holds what filled the memory
        raise OutOfMemoryError(
            memory.advice(
                model, train, batch_size, precision=precision, channels_last=channels_last
            ),
            history,
        )
    return history


def _steps(
    train: Split,
    batch_size: int,
    order: torch.Generator,
    chance: torch.Generator,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None,
    bar: tqdm,
) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of one epoch, shuffled, augmented, and counted by the bar."""
    for images, targets in data.batches(train, batch_size, generator=order):
        yield (augment(images, chance) if augment else images), targets
        bar.update(len(targets))


def _bar(images: int, progress: bool | None) -> tqdm:
    """One bar for the whole training: JupyterLab hides a cell's outputs when there are many."""
    show = device.somebody_watches() if progress is None else progress
    return tqdm(total=images, unit=" images", leave=False, disable=not show)
