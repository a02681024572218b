"""Are these the published files, and if not, what can be done about it?

torchvision checks the archives it downloads, but takes any unpacked file on trust: a flipped byte
or MNIST in Fashion-MNIST's folder loads without a word. Here each unpacked file is held against
the SHA-256 of the published one before torchvision may read it.
"""

import gzip
import hashlib
import socket
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from helpers.files import clear_leftovers, write_atomically

SILENCE = 30.0  # seconds without a byte, after which a download is given up

# SHA-256 of the unpacked files, taken from the archives whose MD5 torchvision itself checks.
DIGESTS = {
    "MNIST": {
        "train-images-idx3-ubyte": (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
        ),
        "train-labels-idx1-ubyte": (
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
        ),
        "t10k-images-idx3-ubyte": (
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
        ),
        "t10k-labels-idx1-ubyte": (
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
        ),
    },
    "FashionMNIST": {
        "train-images-idx3-ubyte": (
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
        ),
        "train-labels-idx1-ubyte": (
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
        ),
        "t10k-images-idx3-ubyte": (
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
        ),
        "t10k-labels-idx1-ubyte": (
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
        ),
    },
}


class DamagedDataError(ValueError):
    """A data file is not the published one, and there is no sound archive to rebuild it from."""


@contextmanager
def verified(root: Path, folder: str, download: Callable[[Path], object]) -> Iterator[Path]:
    """Yield a folder from which torchvision will load the published files and nothing else.

    `folder` is "MNIST" or "FashionMNIST"; its files live in `root/folder/raw`. An unpacked file
    that is missing or damaged is rebuilt from its archive. `download(into)` is called for archives
    that are missing; it must fill `into/folder/raw`. What is yielded is `root`, or a temporary copy
    of it where `root` cannot be written to. Any number of processes may do this at once: they
    write the same bytes and rename them into place.

    Raises DamagedDataError if an archive is not the published one or cannot be read,
    FileNotFoundError if one is missing and cannot be downloaded, and OSError if there is no place
    to unpack to, neither in the folder nor among temporary files.
    """
    raw, digests = root / folder / "raw", DIGESTS[folder]
    damaged = [stem for stem, digest in digests.items() if _file_digest(raw / stem) != digest]
    missing = [stem for stem in damaged if not (raw / f"{stem}.gz").exists()]
    fetched = _fetch(raw, missing, folder, download) if missing else {}
    rebuilt = {stem: _unpack(raw / f"{stem}.gz", folder, fetched.get(stem)) for stem in damaged}
    clear_leftovers(raw)
    try:
        for stem, archive in fetched.items():
            write_atomically(raw / f"{stem}.gz", archive)
        for stem, content in rebuilt.items():
            write_atomically(raw / stem, content)
    except OSError:  # a read-only folder or a full disk: leave it as it is and work beside it
        with tempfile.TemporaryDirectory(prefix="images-") as spare:
            for stem in digests:
                target = Path(spare) / folder / "raw" / stem
                write_atomically(target, rebuilt.get(stem) or (raw / stem).read_bytes())
            yield Path(spare)
    else:
        yield root


def _unpack(archive: Path, folder: str, fetched: bytes | None) -> bytes:
    content = _unzip(_read(archive) if fetched is None else fetched)
    got, wanted = hashlib.sha256(content).hexdigest(), DIGESTS[folder][archive.stem]
    if got != wanted:
        raise DamagedDataError(
            f"{archive} does not hold the {archive.stem} of {folder}{_foreign(got)}: "
            f"the SHA-256 of what it unpacks to is {got}, wanted {wanted}. Restore it "
            f'with `git checkout -- "{archive}"`, or delete it and have it downloaded again.'
        )
    return content


def _fetch(
    raw: Path, missing: list[str], folder: str, download: Callable[[Path], object]
) -> dict[str, bytes]:
    """Download beside the data folder and return the archives that are missing from it."""
    before = socket.getdefaulttimeout()
    with tempfile.TemporaryDirectory(prefix="download-") as spare:
        try:
            socket.setdefaulttimeout(SILENCE)  # torchvision waits for ever
            download(Path(spare))
            fresh = Path(spare) / folder / "raw"
            return {stem: (fresh / f"{stem}.gz").read_bytes() for stem in missing}
        except (OSError, RuntimeError) as error:
            names = ", ".join(f"{stem}.gz" for stem in missing)
            raise FileNotFoundError(
                f"{raw} lacks {names}, and downloading failed ({error}). Restore the files with "
                f'`git checkout -- "{raw}"`, or try again with a network.'
            ) from error
        finally:
            socket.setdefaulttimeout(before)


def _read(archive: Path) -> bytes:
    try:
        return archive.read_bytes()
    except OSError as error:
        raise DamagedDataError(
            f"{archive} cannot be read ({error.strerror}). Move away what is in its place, and "
            f'restore it with `git checkout -- "{archive}"`.'
        ) from error


def _unzip(archive: bytes) -> bytes:
    try:
        return gzip.decompress(archive)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        return b""  # truncated or no archive at all; its digest will not match either


def _file_digest(path: Path) -> str | None:
    with suppress(OSError), path.open("rb") as file:  # not there, no file, or not to be read
        return hashlib.file_digest(file, "sha256").hexdigest()
    return None


def _foreign(digest: str) -> str:
    """Say whose file it is, if it is one we know: people do swap the two data sets."""
    for folder, digests in DIGESTS.items():
        for stem, known in digests.items():
            if digest == known:
                return f" but the {stem} of {folder}"
    return ""
