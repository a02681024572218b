"""`make slides`: each notebook as slides, from its committed cells and outputs; nothing is trained.

Metadata of a cell, under `slideshow`, say what is shown. `slide_type` is Jupyter's: `slide` begins
a slide, `-` and `fragment` go on with it, all else is left out. The others are ours:

    notes   what the speaker says and asks, in one to three sentences
    lines   which sentences of a prose cell are shown. A number is a place, and -1 the last; a text
            is a part of the sentence, where links and asterisks do not count. A list or a table is
            one sentence. Without `lines`, all are shown
    code    true: the code is shown as well as its output
    rows    how many rows of a table, or lines of text, are shown, if not 10

A slide is headed by its section. Each file holds all that it needs, with reveal.js.
"""

import re
from functools import partial
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from helpers.files import PROJECT
from helpers.headless import NOTEBOOKS, SERIES, report

ROWS = 10
MARK = "here-ends-a-part"
REVEAL = report.TEMPLATES / "reveal"
# after a full stop, perhaps in brackets or bold, and before a capital, a number or a mark
_NEXT = re.compile(r"(?:(?<=[.?!])|(?<=[.?!][)*])|(?<=[.?!]\*\*))\s+(?=[A-Z0-9*`(\[])")
_BLOCK = re.compile(r"[-*>|] |\d+\. |```|\|")  # a list, quote, table or code: not split
_TABLE = re.compile(r"(<thead>.*?</thead>)\s*<tbody>(.*?)</tbody>", re.DOTALL)


def sentences(source: str) -> list[tuple[int, str, str]]:
    """The paragraph number, heading and text of each sentence of a prose cell."""
    found, heading = list[tuple[int, str, str]](), ""
    for i, text in enumerate(re.split(r"\n\s*\n", source.strip())):
        if text.startswith("#"):
            heading = text.strip("# ")
        else:
            parts = [text] if _BLOCK.match(text) else _NEXT.split(text)
            found += [(i, heading, sentence) for sentence in parts]
    return found


def chosen(cell: NotebookNode) -> tuple[str, str]:
    """The heading and text of the sentences that the slide shows."""
    every, indices = sentences(cell.source), set[int]()
    for line in cell.metadata.slideshow.get("lines", range(1, len(every) + 1)):
        if isinstance(line, int):
            places = [line - (line > 0)] if 0 < abs(line) <= len(every) else []
        else:
            places = [i for i, (*_, text) in enumerate(every) if _plain(line) in _plain(text)]
        if not places:
            raise ValueError(f"cell {cell.id} has no sentence {line!r}: change `slideshow.lines`.")
        indices |= {place % len(every) for place in places}
    paragraphs: dict[int, list[str]] = {}
    for i in sorted(indices):
        paragraphs.setdefault(every[i][0], []).append(every[i][2])
    heading = every[min(indices)][1] if indices else ""
    return heading, "\n\n".join(" ".join(texts) for texts in paragraphs.values())


def _plain(text: str) -> str:
    """A text in one line, without asterisks and link targets."""
    return re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", text).replace("*", "").replace("\n", " ")


def shown(cell: NotebookNode) -> NotebookNode:
    """A code cell as its slide shows it. If it draws, only the pictures are shown."""
    cell, show = nbformat.from_dict(cell), cell.metadata.slideshow
    if not cell.outputs and not show.get("code"):
        raise ValueError(f"cell {cell.id} has no output: run the notebook, then make the slides.")
    cell.outputs = [o for o in cell.outputs if "image/png" in o.get("data", {})] or cell.outputs
    for output in cell.outputs:
        source, kind = (output, "text") if "text" in output else (output.data, "text/plain")
        text = re.sub(r"\nName: .*dtype: .*", "", source.get(kind, ""))  # of a pandas series
        lines, rows = text.splitlines(), show.get("rows", ROWS)
        source[kind] = "\n".join(lines[:rows] + ["…"] * (len(lines) > rows))
    cell.source = cell.source if show.get("code") else ""
    return cell


def fit(table: re.Match[str], rows: int) -> str:
    """The first rows of a table; long headings may wrap."""
    every = re.findall(r"<tr.*?</tr>", table[2], flags=re.DOTALL)
    more = '<tr class="more"><td colspan="99">…</td></tr>' if len(every) > rows else ""
    head = re.sub(r"(?<=\w)[._](?=\w)", r"\g<0><wbr>", table[1])
    return f"{head}<tbody>{''.join(every[:rows])}{more}</tbody>"


def slides_of(notebook: NotebookNode) -> list[dict]:
    """The slides of a notebook: title, parts as HTML, notes.

    Raises ValueError if a cell lacks what its slide must show.
    """
    section, slides = "", list[dict]()
    cells, parts = list[NotebookNode](), list[dict]()
    for cell in notebook.cells:
        show, prose = cell.metadata.get("slideshow", {}), cell.cell_type == "markdown"
        if (kind := show.get("slide_type")) in ("slide", "fragment", "-"):
            heading, text = chosen(cell) if prose else ("", "")
            cells += [nbformat.v4.new_markdown_cell(text) if prose else shown(cell)]
            cells.append(nbformat.v4.new_markdown_cell(MARK))
            parts.append({"later": kind == "fragment", "rows": show.get("rows", ROWS)})
            if kind == "slide" or not slides:
                title = (heading or section).replace("`", "")
                slides.append({"title": title, "parts": [], "notes": []})
            slides[-1]["parts"].append(parts[-1])
            slides[-1]["notes"] += [show["notes"]] if "notes" in show else []
        found = re.findall(r"^#+ (.+)$", cell.source, flags=re.MULTILINE) if prose else []
        section = found[-1] if found else section
    if not slides:
        raise ValueError("no cell is tagged: set `slideshow.slide_type` of some to `slide`.")
    made = nbformat.v4.new_notebook(cells=cells, metadata=notebook.metadata)
    html, _ = report.convert(made, lambda _: None)  # without links to other pages
    bodies = re.split(rf"<div[^>]*><p>{MARK}</p>\s*</div>", html)
    for part, body in zip(parts, bodies[:-1], strict=True):
        part["body"] = _TABLE.sub(partial(fit, rows=part["rows"]), body)
    return slides


def build(folder: Path) -> list[Path]:
    """Write the slides of each notebook to the folder; returns their paths.

    Raises ValueError, with the name of the notebook, if one of them cannot be shown.
    """
    reveal = {file.name: file.read_text(encoding="utf-8") for file in REVEAL.iterdir()}
    written = []
    for notebook in SERIES:
        path = NOTEBOOKS / f"{notebook.name}.ipynb"
        try:
            page = {"slides": slides_of(nbformat.read(path, as_version=4)), "reveal": reveal}
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from None
        folder.mkdir(exist_ok=True)
        written.append(report.write_page(folder / f"{notebook.name}.html", "slides.html", page))
    return written


if __name__ == "__main__":
    try:
        build(PROJECT / "slides")
    except ValueError as error:
        raise SystemExit(str(error)) from None
