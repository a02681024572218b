"""Which cells and sentences become slides. test_browser.py checks how slides look."""

import base64

import pytest
from nbformat import writes
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from helpers import headless
from tests import slides
from tests.tools import printed

PROSE = """\
## 1.1 Two sums

We add **1.5** and [2](two.md) (see
e.g. section 3). Is it 3.5? *Yes!* The end.

- one. Two.
- three

## 1.2 Later

Another section."""


def tagged(cell, kind="slide", **more):
    cell.metadata["slideshow"] = {"slide_type": kind, **more}
    return cell


def prose(*lines):
    return tagged(new_markdown_cell(PROSE), **({"lines": list(lines)} if lines else {}))


def picture():
    return new_output("display_data", {"image/png": base64.b64encode(b"P").decode()})


def test_prose_is_split_into_sentences_and_a_list_stays_whole():
    assert [text for *_, text in slides.sentences(PROSE)] == [
        "We add **1.5** and [2](two.md) (see\ne.g. section 3).", "Is it 3.5?", "*Yes!*", "The end.",
        "- one. Two.\n- three", "Another section.",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "heading", "text"),
    [
        ((2,), "1.1 Two sums", "Is it 3.5?"),
        ((-1,), "1.2 Later", "Another section."),
        (
            ("see e.g.", "?"),
            "1.1 Two sums",
            "We add **1.5** and [2](two.md) (see\ne.g. section 3). Is it 3.5?",
        ),
        (("- ", 4), "1.1 Two sums", "The end.\n\n- one. Two.\n- three"),
    ],
)
def test_sentences_are_chosen_by_place_or_by_a_part_of_them(lines, heading, text):
    assert slides.chosen(prose(*lines)) == (heading, text)


def test_without_lines_all_but_the_headings_is_shown():
    _, text = slides.chosen(prose())
    assert text.startswith("We add")
    assert text.endswith("Another section.")
    assert "##" not in text


@pytest.mark.parametrize("line", [0, 7, -7, "never written"])
def test_a_missing_sentence_is_reported(line):
    with pytest.raises(ValueError, match=r"cell \w+ has no sentence .*: change `slideshow.lines`"):
        slides.chosen(prose(line))


def test_a_cell_shows_its_output_but_if_it_draws_only_its_pictures():
    cell = tagged(new_code_cell("print(1)", outputs=[printed("1\n")]))
    assert (slides.shown(cell).source, cell.source) == ("", "print(1)")
    assert slides.shown(tagged(cell, code=True)).source == "print(1)"
    cell.outputs.append(picture())
    assert [output.output_type for output in slides.shown(cell).outputs] == ["display_data"]


def test_long_texts_and_tables_are_cut_after_some_rows():
    cell = tagged(new_code_cell(outputs=[printed("1\n2\n3\n")]), rows=2)
    assert slides.shown(cell).outputs[0].text == "1\n2\n…"
    body = "".join(f"<tr><td>{i}</td></tr>" for i in range(3))
    table = f"<table><thead><tr><th>a</th></tr></thead><tbody>{body}</tbody></table>"
    cell = tagged(new_code_cell(outputs=[new_output("display_data", {"text/html": table})]), rows=2)
    shown = page_of(cell)[0]["parts"][0]["body"]
    assert [str(i) in shown for i in (0, 1, 2)] == [True, True, False]
    assert "…" in shown


def page_of(*cells):
    return slides.slides_of(new_notebook(cells=list(cells)))


def test_a_slide_has_its_section_its_parts_and_its_notes():
    made = page_of(
        tagged(new_markdown_cell("# 1 · Title\n\nHello."), notes="Say hello."),
        new_markdown_cell("## 1.1 The `sum`\n\nNot shown."),
        tagged(new_code_cell(outputs=[printed("all is well: True\n")]), notes="Why?"),
        tagged(new_markdown_cell("Not shown either."), "skip"),
        tagged(new_markdown_cell("Later."), "fragment"),
    )
    assert [slide["title"] for slide in made] == ["1 · Title", "1.1 The sum"]
    assert [slide["notes"] for slide in made] == [["Say hello."], ["Why?"]]
    result, later = made[1]["parts"]
    assert (result["later"], later["later"]) == (False, True)
    assert "All is well." in result["body"]  # a claim is one sentence, as on the pages of a run
    assert "Later." in later["body"]
    assert "Not shown" not in str(made)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (tagged(new_code_cell("1 + 1")), r"cell \w+ has no output: run the notebook"),
        (new_code_cell("1 + 1"), "no cell is tagged"),
    ],
)
def test_a_notebook_that_cannot_be_shown_is_refused_in_one_line(
    tmp_path, monkeypatch, cell, message
):
    (tmp_path / "01_small.ipynb").write_text(writes(new_notebook(cells=[cell])))
    monkeypatch.setattr(slides, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(slides, "SERIES", (headless.Notebook("01_small"),))
    with pytest.raises(ValueError, match=f"01_small.ipynb: {message}") as error:
        slides.build(tmp_path / "slides")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "slides").exists()


def test_a_file_holds_reveal_with_its_license(tmp_path, monkeypatch):
    monkeypatch.setattr(slides, "SERIES", headless.SERIES[:1])
    (path,) = slides.build(tmp_path / "slides")
    page = path.read_text(encoding="utf-8")
    assert "Permission is hereby granted, free of charge" in page
    assert page.count("</script>") == 3  # none of them ends inside a script
