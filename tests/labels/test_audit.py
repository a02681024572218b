"""The parts by hand; the whole with given predictions for sixty images, and with one training."""

import json
import math
import re
from dataclasses import replace

import pandas as pd
import pytest
import torch

from helpers import data, labels, training
from helpers.data import Split
from helpers.labels import OutOfSamplePredictions, audit
from tests import halves
from tests.labels.conftest import picture

CPU = torch.device("cpu")
RECIPE = training.find_recipe("fast", "mnist")


def test_the_nearest_image_is_searched_in_all_splits_and_never_the_image_itself():
    train = Split(picture(0, 100, 255), torch.tensor([0, 1, 2]))
    test = Split(picture(104), torch.tensor([1]))
    found = labels.nearest_duplicates({"train": train, "test": test}, CPU, ("train", "test"))
    assert found["train"]["nearest"].tolist() == ["train 1", "test 0", "test 0"]
    assert found["train"]["nearest_distance"].tolist() == pytest.approx([100, 4, 151])
    assert found["test"].to_dict("records") == [
        {"nearest": "train 1", "nearest_distance": pytest.approx(4), "nearest_label": 1}
    ]


def test_a_near_duplicate_with_another_label_is_preferred():
    train = Split(picture(100, 101, 103, 200), torch.tensor([0, 0, 1, 1]))
    found = labels.nearest_duplicates({"train": train}, CPU, ["train"])["train"]
    assert found["nearest"].tolist() == ["train 2", "train 2", "train 1", "train 2"]
    assert found["nearest_label"].tolist() == [1, 1, 0, 1]


def test_a_split_that_is_not_compared_has_no_nearest_images():
    train = Split(picture(0, 100, 200), torch.tensor([0, 1, 1]))
    test = Split(picture(104), torch.tensor([2]))
    found = labels.nearest_duplicates({"train": train, "test": test}, CPU, ["test"])
    assert found["train"].drop_duplicates().to_dict("records") == [
        {"nearest": "", "nearest_distance": math.inf, "nearest_label": -1}
    ]
    assert found["test"]["nearest"].tolist() == ["train 1"]


def test_the_issue_score_combines_models_and_neighbors():
    given = torch.tensor([0, 0, 0])
    predictions = OutOfSamplePredictions(
        torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]]),
        torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.9, 0.1]]]),
    )
    found = labels.label_issue_score(predictions, given)
    assert found[:2].tolist() == [0, 1]
    # 0.5 times the cube root of 0.9 + 0.1, compared with that of 0.1 + 0.1
    assert found[2].item() == pytest.approx(0.2 ** (1 / 3) / (0.2 ** (1 / 3) + 1))


def test_the_evidence_has_columns_for_the_label_and_the_suggested_class():
    split = Split(picture(0, 50), torch.tensor([0, 1]))
    predictions = OutOfSamplePredictions(
        torch.tensor([[[0.1, 0.7, 0.2], [0.0, 1.0, 0.0]], [[0.4, 0.3, 0.3], [0.0, 1.0, 0.0]]]),
        torch.tensor([[[0.0, 0.8, 0.2], [0.0, 1.0, 0.0]], [[0.2, 0.6, 0.2], [0.0, 1.0, 0.0]]]),
    )
    nearest = pd.DataFrame(
        {
            "nearest": ["train 1", "train 0"],
            "nearest_distance": [50.0, 50.0],
            "nearest_label": [1, 0],
        }
    )
    found = labels.collect_evidence(split, predictions, nearest).iloc[0]
    assert (found["label"], found["suggested"]) == (0, 1)
    assert (found["p_label"], found["p_suggested"]) == pytest.approx((0.25, 0.5))
    assert (found["models_label"], found["models_suggested"]) == (0.5, 0.5)
    assert (found["votes_label"], found["votes_suggested"]) == pytest.approx((0.1, 0.7))
    assert (found["nearest"], found["nearest_distance"]) == ("train 1", 50)
    assert found["verdict"] == "label stands"  # one of two models predicts it


def test_the_most_doubtful_labels_come_first(simulated_audit):
    ranked = labels.rank_labels(simulated_audit)
    assert (len(ranked), simulated_audit.files) == (60, {})
    first = ranked.iloc[:3][["split", "image", "label", "suggested"]]
    assert {tuple(row) for row in first.to_numpy()} == {
        ("train", 5, "2", "0"),
        ("train", 25, "2", "1"),
        ("test", 10, "0", "2"),
    }
    assert ranked["issue_score"].is_monotonic_decreasing
    assert ranked.index.tolist() == list(range(60))
    alike = ranked[ranked["issue_score"].round(6) == ranked["issue_score"].round(6).mode()[0]]
    positions = [*zip(alike["split"] == "test", alike["image"], strict=True)]
    assert len(positions) > 16
    assert positions == sorted(positions)


def test_the_files_of_own_pictures_are_named(tmp_path, monkeypatch):
    pixels = torch.arange(40, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 28, 28)
    splits = data.from_arrays(pixels, torch.arange(40) % 2)
    files = {
        name: [f"{name}/{int(image[0, 0, 0])}.png" for image in getattr(splits, name).images]
        for name in ("train", "validation", "test")
    }
    splits = replace(splits, files=files)
    even = [torch.full((1, n, 2), 0.5) for n in (36, 4)]
    found = [OutOfSamplePredictions(shares, shares) for shares in even]
    monkeypatch.setattr(audit, "predict_out_of_sample", lambda *_, **__: found)
    result = labels.run_audit(splits, RECIPE, cache_dir=tmp_path, device=CPU)
    ranked = labels.rank_labels(result)
    assert ranked.columns[:3].tolist() == ["split", "image", "file"]
    assert (result.spec, len(ranked)) == (splits.spec, 40)
    for row in ranked.itertuples():
        gray = int(result.image(f"{row.split} {row.image}")[0, 0, 0])
        assert row.file.endswith(f"/{gray}.png")
        assert row.file.startswith("test/") == (row.split == "test")


@pytest.mark.parametrize("progress", [True, False])
def test_a_bar_counts_the_images_that_are_compared(simulated_audit, monkeypatch, capsys, progress):
    found = [*simulated_audit.predictions.values()]
    monkeypatch.setattr(audit, "predict_out_of_sample", lambda *_, **__: found)
    labels.run_audit("mnist", RECIPE, cache_dir="", device=CPU, progress=progress)
    printed = capsys.readouterr().err
    for total in (40, 20):
        shown = re.search(rf"comparing images: .*/{total} \[.* images/s\]", printed)
        assert bool(shown) == progress
    labels.nearest_duplicates({"train": simulated_audit.train}, CPU, ["train"])
    assert capsys.readouterr().err == ""


def test_the_summary_counts_verdicts_and_causes(simulated_audit):
    found = labels.summarize(simulated_audit)
    assert found["test_label_doubtful"] == 1
    assert found["test_label_stands"] == 19
    assert found["train_label_doubtful"] == found["train_label_issues"] == 2
    assert found["share_label_doubtful"] == 1
    assert found["accuracy_as_given"] == 0.95
    assert found["accuracy_less_the_doubtful"] == 1


def test_the_summary_of_models_without_errors_has_no_shares(simulated_audit, monkeypatch):
    none = pd.DataFrame(0, columns=labels.CAUSES, index=["model 1", "model 2"])
    monkeypatch.setattr(audit.verdicts, "count_errors_by_cause", lambda *_: none)
    found = labels.summarize(simulated_audit)
    assert not [name for name in found if name.startswith(("share_", "sd_"))]
    json.dumps(found, allow_nan=False)


def test_the_summary_has_means_and_standard_deviations_over_the_models(
    simulated_audit, monkeypatch
):
    causes = pd.DataFrame(
        [[0, 1, 0, 2], [0, 3, 1, 3]], columns=labels.CAUSES, index=["model 1", "model 2"]
    )
    reached = pd.DataFrame({"all labels": [0.9, 0.91234567], "without doubtful": [0.95, 0.96]})
    monkeypatch.setattr(audit.verdicts, "count_errors_by_cause", lambda *_: causes)
    monkeypatch.setattr(audit.verdicts, "accuracies_without_doubtful", lambda *_: reached)
    found = labels.summarize(simulated_audit)
    # the mean of 1/3 and 3/7; their difference over the square root of two
    assert found["share_label_doubtful"] == 0.381
    assert found["sd_label_doubtful"] == 0.0673
    assert found["accuracy_as_given"] == 0.90617
    assert found["accuracy_less_the_doubtful"] == 0.955


def test_models_are_numbered_from_one_and_images_are_found_by_name(simulated_audit):
    predicted = simulated_audit.predicted_by_model("test")
    assert list(predicted) == ["model 1"]
    assert torch.equal(predicted["model 1"], torch.full((20,), 2))
    assert torch.equal(simulated_audit.image("test 3"), simulated_audit.test.images[3])
    assert torch.equal(simulated_audit.image("train 3"), simulated_audit.train.images[3])


def test_the_arguments_reach_the_cross_validation(simulated_audit, monkeypatch):
    received = {}

    def predict(*_, **settings):
        received.update(settings)
        return simulated_audit.predictions["train"], simulated_audit.predictions["test"]

    monkeypatch.setattr(audit, "predict_out_of_sample", predict)
    settings = {"cache_dir": "here", "folds": 7, "seeds": (4,), "device": CPU, "progress": True}
    again = labels.run_audit("mnist", RECIPE, **settings, compared=["test"])
    assert received == settings
    assert (again.evidence["train"]["nearest"] == "").all()
    assert (again.evidence["train"]["nearest_label"] == -1).all()
    assert (again.evidence["test"]["nearest"] != "").all()


def test_an_audit_with_trained_models_finds_wrong_labels(tmp_path, monkeypatch):
    split = halves.images(90)
    given = split.targets.clone()
    given[[3, 64, 80]] = 1 - given[[3, 64, 80]]
    labeled = Split(split.images, given)
    monkeypatch.setattr(data, "load_published", lambda _: (labeled[:70], labeled[70:]))
    recipe = replace(RECIPE, learning_rate=0.02, epochs=4, batch_size=16, precision="float32")
    settings = {"cache_dir": tmp_path / "cache", "folds": 3, "seeds": (0, 1), "device": CPU}
    found = labels.run_audit("mnist", recipe, **settings)
    rows = pd.read_csv(labels.write_gallery(found, tmp_path).with_name("labels.csv"))
    assert rows.columns.tolist() == [
        "split", "image", "label", "suggested", "p_label", "models_label", "votes_label",
        "p_suggested", "models_suggested", "votes_suggested", "issue_score", "is_issue",
        "nearest", "nearest_distance", "nearest_label", "verdict",
    ]  # fmt: skip
    first = rows[:3]
    assert set(zip(first["split"], first["image"], strict=True)) == {
        ("train", 3),
        ("train", 64),
        ("test", 10),
    }
    assert (rows["verdict"][3:] == "label stands").all()
