"""By hand on four images, and against cleanlab, whose authors published the method."""

import cleanlab.count
import cleanlab.filter
import cleanlab.rank
import numpy as np
import pytest
import torch

from helpers import labels

# the models are usually 0.7 sure of class 0 where it is given, and 0.6 sure of class 1
PROBABILITIES = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.3, 0.7], [0.75, 0.25], [0.15, 0.85]])
LABELS = torch.tensor([0, 0, 1, 1, 1])


def test_thresholds_are_mean_probabilities_of_the_given_class():
    assert labels.thresholds(PROBABILITIES, LABELS).tolist() == pytest.approx([0.7, 0.6])


def test_confident_is_who_reaches_the_threshold_of_a_class():
    assert labels.confident_classes(PROBABILITIES, LABELS).tolist() == [0, -1, 1, 0, 1]


def test_the_confident_joint_counts_labels_against_confident_classes():
    assert labels.confident_joint(PROBABILITIES, LABELS).tolist() == [[1, 0], [1, 2]]


def test_the_joint_keeps_the_numbers_of_labels():
    # two fifths have label 0; of the others a third seems to be of class 0
    wanted = [[0.4, 0], [0.2, 0.4]]
    torch.testing.assert_close(
        labels.estimate_joint(PROBABILITIES, LABELS), torch.tensor(wanted, dtype=torch.float64)
    )


def test_as_many_labels_are_doubted_as_the_joint_says():
    assert labels.find_label_issues(PROBABILITIES, LABELS).tolist() == [False, False, False, True, False]


def test_a_label_that_is_still_the_likeliest_stands():
    """Of two confident images labelled 0, one is of class 1: by that, half of the three are wrong.

    But each of the three is likelier a 0 than a 1.
    """
    probabilities = torch.tensor([[0.55, 0.45], [0.7, 0.3], [0.99, 0.01], [0.6, 0.4], [0.6, 0.4]])
    labels = torch.tensor([0, 0, 0, 1, 1])
    assert labels.confident_joint(probabilities, labels)[0].tolist() == [1, 1]
    assert not labels.find_label_issues(probabilities, labels)[:3].any()


def test_margins_compare_the_label_with_its_likeliest_rival():
    wanted = torch.tensor([0.8, 0.0, 0.4, -0.5, 0.7])
    torch.testing.assert_close(labels.normalized_margins(PROBABILITIES, LABELS), wanted)


def test_a_class_without_a_label_is_never_believed_in():
    probabilities = torch.tensor([[0.2, 0.2, 0.6], [0.1, 0.8, 0.1]])
    labels = torch.tensor([0, 1])
    assert labels.thresholds(probabilities, labels).tolist() == pytest.approx([0.2, 0.8, 1.0])
    assert labels.confident_classes(probabilities, labels).tolist() == [0, 1]


@pytest.fixture(params=[0, 1, 2])
def noisy(request) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities of a fair model of four classes, and labels of which a tenth are wrong."""
    chance = torch.Generator().manual_seed(request.param)
    truth = torch.randint(0, 4, (3_000,), generator=chance)
    logits = torch.randn(3_000, 4, generator=chance)
    logits[torch.arange(3_000), truth] += 2.5
    labels = truth.clone()
    labels[:300] = torch.randint(0, 4, (300,), generator=chance)
    return logits.softmax(dim=1).double(), labels


def test_cleanlab_has_the_same_confident_joint(noisy):
    probabilities, labels = noisy
    theirs = cleanlab.count.compute_confident_joint(
        labels.numpy(), probabilities.numpy(), calibrate=False
    )
    assert labels.confident_joint(probabilities, labels).tolist() == theirs.tolist()


def test_cleanlab_has_the_same_joint(noisy):
    """Up to one image in a cell: cleanlab rounds to whole images so that the sums are kept."""
    probabilities, labels = noisy
    theirs = cleanlab.count.estimate_joint(
        labels.numpy(),
        probabilities.numpy(),
        confident_joint=labels.confident_joint(probabilities, labels).numpy(),
    )
    np.testing.assert_allclose(
        labels.estimate_joint(probabilities, labels).numpy(), theirs, rtol=0, atol=1 / len(labels)
    )


def test_cleanlab_doubts_the_same_labels(noisy):
    """But for one in a cell: cleanlab rounds so that the sums are kept."""
    probabilities, labels = noisy
    theirs = cleanlab.filter.find_label_issues(
        labels.numpy(), probabilities.numpy(), filter_by="prune_by_noise_rate", n_jobs=1
    )
    ours = labels.find_label_issues(probabilities, labels).numpy()
    assert theirs.sum() > 200
    assert (ours != theirs).sum() <= 4 * 3  # one for each pair of classes


def test_cleanlab_has_the_same_margins(noisy):
    probabilities, labels = noisy
    theirs = cleanlab.rank.get_label_quality_scores(
        labels.numpy(), probabilities.numpy(), method="normalized_margin"
    )
    ours = labels.normalized_margins(probabilities, labels).numpy()
    np.testing.assert_allclose((ours + 1) / 2, theirs, atol=1e-9)  # theirs run from 0 to 1


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        (torch.full((2, 2), 0.5), torch.tensor([0]), "a label for each of 2"),
        (torch.full((0, 2), 0.5), torch.tensor([], dtype=torch.int64), "a label for each of 0"),
        (torch.full((2, 2), 0.5), torch.tensor([0, 2]), r"in \[0, 2\), got 0 to 2"),
        (torch.full((2, 2), 3.0), torch.tensor([0, 1]), "sum to 1"),
    ],
)
def test_what_does_not_fit_is_refused(probabilities, labels, message):
    with pytest.raises(ValueError, match=message):
        labels.normalized_margins(probabilities, labels)
