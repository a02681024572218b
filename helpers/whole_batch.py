"""How does a normalisation see a whole batch of which each process has only a share?

It adds up its sums over all processes, so that several of them normalise as one alone would.
torch's own SyncBatchNorm does so on GPUs only.
"""

import copy
import itertools
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn


class Shares(Protocol):
    """Knows the batch that is at work."""

    images: int  # of all processes together


def twin(model: nn.Module, shares: Shares) -> nn.Module:
    """A model with the very weights and buffers of `model`, but normalising over all processes."""
    shared = {id(tensor): tensor for tensor in itertools.chain(model.parameters(), model.buffers())}
    twin = copy.deepcopy(model, shared).train()
    for layer in twin.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.__class__ = _GlobalBatchNorm2d
            layer.shares = shares  # type: ignore[assignment]
    return twin


class _GlobalBatchNorm2d(nn.BatchNorm2d):
    """A batch normalisation, in training, whose batch are the shares of all processes together."""

    shares: Shares

    def forward(self, x: Tensor) -> Tensor:  # (n, C, H, W), n the share of this process
        full = x.float()
        pixels = self.shares.images * full[0, 0].numel()
        mean = _Sum.apply(full.sum(dim=(0, 2, 3))) / pixels
        centred = full - mean[:, None, None]
        variance = _Sum.apply((centred**2).sum(dim=(0, 2, 3))) / pixels
        with torch.no_grad():
            new = {"mean": mean, "var": variance * pixels / (pixels - 1)}
            for name, value in new.items():
                self.get_buffer(f"running_{name}").lerp_(value, self.momentum or 0.0)
            self.get_buffer("num_batches_tracked").add_(1)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


class _Sum(torch.autograd.Function):
    """The sum over all processes, through which gradients find their way back to each."""

    @staticmethod
    def forward(_: object, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_: object, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total
