"""Read the published files of MNIST and Fashion-MNIST, and check that they are the published ones.

The compressed archives are read directly. Nothing is unpacked on the disk, so there is no unpacked
copy that could be damaged, half written or taken from the other data set.
"""

import hashlib
import socket
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from helpers.files import write_atomic

DOWNLOAD_TIMEOUT = 30.0  # seconds without a byte, after which a download is given up

# SHA-256 of the uncompressed files, from archives whose MD5 torchvision checks
DIGESTS = {
    "MNIST": {
        "train-images-idx3-ubyte": (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
        ),
        "train-labels-idx1-ubyte": (
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
        ),
        "t10k-images-idx3-ubyte": (
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
        ),
        "t10k-labels-idx1-ubyte": (
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
        ),
    },
    "FashionMNIST": {
        "train-images-idx3-ubyte": (
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
        ),
        "train-labels-idx1-ubyte": (
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
        ),
        "t10k-images-idx3-ubyte": (
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
        ),
        "t10k-labels-idx1-ubyte": (
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
        ),
    },
}


class DamagedDataError(ValueError):
    """A data file is not the published one; the message says how to restore it."""


@dataclass(frozen=True)
class DatasetSpec:
    """What is known about a data set before it is loaded."""

    name: str  # as in load_splits(name)
    title: str  # as people write it
    folder: str  # torchvision's class, and its folder under data/
    class_names: tuple[str, ...]  # by target, 0..K-1
    mean: float  # of the 60,000 training images, pixels scaled to [0, 1]; see pixel_statistics
    std: float

    @property
    def digest(self) -> str:
        """Twelve hex digits that identify the content of all four files."""
        together = "".join(digest for _, digest in sorted(DIGESTS[self.folder].items()))
        return hashlib.sha256(together.encode()).hexdigest()[:12]


MNIST = DatasetSpec(
    name="mnist",
    title="MNIST",
    folder="MNIST",
    class_names=tuple("0123456789"),
    mean=0.1307,
    std=0.3081,
)
FASHION_MNIST = DatasetSpec(
    name="fashion_mnist",
    title="Fashion-MNIST",
    folder="FashionMNIST",
    class_names=(
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
        "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ),
    mean=0.2860,
    std=0.3530,
)  # fmt: skip
SPECS = {spec.name: spec for spec in (MNIST, FASHION_MNIST)}


def spec(name: str) -> DatasetSpec:
    """Look up a data set by name. Raises ValueError if there is none of that name."""
    if name not in SPECS:
        raise ValueError(f"There is no data set {name!r}. Choose one of: {', '.join(SPECS)}.")
    return SPECS[name]


def read_verified(folder: str, part: str, root: Path) -> tuple[Tensor, Tensor]:
    """Read the images and targets of one part, "train" or "t10k", of a data set.

    `folder` is "MNIST" or "FashionMNIST", below `root`. Archives that are missing are downloaded.
    Returns images uint8 (N, 1, 28, 28) and targets int64 (N,).

    Raises DamagedDataError if an archive is not the published one, and FileNotFoundError if one is
    missing and cannot be downloaded.
    """
    raw = root / folder / "raw"
    missing = [stem for stem in DIGESTS[folder] if not (raw / f"{stem}.gz").exists()]
    if missing:
        _download(raw, missing, folder)
    # a header of 16 or 8 bytes, then one byte for each pixel or target
    images = np.frombuffer(read_archive(raw / f"{part}-images-idx3-ubyte.gz", folder), np.uint8)
    targets = np.frombuffer(read_archive(raw / f"{part}-labels-idx1-ubyte.gz", folder), np.uint8)
    return (
        torch.from_numpy(images[16:]).view(-1, 1, 28, 28),
        torch.from_numpy(targets[8:]).long(),
    )


def read_archive(archive: Path, folder: str) -> bytearray:
    """The uncompressed content of a .gz file of the data set in `folder`, verified.

    Raises DamagedDataError if it cannot be read or does not hold the published content.
    """
    try:
        compressed = archive.read_bytes()
    except OSError as error:
        raise DamagedDataError(
            f"{archive} cannot be read ({error.strerror}). Move away what is in its place, and "
            f'restore it with `git checkout -- "{archive}"`.'
        ) from error
    try:
        content = bytearray(zlib.decompress(compressed, wbits=31))
    except zlib.error:  # cut short, or no archive at all
        content = bytearray()
    got, wanted = hashlib.sha256(content).hexdigest(), DIGESTS[folder][archive.stem]
    if got != wanted:
        raise DamagedDataError(
            f"{archive} does not hold the {archive.stem} of {folder}{_foreign(got)}: the SHA-256 "
            f"of its content is {got}, wanted {wanted}. Restore it with "
            f'`git checkout -- "{archive}"`, or delete it to download it again.'
        )
    return content


def _download(raw: Path, missing: list[str], folder: str) -> None:
    """Fetch the archives that are missing from `raw`, by torchvision, which checks their MD5."""
    from torchvision import datasets  # here: importing it takes ten times as long as loading

    before = socket.getdefaulttimeout()
    with tempfile.TemporaryDirectory(prefix="download-") as temporary:
        try:
            socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)  # torchvision sets none
            getattr(datasets, folder)(temporary, download=True)
            for stem in missing:
                archive = Path(temporary, folder, "raw", f"{stem}.gz")
                read_archive(archive, folder)
                write_atomic(raw / archive.name, archive.read_bytes())
        except (OSError, RuntimeError) as error:
            names = ", ".join(f"{stem}.gz" for stem in missing)
            raise FileNotFoundError(
                f"{raw} lacks {names}, and they could not be downloaded ({error}). Restore them "
                f'with `git checkout -- "{raw}"`, or try again with a network.'
            ) from error
        finally:
            socket.setdefaulttimeout(before)


def _foreign(digest: str) -> str:
    """Say whose file it is, if it is a known one: people do swap the two data sets."""
    for folder, digests in DIGESTS.items():
        for stem, known in digests.items():
            if digest == known:
                return f" but the {stem} of {folder}"
    return ""
