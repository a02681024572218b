"""Check whether this machine is ready for the course, and say what to do where it is not."""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
import torch.nn.functional as F
from torch import Tensor

from helpers import data, device, models

PROJECT_NAME = "image-classification-notebooks"
MEMORY = 2.0  # GB that should be free: a notebook takes about one
DISK = 1.0  # GB that should be free: a run leaves about 10 MB
MAX_DEVICE_DIFFERENCE = 1e-3  # of weights after one step on two devices


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    what: str
    found: str
    remedy: str = ""  # what to do; empty if all is well
    optional: bool = False  # the course works without it

    @property
    def state(self) -> str:
        """One of "ok", "hint" and "bad"."""
        return "ok" if not self.remedy else "hint" if self.optional else "bad"

    def __str__(self) -> str:
        line = f"{self.state:<6}{self.what:<24}{self.found}"
        return f"{line}\n{'':30}→ {self.remedy}" if self.remedy else line


def examine(root: Path, data_root: Path) -> Iterator[Finding]:
    """Check all that the course needs, with runs in `root` and data in `data_root`, offline."""
    yield from packages()
    yield from threads_and_memory()
    yield from disk(root)
    for spec in data.SPECS.values():
        yield dataset(data_root, spec.folder)
    yield accelerator()
    found, remedy = chromium(), "For PDFs, and the test of JupyterLab: apt install chromium"
    yield Finding("Chromium", found or "none", "" if found else remedy, optional=True)


def packages() -> Iterator[Finding]:
    """Python; the required packages, checked by pip; whether torch and torchvision fit together."""
    yield Finding("Python", platform.python_version())
    command = [sys.executable, "-m", "pip", "check", "--disable-pip-version-check"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    problems = [line for line in checked.stdout.splitlines() if line.startswith(PROJECT_NAME)]
    found, remedy = "none missing or too old", ""
    if "No module named pip" in checked.stderr:
        found, remedy = "not checked", "Install pip to check them."
    elif problems:
        found, remedy = "; ".join(problems), "Install the project again: pip install --editable ."
    yield Finding("packages", found, remedy, optional=not problems)
    try:
        import torchvision

        yield Finding("torch and torchvision", f"{torch.__version__}, {torchvision.__version__}")
    except (ImportError, RuntimeError) as error:
        remedy = "Install the two together: pip install --upgrade torch torchvision"
        yield Finding("torch and torchvision", f"do not fit together ({error})", remedy)


def threads_and_memory() -> Iterator[Finding]:
    """The number of threads, which should not exceed that of cores, and the free memory."""
    count, cores = torch.get_num_threads(), os.cpu_count() or 1
    remedy = "" if count <= cores else f"Set OMP_NUM_THREADS to {cores} or less."
    yield Finding("threads", f"{count}, on {cores} cores", remedy)
    free = psutil.virtual_memory().available / 1e9
    remedy = "" if free >= MEMORY else f"Close other programs: {MEMORY:g} GB should be free."
    yield Finding("memory", f"{free:.1f} GB free", remedy)


def disk(root: Path) -> Iterator[Finding]:
    """The free space on the disk of the runs, and whether their folder can be written to."""
    folder = next(path for path in (root, *root.resolve().parents) if path.is_dir())
    free = shutil.disk_usage(folder).free / 1e9
    remedy = "" if free >= DISK else f"Delete old runs: {DISK:g} GB should be free."
    yield Finding("disk", f"{free:.1f} GB free", remedy)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"0")
        yield Finding("runs", f"can be written to {folder}")
    except OSError as error:
        yield Finding("runs", f"{folder}: {error.strerror}", "Choose another folder with --root.")


def dataset(root: Path, folder: str) -> Finding:
    """Whether the archives of a data set are there and intact."""
    try:
        for name in data.DIGESTS[folder]:
            data.read_archive(root / folder / "raw" / name, folder)
    except data.DamagedDataError as error:
        return Finding(f"{folder} files", "damaged or missing", str(error))
    return Finding(f"{folder} files", f"{len(data.DIGESTS[folder])}, as published")


def accelerator() -> Finding:
    """Whether a training step on the accelerator, if there is one, gives the weights of the CPU."""
    *_, best = device.available()
    if best.type == "cpu":
        return Finding("accelerator", "none; the CPU is used")
    try:
        gap = float((_after_one_step(best) - _after_one_step(torch.device("cpu"))).abs().max())
    except RuntimeError as error:
        return Finding("accelerator", f"{best}: {error}", "Use --device cpu, or update its driver.")
    wrong = "Its results are wrong: use --device cpu, or update its driver."
    remedy = "" if gap <= MAX_DEVICE_DIFFERENCE else wrong
    return Finding("accelerator", f"{device.describe(best)}, differs by {gap:.0e}", remedy)


def _after_one_step(device: torch.device) -> Tensor:
    """All weights of a small network after one training step on `device`; returned on the CPU."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (64, 1, 28, 28), generator=generator, dtype=torch.uint8)
    targets = torch.randint(10, (64,), generator=generator)
    torch.manual_seed(0)
    model = models.build("tiny_vgg", mean=0.5, std=0.5).to(device)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    F.cross_entropy(model(images.to(device)), targets.to(device)).backward()
    optimizer.step()
    return torch.cat([weights.detach().flatten().cpu() for weights in model.parameters()])


def chromium() -> str | None:
    """The path of an installed Chromium, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next(filter(None, map(shutil.which, names)), None)
