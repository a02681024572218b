"""Is this machine ready for the course, and if not, what is to be done?"""

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
import psutil
import torch
import torch.nn.functional as F
from packaging.requirements import Requirement
from torch import Tensor
from helpers import data, device, models
from helpers.data import DIGESTS, DamagedDataError, verified

PROJECT_NAME = "image-classification-notebooks"
MEMORY = 2.0  # GB that should be free: a notebook takes about one
DISK = 1.0  # GB that should be free: a run leaves about 10 MB, unpacked data 110 MB
MAX_DEVICE_DIFFERENCE = 1e-3  # by how much weights may differ between two devices after one step


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    found: str
    remedy: str = ""  # what to do; empty if all is well
    hint: bool = False  # the course works without it

    @property
    def state(self) -> str:
        """Either "ok", "hint" or "bad"."""
        return "ok" if not self.remedy else "hint" if self.hint else "bad"

    def __str__(self) -> str:
        line = f"{self.state:<6}{self.what:<24}{self.found}"
        return f"{line}\n{'':30}→ {self.remedy}" if self.remedy else line


def examine(root: Path, data_root: Path) -> Iterator[Finding]:
    """Look at everything that the course needs, one after another.

    `root` is where runs are kept, `data_root` the folder with the data sets.
    """
    yield python()
    yield from packages()
    yield threads()
    yield memory()
    yield from room(root)
    for spec in data.SPECS.values():
        yield dataset(data_root, spec.folder)
    yield accelerator()
    yield browser()


def python() -> Finding:
    """The version of Python, held against what the project wants."""
    wanted = metadata.metadata(PROJECT_NAME)["Requires-Python"]
    version = platform.python_version()
    sound = Requirement(f"python{wanted}").specifier.contains(version)
    return Finding("Python", version, "" if sound else f"Install a Python {wanted}.")


def packages() -> Iterator[Finding]:
    """The packages that the project needs: what is missing or too old, or that nothing is."""
    needed = [Requirement(line) for line in metadata.requires(PROJECT_NAME) or []]
    needed = [need for need in needed if need.marker is None]  # those of no extra
    bad = False
    for need in needed:
        try:
            found = metadata.version(need.name)
        except metadata.PackageNotFoundError:
            found = "missing"
        if found == "missing" or not need.specifier.contains(found.split("+")[0], prereleases=True):
            bad = True
            wanted = f'"{need.name}{need.specifier}"'
            yield Finding(need.name, found, f"pip install {wanted}")
    if not bad:
        yield Finding("packages", f"{len(needed)}, none missing or too old")
    try:
        import torchvision

        yield Finding("torch and torchvision", f"{torch.__version__}, {torchvision.__version__}")
    except (ImportError, RuntimeError) as error:
        remedy = "Install the two together: pip install --upgrade torch torchvision"
        yield Finding("torch and torchvision", f"do not fit ({error})", remedy)


def threads() -> Finding:
    """As many threads as cores, or fewer: more hinder each other."""
    count, cores = torch.get_num_threads(), os.cpu_count() or 1
    remedy = "" if count <= cores else f"Set OMP_NUM_THREADS to {cores} or less."
    return Finding("threads", f"{count}, on {cores} cores", remedy)


def memory() -> Finding:
    """The memory that is free now."""
    free = psutil.virtual_memory().available / 1e9
    remedy = "" if free >= MEMORY else f"Close other programs: {MEMORY:g} GB should be free."
    return Finding("memory", f"{free:.1f} GB free", remedy)


def room(root: Path) -> Iterator[Finding]:
    """The disk where runs are kept: whether one may write there, and how much is free."""
    there = next(path for path in (root, *root.resolve().parents) if path.is_dir())
    free = shutil.disk_usage(there).free / 1e9
    remedy = "" if free >= DISK else f"Delete old runs: {DISK:g} GB should be free."
    yield Finding("disk", f"{free:.1f} GB free", remedy)
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"0")
        yield Finding("runs", f"can be written to {there}")
    except OSError as error:
        yield Finding("runs", f"{there}: {error.strerror}", "Name another place with --root.")


def dataset(root: Path, folder: str) -> Finding:
    """The files of a data set, verified; nothing is downloaded."""

    def offline(_: Path) -> None:
        raise OSError("the doctor downloads nothing")

    try:
        with verified(root, folder, offline):
            return Finding(f"{folder} files", f"{len(DIGESTS[folder])}, as they were published")
    except (DamagedDataError, FileNotFoundError) as error:
        return Finding(f"{folder} files", "damaged or missing", str(error))


def accelerator() -> Finding:
    """A training step on the accelerator, if there is one, held against the same on the CPU."""
    *_, best = device.available()
    if best.type == "cpu":
        return Finding("accelerator", "none; the CPU is used")
    try:
        gap = float((_after_one_step(best) - _after_one_step(torch.device("cpu"))).abs().max())
    except RuntimeError as error:
        return Finding("accelerator", f"{best}: {error}", "Use --device cpu, or update its driver.")
    remedy = (
        "" if gap <= MAX_DEVICE_DIFFERENCE else "Its numbers are wrong: use --device cpu, or update its driver."
    )
    return Finding("accelerator", f"{device.describe(best)}, differs by {gap:.0e}", remedy)


def _after_one_step(where: torch.device) -> Tensor:
    """All weights of a small network after one step, on the CPU."""
    chance = torch.Generator().manual_seed(0)
    images = torch.randint(256, (64, 1, 28, 28), generator=chance, dtype=torch.uint8)
    targets = torch.randint(10, (64,), generator=chance)
    torch.manual_seed(0)
    model = models.build("tiny_vgg", mean=0.5, std=0.5).to(where)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    F.cross_entropy(model(images.to(where)), targets.to(where)).backward()
    optimizer.step()
    return torch.cat([weights.detach().flatten().cpu() for weights in model.parameters()])


def chromium() -> str | None:
    """Where a Chromium is installed, or None."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


def browser() -> Finding:
    """A Chromium, which only the test of JupyterLab needs."""
    found = chromium()
    if found:
        return Finding("Chromium", found, hint=True)
    return Finding(
        "Chromium", "none", "For the test of JupyterLab: apt install chromium", hint=True
    )
