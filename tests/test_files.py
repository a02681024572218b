import os
from pathlib import Path

import pytest

from helpers.files import lock_folder, short_digest, write_atomic


def test_it_writes_text_and_bytes_and_makes_folders(tmp_path):
    write_atomic(tmp_path / "a" / "b.txt", "é")
    write_atomic(tmp_path / "a" / "b.bin", b"\x00\xff")
    assert (tmp_path / "a" / "b.txt").read_bytes() == "é".encode()
    assert (tmp_path / "a" / "b.bin").read_bytes() == b"\x00\xff"


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    write_atomic(path, "old")

    beside = []

    def full_disk(handle: int) -> None:
        beside.extend(sorted(entry.name for entry in tmp_path.iterdir()))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match=r"No space left on device: '.*record\.json'"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    hidden, old = beside  # it was being written beside the old one, where a renaming is possible
    assert hidden.startswith(".record.json.")
    assert old == "record.json"


def test_an_error_that_names_a_file_keeps_its_name(tmp_path, monkeypatch):
    def busy(source: str, target: object) -> None:
        raise OSError(16, "Device or resource busy", "somewhere else")

    monkeypatch.setattr(os, "replace", busy)
    with pytest.raises(OSError, match="busy: 'somewhere else'"):
        write_atomic(tmp_path / "record.json", "new")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_the_umask_is_left_as_it_was(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "mine", "x")
        after = os.umask(before)
    finally:
        os.umask(before)
    assert after == 0o027
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_others_may_read_what_the_umask_lets_them(tmp_path):
    before = os.umask(0o022)
    try:
        write_atomic(tmp_path / "shared", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o644


def test_a_folder_is_locked_by_one_process_only(tmp_path):
    folder = tmp_path / "new" / "folder"
    with lock_folder(folder):
        assert folder.is_dir()
        (folder / "work").write_text("done")
        with pytest.raises(BlockingIOError, match=f"Another process works here.*{folder}"):
            lock_again(folder)
    assert [path.name for path in folder.iterdir()] == ["work"]
    lock_again(folder)


def lock_again(folder: Path) -> None:
    with lock_folder(folder):
        pass


def test_a_folder_that_was_only_locked_is_removed(tmp_path):
    with pytest.raises(KeyError), lock_folder(tmp_path / "a"):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"), lock_folder(tmp_path / "file" / "folder"):
        pass


def test_a_short_digest_is_the_start_of_a_sha_256_over_all_parts():
    assert short_digest(b"a", "b", memoryview(b"c")) == "ba7816bf8f01"  # that of "abc", FIPS 180-2
