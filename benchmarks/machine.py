"""The machine and the versions of a measurement."""

import datetime
import platform
from importlib import metadata
from pathlib import Path

PACKAGES = ("torch", "torchvision", "lightning", "keras", "fastai", "skorch")


def describe(threads: int) -> dict[str, object]:
    """Processor, threads, versions and date, for a results file."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # limits.py does not need the peers
    return {
        "processor": processor(),
        "threads": threads,
        "versions": versions,
        "date": f"{datetime.date.today():%d %B %Y}",
    }


def processor() -> str:
    """Name and widest vector instructions from /proc/cpuinfo; without it, the name in Python."""
    told = Path("/proc/cpuinfo")
    if not told.exists():
        return platform.processor() or platform.machine()
    lines = dict(line.split(":", 1) for line in told.read_text().splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in lines.items()}
    flags = fields.get("flags", "").split()
    vectors = [name.upper() for name in ("avx2", "avx512f", "avx512_bf16") if name in flags]
    return " ".join([fields.get("model name", platform.machine()), *vectors[-2:]])
