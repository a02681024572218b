"""What happens in one pass over the training images?"""

from collections.abc import Callable, Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler
from tqdm import tqdm

from helpers import data, device
from helpers.data import Split


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


def steps_of(
    train: Split,
    batch_size: int,
    order: torch.Generator,
    chance: torch.Generator,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None,
    bar: tqdm,
) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of one epoch, shuffled, augmented, and counted by the bar.

    `order` decides the order of the images, `chance` is what `augment` is given.
    """
    for images, targets in data.batches(train, batch_size, generator=order):
        yield (augment(images, chance) if augment else images), targets
        bar.update(len(targets))
