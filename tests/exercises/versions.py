"""The student version and the solution page of an exercise notebook, made from its source."""

import re
import textwrap
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from helpers.files import PROJECT

FOLDER = PROJECT / "notebooks" / "exercises"
SOURCES = sorted(FOLDER.glob("*.ipynb"))
SOLUTION = re.compile(r"( *)### BEGIN SOLUTION\n(.*?)\n? *### END SOLUTION", flags=re.DOTALL)
HIDDEN = re.compile(r" *### BEGIN HIDDEN TESTS\n.*?### END HIDDEN TESTS\n?", flags=re.DOTALL)
WHY = re.compile(r"^ *# Why: .*(?:\n *# .*)*", flags=re.MULTILINE)
PLACEHOLDER = re.compile(r"^\w+ = .*\bNone\b.*\n", flags=re.MULTILINE)


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def targets(path: Path) -> tuple[Path, Path]:
    """The paths of the student version and the solution page of a source."""
    return FOLDER / "student" / path.name, FOLDER / "solutions" / f"{path.stem}.md"


def is_answer(cell: NotebookNode) -> bool:
    """Whether students write into this cell."""
    return bool(cell.metadata.get("nbgrader", {}).get("solution"))


def one_deeper(text: str) -> str:
    """Markdown with its relative links adjusted to a subfolder."""
    return re.sub(r"\]\((?!https?:|#)", "](../", text)


def student_version(source: NotebookNode) -> NotebookNode:
    """A copy without solutions, hidden tests and outputs, with a place to write for each."""
    student = deepcopy(source)
    for cell in student.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            cell.source = SOLUTION.sub(r"\1# YOUR CODE HERE", cell.source)
            cell.source = HIDDEN.sub("", cell.source).rstrip("\n")
        elif is_answer(cell):
            cell.source = "YOUR ANSWER HERE"
        else:
            cell.source = one_deeper(cell.source)
    return student


def solution_page(source: NotebookNode) -> str:
    """The questions with their solutions and results, as a page for GitHub."""
    blocks = (block for cell in source.cells for block in _blocks(cell))
    return "\n\n".join(block.strip("\n") for block in blocks if block.strip()) + "\n"


def _blocks(cell: NotebookNode) -> Iterator[str]:
    about = cell.metadata.get("nbgrader", {})
    if cell.cell_type == "markdown" and not cell.source.startswith("Solutions: "):
        text = re.sub(r"^(# .*) Exercises:", r"\1 Solutions:", one_deeper(cell.source))
        yield re.sub(r"^### END SOLUTION\n?", "", text, flags=re.MULTILINE).replace(
            "### BEGIN SOLUTION", "**A good answer:**\n"
        )
    if cell.cell_type == "markdown" or about.get("grade"):  # a check only prints "right"
        return
    code = PLACEHOLDER.sub("", cell.source) if is_answer(cell) else cell.source
    code = SOLUTION.sub(r"\2", HIDDEN.sub("", code))
    reasons = WHY.findall(code)
    code = WHY.sub("", code).strip("\n")
    yield f"```python\n{code}\n```"
    yield from _results(cell)
    for reason in reasons:
        text = re.sub(r"^ *# (?:Why: )?", "", reason, flags=re.MULTILINE)
        yield textwrap.fill(f"**Why:** {' '.join(text.split())}", 120, break_on_hyphens=False)


def _results(cell: NotebookNode) -> Iterator[str]:
    """The outputs as text; for a figure, its description."""
    for output in cell.outputs:
        shown = output.get("data", {})
        if "image/png" in shown:
            yield f"*Figure: {cell.metadata.get('alt', 'see the notebook')}*"
        elif text := output.get("text") or shown.get("text/plain"):
            yield f"```text\n{text.rstrip()}\n```"
