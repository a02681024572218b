"""The pages of runs, on small runs that are written here. test_browser.py opens them too."""

import base64
import json
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from PIL import Image

from helpers import headless, runs
from helpers.files import PROJECT
from tests.tools import printed, saved

CODE, PROSE = nbformat.v4.new_code_cell, nbformat.v4.new_markdown_cell


def picture(pixel: int = 0) -> dict[str, str]:
    return {"image/png": base64.b64encode(saved(Image.new("L", (1, 1), pixel))).decode()}


def shown(data: dict[str, str]) -> nbformat.NotebookNode:
    return nbformat.v4.new_output("display_data", data)


def write_run(folder: Path, notebooks: dict[str, list], **records: dict) -> Path:
    """Write a run: a notebook of these cells for each name, and records."""
    for name, cells in notebooks.items():
        (folder / name).mkdir(parents=True)
        nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / name / f"{name}.ipynb")
        record = {"notebook": name, "dataset": "mnist"} | records.get(f"_{name}", {})
        (folder / name / "result.json").write_text(json.dumps(record))
    return folder


def page_of(folder: Path, name: str = "01_a") -> str:
    headless.write_pages(folder)
    return (folder / name / f"{name}.html").read_text()


def words(page: str) -> str:
    """The text of a page, without its tags."""
    page = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_an_index_describes_the_run_and_links_to_pages_figures_and_data(tmp_path):
    cells = [PROSE("# 1 · One\n\n## 1.1 A plot!"), CODE("plot()", outputs=[shown(picture())])]
    cells[1].metadata["alt"] = 'A "<b>" line'
    folder = write_run(
        tmp_path / "20261126-090000-quick", {"01_a": cells}, _01_a={"commit": "abc1234"}
    )
    status = {"settings": {"01_a": {"epochs": 1}}, "notebooks": []}
    (folder / "status.json").write_text(json.dumps(status))
    html = headless.write_pages(folder).read_text()
    figure = "01_a/figures/01-1-1-a-plot.png"
    assert (folder / figure).read_bytes().startswith(b"\x89PNG")
    assert "<h1>MNIST, quick profile, 26 November 2026</h1>" in html
    for link in (figure, "01_a/01_a.html", "01_a/01_a.ipynb", "01_a/result.json", "status.json"):
        assert f'href="{link}"' in html
    assert 'alt="A &#34;&lt;b&gt;&#34; line"' in html
    for expected in ("1 · One", "01.epochs=1", "abc1234", "The notebook finished."):
        assert expected in words(html)
    assert "report.html" not in html
    for name in ("report.html", "report-id.pdf"):
        (folder / name).touch()
        assert f'href="{name}"' in headless.write_pages(folder).read_text()


def test_folders_may_be_given_as_text(tmp_path):
    folder = write_run(tmp_path / "20261126-090000-quick", {"01_a": []})
    assert headless.write_pages(str(folder)) == folder / "index.html"
    assert headless.write_runs_index(str(tmp_path)) == tmp_path / "index.html"


def test_the_table_compares_each_test_accuracy_with_the_report(tmp_path):
    def measured(accuracy: float) -> dict:
        return {"measured": {"test_accuracy": accuracy}, "versions": {"torch": "2.14"}}

    folder = write_run(
        tmp_path / "run", {"02_a": [], "02_b": [], "02_c": [], "02_d": []},
        _02_a=measured(0.99), _02_b=measured(0.98), _02_c=measured(0.97),
        _02_d=measured(0.75) | {"dataset": "mine"},
    )  # fmt: skip
    (folder / "02_d" / "predictions.csv").write_text("target,predicted\n" + "1,1\n" * 8)
    text = words(headless.write_pages(folder).read_text())
    assert "99.00 % 98.79 to 99.18 % 98 %, exceeded" in text  # of 10,000 images, by Wilson
    assert "98.00 % 97.71 to 98.26 % 98 %, no clear difference" in text
    assert "97.00 % 96.65 to 97.32 % 98 %, not reached" in text
    assert "75.00 % 40.93 to 92.85 % ✓" in text  # of 8 images of other data
    assert "torch 2.14" in text


def test_parameters_are_a_table_without_the_paths_of_a_machine(tmp_path):
    folder = tmp_path / "run"
    ours = "epochs: int = 5  # passes\nname: str = 'a | b'\ncheckpoint: str = ''\noutput: str = ''"
    place = "/some/where/20261126-090000-quick"
    theirs = f'# Parameters\nepochs = 1\ncheckpoint = "{place}/02_b/w"\noutput = "{place}/01_a"\n'
    cells = [
        CODE(ours, metadata={"tags": ["parameters"]}),
        CODE(theirs, metadata={"tags": ["injected-parameters"]}),
        CODE("x", outputs=[printed(f"{PROJECT}/data and {place}/01_a/x.csv")]),
    ]
    page = page_of(write_run(folder, {"01_a": cells}))
    text = words(page)
    assert "epochs 1 instead of 5 passes" in text
    assert "name 'a | b'" in text
    assert '02_b/w" instead of' in text
    assert "output" not in text
    assert "# Parameters" not in page
    assert "data and 01_a/x.csv" in text
    assert "/some/where" not in page
    assert str(PROJECT) not in page


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("test accuracy in [0.987, 0.996]: True", "Test accuracy: between 0.987 and 0.996"),
        ("the models agree in [0.86, 1]: True", "The models agree: at least 0.86, as expected."),
        ("cutting is faster: True", "Cutting is faster."),
        ("a in [1]: True", "A in [1]."),
    ],
)
def test_a_claim_reads_as_a_sentence(tmp_path, line, sentence):
    cells = [CODE("x", outputs=[printed(f"before\n{line}\nafter <i>\n")])]
    page = page_of(write_run(tmp_path / "run", {"01_a": cells}))
    assert re.findall(r"<pre[^>]*>(before|after &lt;i&gt;)\s*</pre>", page)
    (claim,) = re.findall(r'<p class="claim">(.*?)</p>', page)
    assert sentence in claim
    assert ": True" not in page


def test_unchecked_and_failed_claims_have_no_check_mark(tmp_path):
    lines = "test accuracy in [0, 1]: True\nit helped: False\n"
    page = page_of(write_run(tmp_path / "run", {"01_a": [CODE("x", outputs=[printed(lines)])]}))
    assert 'class="claim open"' in page
    assert "no band was measured for these settings" in page
    assert 'class="claim not"' in page
    assert 'class="claim"' not in page


def test_pages_lead_to_each_other_and_to_their_sections(tmp_path):
    first = PROSE("# 1 · One\n\n## 1.1 `fit` & more\n\n[on](02_b.ipynb#21-x), [off](../docs/x.md)")
    rest = {"02_b": [PROSE("# 2 · Two\n\n## 2.1 X")], "03_c": [PROSE("no heading")]}
    folder = write_run(tmp_path / "run", {"01_a": [first]} | rest)
    page = page_of(folder)
    assert '<a href="../02_b/02_b.html#21-x">on</a>, off' in page
    assert '<a href="#11-fit--more">1.1 fit &amp; more</a>' in page
    assert '<h2 id="11-fit--more">' in page
    assert 'rel="prev"' not in page
    assert '<a rel="next" href="../02_b/02_b.html">2 · Two →</a>' in page
    middle = (folder / "02_b" / "02_b.html").read_text()
    assert '<a rel="prev" href="../01_a/01_a.html">← 1 · One</a>' in middle
    assert '<a rel="next" href="../03_c/03_c.html">03_c →</a>' in middle
    assert 'href="../index.html"' in middle


def test_headings_of_the_same_text_have_different_anchors(tmp_path):
    page = page_of(write_run(tmp_path / "run", {"01_a": [PROSE("# A\n\n## B\n\n## B\n\n## B")]}))
    anchors = re.findall(r'<h2 id="([^"]+)">B</h2>', page)
    assert anchors == ["b", "b-2", "b-3"]
    assert [f'href="#{anchor}"' in page for anchor in anchors] == [True] * 3


def test_a_heading_that_looks_like_a_numbered_anchor_is_no_trouble(tmp_path):
    page = page_of(write_run(tmp_path / "run", {"01_a": [PROSE("# T\n\n## A 3\n\n## A\n\n## A")]}))
    anchors = re.findall(r'<h2 id="([^"]+)">A', page)
    assert anchors[:2] == ["a-3", "a"]
    assert len(set(anchors)) == 3


def test_a_table_keeps_its_spans_but_no_other_markup(tmp_path):
    table = (
        '<STYLE>\nth {color: red}\n</STYLE><table><tr><td colspan="2" rowspan="3"><font>a</font>'
    )
    outputs = [shown({"text/html": table + "</td></tr></table>"})]
    page = page_of(write_run(tmp_path / "run", {"01_a": [CODE("x", outputs=outputs)]}))
    assert '<td colspan="2" rowspan="3">a</td>' in page
    assert "color: red" not in page


def test_injected_parameters_missing_in_the_notebook_are_listed(tmp_path):
    cells = [CODE("epochs: int = 5  # passes"), CODE("epochs = 7\nmore = 3")]
    cells[0].metadata["tags"], cells[1].metadata["tags"] = ["parameters"], ["injected-parameters"]
    folder = write_run(tmp_path / "run", {"01_a": cells, "02_b": cells[:1]})
    page = words(page_of(folder))
    assert "epochs 7 instead of 5 passes more 3" in page
    assert "epochs 5 passes" in words((folder / "02_b" / "02_b.html").read_text())


def test_html_in_a_run_is_escaped_or_removed(tmp_path):
    bad = "<script>alert(1)</script>"
    table = f"<table><tr><th></th><td onclick='x'>a{bad}</td><td>&lt;script&gt;</td></tr></table>"
    cell = CODE("x", outputs=[printed(bad), shown({"text/html": f"<style>{bad}</style>{table}"})])
    cell.outputs += [shown(picture()), shown({"application/javascript": "alert(1)"})]
    cell.outputs += [shown({f"image/{kind}": f'">{bad}'}) for kind in ("png", "jpeg")]
    cell.outputs.append(
        nbformat.v4.new_output("error", ename="E", evalue=bad, traceback=[bad, "\x1b[31mE"])
    )
    cell.metadata["alt"] = bad
    record = {"dataset": bad, "device": bad, "measured": {bad: bad}, "message": bad}
    folder = write_run(tmp_path / "run", {"01_a": [cell]}, _01_a=record)
    page, index = page_of(folder), (folder / "index.html").read_text()
    every = headless.write_runs_index(tmp_path).read_text()
    for html in (page, index, every):
        assert "<script" not in html
        assert "&lt;script&gt;" in html
    assert "onclick" not in page
    assert "alert(1)</td>" not in page
    assert "\x1b" not in page
    assert "<td></td><td>a</td><td>&lt;script&gt;</td>" in page


def test_a_page_shows_the_text_of_a_widget_and_loads_nothing(tmp_path):
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "7", "version_major": 2}}
    outputs = [shown(widget | {"text/plain": "Open it there."}), shown(picture())]
    page = page_of(write_run(tmp_path / "run", {"01_a": [CODE("pad", outputs=outputs)]}))
    assert "Open it there." in page
    assert not re.search(r"""(src|href)=["']?(https?:)?//|@import|url\(""", page)


def test_half_a_surrogate_pair_is_shown_as_a_question_mark(tmp_path):
    path = write_run(tmp_path / "run", {"01_a": [CODE("x")]}) / "01_a" / "01_a.ipynb"
    notebook = json.loads(path.read_text())
    drawing = "<svg>\ud800</svg>"
    notebook["cells"][0]["outputs"] = [printed("a\ud800"), shown({"image/svg+xml": drawing})]
    path.write_text(json.dumps(notebook))
    page = page_of(path.parent.parent)
    assert ">a?" in page
    assert base64.b64encode(b"<svg>?</svg>").decode() in page


def test_each_figure_is_named_by_its_number_and_the_section_it_stands_in(tmp_path):
    def cell(*outputs: dict, **metadata: str) -> nbformat.NotebookNode:
        return CODE("x", outputs=[printed("a line"), *map(shown, outputs)], metadata=metadata)

    text = {"text/plain": "no picture"}
    cells = [
        cell(picture(0)),
        PROSE("# 1 · One\n\ntext\n\n## 1.1 Über, and over!"),
        cell(picture(1), text, picture(2), alt="Two lines"),
        PROSE("Text alone begins no section."),
        cell(text, alt="nothing"),
        nbformat.v4.new_raw_cell("neither prose nor code"),
        PROSE("### " + "long " * 20),
        cell(picture(3)),
    ]
    folder = write_run(tmp_path / "run", {"01_a": cells})
    index = headless.write_pages(folder).read_text()
    made = {p.name: Image.open(p).getpixel((0, 0)) for p in (folder / "01_a/figures").iterdir()}
    assert made == {
        "01-start.png": 0,
        "02-1-1-ber-and-over.png": 1,
        "03-1-1-ber-and-over.png": 2,
        f"04-{'long-' * 9}long.png": 3,
    }
    described = re.findall(r'<img[^>]* alt="([^"]*)"', index)
    assert described == ["01-start", "Two lines", "Two lines", f"04-{'long-' * 9}long"]
    assert "neither prose nor code" not in (folder / "01_a" / "01_a.html").read_text()


def test_an_index_lists_failed_damaged_and_missing_notebooks(tmp_path):
    folder = write_run(tmp_path / "run", {"01_a": [PROSE("# 1 · One")], "02_b": [], "03_c": []})
    (folder / "02_b" / "result.json").write_text('{"notebook":')
    (folder / "03_c" / "03_c.ipynb").write_text("{}")
    entry = {"notebook": "04_d", "state": "failed", "seconds": 2.0, "cause": "error"}
    status = {"notebooks": [entry | {"message": "cell [1] raised <E>"}]}
    (folder / "status.json").write_text(json.dumps(status))
    text = words(headless.write_pages(folder).read_text())
    assert "2 of 4 notebooks finished" in text
    assert "is not a record of a run" in text
    assert "✗ damaged" in text
    assert "04_d cell [1] raised &lt;E&gt; 2 ✗ failed" in text
    assert not (folder / "03_c" / "03_c.html").exists()
    (folder / "status.json").write_text("{")
    assert "2 of 3 notebooks finished" in words(headless.write_pages(folder).read_text())
    with pytest.raises(FileNotFoundError, match="There is no run at"):
        headless.write_pages(tmp_path / "unknown")


def test_a_run_of_an_older_version_has_an_index(tmp_path):
    shutil.copytree(PROJECT / "tests" / "fixtures" / "run-v0.1", tmp_path, dirs_exist_ok=True)
    (folder,) = tmp_path.glob("*/")
    text = words(headless.write_pages(folder).read_text())
    assert "MNIST, standard profile, 20 November 2026" in text
    assert "50.00 % 49.02 to 50.98 % 98 %, not reached" in text
    assert "commit not recorded" in text


def test_the_list_of_runs_has_a_column_for_each_measured_value(tmp_path):
    for number, accuracy in enumerate((0.5, 0.25)):
        measured = {"measured": {"test_accuracy": accuracy, "mistakes": 5000 + number}}
        run = tmp_path / f"2026112{number}-090000-fast"
        write_run(run, {"train_mnist": []}, _train_mnist=measured | {"seconds": 1.5})
    write_run(tmp_path / "20261125-090000-audit", {"audit_mnist": []})
    (tmp_path / "20261125-090000-audit" / "audit_mnist" / "index.html").touch()
    write_run(tmp_path / "20261119-090000-fast", {"train_mnist": []})
    (tmp_path / "20261119-090000-fast" / "train_mnist" / "result.json").write_text("[]")
    write_run(tmp_path / "sweeps" / "deeper" / "x", {"01_a": []})
    html = headless.write_runs_index(tmp_path).read_text()
    titles = re.findall(r'<th scope="row">(?:<a href="([^"]*)">)?([^<]*)', html)
    assert titles == [
        (
            "20261125-090000-audit/audit_mnist/index.html",
            "MNIST, audit of labels, 25 November 2026",
        ),
        ("", "MNIST, recipe fast, 21 November 2026"),
        ("", "MNIST, recipe fast, 20 November 2026"),
        ("", "Image classification, recipe fast, 19 November 2026"),
    ]
    text = words(html)
    assert "train_mnist mistakes test accuracy" in text
    assert "20261121-090000-fast ✓ finished 2 5,001 25.00 %" in text
    assert "20261119-090000-fast ✗ damaged" in text


def test_only_the_newest_of_very_many_runs_are_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "MAX_LISTED", 2)
    for day in range(1, 5):
        write_run(tmp_path / f"2026110{day}-090000-fast", {"train_mnist": []})
    (tmp_path / "unlike").mkdir()
    text = words(headless.write_runs_index(tmp_path).read_text())
    assert [f"2026110{day}-090000-fast" in text for day in range(1, 5)] == [
        False,
        False,
        True,
        True,
    ]
    assert "2 runs, the newest first" in text
    assert "2 older ones are not listed here" in text


def test_a_notebook_without_test_accuracy_shows_three_values(tmp_path):
    names = ["01_a", "02_b", "03_c", "04_d"]
    records = {f"_{name}": {"measured": {f"{name}_{i}": i for i in range(5)}} for name in names}
    folder = write_run(tmp_path / "run", {name: [] for name in names}, **records)
    text = words(headless.write_pages(folder).read_text())
    for name in names:
        found = [f"{name.replace('_', ' ')} {i}" in text for i in range(5)]
        assert found == [True, True, True, False, False]


@pytest.mark.parametrize(
    ("text", "label"),
    [
        (r"Loss $-\log p_y$.", r"-\log p_y"),
        (r"$$\frac{a}{b} < \sum_i w_i x_i$$", r"\frac{a}{b} &lt; \sum_i w_i x_i"),
    ],
)
def test_an_equation_is_drawn_without_a_script(text, label):
    (drawing,) = re.findall(r"<svg .*?</svg>", converted(text), re.DOTALL)
    assert f'aria-label="{label}"' in drawing
    assert "$" not in converted(text)
    steps = re.search(r' d="([^"]+)"', drawing)[1]
    left, top, width, height = map(float, re.search(r'(?i)viewBox="([^"]+)"', drawing)[1].split())
    points = re.findall(r"[-\d.]+ [-\d.]+", re.sub("[MLQCZ]", " ", steps))
    xs, ys = zip(*(map(float, point.split()) for point in points), strict=True)
    assert left - 0.1 <= min(xs) < max(xs) <= left + width + 0.1
    assert top - 0.1 <= min(-y for y in ys) < max(-y for y in ys) <= top + height + 0.1
    assert (width, height) == pytest.approx((max(xs) - min(xs), max(ys) - min(ys)), rel=0.1)
    assert f'class="equation {"display" if text[1] == "$" else "inline"}"' in drawing
    style = re.search(r"height: ([\d.]+)em; vertical-align: ([-\d.]+)em", drawing)
    assert float(style[1]) == pytest.approx(height / 16, abs=0.01)  # it was drawn with 16 points
    assert float(style[2]) == pytest.approx(-(top + height) / 16, abs=0.01)  # on the base line


@pytest.mark.parametrize("text", ["It costs $5 and $6.", "`$a$`", "    $a$ and $b$\n"])
def test_dollar_signs_outside_equations_stay(text):
    assert "<svg" not in converted(text)
    assert "$" in converted(text)


def test_an_equation_that_cannot_be_drawn_stays_as_tex():
    assert r"<code>\begin{cases} 1 &lt; 2</code>" in converted(r"$\begin{cases} 1 < 2$")


def converted(text):
    cells = [nbformat.v4.new_markdown_cell(text)]
    return headless.report.convert(nbformat.v4.new_notebook(cells=cells), {}.get)[0]


def test_unreadable_tables_and_notebooks_do_not_stop_a_page(tmp_path):
    folder = write_run(tmp_path / "run", {"01_a": []}, _01_a={"measured": {"test_accuracy": 0.5}})
    (folder / "01_a" / "predictions.csv").write_bytes(b"")
    for content in (b"[" * 100_000, b"[]", b"3", b"\xff"):
        (folder / "01_a" / "01_a.ipynb").write_bytes(content)
        text = words(headless.write_pages(folder).read_text())
        assert "50.00 % 49.02 to 50.98 %" in text  # of 10,000 images, as for any MNIST
    (folder / "01_a" / "predictions.csv").write_bytes(b"target,pre\xffdicted\n0,0\n")
    record = {"notebook": "01_a", "dataset": "mnist", "device": "\ud800"}
    (folder / "01_a" / "result.json").write_text(json.dumps(record))
    assert "surrogates not allowed" in headless.write_pages(folder).read_text()
