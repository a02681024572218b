"""How a training is executed: number format, memory layout, compilation, processes."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from helpers.messages import Show, check_name, progress_bar
from helpers.training.distributed import SINGLE_PROCESS, SingleProcess

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Execution:
    """How a training is executed. Apart from rounding, none of this changes what is learned.

    `precision` is a name in PRECISIONS. `channels_last` stores the channels of a pixel side by
    side, which is faster on most processors. `compile` runs torch.compile on the model first.
    `process_group` comes from `join_process_group`, `progress` is that of `messages.progress_bar`.
    Raises ValueError for an unknown precision.
    """

    precision: str = "float32"
    channels_last: bool = False
    compile: bool = False
    process_group: SingleProcess = SINGLE_PROCESS
    progress: Show = None

    def __post_init__(self) -> None:
        check_name("precision", self.precision, PRECISIONS)

    def progress_bar(self, images: int) -> tqdm:
        """One bar over the images of all epochs: JupyterLab hides a cell's outputs past fifty."""
        show = False if self.process_group.rank > 0 else self.progress
        return progress_bar(show, total=images, unit=" images")


class LoadCheck:
    """Says on a progress bar, once after five seconds, that other programs use the processor.

    Then a training can take ten times as long: each operation waits for its slowest thread.
    """

    AFTER = 5.0  # seconds
    SHARE = 0.4  # of the cores; what other programs use below it is not worth a word

    def __init__(self, threads: int) -> None:
        self._threads, self._done = threads, False
        self._start, self._before = time.perf_counter(), _busy_seconds()

    def report(self, bar: tqdm) -> None:
        seconds = time.perf_counter() - self._start
        if self._done or seconds < self.AFTER:
            return
        self._done = True
        cores = psutil.cpu_count() or 1
        others = (_busy_seconds() - self._before) / seconds
        if others >= self.SHARE * cores:
            advice = "; OMP_NUM_THREADS=1 may help" if self._threads > 1 else ""
            bar.set_postfix_str(f"slow: other programs use {others:.1f} of {cores} cores{advice}")


def _busy_seconds() -> float:
    """The processor time that other programs have used since this machine was started.

    The processes that torchrun starts here are one program, and use about the same time each.
    """
    times, processes = psutil.cpu_times(), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    all_programs = sum(times) - times.idle - getattr(times, "iowait", 0.0)
    return all_programs - processes * time.process_time()


def fastest_precision(device: torch.device) -> str:
    """The fastest safe format to train in: "bfloat16" on a CPU with AVX512-BF16 or AMX.

    On other CPUs bfloat16 is emulated and slower; on a GPU, the launching of operations limits
    networks as small as ours, so the format hardly matters: both get "float32".
    """
    capabilities = getattr(torch.cpu, "get_capabilities", dict)  # older versions of torch lack it
    known: dict[str, object] = capabilities() if device.type == "cpu" else {}
    return "bfloat16" if known.get("avx512_bf16") or known.get("amx_bf16") else "float32"


def make_forward(
    model: nn.Module, execution: Execution = Execution(), scaler: torch.amp.GradScaler | None = None
) -> Callable[[Tensor], Tensor]:
    """The forward pass of `model` as `execution` says; it returns logits in float32.

    `channels_last` changes the memory layout of the weights in place, not their values; it is
    ignored where torch fails at it. A `scaler` scales the gradients of the logits.
    """
    device = next(model.parameters()).device
    channels_last = execution.channels_last and not _fails_with_channels_last(model, device)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model.to(memory_format=layout)
    wrapped = execution.process_group.wrap_ddp(model)
    run = torch.compile(wrapped) if execution.compile else wrapped
    dtype = None if execution.precision == "float32" else PRECISIONS[execution.precision]
    autocast = torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)

    def forward(images: Tensor) -> Tensor:
        with autocast:
            logits = run(images.to(memory_format=layout)).float()
        weight = execution.process_group.gradient_weight
        if weight != 1 and logits.requires_grad:
            logits.register_hook(lambda gradient: gradient * weight)
        if scaler is not None and scaler.is_enabled():
            logits.register_hook(scaler.scale)
        return logits

    return forward


def _fails_with_channels_last(model: nn.Module, device: torch.device) -> bool:
    """On "mps", older versions of torch compute wrong gradients of a batch normalization; on CPUs
    with AVX2 the gradient of a 1 × 1 convolution with a stride and less than 8 channels overwrites
    memory of others (oneDNN, issue 6035).
    """
    layers = (m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1))
    narrow = any(m.stride != (1, 1) and m.in_channels < 8 * m.groups for m in layers)
    return device.type == "mps" or (device.type == "cpu" and narrow)


class ScaledOptimizer:
    """An optimizer with loss scaling, which keeps small float16 gradients from becoming zero.

    Micikevicius et al., "Mixed Precision Training", ICLR 2018, section 3.2. Where a gradient is
    infinite, the step is skipped and the scale is halved. For other precisions it is the optimizer
    itself. Raises ValueError on "mps", whose fused optimizers do not support scaled gradients.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, precision: str, device: torch.device):
        if precision == "float16" and device.type == "mps":
            raise ValueError('float16 cannot be trained on "mps"; choose float32 or bfloat16.')
        self.optimizer = optimizer
        # torch starts at 65,536, which is too much here and would cost a skipped step for each
        # halving; the scale grows by itself
        enabled = precision == "float16"
        self.scaler = torch.amp.GradScaler(device.type, init_scale=2.0**10, enabled=enabled)
        self._is_first = enabled and isinstance(optimizer, torch.optim.SGD)

    def zero_grad(self) -> None:
        self.optimizer.zero_grad()

    def step(self) -> None:
        if self._is_first:  # or torch's fused SGD, if this step is skipped, goes on with buffers
            self._is_first = False  # that nothing was written to
            for group in self.optimizer.param_groups:
                for p in group["params"] if group["momentum"] and not group["dampening"] else ():
                    self.optimizer.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
        self.scaler.step(self.optimizer)
        self.scaler.update()
