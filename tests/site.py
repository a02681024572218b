"""`make site`: the course as web pages, from the committed outputs; nothing is trained.

README.md is the front page. Linked files become pages as well, or are copied. All addresses are
relative: the folder can be opened from a disk, and served from anywhere.
"""

import os
import re
import shutil
from pathlib import Path

import nbformat

from helpers.files import PROJECT
from helpers.headless import NOTEBOOKS, SERIES, report

LESSONS = [NOTEBOOKS / f"{notebook.name}.ipynb" for notebook in SERIES]


def address(path: Path) -> str:
    """The address of the page of a file, relative to the folder of the site."""
    place = path.relative_to(PROJECT)
    place = place.with_suffix("") if path.suffix in (".md", ".ipynb") else place
    return "index.html" if place == Path("README") else f"{place.as_posix()}.html"


def read(path: Path) -> nbformat.NotebookNode:
    """A notebook as it is; prose or source code as a notebook of one cell."""
    if path.suffix == ".ipynb":
        return nbformat.read(path, as_version=4)
    text, kind = path.read_text(encoding="utf-8"), "python" if path.suffix == ".py" else "text"
    if path.suffix != ".md":
        text = f"# {path.relative_to(PROJECT).as_posix()}\n\n~~~~~~{kind}\n{text}\n~~~~~~"
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)])


def build(site: Path) -> Path:
    """Write all pages to the folder `site`; returns its front page."""
    queue = [PROJECT / "README.md", *LESSONS, *sorted((PROJECT / "docs").glob("*.md"))]
    bodies = {}

    def link(target: str) -> str | None:
        file = (path.parent / target).resolve()
        if file.suffix in (".png", ".json", ".csv"):
            (copy := site / file.relative_to(PROJECT)).parent.mkdir(parents=True, exist_ok=True)
            return shutil.copyfile(file, copy) and target
        queue.extend([file] if file.is_file() and file not in queue else [])
        relative = os.path.relpath(address(file), Path(address(path)).parent).replace(os.sep, "/")
        return relative if file.is_file() else None

    for path in queue:  # the loop appends to it
        bodies[path] = report.convert(read(path), link)
        _ = [link(picture) for picture in re.findall(r'src="(?!data:)([^"]+)"', bodies[path][0])]
    lessons = [(address(path), next(iter(bodies[path][1].values()))[1]) for path in LESSONS]
    for path, (body, contents) in bodies.items():
        page = {"body": body, "contents": contents, "here": address(path), "lessons": lessons}
        report.write_page(site / address(path), "site.html", page)
    (site / ".nojekyll").touch()  # else GitHub leaves out files such as _name
    return site / "index.html"


if __name__ == "__main__":
    build(PROJECT / "site")
