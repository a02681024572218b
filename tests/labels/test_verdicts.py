import pandas as pd
import pytest
import torch

from helpers import labels

CLEAR = {
    "label": 3, "suggested": 5,
    "models_label": 0.0, "models_suggested": 1.0, "votes_label": 0.0, "votes_suggested": 1.0,
    "nearest_distance": 50.0, "nearest_label": 5,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, "label doubtful"),
        ({"models_suggested": 0.9, "votes_suggested": 0.7}, "label doubtful"),
        ({"models_suggested": 0.89}, "class ambiguous"),
        ({"votes_suggested": 0.69}, "class ambiguous"),
        ({"models_label": 0.5, "models_suggested": 0.5}, "label stands"),
        ({"models_label": 0.49, "models_suggested": 0.5}, "class ambiguous"),
        ({"votes_label": 0.7, "votes_suggested": 0.3}, "label stands"),
        ({"nearest_distance": 15.0}, "near-duplicate"),
        ({"nearest_distance": 15.1}, "label doubtful"),
        ({"nearest_distance": 15.0, "nearest_label": 3}, "label doubtful"),
        ({"nearest_distance": 0.0, "models_label": 1.0, "models_suggested": 0.0}, "near-duplicate"),
    ],
)
def test_verdicts_change_at_their_limits(changed, verdict):
    assert labels.decide(pd.DataFrame([CLEAR | changed])).tolist() == [verdict]


EVIDENCE = pd.DataFrame(
    {
        "label": [0, 0, 1, 1, 2],
        "verdict": [
            "label stands", "label doubtful", "class ambiguous", "near-duplicate", "label stands",
        ],
    }
)  # fmt: skip
PREDICTED = {"all wrong": torch.tensor([1, 1, 2, 2, 0]), "one wrong": torch.tensor([1, 0, 1, 1, 2])}


def test_verdicts_keep_the_index_of_the_evidence():
    evidence = pd.DataFrame([CLEAR, CLEAR], index=[7, 3])
    assert labels.decide(evidence).index.tolist() == [7, 3]


def test_each_error_has_one_cause():
    counts = labels.count_errors_by_cause(EVIDENCE, PREDICTED)
    assert counts.columns.tolist() == list(labels.CAUSES)
    assert counts.loc["all wrong"].tolist() == [1, 1, 1, 2]
    assert counts.loc["one wrong"].tolist() == [0, 0, 0, 1]


def test_errors_that_another_model_fixes_are_counted_by_cause():
    found = labels.fraction_fixed(
        EVIDENCE, PREDICTED, torch.tensor([0, 0, 2, 2, 0])
    )  # the first two
    assert found.index.tolist() == list(labels.CAUSES)
    # one error at each of three images, and three at images whose label stands: two at the first
    assert found.tolist() == pytest.approx([0, 1, 0, 2 / 3])
    same = labels.fraction_fixed(EVIDENCE[1:2], {"wrong": torch.tensor([1])}, torch.tensor([1]))
    assert same.isna().tolist() == [True, False, True, True]  # no errors, so no fraction


def test_accuracies_with_and_without_doubtful_labels():
    found = labels.accuracies_without_doubtful(EVIDENCE, PREDICTED)
    assert found.loc["one wrong"].tolist() == pytest.approx([4 / 5, 2 / 3])  # three are kept
    assert found.loc["all wrong"].tolist() == [0, 0]


def test_near_duplicates_are_counted_by_pairs_of_splits():
    def frame(label, nearest, distance, nearest_label):
        return pd.DataFrame(
            {
                "label": label,
                "nearest": nearest,
                "nearest_distance": distance,
                "nearest_label": nearest_label,
            }
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
