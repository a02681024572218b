"""Archives of the data sets: the published images, or an error that says how to restore them."""

import math

import torch
from hypothesis import strategies as st

from helpers.data import DIGESTS, DamagedDataError, Split
from helpers.data.datasets import read_archive
from helpers.data.splits import SIZES
from helpers.files import PROJECT
from tests.fuzz import Refused, attempt, damaged, fuzz, quick_and_long

NAME = "t10k-labels-idx1-ubyte.gz"
INTACT = {kind: (PROJECT / "data" / kind / "raw" / NAME).read_bytes() for kind in DIGESTS}


@quick_and_long()
def test_a_damaged_archive_is_refused_by_name(tmp_path, tries):
    right = {kind: read_archive(PROJECT / "data" / kind / "raw" / NAME, kind) for kind in DIGESTS}

    def check(folder: str, content: bytes) -> None:
        path = tmp_path / NAME
        path.write_bytes(content)
        read = attempt(lambda: read_archive(path, folder), DamagedDataError)
        if isinstance(read, Refused):
            assert content != INTACT[folder]
            assert NAME in read
            assert "git checkout" in read
        else:
            assert read == right[folder]

    contents = st.sampled_from(list(INTACT.values()))
    fuzz(check, st.sampled_from(list(DIGESTS)), contents | contents.flatmap(damaged), tries=tries)


SIDES = st.integers(0, 3) | st.sampled_from([15, 16, 28, 96, 97])
SHAPES = st.lists(SIDES, max_size=5).filter(lambda sides: math.prod(sides) < 10**7)
DTYPES = st.sampled_from([torch.uint8, torch.int64, torch.float32, torch.bool, torch.int8])


@quick_and_long(0.2)
def test_splits_have_valid_shapes_or_are_refused(tries):
    def check(shape: list[int], kind: torch.dtype, sizes: list[int], other: torch.dtype) -> None:
        images, targets = torch.zeros(shape, dtype=kind), torch.zeros(sizes, dtype=other)
        split = attempt(lambda: Split(images, targets), ValueError)
        if not isinstance(split, Refused):
            n, channels, height, width = split.images.shape
            assert channels in (1, 3)
            assert height == width
            assert height in SIZES
            assert len(split) == n
            assert len(split.digest) == 12

    shapes = SHAPES | st.sampled_from([[2, 1, 28, 28], [0, 3, 16, 16]])
    fuzz(check, shapes, DTYPES, SHAPES | st.just([2]), DTYPES, tries=tries)
