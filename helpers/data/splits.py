"""Training, validation and test images as tensors, and batches of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from helpers.data.datasets import DatasetSpec, read_verified, spec
from helpers.files import PROJECT, short_digest

VALIDATION_SIZE = 5_000
SIZES = range(16, 97)  # of images, in pixels


@dataclass(frozen=True)
class Split:
    """Images with targets. Row i is image i. Raises ValueError for another shape or dtype."""

    images: Tensor  # uint8 (N, C, S, S), C 1 or 3, S in SIZES, 0 is black; MNIST: (N, 1, 28, 28)
    targets: Tensor  # int64 (N,), each in [0, K)

    def __post_init__(self) -> None:
        images, targets = self.images, self.targets
        channels, height, width = images.shape[1:] if images.ndim == 4 else (0, 0, 0)
        is_valid = channels in (1, 3) and height == width and height in SIZES
        if images.dtype != torch.uint8 or not is_valid:
            raise ValueError(
                "Images must be uint8 (N, C, S, S) with one channel or three and sides of "
                f"{SIZES[0]} to {SIZES[-1]} pixels, such as (N, 1, 28, 28), "
                f"got {images.dtype} {tuple(images.shape)}."
            )
        if targets.dtype != torch.int64 or targets.shape != images.shape[:1]:
            wanted, got = f"int64 ({len(images)},)", f"{targets.dtype} {tuple(targets.shape)}"
            raise ValueError(f"Targets must be {wanted}, one for each image, got {got}.")

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, rows: Tensor | slice) -> "Split":
        """The chosen rows, by a slice, an int64 index tensor or a bool mask."""
        return Split(self.images[rows], self.targets[rows])

    def __add__(self, other: "Split") -> "Split":
        """Concatenate two splits."""
        images = torch.cat([self.images, other.images])
        return Split(images, torch.cat([self.targets, other.targets]))

    @property
    def digest(self) -> str:
        """Twelve hex digits that identify the images and targets."""
        tensors = (self.images, self.targets)
        return short_digest(*(tensor.cpu().contiguous().numpy().data for tensor in tensors))

    def to(self, device: torch.device) -> "Split":
        return Split(self.images.to(device), self.targets.to(device))


@dataclass(frozen=True)
class Splits:
    """The three splits of a data set, and its description."""

    train: Split  # to fit the weights; 55,000 images in the course's data sets
    validation: Split  # for choices, such as the learning rate; 5,000
    test: Split  # used once, at the end; 10,000
    spec: DatasetSpec
    files: Mapping[str, Sequence[str]] = field(default_factory=dict)  # by split, for own data
    notes: tuple[str, ...] = ()  # lines on what was found while reading own data

    @property
    def labeled(self) -> Split:
        """The training images, followed by the validation images."""
        return self.train + self.validation


def load_splits(name: str, root: Path | str | None = None) -> Splits:
    """Load the verified images of "mnist" or "fashion_mnist" as three splits.

    `root` is the folder that holds `MNIST/` and `FashionMNIST/`; by default the project's `data/`.
    Of the 60,000 published training images, sorted by class, every twelfth is held out for
    validation. So the split is stratified, and needs no random numbers. Raises ValueError for an
    unknown name, and the errors of `read_verified`.
    """
    published, test = load_published(name, root)
    step = len(published) // VALIDATION_SIZE
    is_validation = torch.zeros(len(published), dtype=torch.bool)
    is_validation[published.targets.argsort(stable=True)[step // 2 :: step]] = True
    train, validation = published[~is_validation], published[is_validation]
    return Splits(train, validation, test, spec(name))


def load_published(name: str, root: Path | str | None = None) -> tuple[Split, Split]:
    """The 60,000 training and the 10,000 test images in their published order, verified.

    Lists of doubtful labels give the index of an image in this order. Raises as `load_splits`.
    """
    root = Path(root) if root is not None else PROJECT / "data"
    images, targets, test_images, test_targets = read_verified(spec(name).folder, root)
    return Split(images, targets), Split(test_images, test_targets)


def batches(
    split: Split, batch_size: int, *, generator: torch.Generator | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of a split: images uint8 (B, C, S, S) and targets int64 (B,).

    A batch is indexed at once, not image by image. A `generator` on the CPU shuffles the images,
    equally for every device; without it they keep their order. The last batch may be smaller.
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
    """A torch DataLoader; its batches are like those of `batches`, but collected image by image."""
    pairs = torch.utils.data.TensorDataset(split.images, split.targets)
    return torch.utils.data.DataLoader(pairs, batch_size=batch_size, shuffle=shuffle)


def pixel_statistics(images: Tensor) -> tuple[float, float]:
    """Mean and standard deviation over all pixels of uint8 images, scaled to [0, 1].

    They are exact, since they are computed from the histogram. A DatasetSpec holds both numbers.
    """
    counts = torch.bincount(images.flatten(), minlength=256).cpu().double()
    grays = torch.arange(256, dtype=torch.float64) / 255
    mean = (counts * grays).sum() / counts.sum()
    variance = (counts * (grays - mean) ** 2).sum() / counts.sum()
    return mean.item(), variance.sqrt().item()
