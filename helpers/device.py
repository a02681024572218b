"""Choose the device to compute on, and seed all random generators."""

import platform
import random

import numpy as np
import torch


def available() -> list[torch.device]:
    """The devices of this machine: the CPU, and an accelerator (CUDA, MPS, XPU …) if one works."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return [torch.device("cpu")] + ([accelerator] if accelerator is not None else [])


def choose(name: str = "auto") -> torch.device:
    """Choose one device: "auto" takes the accelerator if there is one, else the CPU.

    Any name of torch is accepted ("cuda:1", "mps"). Raises ValueError if there is no such device.
    """
    devices = available()
    if name == "auto":
        return devices[-1]
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    # older versions of torch raise in device_count if there is no CUDA driver
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
    """Seed Python, NumPy and torch (all devices). ValueError unless `seed` is in [0, 2**32)."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - other people's code draws from this generator
    torch.manual_seed(seed)
