"""How do several processes train one model?

`torchrun` starts them; each, a *rank*, has a device, all of the images and a copy of the model.
Each computes its share of every batch, and torch's DistributedDataParallel (DDP) averages the
gradients, so that all copies take the same step: that of the whole batch. `training.fit` is told of
it by one argument, and asks that for the few things below. A training alone is the case of one.
"""

import copy
import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from helpers import device, evaluation
from helpers.data import Split
from helpers.evaluation import Predictions
from helpers.files import held

PATIENCE = timedelta(minutes=10)  # so long a rank may keep the others waiting


class Alone:
    """One process, which does everything by itself."""

    rank: int = 0
    size: int = 1

    def together(self, model: nn.Module) -> nn.Module:
        """What is called in training instead of `model`, so that gradients are of whole batches."""
        return model

    def share(self, steps: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        """This rank's rows of each batch."""
        yield from steps

    def summed(self, passed: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Mean losses, counts of right images and of images, for each step, over all ranks."""
        return passed

    def predict(self, model: nn.Module, split: Split) -> Predictions:
        """What `evaluation.predict` says; each rank asks the model about a part of the images."""
        return evaluation.predict(model, split)

    def held(self, folder: Path | None) -> AbstractContextManager[None]:
        """The folder, held by the one rank that writes to it."""
        return held(folder) if folder is not None and self.rank == 0 else nullcontext()


ALONE = Alone()


class Ranks(Alone):
    """This process among those that `torchrun` has started."""

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.factor = 1.0  # of this rank's gradients, for the batch that is at work

    def together(self, model: nn.Module) -> nn.Module:
        return _Weighted(DistributedDataParallel(_twin(model), broadcast_buffers=False), self)

    def share(self, steps: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Of each batch every so-many-th row.

        The whole batch is cut and augmented by each rank, so that chance has the same say as alone.
        Raises ValueError for a batch with fewer images than there are ranks.
        """
        for images, targets in steps:
            if len(targets) < self.size:
                raise ValueError(
                    f"A batch, often the last one, has {len(targets)} images for {self.size} "
                    f"processes. Choose another batch size, or fewer processes."
                )
            mine = slice(self.rank, None, self.size)
            self.factor = len(targets[mine]) * self.size / len(targets)
            yield images[mine], targets[mine]

    def summed(self, passed: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        losses, right, sizes = (part.double() for part in passed)
        totals = torch.stack([losses * sizes, right, sizes])
        dist.all_reduce(totals)
        losses, right, sizes = totals
        return (losses / sizes).float(), right.long(), sizes.long()

    def predict(self, model: nn.Module, split: Split) -> Predictions:
        if len(split) < self.size:
            return evaluation.predict(model, split)
        mine = slice(self.rank, None, self.size)
        logits = evaluation.predict(model, split[mine]).logits
        together = torch.zeros(len(split), logits.shape[1])
        together[mine] = logits
        dist.all_reduce(together)  # each row was filled by one rank; the others add 0
        return Predictions(together, split.targets.cpu())


@contextmanager
def joined(device_name: str = "auto") -> Iterator[tuple[Alone, torch.device]]:
    """This process's place among those of `torchrun`, or ALONE, and the device it computes on.

    Of several GPUs each rank of a machine takes its own. They talk over NCCL between GPUs, and over
    gloo between CPUs. Raises what `device.choose` raises.
    """
    where = device.choose(device_name)
    if not dist.is_torchelastic_launched():
        yield ALONE, where
        return
    if where.type != "cpu" and where.index is None:
        local = int(os.environ["LOCAL_RANK"]) % torch.accelerator.device_count()
        where = torch.device(where.type, local)
        torch.accelerator.set_device_index(local)
    dist.init_process_group(timeout=PATIENCE)
    try:
        yield Ranks(), where
    finally:
        dist.destroy_process_group()


class _Weighted(nn.Module):
    """Lets each image count the same, where ranks have shares of different sizes.

    DDP takes the mean over ranks of the gradients of their means over images.
    """

    def __init__(self, model: nn.Module, ranks: Ranks) -> None:
        super().__init__()
        self.model, self.ranks = model, ranks

    def forward(self, images: Tensor) -> Tensor:
        logits, factor = self.model(images), self.ranks.factor
        if logits.requires_grad:
            logits.register_hook(lambda gradient: gradient * factor)
        return logits


def _twin(model: nn.Module) -> nn.Module:
    """A model with the very weights and buffers of `model`, but normalising over all ranks."""
    shared = {id(tensor): tensor for tensor in itertools.chain(model.parameters(), model.buffers())}
    twin = copy.deepcopy(model, shared).train()
    for layer in twin.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.__class__ = _GlobalBatchNorm2d
    return twin


class _GlobalBatchNorm2d(nn.BatchNorm2d):
    """A batch normalisation, in training, whose batch are the shares of all ranks together."""

    def forward(self, x: Tensor) -> Tensor:  # (n, C, H, W), n the share of this rank
        full = x.float()
        images = torch.tensor([float(len(x))], device=x.device)
        dist.all_reduce(images)
        pixels = images * full[0, 0].numel()
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
    """The sum over all ranks, through which gradients find their way back to each."""

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
