"""Many processes at once: they read the same own pictures, or create run folders."""

import tempfile
from collections import Counter
from multiprocessing.synchronize import Barrier
from pathlib import Path
from unittest import mock

import torch

from helpers import data, runs
from helpers.data import own_data
from helpers.files import short_digest, write_atomic
from tests.faults import PROCESSES
from tests.faults.images import run_concurrently

WAIT = 120  # seconds until all processes have started
PICTURES = 200  # of each of three classes: reading them takes longer than starting a process


def own_pictures(processes: int) -> Counter[str]:
    """Read a folder of pictures with a new cache; `right` if equal to a read without a cache."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, cache = Path(scratch, "pictures"), Path(scratch, "cache")
        _draw(folder)
        expected = _digest(folder, cache)
        if cache.exists():
            return Counter({"kept by the one that should not": processes})
        seen = run_concurrently(
            processes, _read, folder, cache, PROCESSES.Barrier(processes, timeout=WAIT)
        )
        left = sorted(path.suffix for path in cache.rglob("*"))
    if left != [".tensors"]:
        return Counter({f"left {left}": processes})
    return Counter({"right" if digest == expected else digest: n for digest, n in seen.items()})


def _draw(folder: Path) -> None:
    """Color pictures of noise, always the same."""
    generator = torch.Generator().manual_seed(0)
    for name in ("bird", "cat", "dog"):
        (folder / name).mkdir(parents=True)
        pixels = torch.randint(0, 256, (PICTURES, 3, 32, 32), generator=generator).byte()
        for i, picture in enumerate(pixels):
            (folder / name / f"{i}.png").write_bytes(data.to_png(picture))


def _read(folder: Path, cache: Path, barrier: Barrier, out: Path) -> None:
    with mock.patch.object(own_data, "CACHED_FROM", 1):
        barrier.wait()
        write_atomic(out, _digest(folder, cache))


def _digest(folder: Path, cache: Path) -> str:
    splits = data.from_folder(folder, cache_dir=cache, progress=False)
    return short_digest(splits.spec.digest, repr(splits.files), repr(splits.notes))


def run_folders(processes: int) -> Counter[str]:
    """Create a run folder in each process; `right` if no other process has the same one."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch, "runs")
        seen = run_concurrently(
            processes, _create, root, PROCESSES.Barrier(processes, timeout=WAIT)
        )
        made = {path.name for path in root.iterdir()}
    counted = Counter()
    for name, n in seen.items():
        counted["lost" if name not in made else "right" if n == 1 else "shared"] += n
    return counted


def _create(root: Path, barrier: Barrier, out: Path) -> None:
    barrier.wait()
    write_atomic(out, runs.create_run(root, "many").name)
