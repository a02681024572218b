"""The gallery page with its lists, the figure of the evidence, and the review widget."""

import json
import re
from dataclasses import replace

import pandas as pd
import pytest
import torch

from helpers import labels
from tests.tools import pixels

NAMES = ("cat", "dog")
EVIDENCE = pd.DataFrame(
    {
        "label": [0, 1, 0], "suggested": [1, 0, 1],
        "models_suggested": [1.0, 0.9, 0.8], "votes_suggested": [0.7, 0.8, 0.9],
    },
    index=[7, 2, 5],
)  # fmt: skip
IMAGES = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1).expand(10, 1, 28, 28)


def test_the_gallery_has_lists_and_a_page(simulated_audit, tmp_path):
    page = labels.write_gallery(simulated_audit, tmp_path / "audit", shown=4)
    rows = pd.read_csv(tmp_path / "audit" / "labels.csv")
    assert rows.columns[:2].tolist() == ["split", "image"]
    assert (rows["issue_score"] == rows["issue_score"].round(4)).all()
    assert len(rows) == 60
    assert rows.iloc[0]["issue_score"] > 0.9
    records = json.loads((tmp_path / "audit" / "labels.json").read_text())
    assert [record["image"] for record in records] == rows["image"].tolist()
    html = page.read_text()
    assert html.count('class="card ') == 8  # four of each split
    assert html.count("data:image/png;base64,") == 16  # each with its nearest image
    assert "test image 10, labeled 0" in html
    assert "http" not in html
    counts = re.findall(r"<tr><td>([\w -]+)</td><td class=\"number\">(\d+)</td>", html)
    assert counts == [
        ("near-duplicate", "0"), ("label doubtful", "1"), ("class ambiguous", "0"),
        ("label stands", "19"), ("near-duplicate", "0"), ("label doubtful", "2"),
        ("class ambiguous", "0"), ("label stands", "38"),
    ]  # fmt: skip
    assert "20 test labels; models for each image: 1" in html
    assert "at most 3 gray values" in html


def test_the_lists_and_the_page_name_the_files_of_own_data(simulated_audit, tmp_path):
    files = {
        "train": [f"a/{i}.png" for i in range(40)],
        "test": [f"<b>/{i}.png" for i in range(20)],
    }
    page = labels.write_gallery(replace(simulated_audit, files=files), tmp_path, shown=4)
    rows = pd.read_csv(tmp_path / "labels.csv")
    for row in rows.itertuples():
        assert row.file == files[row.split][row.image]
    kept = pd.read_csv(tmp_path / "kept.csv", dtype=str)
    standing = rows[rows["verdict"] == "label stands"]
    assert list(kept) == ["file", "label"]
    assert set(kept["file"]) == set(standing["file"])
    assert f"&lt;b&gt;/{rows[rows['split'] == 'test']['image'].iloc[0]}.png · " in page.read_text()


def test_the_page_escapes_names_and_title(simulated_audit, tmp_path):
    names = (*simulated_audit.spec.class_names[:2], "<script>alert(1)</script>")
    spec = replace(simulated_audit.spec, title="A <b> title", class_names=names)
    page = labels.write_gallery(replace(simulated_audit, spec=spec), tmp_path)
    assert "<script>" not in page.read_text()
    assert "A &lt;b&gt; title" in page.read_text()


def test_the_figure_shows_the_evidence_on_one_label(simulated_audit):
    figure = labels.plot_evidence(simulated_audit, "test", 10)
    left, middle, right = figure.axes
    row = simulated_audit.evidence["test"].loc[10]
    assert left.get_title() == "test 10, labeled 0"
    assert middle.get_title() == "label doubtful (issue score 1.00)"
    legend = [text.get_text() for text in middle.get_legend().get_texts()]
    assert legend == ["models: 1", "neighbors"]
    widths = [bar.get_width() for bar in middle.patches]
    assert widths[:10] == pytest.approx(simulated_audit.predictions["test"].mean[10].tolist())
    title = f"nearest: {row['nearest']},\nlabeled {row['nearest_label']}"
    assert right.get_title() == title  # the class names are the numbers
    assert middle.get_xlabel() == "mean probability, and share of votes"
    assert right.get_xlabel() == f"differs by {row['nearest_distance']:.0f} gray values"
    assert [label.get_text() for label in middle.get_yticklabels()] == list("0123456789")
    assert middle.get_xlim() == (0, 1)
    positions = [bar.get_y() + bar.get_height() / 2 for bar in middle.patches]
    assert positions[:2] + positions[10:12] == pytest.approx([-0.2, 0.8, 0.2, 1.2])
    assert [ax.images[0].get_clim() for ax in (left, right)] == [(0, 255), (0, 255)]


def test_page_and_figure_work_without_nearest_images(simulated_audit, tmp_path):
    for frame in simulated_audit.evidence.values():
        frame["nearest"] = ""
    html = labels.write_gallery(simulated_audit, tmp_path, shown=4).read_text()
    assert html.count("data:image/png;base64,") == 8
    *_, right = labels.plot_evidence(simulated_audit, "train", 5).axes
    assert not right.get_visible()


def test_a_decision_is_saved_and_the_next_image_shown(tmp_path):
    path = tmp_path / "decisions.csv"
    widget = labels.review_widget(EVIDENCE, IMAGES, NAMES, path)
    assert widget.title == "Image 7, labeled cat. 0 of 3 are decided."
    assert "100% of the models predict dog, and 70% of the neighbors" in widget.text
    assert (pixels(widget.picture) == IMAGES[7, 0].numpy()).all()
    widget.act("wrong")
    assert path.read_text() == "image,label,suggested,decision\n7,cat,dog,wrong\n"
    assert "Image 2, labeled dog. 1 of 3" in widget.title
    assert (pixels(widget.picture) == IMAGES[2, 0].numpy()).all()


def test_a_message_from_the_front_end_saves_a_decision(tmp_path):
    path = tmp_path / "decisions.csv"
    widget = labels.review_widget(EVIDENCE, IMAGES, NAMES, path)
    widget._handle_custom_msg({"action": "ambiguous"}, [])  # as ipywidgets calls it
    assert labels.load_decisions(path)["decision"].tolist() == ["ambiguous"]


def test_a_stopped_review_resumes(tmp_path):
    path = tmp_path / "decisions.csv"
    labels.review_widget(EVIDENCE, IMAGES, NAMES, path).act("keep")
    widget = labels.review_widget(EVIDENCE, IMAGES, NAMES, path)
    assert (widget.decided, widget.total, widget.title[:8]) == (1, 3, "Image 2,")
    widget.act("ambiguous")
    widget.act("wrong")
    assert (widget.decided, widget.picture) == (3, "")
    assert widget.title == "All 3 are decided."
    widget.act("keep")  # nothing is left to decide
    widget.act("skip")
    assert labels.load_decisions(path)["decision"].tolist() == ["keep", "ambiguous", "wrong"]


def test_decisions_can_be_undone_one_by_one_even_in_a_new_session(tmp_path):
    path = tmp_path / "decisions.csv"
    first = labels.review_widget(EVIDENCE, IMAGES, NAMES, path)
    assert not first.can_undo
    first.act("undo")
    for decision in ("keep", "wrong"):
        first.act(decision)
        assert first.can_undo
    widget = labels.review_widget(EVIDENCE, IMAGES, NAMES, path)
    widget.act("undo")
    assert (widget.decided, widget.title[:8]) == (1, "Image 2,")
    assert labels.load_decisions(path)["image"].tolist() == [7]
    widget.act("undo")
    assert (widget.decided, widget.can_undo, widget.title[:8]) == (0, False, "Image 7,")
    assert labels.load_decisions(path).empty


def test_a_skipped_image_comes_again_at_the_end(tmp_path):
    widget = labels.review_widget(EVIDENCE, IMAGES, NAMES, tmp_path / "decisions.csv")
    widget.act("skip")
    shown = []
    while widget.picture:
        shown.append(int(widget.title.split(",")[0].removeprefix("Image ")))
        widget.act("keep")
    assert shown == [2, 5, 7]


def test_without_a_front_end_the_widget_says_where_to_open_it(tmp_path):
    widget = labels.review_widget(EVIDENCE, IMAGES, NAMES, tmp_path / "decisions.csv")
    text = widget._repr_mimebundle_()[0]["text/plain"]
    assert text == (
        "0 of 3 labels are decided. To decide, open this in JupyterLab, VS Code or Colab."
    )


def test_a_decision_that_cannot_be_saved_is_reported_and_asked_again(tmp_path):
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "decisions.csv"
    widget = labels.review_widget(EVIDENCE, IMAGES, NAMES, path)
    with pytest.raises(OSError, match="file"):
        widget.act("keep")
    assert widget.text.startswith("This was not saved: ")
    assert (widget.decided, widget.title[:8]) == (0, "Image 7,")


def test_a_decision_can_be_changed(tmp_path):
    path = tmp_path / "decisions.csv"
    for decision in ("keep", "wrong"):
        labels.save_decision(path, 7, "4", "9", decision)
    assert labels.load_decisions(path).to_dict("records") == [
        {"image": 7, "label": "4", "suggested": "9", "decision": "wrong"}
    ]


def test_without_a_file_there_are_no_decisions(tmp_path):
    assert labels.load_decisions(tmp_path / "none.csv").empty


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", "is not a file of decisions: expected the columns"),
        ("image,label,suggested,decision\n1,4,9,maybe\n", r"unknown decisions \['maybe'\]"),
    ],
)
def test_another_file_is_refused_and_not_overwritten(tmp_path, content, message):
    path = tmp_path / "decisions.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        labels.save_decision(path, 7, "4", "9", "keep")
    assert path.read_text() == content


def test_an_unknown_decision_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no decision 'perhaps'.*keep"):
        labels.save_decision(tmp_path / "decisions.csv", 7, "4", "9", "perhaps")


def test_class_names_may_look_like_missing_values(tmp_path):
    path = tmp_path / "decisions.csv"
    for image, label in enumerate(["None", "NA", "", "nan", "1.0"]):
        labels.save_decision(path, image, label, "null", "keep")
    read = labels.load_decisions(path)
    assert read["label"].tolist() == ["None", "NA", "", "nan", "1.0"]
    assert set(read["suggested"]) == {"null"}


@pytest.mark.parametrize(
    "row", [b"7,cat,dog,", b"7,cat,dog", b"7,c\xff,dog,\xff", b"x,cat,dog,keep"]
)
def test_a_damaged_row_of_decisions_is_refused(tmp_path, row):
    path = tmp_path / "decisions.csv"
    path.write_bytes(b"image,label,suggested,decision\n" + row + b"\n")
    with pytest.raises(ValueError, match=r"has unknown decisions|invalid literal"):
        labels.load_decisions(path)
