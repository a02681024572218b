"""How often is an executed notebook written? Seldom, and always at its end."""

import importlib
import logging

import nbformat
import papermill
import pytest
from nbclient.exceptions import DeadKernelError

from helpers import headless


def executed(tmp_path, monkeypatch, *cells: str) -> list[nbformat.NotebookNode]:
    """Each state of a notebook that was written while its cells were run."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata.kernelspec = {"name": "python3", "language": "python", "display_name": ""}
    nbformat.write(notebook, tmp_path / "in.ipynb")
    states, write = [], papermill.engines.write_ipynb

    def note(written, path):
        write(written, path)
        states.append(nbformat.read(path, 4))

    monkeypatch.setattr(papermill.engines, "write_ipynb", note)
    source, target = str(tmp_path / "in.ipynb"), str(tmp_path / "out.ipynb")
    papermill.execute_notebook(source, target, engine_name=headless.NAME, progress_bar=False)
    return states


def test_a_short_notebook_is_written_at_its_start_and_at_its_end(tmp_path, monkeypatch):
    states = executed(tmp_path, monkeypatch, "1", "2", "3")
    assert [[cell.execution_count for cell in state.cells] for state in states] == [
        [None, None, None],
        [1, 2, 3],
    ]


def test_a_long_one_is_written_on_the_way(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "EVERY", 0)
    states = executed(tmp_path, monkeypatch, "1", "2", "3")
    counts = [[cell.execution_count for cell in state.cells] for state in states]
    assert [1, None, None] in counts
    assert [1, 2, None] in counts


def test_a_dead_kernel_leaves_what_there_was(tmp_path, monkeypatch):
    with pytest.raises(DeadKernelError):
        executed(tmp_path, monkeypatch, "print('alive')", "import os; os._exit(1)", "3")
    first, second, _ = nbformat.read(tmp_path / "out.ipynb", 4).cells
    assert first.outputs[0].text == "alive\n"
    assert second.metadata.papermill.start_time


def test_papermill_logs_errors_only(monkeypatch):
    log = logging.getLogger("papermill")
    monkeypatch.setattr(log, "level", 0)
    importlib.reload(engine)
    assert log.level == logging.ERROR  # what it logs would stand among the lines of the run
