"""Data-parallel training of one model by several processes.

`torchrun` starts the processes (ranks). Each has a device, all images and a copy of the model, and
computes its shard of every batch. Torch's DistributedDataParallel (DDP) averages the gradients.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from helpers import device, evaluation
from helpers.data import Split
from helpers.evaluation import Predictions
from helpers.files import lock_folder

TIMEOUT = timedelta(minutes=10)  # how long processes wait for one another
Batches = Iterable[tuple[Tensor, Tensor]]  # of images and targets


class SingleProcess:
    """Training by one process. `ProcessGroup` overrides what differs for several."""

    rank: int = 0
    size: int = 1
    gradient_weight: float = 1.0  # factor for the gradients of this rank's shard of the batch

    def wrap_ddp(self, model: nn.Module) -> nn.Module:
        """The module to call in training; it averages the gradients over all ranks."""
        return model

    def shard_batches(self, batches: Batches) -> Batches:
        """The rows of each batch that this rank computes."""
        return batches

    def all_reduce_stats(self, *steps: Tensor) -> tuple[Tensor, ...]:
        """Mean loss, correct images and images of each step, (steps,) each, over all ranks."""
        return steps

    def predict(self, model: nn.Module, split: Split) -> Predictions:
        """As `evaluation.predict`; each rank predicts a shard of the images."""
        return evaluation.predict(model, split)

    def maximum(self, number: int) -> int:
        """The maximum of `number` over all ranks."""
        return number

    def check_same_start(self, images: int) -> None:
        """Raise ValueError unless all ranks resume after the same number of images."""

    def lock_folder(self, folder: Path | None) -> AbstractContextManager[None]:
        """Lock the checkpoint folder on rank 0, which writes to it."""
        return lock_folder(folder) if folder is not None and self.rank == 0 else nullcontext()


SINGLE_PROCESS = SingleProcess()


class ProcessGroup(SingleProcess):
    """The process group of `torchrun`, as seen by this rank."""

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def wrap_ddp(self, model: nn.Module) -> nn.Module:
        """Wrap the model in DDP. On CUDA, batch norm is synchronized; else it sees one shard."""
        if next(model.parameters()).device.type == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return DistributedDataParallel(model)

    def shard_batches(self, batches: Batches) -> Batches:
        """Every `size`-th row of each batch. Each rank augments the whole batch, so the random
        numbers are those of one process. Raises ValueError for fewer images than ranks.
        """
        for images, targets in batches:
            if len(targets) < self.size:
                raise ValueError(
                    f"A batch, often the last one, has {len(targets)} images for {self.size} "
                    f"processes. Choose another batch size, or fewer processes."
                )
            rows = slice(self.rank, None, self.size)
            # DDP averages the ranks' mean gradients, but the shards may differ in size
            self.gradient_weight = len(targets[rows]) * self.size / len(targets)
            yield images[rows], targets[rows]

    def all_reduce_stats(self, *steps: Tensor) -> tuple[Tensor, ...]:
        losses, correct, sizes = steps
        totals = torch.stack([losses.double() * sizes, correct.double(), sizes.double()])
        dist.all_reduce(totals)
        losses, correct, sizes = totals
        return (losses / sizes).float(), correct.long(), sizes.long()

    def predict(self, model: nn.Module, split: Split) -> Predictions:
        if len(split) < self.size:
            return evaluation.predict(model, split)
        rows = slice(self.rank, None, self.size)
        part = evaluation.predict(model, split[rows]).logits
        logits = torch.zeros(len(split), part.shape[1])
        logits[rows] = part
        dist.all_reduce(logits)  # a sum: each row comes from one rank, the others add 0
        return Predictions(logits, split.targets.cpu())

    def maximum(self, number: int) -> int:
        largest = torch.tensor(number)
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        return int(largest)

    def check_same_start(self, images: int) -> None:
        most, fewest = self.maximum(images), -self.maximum(-images)
        if most != fewest:
            raise ValueError(
                f"Some processes would resume after {most:,} images, others after {fewest:,}: they "
                f"do not see the same folder. Choose one that all machines share, with --root."
            )


@contextmanager
def join_process_group(device_name: str = "auto") -> Iterator[tuple[SingleProcess, torch.device]]:
    """Yield the process group of `torchrun`, or SINGLE_PROCESS without it, and the device to use.

    Each rank gets a different GPU. Raises ValueError for an unknown device, or too few devices.
    """
    chosen = device.choose(device_name)
    if not dist.is_torchelastic_launched():
        yield SINGLE_PROCESS, chosen
        return
    # Import these, as DDP does, before the group exists: default arguments in them keep a reference
    # to the current group, whose threads would then not end, and could abort the exiting process
    import torch.distributed.nn
    import torch.distributed.optim

    chosen = _device_of_rank(chosen, device_name)
    backend = "cpu:gloo"  # counts and predictions are on the CPU
    if chosen.type != "cpu":
        torch.accelerator.set_device_index(chosen.index)
        backend += f",{chosen.type}:{dist.get_default_backend_for_device(chosen)}"
    dist.init_process_group(backend, timeout=TIMEOUT, **_own_store())
    try:
        yield ProcessGroup(), chosen
    finally:
        dist.destroy_process_group()


def _own_store() -> dict[str, Any]:
    """The key-value store in which the processes find one another, with a prefix for each restart.

    torchrun keeps one store over all restarts, in which torch would read the addresses of earlier
    processes. If torchrun has no store, {} lets torch make one.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return {}
    place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(*place, is_master=False, timeout=TIMEOUT)
    part = f"restart {os.environ['TORCHELASTIC_RESTART_COUNT']}"
    numbers = {name.lower(): int(os.environ[name]) for name in ("RANK", "WORLD_SIZE")}
    return {"store": dist.PrefixStore(part, store), **numbers}


def _device_of_rank(chosen: torch.device, device_name: str) -> torch.device:
    """A device that no other rank uses; only the CPU may be shared."""
    if chosen.type == "mps" and device_name == "auto":  # gloo does not support it
        return torch.device("cpu")
    if chosen.type == "cpu":
        return chosen
    rank, ranks = (int(os.environ[name]) for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"))
    count = 0 if chosen.type == "mps" else torch.accelerator.device_count()
    if ranks == 1 and chosen.index is not None:
        return chosen
    if chosen.index is not None or ranks > count:
        raise ValueError(
            f"{ranks} processes need one {chosen.type} device each, but this machine has {count}, "
            f"and the device is {device_name!r}. Use --nproc-per-node=1 or --device cpu."
        )
    return torch.device(chosen.type, rank)
