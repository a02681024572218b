"""Where do we compute, in which precision, and from which seed?"""

import os
import platform
import random
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def available() -> list[torch.device]:
    """The devices of this machine: the CPU, and an accelerator (CUDA, MPS, XPU …) if one works."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return [torch.device("cpu")] + ([accelerator] if accelerator is not None else [])


def choose(name: str = "auto") -> torch.device:
    """Pick the one device to compute on: "auto" takes the accelerator if there is one.

    Any name that torch knows will do ("cpu", "cuda", "cuda:1", "mps", "xpu"). Raises ValueError
    if this machine has no such device.
    """
    devices = available()
    if name == "auto":
        return devices[-1]
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    # an older torch with CUDA raises when asked for its devices where there is no driver
    count = torch.accelerator.device_count() if len(devices) > 1 else 1
    known = {d.type for d in devices}
    if device is None or device.type not in known or (device.index or 0) >= count:
        choices = ", ".join(["auto", *(d.type for d in devices)])
        raise ValueError(f"There is no device {name!r} on this machine. Choose one of: {choices}.")
    return device


def describe(device: torch.device) -> str:
    """Name the hardware, such as "cuda, NVIDIA A100" or "cpu, x86_64, 2 threads"."""
    if device.type == "cuda":
        return f"cuda, {torch.cuda.get_device_name(device)}"
    if device.type == "cpu":
        return f"cpu, {platform.machine()}, {torch.get_num_threads()} threads"
    return device.type


def seed_everything(seed: int) -> None:
    """Seed the generators of Python, NumPy and torch (all devices). `seed` is in [0, 2**32)."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the generator that other people's code draws from
    torch.manual_seed(seed)


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """The context in which a forward pass runs in `precision`; "float32" changes nothing.

    Raises ValueError for a precision that is not in PRECISIONS.
    """
    if precision not in PRECISIONS:
        choices = ", ".join(PRECISIONS)
        raise ValueError(f"There is no precision {precision!r}. Choose one of: {choices}.")
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=PRECISIONS[precision])


def fastest_precision(device: torch.device) -> str:
    """Name the format to train in: "bfloat16" on a CPU with AVX512-BF16 or AMX, else "float32".

    Without the instructions bfloat16 is emulated, and slower. Networks as small as ours are bound
    on a GPU by the launching of work, so that there the format hardly matters.
    """
    # only newer versions of torch can tell
    known: dict[str, object] = (
        getattr(torch.cpu, "get_capabilities", dict)() if device.type == "cpu" else {}
    )
    fast = any(known.get(feature) for feature in ("avx512_bf16", "amx_bf16"))
    return "bfloat16" if fast else "float32"


def forward_of(
    model: nn.Module,
    *,
    precision: str = "float32",
    channels_last: bool = False,
    compile: bool = False,
    scaler: torch.amp.GradScaler | None = None,
    together: Callable[[nn.Module], nn.Module] = lambda model: model,
) -> Callable[[Tensor], Tensor]:
    """The model as training runs it: in which number format, memory layout, and how compiled.

    `channels_last` lays the weights of the model out anew, in place; numbers do not change. It is
    ignored on "mps", where older versions of torch get the gradients of a batch normalisation wrong
    in that layout. A `scaler` multiplies the gradients where they set out on their way back, at the
    logits. `together` is given the model when it is laid out, and returns what is called instead.
    The logits come back as float32. Raises ValueError for an unknown precision.
    """
    where = next(model.parameters()).device
    last = channels_last and where.type != "mps"
    layout = torch.channels_last if last else torch.contiguous_format
    autocast(where, precision)  # an unknown precision is refused before anything is changed
    model.to(memory_format=layout)
    run = torch.compile(together(model)) if compile else together(model)

    def forward(images: Tensor) -> Tensor:
        with autocast(where, precision):
            logits = run(images.to(memory_format=layout)).float()
        if scaler is not None and scaler.is_enabled():
            logits.register_hook(scaler.scale)
        return logits

    return forward


def gradient_scaler(device: torch.device, precision: str) -> torch.amp.GradScaler:
    """What keeps small gradients of "float16" from becoming 0; for other precisions it is idle.

    Micikevicius et al., "Mixed Precision Training", ICLR 2018, section 3.2. With an optimizer that
    has `fused=True` it never waits for the device. Raises ValueError for float16 on "mps", whose
    fused optimizers do not know of scaled gradients.
    """
    if precision == "float16" and device.type == "mps":
        raise ValueError('float16 cannot be trained on "mps"; choose float32 or bfloat16.')
    # Scales grow by themselves. From torch's own start of 65,536 they would mostly have to shrink
    # first, and each time a step is lost.
    return torch.amp.GradScaler(device.type, init_scale=2.0**10, enabled=precision == "float16")


class ScaledOptimizer:
    """Takes the steps of an optimizer for gradients that a scaler has scaled.

    The gradients are divided again before the step; where one is infinite, the step is left out and
    the scale is halved. With an idle scaler it is the optimizer itself.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler) -> None:
        self.optimizer, self.scaler = optimizer, scaler

    def zero_grad(self) -> None:
        self.optimizer.zero_grad()

    def step(self) -> None:
        self.scaler.step(self.optimizer)
        self.scaler.update()


def somebody_watches() -> bool:
    """Whether a person sees this process's output as it comes: a terminal, or a front end's kernel.

    Jupyter's server names the session in the environment of the kernels that it starts for people;
    papermill, nbval and nbconvert start kernels without one.
    """
    return "JPY_SESSION_NAME" in os.environ or (os.isatty(2) and "JPY_PARENT_PID" not in os.environ)
