"""Which images, are they the right ones, and in which batches?"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from helpers import archives
from helpers.files import PROJECT
from helpers.specs import FASHION_MNIST, MNIST, SPECS, DatasetSpec, spec

__all__ = ["FASHION_MNIST", "MNIST", "SPECS", "DatasetSpec", "Split", "Splits", "spec"]

VALIDATION_SIZE = 5_000


@dataclass(frozen=True)
class Split:
    """Images with their targets. Row i is image i, everywhere in this project."""

    images: Tensor  # uint8 (N, 1, 28, 28), 0 is black, 255 is white
    targets: Tensor  # int64 (N,), each in [0, K)

    def __post_init__(self) -> None:
        images, targets = self.images, self.targets
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1:] != (1, 28, 28):
            raise ValueError(
                f"Images must be uint8 (N, 1, 28, 28), got {images.dtype} {tuple(images.shape)}."
            )
        if targets.dtype != torch.int64 or targets.shape != images.shape[:1]:
            raise ValueError(
                f"Targets must be int64 ({len(images)},), one for each image, "
                f"got {targets.dtype} {tuple(targets.shape)}."
            )

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, rows: Tensor | slice) -> "Split":
        """The chosen rows, by a slice, an int64 index tensor or a bool mask."""
        return Split(self.images[rows], self.targets[rows])

    def __add__(self, other: "Split") -> "Split":
        """The images of both, these first."""
        return Split(
            torch.cat([self.images, other.images]), torch.cat([self.targets, other.targets])
        )

    @property
    def digest(self) -> str:
        """Twelve hex digits that stand for all images and targets."""
        content = hashlib.sha256(self.images.cpu().contiguous().numpy().data)
        content.update(self.targets.cpu().contiguous().numpy().data)
        return content.hexdigest()[:12]

    def to(self, device: torch.device) -> "Split":
        return Split(self.images.to(device), self.targets.to(device))


@dataclass(frozen=True)
class Splits:
    """The three splits of a data set, and what there is to know about it."""

    train: Split  # 55,000: what the model learns from
    validation: Split  # 5,000: what choices are made on
    test: Split  # 10,000: looked at once, at the end
    spec: DatasetSpec


def load_splits(name: str, root: Path | str | None = None) -> Splits:
    """Load the verified images of "mnist" or "fashion_mnist", split three ways.

    `root` is the folder that holds `MNIST/` and `FashionMNIST/`; by default the project's `data/`.
    The 60,000 training images are divided 55,000 to 5,000: sorted by class, every twelfth image
    goes to validation, so that each class has its share and no random generator is involved.

    Raises ValueError for an unknown name, DamagedDataError (a ValueError) for files that are not
    the published ones, FileNotFoundError where files are missing and cannot be downloaded.
    """
    labelled, test = load_published(name, root)
    validation = torch.zeros(len(labelled), dtype=torch.bool)
    step = len(labelled) // VALIDATION_SIZE
    validation[labelled.targets.argsort(stable=True)[step // 2 :: step]] = True
    return Splits(labelled[~validation], labelled[validation], test, spec(name))


def load_published(name: str, root: Path | str | None = None) -> tuple[Split, Split]:
    """The 60,000 training and the 10,000 test images in the order in which they were published.

    Verified, and with the errors of `load_splits`. Whoever names an image by its number in the
    files, as lists of doubtful labels do, means this order.
    """
    described = spec(name)
    folder = Path(root) if root is not None else PROJECT / "data"
    if (name, folder) in _kept:
        return _copied(*_kept[name, folder])

    def download(into: Path) -> None:
        from torchvision import datasets  # here: importing it takes ten times what loading does

        getattr(datasets, described.folder)(into, download=True)

    with archives.verified(folder, described.folder, download) as sound:
        raw = sound / described.folder / "raw"
        return _read(raw, "train"), _read(raw, "t10k")


_kept: dict[tuple[str, Path], tuple[Split, Split]] = {}


def keep(name: str) -> None:
    """Keep a data set in memory, so that loading it anew, in processes forked from this one as
    well, is but a copy. Raises what `load_published` raises.
    """
    _kept[name, PROJECT / "data"] = load_published(name)


def _copied(*splits: Split) -> tuple[Split, Split]:
    """Copies that may be changed."""
    train, test = (Split(split.images.clone(), split.targets.clone()) for split in splits)
    return train, test


def _read(raw: Path, part: str) -> Split:
    """Read the two files of one part, verified before: a header, then one byte for each number.

    Not by torchvision, which would prefer an unverified `processed` folder of older versions.
    """
    images = np.fromfile(raw / f"{part}-images-idx3-ubyte", dtype=np.uint8, offset=16)
    targets = np.fromfile(raw / f"{part}-labels-idx1-ubyte", dtype=np.uint8, offset=8)
    return Split(torch.from_numpy(images).view(-1, 1, 28, 28), torch.from_numpy(targets).long())


def batches(
    split: Split, batch_size: int, *, generator: torch.Generator | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Cut a split into batches (images uint8 (B, 1, 28, 28), targets int64 (B,)).

    Batches are slices of tensors that lie on the device already: an image costs no Python. With a
    `generator` the rows come in a random order drawn from it on the CPU, the same on every device;
    without one they come as they are. The last batch may be smaller.
    """
    if generator is None:
        for start in range(0, len(split), batch_size):
            rows = slice(start, start + batch_size)
            yield split.images[rows], split.targets[rows]
        return
    order = torch.randperm(len(split), generator=generator).to(split.images.device)
    for rows in order.split(batch_size):
        yield split.images[rows], split.targets[rows]


def loader(split: Split, batch_size: int = 32, *, shuffle: bool) -> "torch.utils.data.DataLoader":
    """The same batches from torch's DataLoader, as most courses teach it: image by image."""
    pairs = torch.utils.data.TensorDataset(split.images, split.targets)
    return torch.utils.data.DataLoader(pairs, batch_size=batch_size, shuffle=shuffle)


def pixel_statistics(images: Tensor) -> tuple[float, float]:
    """Mean and standard deviation over all pixels of uint8 images, scaled to [0, 1].

    Exact, since computed from the histogram; over all training images they are those of a spec.
    """
    counts = torch.bincount(images.flatten(), minlength=256).cpu().double()
    greys = torch.arange(256, dtype=torch.float64) / 255
    mean = (counts * greys).sum() / counts.sum()
    variance = (counts * (greys - mean) ** 2).sum() / counts.sum()
    return mean.item(), variance.sqrt().item()
