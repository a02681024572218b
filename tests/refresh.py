"""Run the committed notebooks again, in place, and print which facts and claims have changed.

    python -m tests.refresh                   # all of them; or: --only 02

They run in the order of the series, each in a fresh kernel. A notebook is replaced only after it
has finished; one that raises stays as it was.
"""

import difflib
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Annotated

import nbformat
import typer
from nbconvert.preprocessors import ExecutePreprocessor
from nbformat import NotebookNode
from traitlets.config import Config

from helpers import headless
from helpers.files import write_atomic

ENCRYPTED = Config({"KernelManager": {"transport_encryption": "auto"}})
KEPT = ("tags", "alt", "nbgrader", "slideshow")  # of the metadata of a cell


def main(
    only: Annotated[
        list[str] | None, typer.Option(help="This notebook only, such as 02. Repeatable.")
    ] = None,
) -> None:
    """Refresh the notebooks and print what changed in what nbval compares."""
    chosen = [headless.find_notebook(name).name for name in only or ()]
    for notebook in headless.SERIES:
        if chosen and notebook.name not in chosen:
            continue
        path = headless.NOTEBOOKS / f"{notebook.name}.ipynb"
        typer.echo(f"Running {notebook.name}")
        before = nbformat.read(path, as_version=4)
        after = normalized(executed(before, path.parent))
        write_atomic(path, nbformat.writes(after) + "\n")
        for line in changes(before, after):
            typer.echo(f"  {line}")


def executed(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """A copy of the notebook after a clean run from top to bottom."""
    run = ExecutePreprocessor(
        timeout=None, kernel_name="python3", record_timing=False, config=ENCRYPTED
    )
    copy, _ = run.preprocess(deepcopy(notebook), {"metadata": {"path": str(folder)}})
    return copy


def normalized(notebook: NotebookNode) -> NotebookNode:
    """The notebook with the same metadata on every machine, and each stream in one piece."""
    notebook.metadata = NotebookNode(
        kernelspec={"display_name": "Python 3", "language": "python", "name": "python3"},
        language_info={k: v for k, v in notebook.metadata.language_info.items() if k != "version"},
    )
    for cell in notebook.cells:
        cell.metadata = NotebookNode({k: v for k, v in cell.metadata.items() if k in KEPT})
        if cell.cell_type == "code":
            cell.outputs = list(_joined(cell.outputs))
    return notebook


def _joined(outputs: list[NotebookNode]) -> Iterator[NotebookNode]:
    """Join consecutive outputs of a stream: how printed lines are split into outputs is random."""
    last = None
    for output in outputs:
        if last and output.output_type == "stream" and output.name == last.get("name"):
            last.text += output.text
            continue
        last = output
        yield output


def changes(before: NotebookNode, after: NotebookNode) -> list[str]:
    """What nbval would report as changed: lines removed (-) and lines added (+)."""
    lines = list(difflib.unified_diff(_compared(before), _compared(after), n=0, lineterm=""))
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


def _compared(notebook: NotebookNode) -> list[str]:
    lines: list[str] = []
    for cell in notebook.cells:
        if cell.cell_type == "code" and "nbval-ignore-output" not in cell.metadata.get("tags", []):
            for output in cell.outputs:
                text = output.get("text") or output.get("data", {}).get("text/plain", "")
                lines += text.splitlines()
    return lines


if __name__ == "__main__":
    typer.run(main)
