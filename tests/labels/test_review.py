import pandas as pd
import pytest
import torch

from helpers import labels

NAMES = ("cat", "dog")
EVIDENCE = pd.DataFrame(
    {
        "label": [0, 1, 0], "suggested": [1, 0, 1],
        "judges_suggested": [1.0, 0.9, 0.8], "votes_suggested": [0.7, 0.8, 0.9],
    },
    index=[7, 2, 5],
)  # fmt: skip
IMAGES = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1).expand(10, 1, 28, 28)


def parts(widget):
    bar, text, picture, row = widget.children
    return bar, text, picture, {button.description: button for button in row.children}


def test_each_click_is_on_the_disk_before_the_next_image(tmp_path):
    path = tmp_path / "decisions.csv"
    _, text, picture, buttons = parts(labels.review_widget(EVIDENCE, IMAGES, NAMES, path))
    assert "Image 7, 1 of 3" in text.value
    assert "100% of the models and 70% of its neighbours say <b>dog</b>" in text.value
    first = picture.value
    assert labels.png_data_url(IMAGES[7]) in first
    assert 'alt="image 7"' in first
    buttons["wrong"].click()
    assert path.read_text() == "image,label,suggested,decision\n7,cat,dog,wrong\n"
    assert "Image 2, 2 of 3" in text.value
    assert picture.value != first


def test_a_review_goes_on_where_it_was(tmp_path):
    path = tmp_path / "decisions.csv"
    *_, buttons = parts(labels.review_widget(EVIDENCE, IMAGES, NAMES, path))
    buttons["keep"].click()
    bar, text, picture, buttons = parts(labels.review_widget(EVIDENCE, IMAGES, NAMES, path))
    assert (bar.value, bar.max) == (1, 3)
    assert "Image 2" in text.value
    buttons["ambiguous"].click()
    buttons["wrong"].click()
    assert bar.value == 3
    assert "All 3 are decided" in text.value
    assert picture.value == ""
    assert all(button.disabled for button in buttons.values())
    assert labels.load_decisions(path)["decision"].tolist() == ["keep", "ambiguous", "wrong"]


def test_a_decision_can_be_changed(tmp_path):
    path = tmp_path / "decisions.csv"
    for decision in ("keep", "wrong"):
        labels.save_decision(path, 7, "4", "9", decision)
    assert labels.load_decisions(path).to_dict("records") == [
        {"image": 7, "label": "4", "suggested": "9", "decision": "wrong"}
    ]


def test_no_file_is_no_decision(tmp_path):
    assert labels.load_decisions(tmp_path / "none.csv").empty


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", "holds no decisions: its columns are"),
        ("image,label,suggested,decision\n1,4,9,maybe\n", r"the decisions \['maybe'\]"),
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
