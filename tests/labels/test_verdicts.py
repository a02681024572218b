import pandas as pd
import pytest
import torch

from helpers import labels

CLEAR = {
    "label": 3, "suggested": 5,
    "judges_label": 0.0, "judges_suggested": 1.0, "votes_label": 0.0, "votes_suggested": 1.0,
    "twin_distance": 50.0, "twin_label": 5,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, "label doubtful"),
        ({"judges_suggested": 0.9, "votes_suggested": 0.7}, "label doubtful"),
        ({"judges_suggested": 0.89}, "class ambiguous"),
        ({"votes_suggested": 0.69}, "class ambiguous"),
        ({"judges_label": 0.5, "judges_suggested": 0.5}, "label stands"),
        ({"judges_label": 0.49, "judges_suggested": 0.5}, "class ambiguous"),
        ({"votes_label": 0.7, "votes_suggested": 0.3}, "label stands"),
        ({"twin_distance": 15.0}, "near-duplicate"),
        ({"twin_distance": 15.1}, "label doubtful"),
        ({"twin_distance": 15.0, "twin_label": 3}, "label doubtful"),
        ({"twin_distance": 0.0, "judges_label": 1.0, "judges_suggested": 0.0}, "near-duplicate"),
    ],
)
def test_the_rule_at_its_edges(changed, verdict):
    assert labels.decide(pd.DataFrame([CLEAR | changed])).tolist() == [verdict]


EVIDENCE = pd.DataFrame(
    {
        "label": [0, 0, 1, 1, 2],
        "verdict": [
            "label stands", "label doubtful", "class ambiguous", "near-duplicate", "label stands",
        ],
    }
)  # fmt: skip
NAMED = {"all wrong": torch.tensor([1, 1, 2, 2, 0]), "one wrong": torch.tensor([1, 0, 1, 1, 2])}


def test_a_verdict_belongs_to_its_image():
    evidence = pd.DataFrame([CLEAR, CLEAR], index=[7, 3])
    assert labels.decide(evidence).index.tolist() == [7, 3]


def test_each_mistake_has_one_cause():
    counts = labels.count_errors_by_cause(EVIDENCE, NAMED)
    assert counts.columns.tolist() == list(labels.CAUSES)
    assert counts.loc["all wrong"].tolist() == [1, 1, 1, 2]
    assert counts.loc["one wrong"].tolist() == [0, 0, 0, 1]


def test_what_another_model_gets_right_is_told_by_cause():
    found = labels.fraction_fixed(EVIDENCE, NAMED, torch.tensor([0, 0, 2, 2, 0]))  # the first two
    assert found.index.tolist() == list(labels.CAUSES)
    # of one mistake at each of three images, and three where the label stands: two at the first
    assert found.tolist() == pytest.approx([0, 1, 0, 2 / 3])
    same = labels.fraction_fixed(EVIDENCE[1:2], {"wrong": torch.tensor([1])}, torch.tensor([1]))
    assert same.isna().tolist() == [True, False, True, True]  # of no mistakes there is no share


def test_the_two_accuracies_stand_side_by_side():
    found = labels.accuracies_without_doubtful(EVIDENCE, NAMED)
    assert found.loc["one wrong"].tolist() == pytest.approx([4 / 5, 2 / 3])  # three not in doubt
    assert found.loc["all wrong"].tolist() == [0, 0]


def test_near_duplicates_are_counted_by_where_they_lie():
    def frame(label, twin, distance, twin_label):
        return pd.DataFrame(
            {"label": label, "twin": twin, "twin_distance": distance, "twin_label": twin_label}
        )

    evidence = {
        "train": frame([0, 1], ["train 1", "test 0"], [4.0, 9.0], [1, 1]),
        "test": frame([1], ["train 1"], [9.0], [1]),
    }
    found = labels.count_near_duplicates(evidence, limits=(4, 10))
    assert found.index.name == "at most"
    assert found.columns.tolist() == sorted(found.columns)
    assert found.to_dict("index") == {
        4: {
            "test, like one of train": 0,
            "train, like one of test": 0,
            "train, like one of train": 1,
            "train, like one of train, with another label": 1,
        },
        10: {
            "test, like one of train": 1,
            "train, like one of test": 1,
            "train, like one of train": 1,
            "train, like one of train, with another label": 1,
        },
    }
