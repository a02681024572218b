"""Notebooks in the folder of a run: a page of their contents, without the markup of outputs.

Markdown may have markup, in cells and in outputs: it is shown unchanged.
"""

import json
import logging
import re
from html.parser import HTMLParser

import nbformat
import pytest
from hypothesis import strategies as st

from helpers.headless import report
from tests.fuzz import (
    NESTED,
    TEXTS,
    altered,
    damaged,
    fuzz,
    quick_and_long,
    reworded,
    write_pages_quickly,
)

SCRIPT = "<script>alert(1)</script>"
MARKUP = (
    SCRIPT, "<img src=x onerror=alert(1)>", "<svg onload=alert(1)></svg>", "<style>*{}</style>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>", "<a href='javascript:alert(1)'>b</a>",
    "<table><tr><td onclick=alert(1)>1</td></tr></table>", "<scr<script></script>ipt>alert(1)",
    f'">{SCRIPT}', '" onerror="alert(1)',
)  # fmt: skip
CLAIMS = f"""in [0, 1]: True
{SCRIPT} in [0, 1]: True
{SCRIPT} in [0.5, {SCRIPT}]: True
{SCRIPT}: True
{SCRIPT}: False
{SCRIPT}
"""
# tags of the templates, of Markdown, and of tables
TAGS = {
    "a", "blockquote", "code", "del", "div", "em", "figcaption", "figure", "h1", "h2", "h3", "h4",
    "h5", "h6", "hr", "img", "li", "ol", "p", "path", "pre", "span", "strong", "svg", "ul",
    *report.TAGS,
}  # fmt: skip
ATTRIBUTES = {
    "alt", "aria-label", "class", "colspan", "d", "href", "id", "role", "rowspan", "scope", "src",
    "start", "style", "tabindex", "title", "transform", "viewbox",
}  # fmt: skip


class Markup(HTMLParser):
    """Other tags and attributes of a page, and pictures that are not embedded in it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found += [tag] if tag not in TAGS else []
        for name, value in attributes:
            shown = value is None or name != "src" or value.startswith("data:image/")
            self.found += [f"{tag} {name}={value}"] if name not in ATTRIBUTES or not shown else []


def markdown(notebook: nbformat.NotebookNode) -> str:
    """All Markdown of a notebook, in cells and in outputs."""
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return "\n".join(
        texts + [output.get("data", {}).get("text/markdown", "") for output in outputs]
    )


def notebook_json() -> dict:
    new = nbformat.v4
    outputs = [
        new.new_output("stream", text=CLAIMS),
        new.new_output("stream", name="stderr", text=SCRIPT),
        new.new_output("display_data", {"image/png": "iVBORw0KGgo=", "text/plain": SCRIPT}),
        new.new_output("display_data", {"image/png": f'">{SCRIPT}'}),
        new.new_output("display_data", {"image/jpeg": '" onerror="alert(1)'}),
        new.new_output("display_data", {"image/svg+xml": f"<svg>{SCRIPT}</svg>"}),
        new.new_output("display_data", {"text/plain": SCRIPT}),
        new.new_output("display_data", {"text/latex": SCRIPT}),
        new.new_output("display_data", {"text/markdown": "**b**"}),
        new.new_output("display_data", {"application/javascript": "alert(1)"}),
        new.new_output("execute_result", {"text/html": "".join(MARKUP)}),
        new.new_output("error", ename="E", evalue=SCRIPT, traceback=[SCRIPT]),
    ]
    cells = [
        new.new_markdown_cell("# One\n\n$x^2$ and [a](b.ipynb)"),
        new.new_code_cell(f"name: str = '{SCRIPT}'  # {SCRIPT}", metadata={"tags": ["parameters"]}),
        new.new_code_cell(f"name = '{MARKUP[1]}'", metadata={"tags": ["injected-parameters"]}),
        new.new_code_cell("plot()", metadata={"alt": SCRIPT}, outputs=outputs),
    ]
    return json.loads(nbformat.writes(new.new_notebook(cells=cells)))


@pytest.mark.filterwarnings("ignore")  # nbformat warns when it repairs something
@quick_and_long()
def test_a_damaged_notebook_is_shown_without_markup_or_left_out(
    tmp_path, caplog, monkeypatch, tries
):
    caplog.set_level(logging.CRITICAL + 1, "traitlets")  # nbformat logs each damage
    write_pages_quickly(monkeypatch)
    path = tmp_path / "01_a.ipynb"
    text = json.dumps(notebook_json(), indent=1).encode()

    def check(content: bytes) -> None:
        path.write_bytes(content)
        notebook = report._read(path)
        if notebook is None:
            assert content != text
            return
        page, headings = report.convert(notebook, lambda _: None)
        assert content != text or "one" in headings
        if not re.search(r"[<:]|!\[", markdown(notebook)):
            assert Markup(page).found == []
        report._write_figures(notebook, tmp_path)

    texts = TEXTS | st.sampled_from(MARKUP)
    values = texts | st.integers() | st.lists(texts, max_size=2) | st.none()
    changed = [
        altered(notebook_json(), values),
        reworded(notebook_json(), texts),
        reworded(notebook_json(), texts),
    ]
    contents = [strategy.map(json.dumps).map(str.encode) for strategy in changed]
    others = damaged(text) | st.sampled_from([text, NESTED, b""])
    fuzz(check, st.one_of(*contents, others), tries=tries)
