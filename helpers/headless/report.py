"""The HTML pages of a run, one for each notebook and an index page, and the list of all runs.

The pages work offline and without scripts. Their templates are in `templates/`.
"""

import base64
import html
import os
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from helpers import runs
from helpers.files import PROJECT, write_atomic

if TYPE_CHECKING:
    from nbformat import NotebookNode

Headings = dict[str, tuple[int, str]]
TEMPLATES = Path(__file__).parent / "templates"
# the types of outputs that a page can show without scripts, and the tags allowed in a table
SUPPORTED_TYPES = re.compile(r"image/(svg\+xml|png|jpeg)|text/(html|markdown|latex|plain)")
TAGS = ["table", "caption", "thead", "tbody", "tr", "th", "td", "div", "p", "br", "b", "code"]
_ASSIGNMENT = re.compile(r"^(\w+)(?:: [\w. |\[\]]+)? = (.*?)(?:  # (.*))?$", re.MULTILINE)
_LINK = re.compile(r'<a href="(?!\w+:|#)([^"#]+)(#[^"]*)?">(.*?)</a>', re.DOTALL)
# an equation in HTML, but not in code; "$5 and $6" is not an equation
_EQUATION = re.compile(
    r"<(code|pre)\b.*?</\1>|\$\$(.+?)\$\$|(?<![\\$])\$(?!\s)([^$<>]+)(?<!\s)\$(?![\d$])", re.DOTALL
)
_HEADING = re.compile(r"<h([1-6])[^>]*>(.*?)</h\1>", re.DOTALL)


def write_pages(folder: Path | str) -> Path:
    """Write the pages of the run in `folder` and return the path of its `index.html`. The page of a
    failed notebook ends at the cell that failed. The index page lists damaged records. Raises
    FileNotFoundError if there is no run in the folder.
    """
    from helpers import evaluation

    folder = Path(folder)
    records = sorted(runs.read_records(folder, levels=1), key=lambda record: record["folder"])
    if not records:
        raise FileNotFoundError(f"There is no run at {folder}. `runs` lists all runs.")
    status = runs.read_status(folder, strict=False) if (folder / runs.STATUS).is_file() else {}
    entries = {Path(record["folder"]).name: record for record in records}
    shown = {name: nb for name in entries if (nb := _read(folder / name / f"{name}.ipynb"))}
    links = {f"{name}.ipynb": f"../{name}/{name}.html" for name in shown}
    for name, entry in entries.items():
        entry["files"] = sorted({p.name for p in (folder / name).glob("*.*")} - {f"{name}.html"})
        if (predictions := folder / name / runs.PREDICTIONS).is_file():
            entry["images"] = max(0, predictions.read_bytes().count(b"\n") - 1)
        if name in shown:
            entry["body"], entry["contents"] = convert(shown[name], links.get)
            entry["figures"] = _write_figures(shown[name], folder / name)
    page = dict[str, object](
        run=folder.name, entries=entries, status=status, reported=runs.REPORTED_ACCURACY
    )
    for name in shown:
        write_page(folder / name / f"{name}.html", "notebook.html", page | {"name": name})
    reports = [p for kind in ("html", "pdf", "md") for p in sorted(folder.glob(f"report*.{kind}"))]
    page |= {"interval": evaluation.accuracy_interval, "reports": [file.name for file in reports]}
    return write_page(folder / "index.html", "index.html", page)


def write_runs_index(root: Path | str) -> Path:
    """Write `index.html` in `root`, a list of the runs there, newest first; returns its path.
    It has at most 1,000 runs, and a column for each value that any of them has measured.
    """
    root = Path(root)
    found: dict[str, list[dict]] = {}
    folders = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    while folders and len(found) < runs.MAX_LISTED:
        name = folders.pop()
        if records := runs.read_records(root / name, levels=1):
            found[name] = records
    every = [record for records in found.values() for record in records]
    pages = {
        page.relative_to(root).as_posix()
        for name in found for pattern in ("index.html", "*/index.html")  # of a run; of an audit
        for page in (root / name).glob(pattern)
    }  # fmt: skip
    columns = sorted({(r["notebook"], name) for r in every for name in r.get("measured", ())})
    page = dict(runs=found, pages=pages, columns=columns, older=len(folders))
    return write_page(root / "index.html", "runs.html", page)


def write_page(path: Path, template: str, values: Mapping[str, object]) -> Path:
    """Render a template with HTML-escaped `values`, and write it to `path`; returns the path."""
    import jinja2

    loader = jinja2.FileSystemLoader(TEMPLATES)
    env = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    write_atomic(path, env.get_template(template).render(values).encode(errors="replace"))
    return path


def convert(notebook: "NotebookNode", link: Callable[[str], str | None]) -> tuple[str, Headings]:
    """Convert a notebook to HTML; also returns level and text of each heading by GitHub's anchor.
    `link` maps the target of a relative link to an address, or to None to keep only its text.
    """
    from nbconvert import HTMLExporter

    def relink(match: re.Match[str]) -> str:
        target = link(match[1])
        return f'<a href="{target}{match[2] or ""}">{match[3]}</a>' if target else match[3]

    def anchor(match: re.Match[str]) -> str:
        text = html.unescape(re.sub(r"<[^>]+>", "", match[2])).strip()
        name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        while name in contents:
            name += f"-{len(contents)}"
        contents[name] = (int(match[1]), text)
        return f'<h{match[1]} id="{name}">{match[2]}</h{match[1]}>'

    _tabulate_parameters(notebook)
    for cell in notebook.cells:
        for data in (out["data"] for out in cell.get("outputs", []) if "data" in out):
            for kind in [k for k in data if not SUPPORTED_TYPES.fullmatch(k)]:
                del data[kind]  # a widget is shown as text
            data.setdefault("text/plain", "")
            if "text/html" in data:
                data["text/html"] = _clean(data["text/html"])
            if drawing := data.get("image/svg+xml"):  # half a surrogate pair cannot be encoded
                data["image/svg+xml"] = drawing.encode(errors="replace").decode()
    filters = {"equations": partial(_EQUATION.sub, _draw_equation)}
    exporter = HTMLExporter(exclude_anchor_links=True, filters=filters)
    exporter.raw_template = (TEMPLATES / "cells.html.j2").read_text(encoding="utf-8")
    contents: Headings = {}
    body = _LINK.sub(relink, exporter.from_notebook_node(notebook)[0])
    return _HEADING.sub(anchor, body.replace("<th></th>", "<td></td>")), contents


def _draw_equation(match: re.Match[str]) -> str:
    """An equation as SVG in the color of the text, with its TeX as a label for screen readers.
    If matplotlib cannot draw it, the TeX is shown.
    """
    from matplotlib.textpath import TextPath

    if match[1]:
        return match[0]
    tex = html.unescape(match[2] or match[3]).strip()
    try:
        path = TextPath((0, 0), f"${tex}$", size=16)
    except ValueError:
        return f"<code>{html.escape(tex)}</code>"
    (left, bottom), (right, top) = path.get_extents().get_points()
    steps = [
        "MLQC"[code - 1] + " ".join(f"{v:.1f}" for v in points) if code < 5 else "Z"
        for points, code in path.iter_segments()
    ]
    box = f"{left:.1f} {-top:.1f} {right - left:.1f} {top - bottom:.1f}"
    size = f"height: {(top - bottom) / 16:.2f}em; vertical-align: {bottom / 16:.2f}em"
    kind, label = "inline" if match[3] else "display", html.escape(tex)
    return (
        f'<svg class="equation {kind}" role="img" aria-label="{label}" viewBox="{box}" '
        f'style="{size}"><path transform="scale(1 -1)" d="{"".join(steps)}"/></svg>'
    )


def _clean(table: str) -> str:
    """Sanitize HTML: keep only the tags and attributes of a table."""
    from nbconvert.preprocessors.sanitize import SanitizeHTML

    table = re.sub(r"<(style|script)\b.*?</\1\s*>", "", table, flags=re.DOTALL | re.IGNORECASE)
    sanitizer = SanitizeHTML(tags=TAGS, attributes=["colspan", "rowspan"], strip=True)
    return sanitizer.sanitize_html_tags(table)


def _read(path: Path) -> "NotebookNode | None":
    """Read an executed notebook, and remove paths of this machine; None if it cannot be read."""
    import nbformat

    try:
        text = path.read_text(encoding="utf-8")
        ran = re.search(rf'output = \\"([^"]+[/\\]){path.stem}\\"', text)
        for place in (ran[1] if ran else "", f"{PROJECT}/", f"{sys.prefix}/"):
            text = text.replace(place, "") if len(place) > 1 else text
        nbformat.validate(notebook := nbformat.reads(text, as_version=4))
        return notebook
    except Exception:  # nbformat raises many kinds for files that are no notebooks
        return None


def _tabulate_parameters(notebook: "NotebookNode") -> None:
    """Put the parameters and their values into the metadata of their cell."""
    tagged = {tag: c for c in notebook.cells for tag in c.metadata.get("tags", ())}
    injected = tagged.get("injected-parameters")
    if own := tagged.get("parameters"):
        found = {name: [value, words] for name, value, words in _ASSIGNMENT.findall(own.source)}
        for name, value, _ in _ASSIGNMENT.findall(injected.source if injected else ""):
            found.setdefault(name, ["", ""]).append(value)
        found.pop("output", None)
        own.metadata["parameters"] = found  # default, comment, and the value if it differs


def _write_figures(notebook: "NotebookNode", folder: Path) -> dict[str, str]:
    """Write the figures of a notebook; returns their alternative texts by path in the run."""
    figures, section = dict[str, str](), "start"
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for heading in re.findall(r"^#+ (.+)$", cell.source, flags=re.MULTILINE):
                section = re.sub(r"[^a-z0-9]+", "-", heading.lower())[:50].strip("-")
            continue
        outputs = [output.get("data", {}) for output in cell.get("outputs", [])]
        for picture in (data["image/png"] for data in outputs if "image/png" in data):
            name = f"{len(figures) + 1:02d}-{section}"
            with suppress(ValueError):  # in a damaged notebook, pictures may be invalid base64
                write_atomic(folder / "figures" / f"{name}.png", base64.b64decode(picture))
                figures[f"{folder.name}/figures/{name}.png"] = cell.metadata.get("alt", name)
    return figures
