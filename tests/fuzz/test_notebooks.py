"""Notebooks in the folder of a run: a page of what they hold, without markup of their own."""

import json
import logging

import nbformat
import pytest
from hypothesis import strategies as st

from helpers.headless import report
from tests.fuzz import NESTED, TEXTS, altered, damaged, fuzz, lengths

SCRIPT = "<script>alert(1)</script>"


def sound() -> dict:
    new = nbformat.v4
    outputs = [
        new.new_output("stream", text=f"in [0, 1]: True\n{SCRIPT}"),
        new.new_output("display_data", {"image/png": "iVBORw0KGgo=", "text/plain": SCRIPT}),
        new.new_output(
            "execute_result", {"text/html": f"<table><tr><td>{SCRIPT}</td></tr></table>"}
        ),
        new.new_output("error", ename="E", evalue=SCRIPT, traceback=[SCRIPT]),
    ]
    cells = [
        new.new_markdown_cell("# One\n\n$x^2$ and [a](b.ipynb)"),
        new.new_code_cell(f"epochs: int = 5  # {SCRIPT}", metadata={"tags": ["parameters"]}),
        new.new_code_cell("plot()", metadata={"alt": SCRIPT}, outputs=outputs),
    ]
    return json.loads(nbformat.writes(new.new_notebook(cells=cells)))


@pytest.mark.filterwarnings("ignore")  # nbformat warns of what it has mended
@lengths()
def test_a_damaged_notebook_is_shown_or_left_out(tmp_path, caplog, tries):
    caplog.set_level(logging.CRITICAL + 1, "traitlets")  # nbformat logs each damage
    path = tmp_path / "01_a.ipynb"
    text = json.dumps(sound(), indent=1).encode()

    def check(content: bytes) -> None:
        path.write_bytes(content)
        notebook = report._read(path)
        if notebook is not None:
            page, headings = report.convert(notebook, lambda _: None)
            assert content != text or ("<script" not in page and "one" in headings)
            report._write_figures(notebook, tmp_path)
        else:
            assert content != text

    values = TEXTS | st.integers() | st.lists(TEXTS, max_size=2) | st.none()
    changed = altered(sound(), values).map(lambda value: json.dumps(value).encode())
    fuzz(check, changed | damaged(text) | st.sampled_from([text, NESTED, b""]), tries=tries)
