"""Write the data in the formats of the peers: an .npz file, and PNG files. Not timed."""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from torchvision import datasets
from tqdm import tqdm

from helpers import data
from helpers.files import PROJECT

PREPARED = PROJECT / "benchmarks" / "prepared"


def prepare(dataset: str) -> None:
    """Write `prepared/<dataset>.npz` and `prepared/<dataset>/{training,testing}/<class>/*.png`.

    The same 60,000 and 10,000 images as for the other programs. An existing folder is complete,
    since it is renamed last; it is not written again.
    """
    kind = getattr(datasets, data.spec(dataset).folder)
    parts = {  # "download" unpacks the archives in data/, which torchvision needs
        name: kind(PROJECT / "data", train=name == "training", download=True)
        for name in ("training", "testing")
    }
    if (PREPARED / dataset).is_dir():
        return
    half_done = PREPARED / f"{dataset}.part"
    shutil.rmtree(half_done, ignore_errors=True)
    for name, part in parts.items():
        _write_pictures(part, half_done / name, title=f"{dataset}, {name} pictures")
    columns = {
        f"{letter}_{suffix}": array.numpy()
        for suffix, part in (("train", parts["training"]), ("test", parts["testing"]))
        for letter, array in (("x", part.data), ("y", part.targets))
    }
    np.savez_compressed(PREPARED / f"{dataset}.npz", **columns)
    half_done.rename(PREPARED / dataset)


def _write_pictures(part: datasets.MNIST, folder: Path, title: str) -> None:
    rows = zip(part.data.numpy(), part.targets.tolist(), strict=True)
    for index, (image, target) in enumerate(tqdm(rows, total=len(part), desc=title)):
        path = folder / str(target) / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
