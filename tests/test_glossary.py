"""The glossary: each term that a notebook uses has an entry, and is linked at its first use."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import nbformat
import pytest
from babel.messages.pofile import read_po

from helpers import headless
from helpers.files import PROJECT
from tests.tools import prose, slug

NOTEBOOKS = [headless.NOTEBOOKS / f"{notebook.name}.ipynb" for notebook in headless.SERIES]
LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")
PAGE = "../docs/glossary.md#"

# how a term may be written; by default, the word and its plural
FORMS = {
    "ablation": r"ablation(?: study)?",
    "accuracy": r"accuracy|accuracies",
    "audit": r"audit(?:s|ed)?",
    "batch": r"batch(?:es)?",
    "calibration": r"calibrat(?:ed|ion)",
    "confidence": r"confidence|confident",
    "confidence interval": r"(?:95 %\s|confidence\s)?intervals?",
    "distributed data parallel": r"distributed data parallel|DDP",
    "doubtful label": r"doubtful\slabels?|label\sdoubtful|doubtful",
    "exponential moving average": r"exponential moving average|EMA",
    "features": r"features?",
    "fully connected layer": r"(?:fully connected|linear)\slayers?",
    "label issue": r"(?:label\s)?issues?",
    "loss": r"loss(?:es)?",
    "near-duplicate": r"near-duplicates?",
    "nearest neighbors": r"(?:nearest\s)?neighbors",
    "normalization": r"normaliz(?:ed|es|ing|ation)",
    "overfitting": r"overfit(?:s|ting)?",
    "residual connection": r"residual\sconnections?|shortcuts?",
    "schedule": r"one-cycle\sschedule|one-cycle|schedules?",
    "Student's t": r"Student's \*t\*",
    "test-time augmentation": r"test-time\saugmentation|TTA",
}
# words of nearly every page: they are linked up to the notebook that explains them
COMMON = {
    "accuracy", "augmentation", "baseline", "batch", "channel", "confidence", "convolution",
    "epoch", "F1", "features", "fully connected layer", "gradient", "kernel", "label", "layer",
    "learning rate", "loss", "network", "normalization", "overfitting", "padding", "recipe",
    "seed", "split", "stride", "tensor", "weight", "weight decay",
}  # fmt: skip
# bold for another reason than to introduce a term
STRESSED = {
    "another number", "backward", "Batches of 128", "bfloat16", "C", "Channels last",
    "Fashion-MNIST", "Forward", "H", "Kernel size", "mean probability", "Medicine", "MNIST", "N",
    "nothing but the seed", "once", "One tensor", "Reading handwriting", "seed by seed",
    "Shrinks first", "Sorting", "Step", "test", "Picture by picture", "train", "undecided",
    "validation", "W", "with the label", "with the model", "zero_grad",
}  # fmt: skip


@cache
def entries() -> dict[str, str]:
    """The text below each term of the glossary."""
    page = (PROJECT / "docs" / "glossary.md").read_text(encoding="utf-8")
    _, *parts = re.split(r"^## (.+)$", page, flags=re.MULTILINE)
    return {
        term: " ".join(text.split()) for term, text in zip(parts[::2], parts[1::2], strict=True)
    }


def words(path: Path) -> str:
    """The prose of a notebook, without headings and code."""
    return re.sub(r"^```.*?^```|^#.*?$|`[^`]*`", "", prose(path), flags=re.DOTALL | re.MULTILINE)


def term_pattern() -> re.Pattern[str]:
    """Matches any term in any form; a longer one such as "batch normalization" before its parts."""
    longest_first = sorted(entries(), key=lambda term: (-len(term), term))
    forms = (FORMS.get(t, re.escape(t).replace(r"\ ", r"\s") + "s?") for t in longest_first)
    return re.compile("|".join(rf"((?<!\w){f}(?!\w))" for f in forms), re.IGNORECASE)


def uses(path: Path) -> Iterator[tuple[str, str | None]]:
    """Each use of a term in the prose of a notebook, with the anchor of its link, if any.

    Links cannot be nested, so terms in links to other pages do not count.
    """
    terms, text = sorted(entries(), key=lambda term: (-len(term), term)), words(path)
    links = list(LINK.finditer(text))
    for use in term_pattern().finditer(text):
        around = [link for link in links if link.start() <= use.start() < link.end()]
        term = terms[use.lastindex - 1]
        if not around:
            yield term, None
        elif around[0][2].startswith(PAGE) and use.end() <= around[0].end(1):
            yield term, around[0][2].removeprefix(PAGE)


def leads_to_its_entry(path: Path, term: str) -> bool:
    """Whether the first use of a term in this notebook must be a link."""
    (explained,) = re.findall(r"\[(\d)\.\d+\]\(", entries()[term])
    return term not in COMMON or int(path.stem[:2]) <= int(explained)


each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_there_are_sixty_to_eighty_terms_in_order():
    terms = list(entries())
    assert 60 <= len(terms) <= 80
    assert [slug(term) for term in terms] == sorted(slug(term) for term in terms)
    assert set(terms) >= set(FORMS) | COMMON


@pytest.mark.parametrize("term", entries())
def test_an_entry_has_an_indonesian_term_one_or_two_sentences_and_a_section(term):
    indonesian, text, number, target = re.fullmatch(
        r"\*([^*]+)\.\* (.+) \[(\d\.\d+)\]\((.+)\)", entries()[term]
    ).groups()
    assert indonesian.strip()
    assert text.endswith((".", ")"))
    assert len(re.findall(r"[.?!](?=\s|$)", text)) <= 2
    assert len(text.split()) <= 45
    name, _, anchor = target.partition("#")
    (path,) = (path for path in NOTEBOOKS if f"../notebooks/{path.name}" == name)
    headings = re.findall(r"^## (.+)$", prose(path), re.MULTILINE)
    (heading,) = (heading for heading in headings if heading.startswith(f"{number} "))
    assert slug(heading) == anchor


def test_the_report_in_indonesian_uses_the_same_words():
    with (PROJECT / "helpers" / "headless" / "locales" / "id.po").open("rb") as file:
        catalog = {message.id: message.string for message in read_po(file) if message.id}
    compared = 0
    for term, text in entries().items():
        if translation := catalog.get(term):
            assert text.startswith(f"*{translation.partition(' (')[0]}.*"), f"{term}: {translation}"
            compared += 1
    assert compared >= 10


@each_notebook
def test_only_the_first_use_of_a_term_links_to_its_entry(path):
    seen = set()
    for term, anchor in uses(path):
        if term in seen or not leads_to_its_entry(path, term):
            assert anchor is None, f"{term} leads to the glossary once more than needed"
        else:
            assert anchor == slug(term), f"the first use of {term!r} does not lead to its entry"
        seen.add(term)


@each_notebook
def test_links_to_the_glossary_lead_to_an_entry(path):
    anchors = {slug(term) for term in entries()}
    found = [target for _, target in LINK.findall(words(path)) if "glossary" in target]
    assert 3 <= len(found) <= 21
    assert {target.removeprefix(PAGE) for target in found} <= anchors


def test_each_entry_is_linked_by_a_notebook():
    found = {anchor for path in NOTEBOOKS for _, anchor in uses(path)}
    assert {slug(term) for term in entries()} <= found


@each_notebook
def test_a_term_set_in_bold_has_an_entry(path):
    """The notebooks set a term in bold where they explain it."""
    text = LINK.sub(r"\1", words(path))
    bold = [" ".join(b.split()).rstrip(".:") for b in re.findall(r"\*\*([^*]+)\*\*", text)]
    short = {phrase for phrase in bold if len(phrase.split()) <= 4} - STRESSED
    assert [phrase for phrase in short if not term_pattern().search(phrase)] == []


@pytest.fixture
def small(tmp_path):
    """A notebook made of the given prose."""

    def make(*cells: str) -> Path:
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(c) for c in cells])
        nbformat.write(book, tmp_path / "02_small.ipynb")
        return tmp_path / "02_small.ipynb"

    return make


def test_headings_code_and_other_links_are_not_uses(small):
    path = small(
        "# 2 · The loss", "`loss`\n\n```\nloss\n```", "[the loss](03_other.ipynb), [x](loss)"
    )
    assert list(uses(path)) == []


def test_uses_are_found_in_all_word_forms_with_their_links(small):
    path = small(f"**[Losses]({PAGE}loss)** of a\nbatch", "label\nsmoothing and losses, not lossy")
    assert list(uses(path)) == [
        ("loss", "loss"), ("batch", None), ("label smoothing", None), ("loss", None),
    ]  # fmt: skip


def test_everyday_words_link_to_the_glossary_up_to_the_notebook_that_explains_them():
    by_number = {int(path.stem[:2]): path for path in NOTEBOOKS}
    assert leads_to_its_entry(by_number[1], "loss")
    assert leads_to_its_entry(by_number[2], "loss")
    assert not leads_to_its_entry(by_number[3], "loss")
    assert leads_to_its_entry(by_number[7], "McNemar's test")
