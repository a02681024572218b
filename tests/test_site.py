"""The site of the course: every link has a target, and nothing is loaded from elsewhere."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

from helpers.files import PROJECT
from tests import site


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[Path, str]:
    front = site.build(tmp_path_factory.mktemp("site"))
    return {path: path.read_text(encoding="utf-8") for path in front.parent.rglob("*.html")}


def test_readme_notebooks_docs_and_the_sources_they_name_are_pages(pages):
    front = min(pages, key=lambda path: len(path.parts)).with_name("index.html")
    assert "Image classification, from the first pixel" in pages[front]
    for name in ("notebooks/01_explore", "docs/labels", "helpers/training/loop.py", "LICENSE"):
        assert front.parent / f"{name}.html" in pages
    assert ">helpers/training/loop.py</h1>" in pages[front.parent / "helpers/training/loop.py.html"]
    assert (front.parent / "docs/confident-mistakes.png").is_file()
    assert (front.parent / ".nojekyll").is_file()
    assert (
        'rel="next" href="../notebooks/02_train_mnist.html"'
        in pages[front.parent / "notebooks/01_explore.html"]
    )


def test_every_link_leads_to_a_page_and_its_heading(pages):
    count = 0
    for path, page in pages.items():
        for target in re.findall(r'(?:href|src)="(?!https?:|mailto:|data:)([^"]*)"', page):
            file, _, anchor = unquote(target).partition("#")
            linked = (path.parent / file).resolve() if file else path
            assert linked.is_file(), f"{path.name} leads to {target}"
            assert not anchor or anchor == "content" or f'id="{anchor}"' in pages[linked], target
            count += 1
    assert count > 400


def test_nothing_is_loaded_from_elsewhere(pages):
    for page in pages.values():
        assert not re.search(r'src="https?:|<script|<link rel="(?!icon)|@import', page)


def test_the_workflow_publishes_what_make_site_writes():
    workflow = yaml.safe_load((PROJECT / ".github" / "workflows" / "site.yml").read_text())
    steps = workflow["jobs"]["publish"]["steps"]
    assert "make site" in [step.get("run") for step in steps]
    (upload,) = (step for step in steps if "upload-pages" in step.get("uses", ""))
    assert upload["with"]["path"] == "site"
