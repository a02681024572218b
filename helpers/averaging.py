"""What if a model were the mean of what it was during its last steps?"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


@contextmanager
def followed(
    model: nn.Module, optimizer: torch.optim.Optimizer, decay: float
) -> Iterator[AveragedModel | None]:
    """Let a copy of `model` follow it at a distance, and yield the copy; None for a `decay` of 0.

    After each step of the optimizer the copy's weights, and the statistics of its normalisations,
    become `decay` times what they were plus the rest of the model's: a mean over the last
    1 / (1 - decay) steps or so, in which the noise of single steps has cancelled out (Polyak and
    Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992).
    """
    if not decay:
        yield None
        return
    copy = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    following = optimizer.register_step_post_hook(lambda *_: copy.update_parameters(model))
    try:
        yield copy
    finally:
        following.remove()
