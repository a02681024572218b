"""How a training is executed: precision, memory layout, compilation, processes."""

import ctypes
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
    """How a training is executed. This does not change the result, except by rounding, and by batch
    norm in several processes without CUDA (see `ProcessGroup.wrap_ddp`).

    `precision` is a name in PRECISIONS, else ValueError is raised. `channels_last` is the memory
    layout, faster on most processors. `compile` applies torch.compile. `process_group` comes from
    `join_process_group`; `progress` is the argument `show` of `messages.progress_bar`.
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
    """Warns on a progress bar, once after five seconds, if other programs use the processor.

    They can make a training ten times slower, since each operation waits for its slowest thread.
    """

    AFTER = 5.0  # seconds
    SHARE = 0.4  # of the cores: other programs that use less cause no warning

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
    """The CPU time in seconds that other programs have used since this machine was started.

    Processes that torchrun has started here do not count; each is taken to use as much as this one.
    """
    times, processes = psutil.cpu_times(), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    all_programs = sum(times) - times.idle - getattr(times, "iowait", 0.0)
    return all_programs - processes * time.process_time()


def fastest_precision(device: torch.device) -> str:
    """The fastest safe precision for training: "bfloat16" on a CPU with AVX512-BF16 or AMX.

    Other CPUs emulate it, which is slower. On a GPU, networks this small spend their time on
    launching kernels. Both get "float32".
    """
    capabilities = getattr(torch.cpu, "get_capabilities", dict)  # older versions of torch lack it
    known: dict[str, object] = capabilities() if device.type == "cpu" else {}
    return "bfloat16" if known.get("avx512_bf16") or known.get("amx_bf16") else "float32"


def make_forward(
    model: nn.Module, execution: Execution = Execution(), scaler: torch.amp.GradScaler | None = None
) -> Callable[[Tensor], Tensor]:
    """The forward pass of `model` with the options of `execution`; it returns logits in float32.

    `channels_last` changes the memory layout of the weights, except where torch is wrong with it. A
    `scaler` scales the gradients at the logits. The process then keeps up to 1 GB of freed memory.
    """
    _keep_freed_memory()
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


def _keep_freed_memory() -> None:
    """Make glibc, the C library of most Linux systems, reuse freed memory. By default, a training
    step may get new pages for its tensors, which takes up to a quarter of its time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None and mallopt(-3, 2**25):  # M_MMAP_THRESHOLD, in bytes: the largest value
        mallopt(-1, 2**30)  # M_TRIM_THRESHOLD


def _fails_with_channels_last(model: nn.Module, device: torch.device) -> bool:
    """Whether channels last is unsafe. On "mps", older versions of torch compute wrong gradients of
    batch norm. On CPUs with AVX2, the gradient of a strided 1 × 1 convolution with fewer than 8
    input channels per group overwrites other memory (oneDNN, issue 6035).
    """
    layers = (m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1))
    narrow = any(m.stride != (1, 1) and m.in_channels < 8 * m.groups for m in layers)
    return device.type == "mps" or (device.type == "cpu" and narrow)


class ScaledOptimizer:
    """An optimizer with loss scaling, which keeps small float16 gradients from becoming zero.

    Micikevicius et al., "Mixed Precision Training", ICLR 2018, section 3.2. If a gradient is
    infinite or nan, the step is skipped and the scale is halved. For other precisions, `step` is
    that of the optimizer. ValueError for float16 on "mps", whose fused optimizers cannot do this.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, precision: str, device: torch.device):
        if precision == "float16" and device.type == "mps":
            raise ValueError('float16 is not supported on "mps"; choose float32 or bfloat16.')
        self.optimizer = optimizer
        # torch's 65,536 is too large here: each halving costs a step. The scale grows by itself.
        enabled = precision == "float16"
        self.scaler = torch.amp.GradScaler(device.type, init_scale=2.0**10, enabled=enabled)
        self._is_first = enabled and isinstance(optimizer, torch.optim.SGD)

    def zero_grad(self) -> None:
        self.optimizer.zero_grad()

    def step(self) -> None:
        if self._is_first:  # if the first step is skipped, torch's fused SGD would leave
            self._is_first = False  # its momentum buffers uninitialized
            for group in self.optimizer.param_groups:
                for p in group["params"] if group["momentum"] and not group["dampening"] else ():
                    self.optimizer.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
        self.scaler.step(self.optimizer)
        self.scaler.update()
