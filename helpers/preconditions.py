"""Can this training work at all?"""

import math

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from helpers.data import Split


def check_fit(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    train: Split,
    validation: Split | None,
    epochs: int,
    batch_size: int,
    scheduler: LRScheduler | None,
    patience: int | None,
) -> None:
    """Refuse settings of `training.fit` that make no sense, before a weight has changed.

    Raises ValueError, which says what was got, what was wanted and what to do.
    """
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1, got {epochs}.")
    if not 1 <= batch_size <= len(train):
        raise ValueError(
            f"batch_size must be in [1, {len(train)}], the training images, got {batch_size}."
        )
    if patience is not None and patience < 1:
        raise ValueError(f"patience must be at least 1 epoch, or None, got {patience}.")
    if patience is not None and validation is None:
        raise ValueError("patience watches the validation loss; give a validation split as well.")
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    if not all(math.isfinite(rate) and rate >= 0 for rate in rates):
        raise ValueError(f"The learning rate must be a finite number >= 0, got {rates}.")
    known = {id(weights) for group in optimizer.param_groups for weights in group["params"]}
    if not all(id(weights) in known for weights in model.parameters() if weights.requires_grad):
        raise ValueError(
            "The optimizer does not hold all of this model's parameters, so it would not train it. "
            "Build it from model.parameters(), after the model is built and moved to its device."
        )
    planned = getattr(scheduler, "total_steps", None)  # those that cannot go on for ever have it
    needed = epochs * math.ceil(len(train) / batch_size)
    if planned is not None and planned < needed:
        raise ValueError(
            f"The schedule has {planned} steps, this training {needed} (epochs * batches). "
            f"Build it with total_steps={needed}."
        )
