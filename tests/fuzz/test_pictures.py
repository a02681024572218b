"""Pictures: images of the expected form, or one line with the reason."""

import io

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from PIL import Image

from helpers import data
from helpers.data.pictures import prepare, read_pictures, stack
from tests.fuzz import Refused, attempt, damaged, fuzz, memory_limit, quick_and_long
from tests.tools import claiming_png, saved

pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow warns about odd but readable files


def examples() -> list[bytes]:
    """Small pictures of all kinds."""
    gray = np.full((24, 30), 240, np.uint8)
    gray[4:20, 12:15] = 10
    drawn, exif = Image.fromarray(gray), Image.Exif()
    exif[0x0112] = 6
    made = [
        saved(drawn.convert(mode), "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
    ]
    made += [saved(drawn.convert("RGB"), kind) for kind in ("JPEG", "GIF", "BMP", "WEBP", "TIFF")]
    made += [saved(drawn, "JPEG", exif=exif), saved(drawn, "PPM")]
    made += [saved(drawn.convert("P"), "PNG", transparency=bytes(range(20)))]
    frames = [drawn, drawn.rotate(90, expand=True)]
    made += [saved(drawn, "GIF", save_all=True, append_images=frames)]
    odd = np.full((20, 20), 5, np.float32)
    odd[3:9, 3:9] = [np.nan, np.inf, -np.inf, 1e30, -7, 0]
    return [*made, saved(Image.fromarray(odd), "TIFF"), saved(Image.new("CMYK", (9, 9)), "TIFF")]


SIDES = st.integers(0, 40) | st.sampled_from([1_000, 2**16, 10**6, 2**31 - 1])
CLAIMED = st.builds(claiming_png, SIDES, SIDES, st.sampled_from([1, 8, 16, 3]), st.integers(0, 6))


@quick_and_long()
def test_a_picture_is_read_or_the_reason_is_reported(tries):
    def check(content: bytes) -> None:
        (read,) = read_pictures([content], size=28, progress=False)
        if isinstance(read, str):
            assert read.strip()
            assert len(read) < 500
        else:
            images = stack([read], None)
            assert images.dtype == torch.uint8
            assert tuple(images.shape) in ((1, 1, 28, 28), (1, 3, 28, 28))
        for reader in (data.read_digits, data.read_garment):
            found = attempt(lambda reader=reader: reader(io.BytesIO(content)), ValueError)
            if not isinstance(found, Refused):
                images = found if isinstance(found, torch.Tensor) else found.images
                assert tuple(images.shape[1:]) == (1, 28, 28)
                assert images.dtype == torch.uint8

    intact = st.sampled_from(examples())
    fuzz(check, intact | intact.flatmap(damaged) | CLAIMED | st.binary(max_size=99), tries=tries)


ARRAYS = st.sampled_from([np.uint8, np.float32, np.float64, np.int64, np.bool_])


@quick_and_long(0.5)
def test_arrays_become_splits_or_are_refused(tries):
    def check(shape: list[int], kind: type, fill: float, targets: list, size: int | None) -> None:
        images = np.zeros(shape, dtype=kind)
        images[...] = fill if kind in (np.float32, np.float64) else 1
        splits = attempt(lambda: data.from_arrays(images, targets, size=size), ValueError)
        if not isinstance(splits, Refused):
            assert len(splits.train) + len(splits.validation) + len(splits.test) == len(targets)

    shapes = st.sampled_from(
        [[9, 28, 28], [9, 1, 28, 28], [9, 28, 28, 3], [9, 20, 30], [0, 28, 28]]
    )
    labeled = st.lists(st.integers(-1, 3), min_size=9, max_size=9) | st.just([0, 1] * 4 + [1])
    odd = st.lists(st.integers(0, 30), max_size=5)
    sizes = st.none() | st.integers(-1, 100)
    fuzz(check, shapes | odd, ARRAYS, st.floats(), labeled, sizes, tries=tries)


def test_pictures_of_extreme_shape_are_prepared(monkeypatch):
    monkeypatch.setattr("tests.fuzz.MEGABYTES", 100)
    for size in ((1, 400), (400, 1), (1, 1), (1, 100_000)):
        with memory_limit():
            assert prepare(Image.new("L", size, 9), 28).shape == (1, 28, 28)
