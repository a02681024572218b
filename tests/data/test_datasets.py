"""The guard at the door of the data, on two data sets of a few bytes each."""

import gzip
import hashlib
import shutil
from pathlib import Path

import pytest

from helpers import data

CONTENT = {
    "First": {"images": b"first images", "labels": b"first labels"},
    "Second": {"images": b"second images"},
}
UNPACKED = "images", "labels"


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    digests = {
        folder: {stem: hashlib.sha256(content).hexdigest() for stem, content in files.items()}
        for folder, files in CONTENT.items()
    }
    monkeypatch.setattr(archives, "DIGESTS", digests)
    for folder, files in CONTENT.items():
        raw = tmp_path / folder / "raw"
        raw.mkdir(parents=True)
        for stem, content in files.items():
            (raw / f"{stem}.gz").write_bytes(gzip.compress(content))
    return tmp_path


def no_download(into: Path) -> None:
    raise AssertionError("nothing is missing, so nothing may be downloaded")


def load(root: Path, download=no_download) -> dict[str, bytes]:
    with data.verified(root, "First", download) as sound:
        return {stem: (sound / "First" / "raw" / stem).read_bytes() for stem in UNPACKED}


def test_first_use_unpacks(root):
    assert load(root) == CONTENT["First"]
    assert (root / "First/raw/images").read_bytes() == b"first images"


def test_second_use_writes_nothing(root, monkeypatch):
    load(root)
    monkeypatch.setattr(archives, "write_atomically", no_download)
    assert load(root) == CONTENT["First"]


@pytest.mark.parametrize("damage", [b"", b"first imag", b"First images", b"second images"])
def test_a_damaged_unpacked_file_is_rebuilt(root, damage):
    """Emptied, truncated, a bit flipped, swapped with the other data set's."""
    (root / "First/raw/images").write_bytes(damage)
    assert load(root) == CONTENT["First"]
    assert (root / "First/raw/images").read_bytes() == b"first images"


@pytest.mark.parametrize(
    "damage",
    [b"", b"no archive", gzip.compress(b"first images")[:-9], gzip.compress(b"other")],
    ids=["empty", "no archive", "cut short", "another's"],  # bytes would hold the time of day
)
def test_a_damaged_archive_is_named_with_both_digests_and_a_remedy(root, damage):
    archive = root / "First/raw/images.gz"
    archive.write_bytes(damage)
    with pytest.raises(data.DamagedDataError) as caught:
        load(root)
    message = str(caught.value)
    assert message.startswith(f"{archive} does not hold the images of First: ")
    assert data.DIGESTS["First"]["images"] in message
    assert "git checkout" in message
    assert not (root / "First/raw/images").exists()
    assert archive.read_bytes() == damage


def test_a_damaged_archive_does_not_matter_while_the_unpacked_file_is_right(root):
    load(root)
    (root / "First/raw/images.gz").write_bytes(b"")
    assert load(root) == CONTENT["First"]


def test_a_foreign_archive_is_recognised(root):
    shutil.copy(root / "Second/raw/images.gz", root / "First/raw/images.gz")
    with pytest.raises(data.DamagedDataError, match="but the images of Second"):
        load(root)


def sound_download(into: Path) -> None:
    (into / "First/raw").mkdir(parents=True)
    for stem in UNPACKED:
        (into / "First/raw" / f"{stem}.gz").write_bytes(gzip.compress(CONTENT["First"][stem]))


def test_missing_archives_are_downloaded_and_kept_and_others_left_alone(root):
    raw = root / "First/raw"
    (raw / "images.gz").unlink()
    kept = (raw / "labels.gz").stat().st_mtime_ns
    assert load(root, sound_download) == CONTENT["First"]
    assert (raw / "images.gz").exists()
    assert (raw / "labels.gz").stat().st_mtime_ns == kept


def test_an_empty_place_is_filled(root, tmp_path):
    assert load(tmp_path / "nothing here yet", sound_download) == CONTENT["First"]


def test_a_place_that_cannot_be_made_is_worked_beside(root, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert load(tmp_path / "file" / "data", sound_download) == CONTENT["First"]


def test_missing_archives_without_a_network(root):
    for stem in UNPACKED:
        (root / "First/raw" / f"{stem}.gz").unlink()

    def download(into: Path) -> None:
        raise RuntimeError("name resolution failed")

    message = r"lacks images\.gz, labels\.gz, .*name resolution failed.*git checkout"
    with pytest.raises(FileNotFoundError, match=message):
        load(root, download)


def test_a_downloaded_foreign_file_is_refused_and_not_kept(root):
    (root / "First/raw/images.gz").unlink()

    def download(into: Path) -> None:
        (into / "First/raw").mkdir(parents=True)
        page = gzip.compress(b"<html>log in here</html>")
        (into / "First/raw/images.gz").write_bytes(page)

    with pytest.raises(data.DamagedDataError):
        load(root, download)
    assert not (root / "First/raw/images.gz").exists()


@pytest.mark.parametrize("unpacked_before", [False, True])
def test_a_folder_that_cannot_be_written_to_is_worked_beside(root, monkeypatch, unpacked_before):
    if unpacked_before:
        load(root)
        (root / "First/raw/images").write_bytes(b"damaged")
    before = sorted(p.name for p in (root / "First/raw").iterdir())
    write = data.write_atomically

    def read_only(path: Path, content: bytes) -> None:
        if root in path.parents:
            raise PermissionError(13, "Permission denied")
        write(path, content)

    monkeypatch.setattr(archives, "write_atomically", read_only)
    with data.verified(root, "First", no_download) as sound:
        assert sound != root
        assert (sound / "First/raw/images").read_bytes() == b"first images"
        assert (sound / "First/raw/labels").read_bytes() == b"first labels"
    assert not sound.exists()
    assert sorted(p.name for p in (root / "First/raw").iterdir()) == before
