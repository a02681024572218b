"""Where do we compute, in which precision, and from which seed?"""

import os
import platform
import random
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


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
    count = torch.accelerator.device_count()
    known = {d.type for d in devices}
    if device is None or device.type not in known or (device.index or 0) >= max(count, 1):
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

    Raises ValueError for a precision other than "float32" or "bfloat16".
    """
    if precision not in PRECISIONS:
        choices = ", ".join(PRECISIONS)
        raise ValueError(f"There is no precision {precision!r}. Choose one of: {choices}.")
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=PRECISIONS[precision])


def somebody_watches() -> bool:
    """Whether a person sees this process's output as it comes: a terminal, or a front end's kernel.

    Jupyter's server names the session in the environment of the kernels that it starts for people;
    papermill, nbval and nbconvert start kernels without one.
    """
    return "JPY_SESSION_NAME" in os.environ or (os.isatty(2) and "JPY_PARENT_PID" not in os.environ)
