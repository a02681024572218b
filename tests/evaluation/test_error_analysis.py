import pytest
import torch

from helpers import evaluation
from helpers.data import Split
from helpers.evaluation import Predictions
from tests.conftest import predictions_from


@pytest.fixture
def predictions() -> Predictions:
    """Rows 1, 2 and 4 are wrong, 4 with the most confidence. Row 3 is right, by a small margin."""
    probabilities = torch.tensor(
        [[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.3, 0.3, 0.4], [0.0, 0.9, 0.1]]
    )
    return Predictions((probabilities + 1e-6).log(), torch.tensor([0, 1, 0, 2, 2]))


def test_mistakes_are_in_data_set_order(predictions):
    assert evaluation.misclassified(predictions).tolist() == [1, 2, 4]


def test_random_mistakes_are_mistakes_without_repetition_and_follow_the_seed(predictions):
    drawn = evaluation.random_misclassified(predictions, 2, seed=0)
    assert len(set(drawn.tolist()) & {1, 2, 4}) == 2
    assert torch.equal(drawn, evaluation.random_misclassified(predictions, 2, seed=0))
    assert sorted(evaluation.random_misclassified(predictions, 9, seed=0).tolist()) == [1, 2, 4]
    firsts = {evaluation.random_misclassified(predictions, 1, seed=s).item() for s in range(30)}
    assert firsts == {1, 2, 4}


def test_the_most_confident_mistakes_come_first(predictions):
    assert evaluation.most_confident_misclassified(predictions, 2).tolist() == [4, 1]


def test_the_closest_calls_come_first_whether_right_or_wrong(predictions):
    assert evaluation.smallest_margins(predictions, 2).tolist() == [3, 2]


def test_pairs_are_ranked_by_the_errors_in_both_directions():
    predicted, targets = [1, 1, 0, 2, 0, 0, 1, 2], [0, 0, 1, 0, 0, 0, 2, 1]
    frame = evaluation.most_confused_pairs(predictions_from(predicted, targets), ["a", "b", "c"])
    assert frame.to_dict("list") == {
        "pair": ["a / b", "b / c", "a / c"],
        "errors": [3, 2, 1],
        "share": [1 / 2, 1 / 3, 1 / 6],
        "first as second": [2, 1, 1],
        "second as first": [1, 1, 0],
    }


def test_pairs_with_equally_many_errors_are_in_the_order_of_their_classes():
    """Each of 7 classes is predicted once as each later class, and class 5 twice as class 6."""
    pairs = [(i, j) for i in range(7) for j in range(i + 1, 7)]
    targets, predicted = map(list, zip(*pairs, (5, 6), strict=True))
    frame = evaluation.most_confused_pairs(
        predictions_from(predicted, targets, classes=7), "0123456"
    )
    assert frame["pair"].tolist() == ["5 / 6", *(f"{i} / {j}" for i, j in pairs[:-1])]
    assert frame.index.tolist() == list(range(21))
    assert frame.columns.tolist() == [
        *("pair", "errors", "share", "first as second", "second as first")
    ]


def test_a_single_mistake_has_a_share_of_one():
    predictions = predictions_from(predicted=[1, 1], targets=[0, 1])
    assert evaluation.most_confused_pairs(predictions, "abc")["share"].tolist() == [1.0]


def test_without_mistakes_there_are_no_pairs():
    frame = evaluation.most_confused_pairs(
        predictions_from(predicted=[0, 1], targets=[0, 1]), ["a", "b", "c"]
    )
    assert len(frame) == 0
    assert "share" in frame


def gray(*levels: int) -> torch.Tensor:
    return (
        torch.tensor(levels, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 28, 28).contiguous()
    )


def test_the_nearest_training_images_vote_for_the_label_or_the_model():
    """Three errors: class 0 predicted as class 1. They differ in brightness."""
    train = Split(
        gray(10, 11, 12, 13, 100, 101, 102, 103, 200, 201, 202, 203),
        torch.tensor([0, 0, 0, 1, 0, 1, 1, 1, 2, 2, 2, 2]),
    )
    test = Split(gray(12, 102, 202, 50), torch.tensor([0, 0, 0, 1]))
    predictions = predictions_from(predicted=[1, 1, 1, 1], targets=[0, 0, 0, 1])
    frame = evaluation.neighbor_votes(predictions, test, train, k=4)
    assert frame.index.tolist() == [0, 1, 2]
    assert frame.index.name == "image"
    assert frame["target"].tolist() == [0, 0, 0]
    assert frame["prediction"].tolist() == [1, 1, 1]
    assert frame["for_target"].tolist() == [0.75, 0.25, 0]
    assert frame["for_prediction"].tolist() == [0.25, 0.75, 0]
    assert tuple(frame["outcome"]) == evaluation.VOTE_OUTCOMES


@pytest.mark.parametrize(
    ("majority", "outcomes"),
    [
        (0.75, ("with the label", "with the model", "undecided")),
        (0.76, ("undecided", "undecided", "undecided")),
    ],
)
def test_an_outcome_needs_at_least_the_majority_of_the_votes(majority, outcomes):
    votes = torch.tensor([0, 0, 0, 1, 1, 1, 0, 1, 0, 1, 1, 0])  # 3 to 1, 1 to 3, 2 to 2
    train = Split(gray(1, 2, 3, 4, 101, 102, 103, 104, 201, 202, 203, 204), votes)
    test = Split(gray(2, 102, 202), torch.tensor([0, 0, 0]))
    predictions = predictions_from(predicted=[1, 1, 1], targets=[0, 0, 0])
    frame = evaluation.neighbor_votes(predictions, test, train, k=4, majority=majority)
    assert tuple(frame["outcome"]) == outcomes


def test_ten_neighbors_vote_by_default():
    """Seven of ten are a majority; with an eleventh neighbor it would be 7 of 11."""
    train = Split(gray(*range(11)), torch.tensor([0] * 7 + [1] * 4))
    predictions = predictions_from(predicted=[1], targets=[0])
    test = Split(gray(0), torch.tensor([0]))
    (row,) = evaluation.neighbor_votes(predictions, test, train).to_dict("records")
    assert (row["for_target"], row["outcome"]) == (0.7, "with the label")


def test_equal_values_are_in_data_set_order():
    many = 100
    equal = predictions_from(predicted=[0] * many, targets=[1] * many)
    assert evaluation.most_confident_misclassified(equal, many).tolist() == list(range(many))
    assert evaluation.smallest_margins(equal, many).tolist() == list(range(many))
    names = [str(k) for k in range(30)]
    first = evaluation.closest_pairs(torch.zeros(30, 1, 28, 28), names, 29)
    assert first == [f"0 / {k}" for k in range(1, 30)]


def test_a_close_call_is_a_small_gap_between_the_two_most_likely_classes():
    """The first two images have the same sum of the two largest, the second a smaller gap."""
    probabilities = torch.tensor([[0.6, 0.3, 0.1], [0.45, 0.45, 0.1], [0.34, 0.33, 0.33]])
    predictions = Predictions(probabilities.log(), torch.tensor([0, 0, 0]))
    assert evaluation.smallest_margins(predictions, 3).tolist() == [1, 2, 0]


def test_class_means_by_hand(tiny):
    means = evaluation.class_means(tiny)
    assert means.shape == (2, 1, 28, 28)
    torch.testing.assert_close(means[1], tiny.images[1::2].float().mean(dim=0))


def test_the_closest_pairs_of_classes_come_first():
    pairs = evaluation.closest_pairs(gray(0, 100, 130, 10).float(), "abcd", 3)
    assert pairs == ["a / d", "b / c", "b / d"]
