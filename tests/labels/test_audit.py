"""The parts by hand; the whole with judges that are played, on a data set of sixty images."""

import json
import math
import re

import pandas as pd
import pytest
import torch

from helpers import data, labels, training
from helpers.data import Split
from helpers.labels import OutOfSamplePredictions

CPU = torch.device("cpu")


def picture(*greys: int) -> torch.Tensor:
    """Images that are all of one grey."""
    return torch.tensor(greys, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 28, 28)


def opinions(*shares: list[float]) -> OutOfSamplePredictions:
    """One judge and its neighbours, of one mind."""
    said = torch.tensor(shares)[None]
    return OutOfSamplePredictions(said, said)


def test_twins_are_sought_in_all_splits_and_never_the_image_itself():
    train = Split(picture(0, 100, 255), torch.tensor([0, 1, 2]))
    test = Split(picture(104), torch.tensor([1]))
    found = labels.nearest_duplicates({"train": train, "test": test}, CPU)
    assert found["train"]["twin"].tolist() == ["train 1", "test 0", "test 0"]
    assert found["train"]["twin_distance"].tolist() == pytest.approx([100, 4, 151])
    assert found["test"].to_dict("records") == [
        {"twin": "train 1", "twin_distance": pytest.approx(4), "twin_label": 1}
    ]


def test_of_near_duplicates_the_one_with_another_label_counts():
    train = Split(picture(100, 101, 103, 200), torch.tensor([0, 0, 1, 1]))
    found = labels.nearest_duplicates({"train": train}, CPU)["train"]
    assert found["twin"].tolist() == ["train 2", "train 2", "train 1", "train 2"]
    assert found["twin_label"].tolist() == [1, 1, 0, 1]


def test_twins_need_not_be_sought_for_every_split():
    train = Split(picture(0, 100), torch.tensor([0, 1]))
    test = Split(picture(104), torch.tensor([2]))
    found = labels.nearest_duplicates({"train": train, "test": test}, CPU, of=("test",), k=1)
    assert found["train"]["twin_distance"].tolist() == [math.inf, math.inf]
    assert found["test"]["twin"].tolist() == ["train 1"]


def test_a_label_is_suspicious_as_far_as_models_and_neighbours_agree():
    labels = torch.tensor([0, 0, 0])
    said = OutOfSamplePredictions(
        torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]]),
        torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.9, 0.1]]]),
    )
    found = labels.label_issue_score(said, labels)
    assert found[:2].tolist() == [0, 1]
    # 0.5 times the cube root of 0.9 + 0.1, against that of 0.1 + 0.1
    assert found[2].item() == pytest.approx(0.2 ** (1 / 3) / (0.2 ** (1 / 3) + 1))


def test_the_evidence_has_both_sides():
    split = Split(picture(0, 50), torch.tensor([0, 1]))
    said = OutOfSamplePredictions(
        torch.tensor([[[0.1, 0.7, 0.2], [0.0, 1.0, 0.0]], [[0.4, 0.3, 0.3], [0.0, 1.0, 0.0]]]),
        torch.tensor([[[0.0, 0.8, 0.2], [0.0, 1.0, 0.0]], [[0.2, 0.6, 0.2], [0.0, 1.0, 0.0]]]),
    )
    found = labels.collect_evidence(split, said, labels.nearest_duplicates({"train": split}, CPU, k=1)["train"]).iloc[0]
    assert (found["label"], found["suggested"]) == (0, 1)
    assert (found["p_label"], found["p_suggested"]) == pytest.approx((0.25, 0.5))
    assert (found["judges_label"], found["judges_suggested"]) == (0.5, 0.5)
    assert (found["votes_label"], found["votes_suggested"]) == pytest.approx((0.1, 0.7))
    assert (found["twin"], found["twin_distance"]) == ("train 1", pytest.approx(50))
    assert found["verdict"] == "label stands"  # for one of two judges finds it


@pytest.fixture
def played(monkeypatch) -> labels.Audit:
    """Sixty images of three classes; three of the labels are others than every judge says."""
    greys = torch.arange(60) * 4
    truth = torch.arange(60) // 20
    given = truth.clone()
    given[[5, 25]], given[50] = 2, 0
    sure = torch.full((60, 10), 0.001)
    sure[torch.arange(60), truth] = 0.991
    images = picture(*greys.tolist())
    published = Split(images[:40], given[:40]), Split(images[40:], given[40:])
    monkeypatch.setattr(verdicts, "TWIN", 3)  # neighbouring greys differ by 4
    monkeypatch.setattr(data, "load_published", lambda _: published)
    monkeypatch.setattr(
        cross_validation,
        "out_of_sample",
        lambda *_, **__: (opinions(*sure[:40].tolist()), opinions(*sure[40:].tolist())),
    )
    recipe = training.find_recipe("fast", "mnist")
    return labels.run_audit("mnist", recipe, keep=None, where=CPU)


def test_wrong_labels_come_first(played):
    ranked = labels.rank_labels(played)
    assert len(ranked) == 60
    first = ranked.iloc[:3][["split", "image", "label", "suggested"]]
    assert {tuple(row) for row in first.to_numpy()} == {
        ("train", 5, "2", "0"),
        ("train", 25, "2", "1"),
        ("test", 10, "0", "2"),
    }
    assert ranked["suspicion"].is_monotonic_decreasing
    assert ranked.index.tolist() == list(range(60))


def test_the_summary_counts_verdicts_and_causes(played):
    found = labels.summarize(played)
    assert found["test_label_doubtful"] == 1
    assert found["test_label_stands"] == 19
    assert found["train_label_doubtful"] == found["train_suspects"] == 2
    assert found["share_label_doubtful"] == 1
    assert found["accuracy_as_given"] == 0.95
    assert found["accuracy_less_the_doubtful"] == 1


def test_judges_have_names_and_images_can_be_asked_for(played):
    named = played.named("test")
    assert list(named) == ["judge 1"]
    assert torch.equal(named["judge 1"], torch.full((20,), 2))
    assert torch.equal(played.image("test 3"), played.test.images[3])
    assert torch.equal(played.image("train 3"), played.labelled.images[3])


def test_what_is_asked_for_reaches_the_judges(played, monkeypatch):
    asked = {}

    def out_of_sample(*splits, **settings):
        asked.update(settings)
        return played.opinions["train"], played.opinions["test"]

    monkeypatch.setattr(cross_validation, "out_of_sample", out_of_sample)
    recipe = training.find_recipe("fast", "mnist")
    settings = {"keep": "here", "folds": 7, "seeds": (4,), "where": CPU, "progress": True}
    again = labels.run_audit("mnist", recipe, **settings, compared=["test"])
    assert asked == settings
    assert (again.evidence["train"]["twin"] == "").all()
    assert (again.evidence["train"]["twin_label"] == -1).all()
    assert (again.evidence["test"]["twin"] != "").all()


def test_the_summary_has_means_and_spreads_over_the_judges(played, monkeypatch):
    causes = pd.DataFrame(
        [[0, 1, 0, 2], [0, 3, 1, 3]], columns=labels.CAUSES, index=["judge 1", "judge 2"]
    )
    reached = pd.DataFrame({"as given": [0.9, 0.91234567], "less the doubtful": [0.95, 0.96]})
    monkeypatch.setattr(verdicts, "blame", lambda *_: causes)
    monkeypatch.setattr(verdicts, "accuracies", lambda *_: reached)
    found = labels.summarize(played)
    # a third and three sevenths; the difference over the square root of two
    assert found["share_label_doubtful"] == 0.381
    assert found["sd_label_doubtful"] == 0.0673
    assert found["accuracy_as_given"] == 0.90617
    assert found["accuracy_less_the_doubtful"] == 0.955


def test_other_labels_can_be_audited(played, monkeypatch):
    right = {"train": torch.arange(40) // 20, "test": torch.full((20,), 2)}
    again = labels.run_audit("mnist", training.find_recipe("fast", "mnist"), keep=None, where=CPU, targets=right)
    assert labels.summarize(again)["accuracy_as_given"] == 1
    assert not labels.rank_labels(again)["suspect"].any()


def test_the_lists_and_the_page(played, tmp_path):
    page = labels.write_gallery(played, tmp_path / "audit", shown=4)
    rows = pd.read_csv(tmp_path / "audit" / "labels.csv")
    assert rows.columns[0] == "split"
    assert (rows["suspicion"] == rows["suspicion"].round(4)).all()
    assert len(rows) == 60
    assert rows.iloc[0]["suspicion"] > 0.9
    assert {"split", "image", "label", "suggested", "suspicion", "verdict"} <= set(rows.columns)
    records = json.loads((tmp_path / "audit" / "labels.json").read_text())
    assert [record["image"] for record in records] == rows["image"].tolist()
    html = page.read_text()
    assert html.count('class="card ') == 8  # four of each split
    assert html.count("data:image/png;base64,") == 16  # each with the image nearest to it
    assert "test image 10, labelled 0" in html
    assert "http" not in html
    counts = re.findall(r"<tr><td>([\w -]+)</td><td class=\"number\">(\d+)</td>", html)
    assert counts == [
        ("near-duplicate", "0"), ("label doubtful", "1"), ("class ambiguous", "0"),
        ("label stands", "19"), ("near-duplicate", "0"), ("label doubtful", "2"),
        ("class ambiguous", "0"), ("label stands", "38"),
    ]  # fmt: skip
    assert "20 test labels, judged by 1 models" in html


def test_the_page_escapes_what_it_shows(played, tmp_path, monkeypatch):
    hostile = (*played.spec.class_names[:2], "<script>alert(1)</script>")
    spec = data.DatasetSpec("mnist", "A <b> title", "MNIST", hostile, 0.1, 0.3)
    page = labels.write_gallery(labels.Audit(spec, *list(vars(played).values())[1:]), tmp_path)
    assert "<script>" not in page.read_text()
    assert "A &lt;b&gt; title" in page.read_text()


def test_the_picture_of_the_evidence_shows_all_of_it(played):
    figure = labels.plot_evidence(played, "test", 10)
    left, middle, right = figure.axes
    row = played.evidence["test"].loc[10]
    assert left.get_title() == "test 10, labelled 0"
    assert middle.get_title() == "label doubtful (suspicion 1.00)"
    assert [text.get_text() for text in middle.get_legend().get_texts()] == [
        "1 models",
        "neighbours",
    ]
    widths = [bar.get_width() for bar in middle.patches]
    assert widths[:10] == pytest.approx(played.opinions["test"].mean[10].tolist())
    assert row["twin"] in right.get_title()
    assert right.get_xlabel() == f"differs by {row['twin_distance']:.0f} grey values"
    assert [label.get_text() for label in middle.get_yticklabels()] == list("0123456789")
    assert middle.get_xlim() == (0, 1)
    places = [bar.get_y() + bar.get_height() / 2 for bar in middle.patches]
    assert places[:2] + places[10:12] == pytest.approx([-0.2, 0.8, 0.2, 1.2])
    assert [ax.images[0].get_clim() for ax in (left, right)] == [(0, 255), (0, 255)]
