"""The training loop."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from tqdm.auto import tqdm

from helpers import data
from helpers.data import Split
from helpers.evaluation import preserve_train_mode
from helpers.training.checks import check_fit, count_steps
from helpers.training.distributed import SingleProcess
from helpers.training.execution import Execution, LoadCheck, ScaledOptimizer, make_forward
from helpers.training.history import EpochRecord, History, OutOfMemoryError, Progress
from helpers.training.resume import CheckpointManager, hold_signals, training_settings

Augment = Callable[[Tensor, torch.Generator], Tensor]


def fit(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    train: Split,
    *,
    validation: Split | None = None,
    epochs: int,
    batch_size: int = 32,
    scheduler: LRScheduler | None = None,
    augment: Augment | None = None,
    label_smoothing: float = 0.0,
    patience: int | None = None,
    on_epoch: Callable[[EpochRecord], object] | None = None,
    checkpoint: Path | str | None = None,
    execution: Execution = Execution(),  # noqa: B008 - it is frozen
) -> History:
    """Train `model` in place by cross-entropy of its logits (B, K), and return its history.

    torch's seed (`device.seed_everything`) sets the order of images. `augment` maps images, uint8
    (B, C, S, S), and a generator to a batch. `scheduler` steps after each batch. With `validation`,
    the model ends with the weights of its lowest loss; `patience` stops after so many epochs with
    no lower one. `checkpoint` is a folder from which the same call resumes exactly; at most one
    minute is lost. Raises ValueError, TrainingError, TrainingStopped, ResumeError, OSError.
    """
    planned = count_steps(len(train), epochs, batch_size)
    check_fit(model, optimizer, train, validation, scheduler, planned, patience, label_smoothing)
    group, device = execution.process_group, next(model.parameters()).device
    scaled = ScaledOptimizer(optimizer, execution.precision, device)
    forward = make_forward(model, execution, scaled.scaler)
    bar = execution.progress_bar(epochs * len(train))
    batches = _Batches(train.to(device), batch_size, augment, bar)
    validation = validation.to(device) if validation is not None else None
    parts = dict(model=model, optimizer=optimizer, scheduler=scheduler, scaler=scaled.scaler)
    folder = Path(checkpoint) if checkpoint is not None else None
    settings = {} if folder is None else training_settings(
        model, optimizer, scheduler, train, validation, augment, epochs=epochs, patience=patience,
        batch_size=batch_size, label_smoothing=label_smoothing, precision=execution.precision,
    )  # fmt: skip
    manager = CheckpointManager(folder, parts, batches.generators, settings, group)
    with _session(model, manager, batches, group) as progress:
        for _ in progress.epochs_left(epochs):
            model.train()
            stats = progress.epoch_stats()
            for images, targets in group.shard_batches(batches):
                logits = forward(images)
                loss = F.cross_entropy(logits, targets, label_smoothing=label_smoothing)
                scaled.zero_grad()
                loss.backward()
                scaled.step()
                if scheduler is not None:
                    scheduler.step()
                stats.add(loss, logits, targets)
                manager.after_step(progress, stats)
            predictions = group.predict(model, validation) if validation is not None else None
            steps = stats.tensors(group.all_reduce_stats)
            record = progress.add(steps, predictions, model, optimizer, stats.seconds(), patience)
            manager.save(progress)
            if on_epoch is not None:
                on_epoch(record)
    return progress.history


class _Batches:
    """The batches of an epoch: shuffled, augmented, and counted by a progress bar."""

    def __init__(self, train: Split, batch_size: int, augment: Augment | None, bar: tqdm) -> None:
        self.train, self.batch_size, self.augment, self.bar = train, batch_size, augment, bar
        self.load = LoadCheck(torch.get_num_threads())
        seed, device = torch.initial_seed(), train.images.device
        self.generators = {"order": torch.Generator(), "augmentation": torch.Generator(device)}
        for generator in self.generators.values():
            generator.manual_seed(seed)
        self.skip = 0  # batches at the start of the next epoch that were trained on before a stop

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order, augmentation = self.generators.values()
        epoch, epochs = (1 + n // len(self.train) for n in (self.bar.n, self.bar.total - 1))
        self.bar.set_description_str(f"epoch {epoch}/{epochs}")
        shuffle = torch.Generator()  # `order` advances only when the epoch is complete
        shuffle.set_state(order.get_state())
        batches = data.batches(self.train, self.batch_size, generator=shuffle)
        for images, targets in islice(batches, self.skip, None):
            yield (self.augment(images, augmentation) if self.augment else images), targets
            self.bar.update(len(targets))
            self.load.report(self.bar)
        order.set_state(shuffle.get_state())
        self.skip = 0


@contextmanager
def _session(
    model: nn.Module, manager: CheckpointManager, batches: _Batches, group: SingleProcess
) -> Iterator[Progress]:
    """Resume from the checkpoint folder. At the end, load the best weights and reset train mode."""
    with group.lock_folder(manager.folder), preserve_train_mode(model), batches.bar as bar:
        progress = manager.restore()
        history = progress.history
        *_, sizes = progress.steps or [torch.zeros(0, dtype=torch.int64)]
        bar.n = bar.initial = len(history.epochs) * len(batches.train) + int(sizes.sum())
        group.check_same_start(bar.n)
        batches.skip = len(sizes)
        try:
            with hold_signals(manager.folder is not None) as manager.signal:
                yield progress
            bar.total = bar.n  # an incomplete bar, as after an early stop, would turn red
        except KeyboardInterrupt as stop:
            raise progress.stopped(model) from stop
        except Exception as error:
            if _is_out_of_memory(error):
                device, size = batches.train.images.device, batches.batch_size
                message = f"The memory of {device} is full at batch_size={size}. Halve it."
                raise OutOfMemoryError(message, history) from error
            hint = "Pass `checkpoint=<folder>` to make a training resumable."
            if manager.folder is not None:
                hint = f"Checkpoints are in {manager.folder}; the same call resumes."
            error.add_note(f"The training stopped in epoch {len(history.epochs) + 1}. {hint}")
            raise
        finally:
            if progress.best_weights is not None:
                model.load_state_dict(progress.best_weights)


def _is_out_of_memory(error: Exception) -> bool:
    """CUDA and XPU raise torch.OutOfMemoryError; MPS and the CPU raise a RuntimeError."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    messages = (
        "out of memory", "can't allocate memory", "not enough memory", "_STATUS_ALLOC_FAILED",
        "unable to find an engine",  # of cuDNN
    )  # fmt: skip
    return isinstance(error, RuntimeError) and any(text in str(error) for text in messages)
