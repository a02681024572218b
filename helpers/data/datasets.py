"""Read the published files of MNIST and Fashion-MNIST, and check that they are the published ones.

The compressed archives are read directly. Nothing is unpacked on the disk, so there is no unpacked
copy that could be damaged, half written or taken from the other data set.
"""

import hashlib
import socket
import tempfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from helpers.files import write_atomic
from helpers.messages import unknown_name

DOWNLOAD_TIMEOUT = 30.0  # seconds without a byte, after which a download is given up

ARCHIVES = (
    "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz",
)  # fmt: skip
# SHA-256 of the published archives, whose MD5 torchvision checks
_SHA256 = {
    "MNIST": (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
    "FashionMNIST": (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
}
DIGESTS = {f: dict(zip(ARCHIVES, digests, strict=True)) for f, digests in _SHA256.items()}


class DamagedDataError(ValueError):
    """A data file is not the published one; the message says how to restore it."""


@dataclass(frozen=True)
class DatasetSpec:
    """What is known about a data set; of MNIST and Fashion-MNIST, before it is loaded."""

    name: str  # as in load_splits(name)
    title: str  # as people write it
    folder: str  # torchvision's class, and its folder under data/; or the folder of your own data
    class_names: tuple[str, ...]  # by target, 0..K-1
    mean: float  # of the 60,000 training images, pixels scaled to [0, 1]; see pixel_statistics
    std: float
    digest: str  # identifies the content of all four files in records
    channels: int = 1  # 1 for grey images, 3 for red, green and blue
    size: int = 28  # height and width in pixels


MNIST = DatasetSpec(
    name="mnist", title="MNIST", folder="MNIST", class_names=tuple("0123456789"), mean=0.1307,
    std=0.3081, digest="0fa6d6565a8c",
)  # fmt: skip
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
    digest="bd7794149301",
)  # fmt: skip
SPECS = {spec.name: spec for spec in (MNIST, FASHION_MNIST)}


def spec(name: str) -> DatasetSpec:
    """Look up a data set by name. Raises ValueError if there is none of that name."""
    if name not in SPECS:
        raise ValueError(unknown_name("data set", name, SPECS))
    return SPECS[name]


def read_verified(folder: str, root: Path) -> list[Tensor]:
    """Read all four files of "MNIST" or "FashionMNIST" below `root`, and download missing ones.

    Returns training images uint8 (60,000, 1, 28, 28), training targets int64 (60,000,), test images
    and test targets. Raises DamagedDataError if an archive is not the published one, and
    FileNotFoundError if one is missing and cannot be downloaded.
    """
    archives = [root / folder / "raw" / name for name in DIGESTS[folder]]
    missing = [archive.name for archive in archives if not archive.exists()]
    if missing:
        _download(archives[0].parent, missing, folder)
    with ThreadPoolExecutor() as pool:  # zlib releases Python's lock
        contents = list(pool.map(lambda archive: read_archive(archive, folder), archives))
    # a header of 16 or 8 bytes, then one byte for each pixel or target
    files = [torch.frombuffer(content, dtype=torch.uint8) for content in contents]
    return [a[16:].view(-1, 1, 28, 28) if i % 2 == 0 else a[8:].long() for i, a in enumerate(files)]


def read_archive(archive: Path, folder: str) -> bytearray:
    """The uncompressed content of a .gz file of the data set in `folder`, verified.
    Raises DamagedDataError if it cannot be read or is not the published file.
    """
    try:
        compressed = archive.read_bytes()
    except OSError as error:
        raise DamagedDataError(
            f"{archive} cannot be read ({error.strerror}). Move away what is in its place, and "
            f'restore it with `git checkout -- "{archive}"`.'
        ) from error
    got, wanted = hashlib.sha256(compressed).hexdigest(), DIGESTS[folder][archive.name]
    if got != wanted:  # people do swap the two data sets
        known = ((name, of, d) for of, names in DIGESTS.items() for name, d in names.items())
        foreign = next((f" but the {name} of {of}" for name, of, d in known if d == got), "")
        raise DamagedDataError(
            f"{archive} is not the {archive.name} of {folder}{foreign}: its SHA-256 is "
            f'{got}, wanted {wanted}. Restore it with `git checkout -- "{archive}"`, or delete it '
            f"to download it again."
        )
    size = int.from_bytes(compressed[-4:], "little")  # at the end of every .gz file
    return bytearray(zlib.decompress(compressed, wbits=zlib.MAX_WBITS | 16, bufsize=size))


def _download(raw: Path, missing: list[str], folder: str) -> None:
    """Fetch the archives that are missing from `raw`, by torchvision."""
    from torchvision import datasets  # here: importing it takes ten times as long as loading

    before = socket.getdefaulttimeout()
    with tempfile.TemporaryDirectory(prefix="download-") as temporary:
        try:
            socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)  # torchvision sets none
            getattr(datasets, folder)(temporary, download=True)
            for name in missing:
                archive = Path(temporary, folder, "raw", name)
                read_archive(archive, folder)
                write_atomic(raw / name, archive.read_bytes())
        except (OSError, RuntimeError) as error:
            raise FileNotFoundError(
                f"{raw} lacks {', '.join(missing)}, and downloading failed ({error}). Restore the "
                f'files with `git checkout -- "{raw}"`, or try again with a network.'
            ) from error
        finally:
            socket.setdefaulttimeout(before)
