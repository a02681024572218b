"""What did a run make, as pages to read?

Each executed notebook becomes an HTML page, its figures PNG files, and an index page ties them
together. The pages fetch nothing: they can be read without a network.
"""

import base64
import re
from collections.abc import Sequence
from pathlib import Path
import jinja2
import nbformat
from helpers import runs
from helpers.files import write_atomic
from helpers.headless.runner import NotebookResult

# nbconvert's page wants two scripts from the network, which these notebooks do not use
NOTHING = "data:text/javascript,//"
PAGE = Path(__file__).parent / "templates" / "page.html.j2"


def write_pages(folder: Path, outcomes: Sequence[NotebookResult], *, title: str) -> Path:
    """Write the pages of the run in `folder` and return the path of its `index.html`.

    Notebooks that failed get a page too, up to the cell that failed.
    """
    notebooks: list[dict[str, object]] = []
    for outcome in outcomes:
        executed = folder / outcome.notebook / f"{outcome.notebook}.ipynb"
        if not executed.is_file():
            notebooks.append({"outcome": outcome, "page": None, "figures": {}})
            continue
        page, figures = _export(executed)
        notebooks.append(
            {
                "outcome": outcome,
                "page": page.relative_to(folder).as_posix(),
                "figures": {
                    figure.relative_to(folder).as_posix(): words
                    for figure, words in figures.items()
                },
            }
        )
    templates = jinja2.Environment(loader=jinja2.PackageLoader("helpers"), autoescape=True)
    html = templates.get_template("index.html").render(
        title=title,
        notebooks=notebooks,
        summary=runs.summary(runs.load_run(folder)),
    )
    write_atomic(folder / "index.html", html)
    return folder / "index.html"


def _export(executed: Path) -> tuple[Path, dict[Path, str]]:
    """Write the page of one executed notebook, and its figures in `figures/` beside it.

    A figure is told in the words that its cell has for it in its metadata, `alt`.
    """
    from nbconvert import HTMLExporter

    notebook = nbformat.read(executed, as_version=4)
    for cell in notebook.cells:  # in a run every notebook has a folder of its own
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\]\((\w+)\.ipynb\)", r"](../\1/\1.html)", cell.source)
    exporter = HTMLExporter(require_js_url=NOTHING, mathjax_url=NOTHING)
    exporter.raw_template = PAGE.read_text()
    html, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": executed.stem}})
    page = executed.with_suffix(".html")
    write_atomic(page, html)
    figures: dict[Path, str] = {}
    section = "start"
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            headings = re.findall(r"^#+ (.+)$", cell.source, flags=re.MULTILINE)
            section = _slug(headings[-1]) if headings else section
            continue
        for picture in (
            o.data["image/png"] for o in cell.get("outputs", []) if "image/png" in o.get("data", {})
        ):
            path = executed.parent / "figures" / f"{len(figures) + 1:02d}-{section}.png"
            write_atomic(path, base64.b64decode(picture))
            figures[path] = cell.metadata.get("alt", path.stem)
    return page, figures


def _slug(heading: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", heading.lower())[:50].strip("-")
