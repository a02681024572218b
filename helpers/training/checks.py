"""Checks of the arguments of `fit`, so that mistakes raise clear errors before the training."""

import math
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from helpers import evaluation
from helpers.data import Split


def count_steps(images: int, epochs: int, batch_size: int) -> int:
    """Number of optimizer steps. ValueError unless epochs >= 1 and 1 <= batch_size <= images."""
    if not images:
        raise ValueError("There are no training images.")
    if epochs < 1 or epochs % 1:  # or it is nan
        raise ValueError(f"epochs must be a whole number of at least 1, got {epochs}.")
    if not 1 <= batch_size <= images or batch_size % 1:
        raise ValueError(f"batch_size must be in [1, {images}] (all images), got {batch_size}.")
    return epochs * math.ceil(images / batch_size)


def check_fit(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    train: Split,
    validation: Split | None,
    scheduler: LRScheduler | None,
    steps: int,
    patience: int | None,
    label_smoothing: float,
) -> None:
    """Raise ValueError for invalid arguments of `fit`, before any weight has changed."""
    if validation is not None and not len(validation):
        raise ValueError("There are no validation images.")
    if patience is not None and (patience < 1 or patience % 1):
        raise ValueError(f"patience must be a whole number of at least 1, or None, got {patience}.")
    if not 0 <= label_smoothing <= 1:  # or it is nan
        raise ValueError(f"label_smoothing must be in [0, 1], got {label_smoothing}.")
    if patience is not None and validation is None:
        raise ValueError("patience needs the validation loss; pass a validation split as well.")
    check_optimizer(model, optimizer, scheduler, steps)
    check_model(model, train, validation)


def check_optimizer(
    model: nn.Module, optimizer: torch.optim.Optimizer, scheduler: LRScheduler | None, steps: int
) -> None:
    """Raise ValueError for an optimizer or schedule that cannot train `model` for `steps` steps."""
    if _needs_argument(optimizer):
        kind, advice = type(optimizer).__name__, "which fit does not support. Choose SGD or AdamW."
        raise ValueError(f"{kind} needs a closure that computes the loss several times, {advice}")
    if isinstance(optimizer, torch.optim.SparseAdam):
        raise ValueError("SparseAdam takes only sparse gradients, as of embeddings. Choose Adam.")
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    if not all(math.isfinite(rate) and rate >= 0 for rate in rates):
        raise ValueError(f"The learning rate must be a finite number >= 0, got {rates}.")
    for name, value in (pair for group in optimizer.param_groups for pair in group.items()):
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name} of the optimizer must be a finite number, got {value}.")
    known = {id(weights) for group in optimizer.param_groups for weights in group["params"]}
    if not all(id(weights) in known for weights in model.parameters() if weights.requires_grad):
        raise ValueError(
            "The optimizer does not hold all of this model's parameters, so it cannot train them. "
            "Create it from model.parameters(), after the model is built and moved to its device."
        )
    if scheduler is not None and _needs_argument(scheduler):
        raise ValueError(
            f"fit steps a scheduler after each batch, but {type(scheduler).__name__} needs the "
            "loss of an epoch. Pass on_epoch=lambda record: scheduler.step(record.validation_loss)."
        )
    if getattr(scheduler, "optimizer", optimizer) is not optimizer:
        raise ValueError("The scheduler belongs to another optimizer; create it from this one.")
    planned = getattr(scheduler, "total_steps", None)  # schedules of a fixed length have it
    if planned is not None and planned < steps:
        here = f"this training needs {steps} (epochs * batches). Use total_steps={steps}"
        raise ValueError(f"The scheduler has {planned} steps, but {here}.")


def _needs_argument(stepped: Any) -> bool:
    """Whether `step()` of an optimizer or scheduler needs an argument, such as the loss."""
    _, *others = signature(type(stepped).step).parameters.values()
    named = Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD
    return any(p.default is p.empty and p.kind in named for p in others)


def check_model(model: nn.Module, train: Split, validation: Split | None) -> None:
    """Raise ValueError if the model cannot be trained on these images; two of them are tried."""
    trained = [weights for weights in model.parameters() if weights.requires_grad]
    if not trained:
        raise ValueError("All parameters of the model are frozen. Set requires_grad=True for some.")
    others = {weights.dtype for weights in trained} - {torch.float32}
    if others:
        raise ValueError(
            f"The weights must be float32, got {others.pop()}: call model.float(). "
            "To compute in another format, pass execution=Execution(precision=...)."
        )
    images = train.images[:2].to(trained[0].device)
    with evaluation.preserve_train_mode(model), torch.random.fork_rng(devices=[]):
        try:
            logits = model.eval()(images)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # your own model may raise any error
            kind = f"{images.dtype} {tuple(images.shape)}".removeprefix("torch.")
            raise ValueError(
                f"The model cannot take a batch of images, {kind}: {error} Its first layer must "
                "convert uint8 pixels to floating-point numbers: "
                "nn.Sequential(models.Normalize(mean, std), your_model)."
            ) from error
    got = getattr(logits, "dtype", f"a {type(logits).__name__}")
    are_floats = isinstance(logits, Tensor) and logits.is_floating_point()
    if not are_floats or logits.ndim != 2 or len(logits) != len(images):
        raise ValueError(
            "The model must return logits, float (N, K): one row for each image and one column "
            f"for each class. For 2 images it returned {got} {tuple(getattr(logits, 'shape', ()))}."
        )
    if not logits.requires_grad:
        question = "Does the model's forward use detach() or no_grad()?"
        raise ValueError(f"The logits do not depend on any trainable parameter. {question}")
    classes = logits.shape[1]
    for name, split in (("training", train), ("validation", validation)):
        if split is not None:
            low, high = (int(value) for value in split.targets.aminmax())
            if low < 0 or high >= classes:
                raise ValueError(
                    f"The {name} targets must lie in [0, {classes}), since the model has {classes} "
                    f"outputs; got {low} to {high}."
                )
