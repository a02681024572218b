"""Images of your own, from folders, arrays or torchvision, as a data set of the course."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.data.datasets import SPECS, DatasetSpec
from helpers.data.pictures import prepare, read_pictures, stack, to_picture
from helpers.data.splits import SIZES, Split, Splits, load_splits, pixel_statistics
from helpers.files import PROJECT, short_digest, write_atomic
from helpers.messages import Show

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".pgm", ".ppm"}
ARCHIVES = {".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".bz2", ".xz"}
# name of a folder → name of the split that it holds
SPLIT_FOLDERS = dict(train="train", validation="validation", val="validation", valid="validation")
SPLIT_FOLDERS["test"] = "test"
HELD_OUT = 0.1  # fraction of each class for validation, and the same for the test split
CACHED_FROM = 2_000  # pictures: reading so many takes a second or more


def load(dataset: str, **options: Any) -> Splits:
    """Load "mnist" or "fashion_mnist"; other names are paths for `from_folder`, with `options`."""
    return load_splits(dataset) if dataset in SPECS else from_folder(dataset, **options)


def from_folder(
    path: Path | str,
    *,
    size: int = 28,
    channels: int | None = None,
    skip_broken: bool = False,
    cache_dir: Path | str = PROJECT / "runs" / "data",
    progress: Show = None,
) -> Splits:
    """Read pictures from one folder for each class, as torchvision's ImageFolder does.

    `path` holds a folder for each class; or it holds `train` and optionally `validation` and
    `test`, each with a folder for each class. A missing split is drawn from the training pictures
    as in `from_arrays`. Pictures are scaled to `size` pixels (16 to 96). `channels` is 1 (gray)
    or 3; by default 3 if any picture has colors. 2,000 pictures or more are cached in `cache_dir`.
    `splits.files` names the file of each image; `splits.notes` describes what was found. Raises
    ValueError for another `size` or `channels`, if the folder does not hold 2 to 1,000 classes of
    pictures, or if a picture cannot be read; with `skip_broken`, such pictures are left out.
    """
    path = Path(path)
    _check_format(size, channels)
    files, others = _find_files(path)
    images, readable = _read(path, files, size, channels, Path(cache_dir), progress)
    kept = [file for file, ok in zip(files, readable, strict=True) if ok]
    broken = [file for file, ok in zip(files, readable, strict=True) if not ok]
    if broken and not skip_broken:
        advice = "Replace them, or leave them out with --skip-broken (in Python, skip_broken=True)."
        raise ValueError(f"{_join(broken)} in {path} cannot be read. {advice}")
    lost = {str((path / f).parent) for f in broken} - {str((path / f).parent) for f in kept}
    if lost:
        raise ValueError(f"No picture in {_join(sorted(lost))} can be read.")
    classes = [Path(file).parent.name for file in kept]
    names = sorted(set(classes))
    targets = torch.tensor([names.index(name) for name in classes])
    given = [SPLIT_FOLDERS[file.split("/")[0].lower()] for file in kept if file.count("/") == 2]
    notes = [f"left out, since it cannot be read: {file}" for file in broken]
    notes += [f"left out, since these are not pictures: {_join(others)}"] if others else []
    return _split(images, targets, names, path.resolve().name, given, kept, notes, str(path))


def from_arrays(
    images: np.ndarray | Tensor,
    targets: np.ndarray | Tensor | Sequence[int],
    class_names: Sequence[str] | None = None,
    *,
    size: int | None = None,
    name: str = "arrays",
) -> Splits:
    """Divide images (N, H, W), (N, C, H, W) or (N, H, W, C), with C = 1 or 3, into three splits.

    Pixels are uint8, or floats in [0, 1]. `targets` are integers in [0, K), with K from 2 to 1,000.
    Images are scaled to `size` pixels (16 to 96); without it, they must be square and that large.

    A random tenth of each class, but at least one image, goes to the validation split, and as many
    to the test split. A class of two images has none for validation; a class of one is only in the
    training split. Each call makes the same splits. Raises ValueError for other shapes or values.
    """
    images, targets = torch.as_tensor(images), torch.as_tensor(targets)
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        images = images.movedim(3, 1)
    images = _to_bytes(images)
    if size is not None:
        _check_format(size, None)  # all else is checked by `_split`
        if images.dtype == torch.uint8 and images.ndim == 4 and images.numel():
            options: dict[str, Any] = {"mode": "bilinear", "antialias": True}
            images = F.interpolate(images.float(), (size, size), **options).round().byte()
    if targets.is_floating_point() or targets.ndim != 1:
        raise ValueError(
            f"Targets must be whole numbers (N,), got {targets.dtype} {tuple(targets.shape)}; "
            "convert one-hot targets with .argmax(1)."
        )
    names = range(1 + max(targets.tolist(), default=0)) if class_names is None else class_names
    return _split(images.contiguous(), targets.long(), list(map(str, names)), name)


def from_torchvision(
    dataset: Any, test: Any = (), *, size: int = 28, channels: int | None = None, name: str = ""
) -> Splits:
    """Divide a data set of torchvision, or any sequence of pairs (picture, target), into splits.

    Pictures are PIL images, or tensors (C, H, W), uint8 or float in [0, 1]. `test` is another such
    data set; without it, a test split is drawn. All else is as in `from_folder` and `from_arrays`.
    """
    _check_format(size, channels)
    pairs = [given[i] for given in (dataset, test) for i in range(len(given))]
    if not pairs:
        raise ValueError("The data set has no images.")
    pictures = [
        to_picture(_to_bytes(image)) if isinstance(image, Tensor) else image for image, _ in pairs
    ]
    images = stack([prepare(picture, size) for picture in pictures], channels)
    targets = torch.tensor([int(target) for _, target in pairs])
    names = [str(name) for name in getattr(dataset, "classes", range(max(targets.tolist()) + 1))]
    given = ["train"] * len(dataset) + ["test"] * len(test)
    return _split(images, targets, names, name or type(dataset).__name__.lower(), given)


def _to_bytes(images: Tensor) -> Tensor:
    """Floats in [0, 1] as uint8; other dtypes as they are."""
    if not images.is_floating_point():
        return images
    low, high = images.aminmax() if images.numel() else (0, 1)
    if not 0 <= low <= high <= 1:
        found = f"Floating-point pixels must lie in [0, 1], got {low:g} to {high:g}."
        raise ValueError(f"{found} Divide them by the largest possible value.")
    return (255 * images).round().to(torch.uint8)


def _check_format(size: int, channels: int | None) -> None:
    if size not in SIZES:
        raise ValueError(f"The size must be {SIZES[0]} to {SIZES[-1]} pixels, got {size}.")
    if channels not in (None, 1, 3):
        raise ValueError(f"channels must be 1 or 3, got {channels}.")


def _find_files(path: Path) -> tuple[list[str], list[str]]:
    """The pictures in the folders of the classes, and the other files there, relative to `path`."""
    wanted = "Expected a folder that has a subfolder of pictures for each class."
    if not path.is_dir():
        if not path.exists():
            raise ValueError(f"There is no folder {path}. {wanted}")
        archive = " It is an archive: unpack it first." if path.suffix in ARCHIVES else ""
        raise ValueError(f"{path} is a file.{archive} {wanted}")
    top = _folders(path)
    parts = [folder for folder in top if folder.name.lower() in SPLIT_FOLDERS]
    train = [folder for folder in parts if folder.name.lower() == "train"]
    if train and len(parts) < len(top):
        beside = _join([folder.name for folder in top if folder not in parts])
        raise ValueError(f"{path} has other folders beside train: {beside}. {wanted}")
    folders = [folder for part in (parts if train else [path]) for folder in _folders(part)]
    if not folders:
        raise ValueError(f"{path} has no subfolders. {wanted}")
    trained = {folder.name for part in train or [path] for folder in _folders(part)}
    _check_classes(path, sorted(trained))
    if unknown := sorted({folder.name for folder in folders} - trained):
        raise ValueError(f"{path / 'train'} has no pictures of {_join(unknown)}, other splits do.")
    files, others = [], []
    for folder in folders:
        found = sorted(f for f in folder.iterdir() if not f.name.startswith("."))
        pictures = [f for f in found if f.suffix.lower() in SUFFIXES and not f.is_dir()]
        rest = [f for f in found if f.suffix.lower() not in SUFFIXES or f.is_dir()]
        if not pictures:
            deeper = ", but subfolders" if any(f.is_dir() for f in found) else ""
            raise ValueError(f"{folder} has no pictures{deeper}. {wanted}")
        files += [file.relative_to(path).as_posix() for file in pictures]
        others += [file.relative_to(path).as_posix() for file in rest]
    return files, others


def _folders(path: Path) -> list[Path]:
    return sorted(f for f in path.iterdir() if f.is_dir() and not f.name.startswith("."))


def _check_classes(path: Path, names: Sequence[str]) -> None:
    if not 2 <= len(names) <= 1_000:
        raise ValueError(f"{path} has {len(names)} classes, expected 2 to 1,000: {_join(names)}.")
    lower = [name.lower() for name in names]
    alike = [name for name in names if lower.count(name.lower()) > 1]
    if alike:
        raise ValueError(f"{path}: the classes {_join(alike)} differ only by case. Rename one.")


def _join(names: Sequence[str]) -> str:
    """The first five names, and how many more there are, as text."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _read(
    path: Path, files: list[str], size: int, channels: int | None, cache_dir: Path, show: Show
) -> tuple[Tensor, list[bool]]:
    """The images uint8 (N, C, S, S) of the files that can be read, and which files can."""
    paths = [path / file for file in files]

    def read() -> dict[str, Tensor]:
        found = read_pictures(paths, size=size, progress=show)
        pictures = [picture for picture in found if not isinstance(picture, str)]
        images = stack(pictures, channels) if pictures else torch.empty(0)
        return {"images": images, "readable": torch.tensor([not isinstance(p, str) for p in found])}

    if len(files) < CACHED_FROM:
        tensors = read()
    else:
        code = Path(__file__).with_name("pictures.py").read_bytes()
        key = short_digest(f"{size} {channels}", code, *map(_digest, paths))
        tensors = cached_tensors(cache_dir / f"{key}.tensors", read)
    return tensors["images"], tensors["readable"].tolist()


def cached_tensors(path: Path, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Load the tensors in a file. If it is missing or damaged, `make` them, and write the file."""
    kept = path.read_bytes() if path.is_file() else b""
    if kept and kept[:32] == hashlib.sha256(kept[32:]).digest():
        return safetensors.torch.load(kept[32:])
    content = safetensors.torch.save(tensors := make())
    write_atomic(path, hashlib.sha256(content).digest() + content)
    return tensors


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:  # such a file counts as broken
        return ""


def _split(
    images: Tensor, targets: Tensor, class_names: Sequence[str], name: str,
    given: Sequence[str] = (), files: Sequence[str] = (), notes: Sequence[str] = (),
    folder: str = "",
) -> Splits:  # fmt: skip
    """Divide the images into splits, and describe them. `given` names their splits, if known."""
    low, high = targets.aminmax() if len(targets) else (0, 0)
    if low < 0 or high >= len(class_names):
        raise ValueError(f"Targets must lie in [0, {len(class_names)}), got {low} to {high}.")
    _check_classes(Path(folder or name), class_names)
    everything, part = Split(images, targets), _divide(targets, given)
    keys = dict.fromkeys(SPLIT_FOLDERS.values())
    rows = {key: torch.from_numpy(np.flatnonzero(part == key)) for key in keys}
    splits = {key: everything[index] for key, index in rows.items()}
    for key, split in splits.items():
        if not len(split):
            raise ValueError(f"There are too few images for a {key} split: {len(targets)} in all.")
    name = re.sub(r"[^\w.-]+", "-", name) or "own"
    mean, std = pixel_statistics(splits["train"].images)
    spec = DatasetSpec(
        name=f"own-{name}" if name in SPECS else name, title=name, folder=folder,
        class_names=tuple(class_names), mean=mean, std=max(std, 1 / 255),
        digest=short_digest(*class_names, *(split.digest for split in splits.values())),
        channels=images.shape[1], size=images.shape[2],
    )  # fmt: skip
    sizes = ", ".join(f"{len(split):,} {key}" for key, split in splits.items())
    drawn = [key for key in ("validation", "test") if key not in given]
    how = "a tenth of each class, seed 0" if drawn else "as given"
    how = f"{drawn[0]}: {how}" if len(drawn) == 1 else how
    counts = targets.bincount(minlength=len(class_names))
    about = (
        f"{len(targets):,} images of {len(class_names)} classes, {int(counts.min()):,} to "
        f"{int(counts.max()):,} of each: {sizes} ({how})"
    )
    by_split = {key: [files[i] for i in index.tolist()] for key, index in rows.items() if files}
    return Splits(**splits, spec=spec, files=by_split, notes=(about, *_repeated(splits), *notes))


def _divide(targets: Tensor, given: Sequence[str]) -> np.ndarray:
    """Each image's split. Missing splits are drawn from each class of the training images."""
    part = np.array(given or ["train"] * len(targets), dtype=object)
    generator = torch.Generator().manual_seed(0)
    for k in targets.unique().tolist():
        rows = np.flatnonzero((targets == k).numpy() & (part == "train"))
        rows = rows[torch.randperm(len(rows), generator=generator).numpy()]
        count = max(1, round(HELD_OUT * len(rows)))
        for name in ("test", "validation"):
            if name not in given and len(rows) > count:
                part[rows[:count]], rows = name, rows[count:]
    return part


def _repeated(splits: dict[str, Split]) -> list[str]:
    """A line about images that occur several times, if any do."""
    contents = {key: [i.tobytes() for i in split.images.numpy()] for key, split in splits.items()}
    everything = [content for of_split in contents.values() for content in of_split]
    repeated = len(everything) - len(set(everything))
    if not repeated:
        return []
    trained, others = set(contents["train"]), [*contents["validation"], *contents["test"]]
    leaked = sum(content in trained for content in others)
    targets = torch.cat([split.targets for split in splits.values()]).tolist()
    labels = Counter(content for content, _ in set(zip(everything, targets, strict=True)))
    contradicting = sum(count > 1 for count in labels.values())
    words = f"{repeated} images repeat another one; {leaked} of validation and test are in training"
    return [f"{words} as well; {contradicting} have several labels"]
