import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from helpers import headless
from tests import refresh
from tests.tools import printed


@pytest.fixture
def notebook():
    """A cell with a time, and a claim with metadata of a front end."""
    reading = new_code_cell("t", metadata={"tags": ["nbval-ignore-output"]})
    reading.outputs = [printed("3.1 s\n")]
    kept = {"tags": [], "alt": "words", "slideshow": {"slide_type": "slide"}}
    claim = new_code_cell("c", metadata={"collapsed": True, **kept})
    claim.outputs = [printed("one: True\n"), printed("two: True\n")]
    made = new_notebook(cells=[reading, claim])
    made.metadata.kernelspec = {"name": "my-env", "display_name": "My env"}
    made.metadata.language_info = {"name": "python", "version": "3.99"}
    return made


def test_every_machine_leaves_the_same_metadata(notebook):
    after = refresh.normalized(notebook)
    assert after.metadata.kernelspec["name"] == "python3"
    assert after.metadata.language_info == {"name": "python"}
    assert set(after.metadata) == {"kernelspec", "language_info"}
    assert set(after.cells[1].metadata) == {"tags", "alt", "slideshow"}
    assert [output.text for output in after.cells[1].outputs] == ["one: True\ntwo: True\n"]


def test_changed_claims_are_shown_and_changed_readings_are_not(notebook):
    before = nbformat.from_dict(notebook)
    after = refresh.deepcopy(notebook)
    after.cells[0].outputs = [printed("9.9 s\n")]
    assert refresh.changes(before, after) == []
    after.cells[1].outputs = [printed("one: True\ntwo: False\n")]
    assert refresh.changes(before, after) == ["-two: True", "+two: False"]


def test_a_notebook_that_raises_stays_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "01_small.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("1 / 0")]), path)
    before = path.read_bytes()
    small = headless.Notebook("01_small")
    monkeypatch.setattr(headless, "SERIES", (small,))
    monkeypatch.setattr(headless, "NOTEBOOKS", tmp_path)
    with pytest.raises(Exception, match="ZeroDivisionError"):
        refresh.main()
    assert path.read_bytes() == before
