"""Archives are loaded unchanged, and only if they are the published ones."""

import gzip
import hashlib
import os
import shutil
import socket
from pathlib import Path

import pytest
import torch

from helpers.data import DamagedDataError, datasets

PARTS = ("train-images.gz", "train-labels.gz", "test-images.gz", "test-labels.gz")
PIXELS = {"First": 1, "Second": 2}


def content(name: str, pixel: int) -> bytes:
    """A header, then three images of 28 × 28 or three labels."""
    images = "images" in name
    return b"\0" * (16 if images else 8) + bytes([pixel]) * (3 * 784 if images else 3)


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """Two small data sets, "First" and "Second"."""
    digests = {}
    for folder, pixel in PIXELS.items():
        raw = tmp_path / folder / "raw"
        raw.mkdir(parents=True)
        for name in PARTS:
            (raw / name).write_bytes(gzip.compress(content(name, pixel), mtime=0))
        digests[folder] = {
            name: hashlib.sha256((raw / name).read_bytes()).hexdigest() for name in PARTS
        }
    monkeypatch.setattr(datasets, "DIGESTS", digests)
    return tmp_path


def load(root: Path) -> list[torch.Tensor]:
    return datasets.read_verified("First", root)


def is_right(tensors: list[torch.Tensor]) -> bool:
    images, targets, test_images, test_targets = tensors
    shapes = images.shape == test_images.shape == (3, 1, 28, 28)
    return (
        shapes
        and bool((images == 1).all())
        and targets.tolist() == test_targets.tolist() == [1] * 3
    )


def download_from(monkeypatch, action) -> None:
    """Replace the download of torchvision's class for "First" by `action(folder)`."""
    import torchvision.datasets

    def first(root, *, download):
        assert download
        action(Path(root))

    monkeypatch.setattr(torchvision.datasets, "First", first, raising=False)


def test_images_and_targets_are_read_and_nothing_is_written(root):
    before = sorted(root.rglob("*"))
    tensors = load(root)
    assert is_right(tensors)
    assert [tensor.dtype for tensor in tensors] == [torch.uint8, torch.int64] * 2
    assert sorted(root.rglob("*")) == before
    tensors[0][0] = 7  # they are writable
    assert is_right(load(root))


def flip(archive: bytes) -> bytes:
    changed = bytearray(archive)
    changed[len(changed) // 2] ^= 1
    return bytes(changed)


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("damage", ["empty", "not an archive", "cut short", "flipped"])
def test_a_damaged_archive_is_named_with_both_digests_and_a_remedy(root, name, damage):
    archive = root / "First" / "raw" / name
    intact = archive.read_bytes()
    broken = {
        "empty": b"", "not an archive": b"<html>", "cut short": intact[:-9], "flipped": flip(intact)
    }[damage]  # fmt: skip
    archive.write_bytes(broken)
    with pytest.raises(DamagedDataError) as caught:
        load(root)
    message = str(caught.value)
    assert message.startswith(f"{archive} is not the {name} of First: ")
    assert datasets.DIGESTS["First"][name] in message
    assert hashlib.sha256(broken).hexdigest() in message
    assert f'git checkout -- "{archive}"' in message
    assert archive.read_bytes() == broken


def test_a_file_of_the_other_data_set_is_recognized(root):
    shutil.copy(root / "Second/raw/train-images.gz", root / "First/raw/train-images.gz")
    with pytest.raises(DamagedDataError, match=r"of First but the train-images\.gz of Second"):
        load(root)


def test_a_folder_in_the_place_of_an_archive_is_named(root):
    archive = root / "First/raw/train-images.gz"
    archive.unlink()
    archive.mkdir()
    with pytest.raises(
        DamagedDataError, match=r"cannot be read .*Move away the file or folder there"
    ):
        load(root)


def test_unpacked_files_beside_the_archives_are_ignored(root):
    (root / "First/raw/train-images").write_bytes(b"damaged")
    assert is_right(load(root))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_a_read_only_folder_is_enough(root):
    (root / "First/raw").chmod(0o500)
    try:
        assert is_right(load(root))
    finally:
        (root / "First/raw").chmod(0o700)


def test_missing_archives_are_downloaded_and_kept_and_others_left_alone(root, monkeypatch):
    raw, copy = root / "First/raw", root / "copy"
    shutil.copytree(raw, copy)
    kept = (raw / "train-labels.gz").stat().st_mtime_ns
    (raw / "train-images.gz").unlink()
    download_from(monkeypatch, lambda into: shutil.copytree(copy, into / "First" / "raw"))
    assert is_right(load(root))
    assert (raw / "train-images.gz").read_bytes() == (copy / "train-images.gz").read_bytes()
    assert (raw / "train-labels.gz").stat().st_mtime_ns == kept
    assert is_right(load(root / "empty"))


def test_missing_archives_without_a_network_are_named(root, monkeypatch):
    for name in PARTS[:2]:
        (root / "First/raw" / name).unlink()

    def fail(into):
        raise RuntimeError("name resolution failed")

    download_from(monkeypatch, fail)
    message = r"lacks train-images\.gz, train-labels\.gz, .*name resolution failed.*git checkout"
    with pytest.raises(FileNotFoundError, match=message):
        load(root)


def test_a_download_has_a_timeout_and_restores_the_default_timeout(root, monkeypatch):
    found = []

    def fail(into):
        found.append(socket.getdefaulttimeout())
        raise OSError("no network")

    (root / "First/raw" / PARTS[0]).unlink()
    download_from(monkeypatch, fail)
    socket.setdefaulttimeout(77)
    try:
        with pytest.raises(FileNotFoundError, match="no network"):
            load(root)
        assert found == [datasets.DOWNLOAD_TIMEOUT]
        assert socket.getdefaulttimeout() == 77
    finally:
        socket.setdefaulttimeout(None)


def test_a_downloaded_page_is_refused_and_not_kept(root, monkeypatch):
    (root / "First/raw/train-images.gz").unlink()

    def log_in(into):
        (into / "First/raw").mkdir(parents=True)
        (into / "First/raw/train-images.gz").write_bytes(b"<html>log in here</html>")

    download_from(monkeypatch, log_in)
    with pytest.raises(DamagedDataError):
        load(root)
    assert not (root / "First/raw/train-images.gz").exists()
