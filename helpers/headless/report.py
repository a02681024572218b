"""The HTML pages of a run: one for each executed notebook, its figures, and an index page.

The pages load nothing from elsewhere, so they can be read without a network.
"""

import base64
import re
from collections.abc import Sequence
from pathlib import Path

from helpers import runs
from helpers.files import write_atomic
from helpers.headless.runner import NotebookResult

# nbconvert's page loads two scripts from the network, which these notebooks do not use
NO_SCRIPT = "data:text/javascript,//"
TEMPLATES = Path(__file__).parent / "templates"


def write_pages(folder: Path, results: Sequence[NotebookResult], *, title: str) -> Path:
    """Write the pages of the run in `folder` and return the path of its `index.html`.

    Notebooks that failed get a page too, up to the cell that failed.
    """
    import jinja2

    notebooks: list[dict[str, object]] = []
    for result in results:
        executed = folder / result.notebook / f"{result.notebook}.ipynb"
        page, figures = _export(executed, folder) if executed.is_file() else (None, {})
        notebooks.append({"result": result, "page": page, "figures": figures})
    templates = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True)
    frame = runs.load_run(folder)
    html = templates.get_template("index.html").render(
        title=title, notebooks=notebooks, summary=runs.summary(frame),
        overview=runs.overview(frame, folder).drop(columns="run", errors="ignore"),
    )  # fmt: skip
    write_atomic(folder / "index.html", html)
    return folder / "index.html"


def _export(executed: Path, root: Path) -> tuple[str, dict[str, str]]:
    """Write the page of one executed notebook, and its figures in `figures/` beside it.

    Returns the page, and the figures with their alternative text; as links relative to `root`.
    """
    import nbformat
    from nbconvert import HTMLExporter

    notebook = nbformat.read(executed, as_version=4)
    for cell in notebook.cells:  # in a run every notebook has a folder of its own
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\]\((\w+)\.ipynb\)", r"](../\1/\1.html)", cell.source)
        for output in cell.get("outputs", []):  # its text is shown instead of a widget
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    notebook.metadata.pop("widgets", None)
    exporter = HTMLExporter(require_js_url=NO_SCRIPT, mathjax_url=NO_SCRIPT)
    exporter.raw_template = (TEMPLATES / "page.html.j2").read_text(encoding="utf-8")
    html, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": executed.stem}})
    page = executed.with_suffix(".html")
    write_atomic(page, html)
    figures, section = dict[str, str](), "start"
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            headings = re.findall(r"^#+ (.+)$", cell.source, flags=re.MULTILINE)
            if headings:
                section = re.sub(r"[^a-z0-9]+", "-", headings[-1].lower())[:50].strip("-")
            continue
        outputs = [output.get("data", {}) for output in cell.get("outputs", [])]
        for picture in (data["image/png"] for data in outputs if "image/png" in data):
            path = executed.parent / "figures" / f"{len(figures) + 1:02d}-{section}.png"
            write_atomic(path, base64.b64decode(picture))
            figures[path.relative_to(root).as_posix()] = cell.metadata.get("alt", path.stem)
    return page.relative_to(root).as_posix(), figures
