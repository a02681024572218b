"""How do several processes train one model?

`torchrun` starts them; each, a *rank*, has a device, all of the images and a copy of the model.
Each computes its share of every batch, and torch's DistributedDataParallel (DDP) averages the
gradients, so that all copies take the same step: that of the whole batch. `training.fit` is told of
it by one argument, and asks that for the few things below. A training alone is the case of one.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from helpers import device, evaluation, whole_batch
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

    def agree(self, epochs: int) -> None:
        """Raises ValueError if the ranks do not go on after the same epoch."""

    def held(self, folder: Path | None) -> AbstractContextManager[None]:
        """The folder, held by the one rank that writes to it."""
        return held(folder) if folder is not None and self.rank == 0 else nullcontext()


ALONE = Alone()


class Ranks(Alone):
    """This process among those that `torchrun` has started."""

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        # of the batch that is at work: all of its images, and a factor of this rank's gradients
        self.images, self.factor = 0, 1.0

    def together(self, model: nn.Module) -> nn.Module:
        return _Weighted(DistributedDataParallel(whole_batch.twin(model, self)), self)

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
            self.images, self.factor = len(targets), len(targets[mine]) * self.size / len(targets)
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

    def agree(self, epochs: int) -> None:
        most = torch.tensor([epochs, -epochs])
        dist.all_reduce(most, dist.ReduceOp.MAX)
        if most[0] != -most[1]:
            raise ValueError(
                f"Some processes would go on after epoch {most[0]}, others after {-most[1]}: they "
                f"do not see the same folder. Name one that all machines share with --root."
            )


@contextmanager
def joined(device_name: str = "auto") -> Iterator[tuple[Alone, torch.device]]:
    """This process's place among those of `torchrun`, or ALONE, and the device it computes on.

    Of several GPUs each rank of a machine takes its own. They talk over NCCL between GPUs, and over
    gloo between CPUs. Raises what `device.choose` raises, and ValueError where there are fewer
    devices than ranks.
    """
    where = device.choose(device_name)
    if not dist.is_torchelastic_launched():
        yield ALONE, where
        return
    where = _own(where, device_name)
    if where.type != "cpu":
        torch.accelerator.set_device_index(where.index)
    dist.init_process_group(_backend(where), timeout=PATIENCE)
    try:
        yield Ranks(), where
    finally:
        dist.destroy_process_group()


def _own(where: torch.device, device_name: str) -> torch.device:
    """The device of this rank, which it shares with no other; the CPU can be shared."""
    if where.type == "mps" and device_name == "auto":  # gloo does not know it
        return torch.device("cpu")
    if where.type == "cpu":
        return where
    rank, ranks = (int(os.environ[name]) for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"))
    count = 0 if where.type == "mps" else torch.accelerator.device_count()
    if ranks == 1 and where.index is not None:
        return where
    if where.index is not None or ranks > count:
        raise ValueError(
            f"{ranks} processes cannot have a {where.type} device each: {count} can be shared out "
            f"here, and {device_name!r} was asked for. Give --nproc-per-node=1, or --device cpu."
        )
    return torch.device(where.type, rank)


def _backend(where: torch.device) -> str:
    """Who carries tensors, by their device: counts and predictions always lie on the CPU."""
    backend = "cpu:gloo"
    if where.type != "cpu":
        backend += f",{where.type}:{dist.get_default_backend_for_device(where)}"
    return backend


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
