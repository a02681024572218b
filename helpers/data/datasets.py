"""Read the published files of MNIST and Fashion-MNIST, and check that they are the published ones.

The compressed archives are read directly. Nothing is unpacked on the disk, so there is no unpacked
copy that could be damaged, half written or taken from the other data set.
"""

import hashlib
import socket
import tempfile
import tomllib
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from helpers.files import write_atomic
from helpers.messages import check_name

DOWNLOAD_TIMEOUT = 30.0  # seconds without a byte, after which a download is given up


class DamagedDataError(ValueError):
    """A data file is not the published one; the message says how to restore it."""


@dataclass(frozen=True)
class DatasetSpec:
    """The metadata of a data set. Those of MNIST and Fashion-MNIST are known before loading."""

    name: str  # as in load_splits(name)
    title: str  # for pages and figures, such as "Fashion-MNIST"
    folder: str  # torchvision's class and folder under data/; the path of your own data; or ""
    class_names: tuple[str, ...]  # by target, 0..K-1
    mean: float  # over all pixels of the training images, in [0, 1]; see pixel_statistics
    std: float  # standard deviation of the same pixels
    digest: str  # twelve hex digits that identify the content in records
    channels: int = 1  # 1 for gray images, 3 for red, green and blue
    size: int = 28  # height and width in pixels


_TABLES = tomllib.loads((Path(__file__).parent / "datasets.toml").read_text(encoding="utf-8"))
# SHA-256 of the archives by folder and file name, in the order that `read_verified` returns
DIGESTS = {table["folder"]: table.pop("sha256") for table in _TABLES.values()}
SPECS = {
    name: DatasetSpec(name, **table | {"class_names": tuple(table["class_names"])})
    for name, table in _TABLES.items()
}
MNIST, FASHION_MNIST = SPECS["mnist"], SPECS["fashion_mnist"]


def spec(name: str) -> DatasetSpec:
    """Look up a data set by name. Raises ValueError if there is none of that name."""
    check_name("data set", name, SPECS)
    return SPECS[name]


def read_verified(folder: str, root: Path) -> list[Tensor]:
    """Read all four files of "MNIST" or "FashionMNIST" below `root`, and download missing ones.

    Returns training images uint8 (60,000, 1, 28, 28), training targets int64 (60,000,), and
    the same for 10,000 test images. Raises DamagedDataError if an archive is not the published
    one, and FileNotFoundError if one is missing and cannot be downloaded.
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
            f"{archive} cannot be read ({error.strerror}). Move away the file or folder there, and "
            f'restore it with `git checkout -- "{archive}"`.'
        ) from error
    got, wanted = hashlib.sha256(compressed).hexdigest(), DIGESTS[folder][archive.name]
    if got != wanted:  # people do swap the two data sets
        known = ((name, where, d) for where, names in DIGESTS.items() for name, d in names.items())
        foreign = next((f" but the {name} of {where}" for name, where, d in known if d == got), "")
        raise DamagedDataError(
            f"{archive} is not the {archive.name} of {folder}{foreign}: its SHA-256 is "
            f'{got}, expected {wanted}. Restore it with `git checkout -- "{archive}"`, or '
            f"delete it to download it again."
        )
    size = int.from_bytes(compressed[-4:], "little")  # a .gz file ends with its uncompressed size
    return bytearray(zlib.decompress(compressed, wbits=zlib.MAX_WBITS | 16, bufsize=size))


def _download(raw: Path, missing: list[str], folder: str) -> None:
    """Download the `missing` archives into the folder `raw` with torchvision, and verify them."""
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
                f'files with `git checkout -- "{raw}"`, or try again with an internet connection.'
            ) from error
        finally:
            socket.setdefaulttimeout(before)
