"""Is the memory of the device full, and which batch would fit?"""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from helpers import device
from helpers.data import Split

# CUDA and XPU raise an error of their own; MPS and the CPU a RuntimeError with one of these
WORDS = ("out of memory", "can't allocate memory", "not enough memory")


def exhausted(error: BaseException) -> bool:
    """Whether an error says that memory is full, of whichever device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in WORDS)


def advice(
    model: nn.Module,
    train: Split,
    batch_size: int,
    *,
    precision: str = "float32",
    channels_last: bool = False,
) -> str:
    """What to tell somebody whose training did not fit into memory, with a batch size that would.

    It is found by trying, on a copy of the model, on the device where model and images are: half of
    the batch, a quarter, …, until a step fits. Call it after the error has been dealt with, since
    its traceback holds the memory.
    """
    fits = _batch_that_fits(
        model, train, batch_size, precision=precision, channels_last=channels_last
    )
    if fits is None:
        remedy = "Not even one image fits: end what else uses it, or build a smaller model."
    else:
        remedy = f"A step with batch_size={fits} fits; it was tried."
    where = train.images.device
    return f"The memory of {where} is full at batch_size={batch_size}. {remedy}"


def _batch_that_fits(
    model: nn.Module,
    train: Split,
    too_large: int,
    *,
    precision: str,
    channels_last: bool,
) -> int | None:
    """Half of a batch that was too large, or a quarter, or …: the first with which a step fits."""
    size = too_large // 2
    while size:
        try:
            trial = copy.deepcopy(model).train()
            forward = device.forward_of(trial, precision=precision, channels_last=channels_last)
            F.cross_entropy(forward(train.images[:size]), train.targets[:size]).backward()
        except (RuntimeError, MemoryError) as error:
            if not exhausted(error):
                raise
            size //= 2
        else:
            return size
    return None
