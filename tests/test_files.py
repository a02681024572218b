import errno
import json
import os
import platform
import re
import stat
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from helpers import files
from helpers.files import lock_folder, make_folder, read_tree, short_digest, write_atomic


def test_it_writes_text_and_bytes_and_makes_folders(tmp_path):
    write_atomic(tmp_path / "a" / "b.txt", "é")
    write_atomic(tmp_path / "a" / "b.bin", b"\x00\xff")
    assert (tmp_path / "a" / "b.txt").read_bytes() == "é".encode()
    assert (tmp_path / "a" / "b.bin").read_bytes() == b"\x00\xff"


def test_paths_may_be_given_as_strings(tmp_path):
    write_atomic(f"{tmp_path}/a/b.txt", "é")
    make_folder(f"{tmp_path}/c/d")
    with lock_folder(f"{tmp_path}/e/f"):
        assert (tmp_path / "e" / "f" / ".lock").is_file()
    assert {path.name for path in tmp_path.rglob("*")} == {"a", "b.txt", "c", "d", "e"}


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    write_atomic(path, "old")

    during = []

    def full_disk(handle: int) -> None:
        during.extend(sorted(entry.name for entry in tmp_path.iterdir()))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match=r"No space left on device: '.*record\.json'"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    hidden, old = during  # written in the same folder, where a rename is atomic
    assert hidden.startswith(".record.json.")
    assert old == "record.json"


def test_an_error_that_names_a_file_keeps_its_name(tmp_path, monkeypatch):
    def busy(source: str, target: object) -> None:
        raise OSError(16, "Device or resource busy", "somewhere else")

    monkeypatch.setattr(os, "replace", busy)
    with pytest.raises(OSError, match="busy: 'somewhere else'"):
        write_atomic(tmp_path / "record.json", "new")
    assert not list(tmp_path.iterdir())


class Disk:
    """Simulates what a disk may hold after a power loss, from the calls of a program.

    The content of a file is durable once it is synced, its name once its folder is. Anything else
    may be on the disk or not. So a disk has a set of possible contents for each name.
    """

    def __init__(self, monkeypatch, root: Path) -> None:
        self.root, self.calls = root, []
        for name in ("fsync", "replace", "mkdir"):
            real = getattr(os, name)
            monkeypatch.setattr(os, name, partial(self._record, name, real))

    def _record(self, name, real, *arguments, **options):
        done = real(*arguments, **options)
        if name == "fsync":
            arguments = (os.readlink(f"/proc/self/fd/{arguments[0]}"),)
        self.calls.append((name, *map(str, arguments)))
        return done

    def after(self, calls: int, path: Path) -> set[str]:
        """The possible contents of `path` if the power fails after the first `calls` calls."""
        synced, folders, named, possible = set(), {str(self.root)}, {"old"}, set()
        for name, *arguments in self.calls[:calls]:
            if name == "replace":
                new = "new" if arguments[0] in synced else "garbage"
                named, possible = named | {new}, {new}
            elif name == "fsync" and arguments[0] == str(path.parent):
                named = possible or named
                synced.add(arguments[0])
            elif name == "fsync":
                synced.add(arguments[0])
                made = {f for f in self.calls[:calls] if f[0] == "mkdir"}
                folders |= {f[1] for f in made if str(Path(f[1]).parent) == arguments[0]}
        lost = [f for f in path.parents if self.root in f.parents and str(f) not in folders]
        return named | {"old"} if lost else named


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("name", ["record.json", "new/folder/record.json"])
def test_after_a_power_loss_there_is_the_old_file_or_the_new_one(tmp_path, monkeypatch, name):
    disk, path = Disk(monkeypatch, tmp_path), tmp_path / name
    write_atomic(path, "new")
    assert {call[0] for call in disk.calls} >= {"fsync", "replace"}
    for calls in range(len(disk.calls) + 1):
        assert disk.after(calls, path) <= {"old", "new"}
    assert disk.after(len(disk.calls), path) == {"new"}
    for left_out in range(len(disk.calls)):  # each of the calls is needed
        fewer = Disk.__new__(Disk)
        fewer.root, fewer.calls = tmp_path, disk.calls[:left_out] + disk.calls[left_out + 1 :]
        if disk.calls[left_out][0] != "mkdir":
            assert fewer.after(len(fewer.calls), path) != {"new"}


def test_only_temporary_files_of_dead_local_processes_are_deleted(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    this_machine, other_machine = platform.node(), "another-machine"
    kept = [f"{this_machine}.{os.getpid()}", f"{other_machine}.{process.pid}"]
    for writer in (f"{this_machine}.{process.pid}", *kept):
        (tmp_path / f".record.json.0123.{writer}{files.TEMPORARY}").write_text("ha")
    write_atomic(tmp_path / "other.json", "new")
    left = {f".record.json.0123.{writer}{files.TEMPORARY}" for writer in kept}
    assert {path.name for path in tmp_path.iterdir()} == left | {"other.json"}


def test_another_process_may_delete_a_temporary_file_first(tmp_path, monkeypatch):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    left = tmp_path / f".record.json.0123.{platform.node()}.{process.pid}{files.TEMPORARY}"
    left.touch()

    def unlink(path: Path, missing_ok: bool = False) -> None:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "unlink", unlink)
    write_atomic(tmp_path / "other.json", "new")
    assert (tmp_path / "other.json").read_text() == "new"


def test_a_file_system_that_cannot_sync_folders_is_accepted(tmp_path, monkeypatch):
    real = os.fsync

    def sync_files_only(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(handle)

    monkeypatch.setattr(os, "fsync", sync_files_only)
    write_atomic(tmp_path / "a" / "record.json", "new")
    assert (tmp_path / "a" / "record.json").read_text() == "new"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize(("mask", "mode"), [(0o027, 0o640), (0o022, 0o644)])
def test_a_file_has_the_permissions_of_the_umask_which_stays_unchanged(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write_atomic(tmp_path / "file", "x")
    finally:
        after = os.umask(before)
    assert after == mask
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_a_folder_is_locked_by_one_process_only(tmp_path):
    folder = tmp_path / "new" / "folder"
    with lock_folder(folder):
        assert folder.is_dir()
        (folder / "work").write_text("done")
        with pytest.raises(BlockingIOError, match=f"Another process .*{re.escape(str(folder))}"):
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
    assert short_digest(b"a", "b", memoryview(b"c")) == "ba7816bf8f01"  # of "abc": FIPS 180-2


@pytest.mark.parametrize("address", ["https://example/x/y", "S3://bucket/y", "file:///y"])
def test_a_url_is_refused_and_makes_no_folder(tmp_path, monkeypatch, address):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="Expected a local path, got the URL"):
        write_atomic(Path(address), "x")
    assert not list(tmp_path.iterdir())
    make_folder(Path("a:") / "b")  # a drive of Windows


class Reader:
    """Reads JSON, and counts how often."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    def __call__(self, path: Path) -> dict:
        self.paths.append(path.name)
        return json.loads(path.read_text())


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Three folders with a file each, years old; even so few get an index."""
    monkeypatch.setattr(files, "MIN_INDEX_CHANGES", 1)
    for n, content in enumerate(({"seed": 1}, {"seed": 2, "parts": {"a": [1, None]}}, {})):
        folder = tmp_path / "runs" / f"run{n}" / "02"
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(content))
    age(tmp_path / "runs")
    return tmp_path / "runs"


def age(root: Path) -> None:
    for path in (root, *root.rglob("*")):
        os.utime(path, (1.7e9, 1.7e9))  # seconds since 1970


def found(tree: Path) -> tuple[list[dict], int]:
    """The contents in `tree`, sorted by folder, and how many files were read for them."""
    reader = Reader()
    by_folder = read_tree(tree, ["result.json"], reader)
    assert all(Path(folder).is_relative_to(tree) for folder in by_folder)
    return [by_folder[folder]["result.json"] for folder in sorted(by_folder)], len(reader.paths)


CONTENTS = [{"seed": 1}, {"seed": 2, "parts": {"a": [1, None]}}, {}]


def test_only_changed_files_are_read_again(tree):
    assert found(tree) == (CONTENTS, 3)
    assert found(tree) == (CONTENTS, 0)
    (tree / "run0" / "02" / "result.json").write_text('{"seed": 7}')  # the folder is unchanged
    (tree / "new").mkdir()
    (tree / "new" / "result.json").write_text('{"seed": 3}')
    (tree / "run2" / "02" / "result.json").unlink()
    assert found(tree) == ([{"seed": 3}, {"seed": 7}, CONTENTS[1]], 2)
    assert found(tree) == ([{"seed": 3}, {"seed": 7}, CONTENTS[1]], 2)  # both are too recent
    age(tree)
    assert [found(tree)[1] for _ in range(2)] == [2, 0]


def test_an_index_moves_with_its_folder(tree, tmp_path, monkeypatch):
    assert found(tree) == (CONTENTS, 3)
    moved = tree.rename(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    for root in (moved, Path("elsewhere")):
        assert found(root) == (CONTENTS, 0)


@pytest.mark.parametrize("cut", [b"", b"x", b"00000000 1\n{}"])
def test_a_damaged_index_is_rebuilt(tree, cut):
    found(tree)
    index = tree / files.INDEX
    intact = index.read_bytes()
    for damaged in (cut, intact[:-1], intact.replace(b'"seed"', b'"need"')):
        index.write_bytes(damaged)
        assert found(tree) == (CONTENTS, 3)
        assert found(tree) == (CONTENTS, 0)


def test_the_index_of_another_format_is_not_read(tree, monkeypatch):
    found(tree)
    monkeypatch.setattr(files, "INDEX_FORMAT", 3)
    assert [found(tree) for _ in range(2)] == [(CONTENTS, 3), (CONTENTS, 0)]


@pytest.mark.parametrize(("least", "kept"), [(10, True), (11, False)])
def test_only_many_folders_have_an_index(tree, monkeypatch, least, kept):
    monkeypatch.setattr(files, "MIN_INDEX_CHANGES", least)
    assert found(tree) == (CONTENTS, 3)  # in seven folders
    assert (tree / files.INDEX).exists() == kept


def test_files_older_than_two_seconds_are_not_read_again(tree):
    then = time.time() - 2.5
    for path in (tree, *tree.rglob("*")):
        os.utime(path, (then, then))
    assert [found(tree)[1] for _ in range(2)] == [3, 0]


def test_everything_is_read_again_if_no_index_can_be_written(tree, monkeypatch):
    def read_only(path: Path, content: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(files, "write_atomic", read_only)
    assert [found(tree) for _ in range(2)] == [(CONTENTS, 3)] * 2


@pytest.mark.skipif(os.name == "nt", reason="Windows lets only administrators make links")
def test_links_to_folders_are_not_followed(tree, tmp_path):
    (tree / "again").symlink_to(tree)
    (tree / "gone").symlink_to(tmp_path / "nothing")
    (tree / "run0" / "result.json").symlink_to(tmp_path / "nothing")
    assert found(tree)[0] == CONTENTS


def test_folders_emptied_while_reading_are_left_out(tree):
    def read(path: Path) -> dict:
        for other in tree.glob("*/02/result.json"):
            if other != path:
                other.unlink()
        return {}

    assert len(read_tree(tree, ["result.json"], read)) == 1
    assert len(read_tree(tree, ["result.json"], read)) == 1


def test_a_file_that_is_deleted_after_it_was_seen_is_left_out(tree):
    other = tree / "run0" / "02" / "status.json"
    other.write_text("{}")

    def read(path: Path) -> dict:
        content = json.loads(path.read_text())
        (other if path.name == "result.json" else path.with_name("result.json")).unlink(True)
        return content

    contents = read_tree(tree / "run0", ["result.json", "status.json"], read)
    assert [len(by_name) for by_name in contents.values()] == [1]


@pytest.mark.parametrize("error", [FileNotFoundError, PermissionError])
def test_a_folder_that_cannot_be_listed_is_left_out(tree, monkeypatch, error):
    real = os.scandir

    def scandir(folder):
        if Path(folder).name == "run1":
            raise error
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    assert found(tree)[0] == [CONTENTS[0], CONTENTS[2]]
