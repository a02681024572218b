"""Helpers for several test files: notebooks, the command line, anchors, and odd pictures."""

import base64
import io
import re
import struct
import zlib
from pathlib import Path

import nbformat
import numpy as np
from nbformat import NotebookNode
from PIL import Image
from typer.testing import CliRunner, Result

from helpers.headless import cli


def invoke(*arguments: object, status: int | None = 0, **options: object) -> Result:
    """Run a command in this process, and check its exit status; `None` allows any.

    An exception that the command line does not handle is raised here.
    """
    done = CliRunner().invoke(cli.app, [*map(str, arguments)], catch_exceptions=False, **options)
    assert status in (None, done.exit_code), done.output
    return done


def write_notebook(path: Path, *sources: str, parameters: str = "") -> None:
    """Write a notebook with these code cells, after a cell of parameters if there are any."""
    new = nbformat.v4
    first = [new.new_code_cell(parameters, metadata={"tags": ["parameters"]})] if parameters else []
    cells = first + [new.new_code_cell(source) for source in sources]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)


def cells(path: Path, kind: str) -> list[NotebookNode]:
    """The cells of a notebook of this kind, "code" or "markdown"."""
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def prose(path: Path) -> str:
    """All Markdown of a notebook."""
    return "\n\n".join(cell.source for cell in cells(path, "markdown"))


def printed(text: str) -> NotebookNode:
    """The output of a cell that has printed a text."""
    return nbformat.v4.new_output("stream", text=text, name="stdout")


def slug(heading: str) -> str:
    """The anchor that GitHub and the pages of the course give to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def saved(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """A picture as the content of a file."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(url: str) -> np.ndarray:
    """The pixels of a picture that a page holds as `data:image/png;base64,…`."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def claiming_png(width: int, height: int, depth: int = 8, color: int = 0) -> bytes:
    """A PNG with a header for this size, and almost no pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    content = chunk(b"IDAT", zlib.compress(bytes(64)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + content + chunk(b"IEND", b"")
