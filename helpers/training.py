"""How does a model learn?

`train_epoch` is the textbook loop; `fit` repeats it, and puts around it a validation split to
choose by, a history of what happened, and a guard against a loss that is no number.
"""

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from tqdm.auto import tqdm

from helpers import averaging, device, evaluation, memory, resume
from helpers.data import Split
from helpers.distributed import ALONE, Alone
from helpers.epoch import steps_of, train_epoch
from helpers.history import (
    EpochRecord,
    History,
    OutOfMemoryError,
    Progress,
    check_finite,
    summarise,
    what_to_do,
)
from helpers.preconditions import check_fit


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
    average: float = 0.0,
    precision: str = "float32",
    channels_last: bool = False,
    compile: bool = False,
    checkpoint: Path | None = None,
    ranks: Alone = ALONE,
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
    as `progress` says. With `average` near 1, what is looked at and what the model ends with is the
    running mean of the weights, as in `averaging.followed`. `precision="bfloat16"`, `channels_last`
    and `compile` are for hardware that is faster with them.

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
        model, precision=precision, channels_last=channels_last, compile=compile, scaler=scaler,
        together=ranks.together,
    )  # fmt: skip
    scaled = device.ScaledOptimizer(optimizer, scaler)
    order = torch.Generator().manual_seed(seed)
    chance = torch.Generator(where).manual_seed(seed)
    full = False
    with (
        ranks.held(checkpoint),
        evaluation.modes_restored(model),
        averaging.followed(model, optimizer, average) as follower,
        _bar(epochs * len(train), progress) as bar,
    ):
        keeper = None
        if checkpoint is not None:
            keeper = resume.Keeper(
                checkpoint,
                {"model": model, "optimizer": optimizer, "scheduler": scheduler,
                 "scaler": scaler, "average": follower},
                {"order": order, "chance": chance},
                resume.settings_of(
                    model, optimizer, scheduler, train, validation, augment,
                    epochs=epochs, batch_size=batch_size, seed=seed, patience=patience,
                    keep_best=keep_best, label_smoothing=label_smoothing, average=average,
                    precision=precision,
                ),
                writes=ranks.rank == 0,
            )  # fmt: skip
        now = keeper.restore() if keeper else Progress()
        ranks.agree(len(now.history.epochs))
        judged = follower.module if follower is not None else model
        history = now.history
        bar.n = bar.initial = len(history.epochs) * len(train)  # the time left is told by the rest
        try:
            for epoch in range(len(history.epochs) + 1, epochs + 1):
                if history.stopped_early:
                    break
                start = time.perf_counter()
                bar.set_description(f"epoch {epoch}/{epochs}")
                steps = steps_of(train, batch_size, order, chance, augment, bar)
                model.train()
                passed = train_epoch(
                    forward, scaled, ranks.share(steps), scheduler, label_smoothing=label_smoothing
                )
                passed = ranks.summed(passed)
                seen = ranks.predict(judged, validation) if validation is not None else None
                check_finite(passed[0], judged, seen, history)
                rate = float(optimizer.param_groups[0]["lr"])
                record = summarise(epoch, passed, seen, rate, time.perf_counter() - start)
                now.add(record, judged, keep_best=keep_best, patience=patience)
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
            elif judged is not model:
                model.load_state_dict(judged.state_dict())
    if full:  # out here, where the error no longer holds what filled the memory
        raise OutOfMemoryError(
            memory.advice(
                model, train, batch_size, precision=precision, channels_last=channels_last
            ),
            history,
        )
    return history


def _bar(images: int, progress: bool | None) -> tqdm:
    """One bar for the whole training: JupyterLab hides a cell's outputs when there are many."""
    show = device.somebody_watches() if progress is None else progress
    return tqdm(total=images, unit=" images", leave=False, disable=not show)
