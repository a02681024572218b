"""By hand on four images, and against cleanlab, whose authors published the method."""

import cleanlab.count
import cleanlab.filter
import numpy as np
import pytest
import torch

from helpers import labels

# for images labeled 0, the mean probability of class 0 is 0.7; for class 1, it is 0.6
PROBABILITIES = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.3, 0.7], [0.75, 0.25], [0.15, 0.85]])
LABELS = torch.tensor([0, 0, 1, 1, 1])


def test_thresholds_are_mean_probabilities_of_the_given_class():
    assert labels.thresholds(PROBABILITIES, LABELS).tolist() == pytest.approx([0.7, 0.6])


def test_the_confident_joint_counts_labels_against_confident_classes():
    """The five images confidently belong to class 0, none, 1, 0 and 1."""
    assert labels.confident_joint(PROBABILITIES, LABELS).tolist() == [[1, 0], [1, 2]]


def test_the_rows_of_the_joint_sum_to_the_shares_of_the_labels():
    # two fifths have label 0; a third of the others seems to be of class 0
    expected = [[0.4, 0], [0.2, 0.4]]
    torch.testing.assert_close(
        labels.estimate_joint(PROBABILITIES, LABELS), torch.tensor(expected, dtype=torch.float64)
    )


def test_there_are_as_many_label_issues_as_the_joint_says():
    found = labels.find_label_issues(PROBABILITIES, LABELS)
    assert found.tolist() == [False, False, False, True, False]


def test_a_label_that_is_the_most_probable_class_is_not_an_issue():
    """Of two confident images labeled 0, one is of class 1: thus half of the three would be wrong.

    But for each of the three, class 0 is more probable than class 1.
    """
    probabilities = torch.tensor([[0.55, 0.45], [0.7, 0.3], [0.99, 0.01], [0.6, 0.4], [0.6, 0.4]])
    given = torch.tensor([0, 0, 0, 1, 1])
    assert labels.confident_joint(probabilities, given)[0].tolist() == [1, 1]
    assert not labels.find_label_issues(probabilities, given)[:3].any()


def test_a_class_without_labels_has_no_confident_images():
    probabilities = torch.tensor([[0.2, 0.2, 0.6], [0.1, 0.8, 0.1]])
    given = torch.tensor([0, 1])
    assert labels.thresholds(probabilities, given).tolist() == pytest.approx([0.2, 0.8, 1.0])
    assert labels.confident_joint(probabilities, given).tolist() == [
        [1, 0, 0],
        [0, 1, 0],
        [0, 0, 0],
    ]


@pytest.fixture(params=[0, 1, 2])
def noisy(request) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities of a model of four classes, and labels of which a tenth are wrong."""
    generator = torch.Generator().manual_seed(request.param)
    truth = torch.randint(0, 4, (3_000,), generator=generator)
    logits = torch.randn(3_000, 4, generator=generator)
    logits[torch.arange(3_000), truth] += 2.5
    given = truth.clone()
    given[:300] = torch.randint(0, 4, (300,), generator=generator)
    return logits.softmax(dim=1).double(), given


def test_cleanlab_has_the_same_confident_joint(noisy):
    probabilities, given = noisy
    theirs = cleanlab.count.compute_confident_joint(
        given.numpy(), probabilities.numpy(), calibrate=False
    )
    assert labels.confident_joint(probabilities, given).tolist() == theirs.tolist()


def test_cleanlab_has_the_same_joint(noisy):
    """Within one image per cell: cleanlab rounds to whole images and keeps the sums."""
    probabilities, given = noisy
    theirs = cleanlab.count.estimate_joint(
        given.numpy(),
        probabilities.numpy(),
        confident_joint=labels.confident_joint(probabilities, given).numpy(),
    )
    np.testing.assert_allclose(
        labels.estimate_joint(probabilities, given).numpy(), theirs, rtol=0, atol=1 / len(given)
    )


def test_cleanlab_finds_the_same_label_issues(noisy):
    """Within one per cell: cleanlab rounds and keeps the sums."""
    probabilities, given = noisy
    theirs = cleanlab.filter.find_label_issues(
        given.numpy(), probabilities.numpy(), filter_by="prune_by_noise_rate", n_jobs=1
    )
    ours = labels.find_label_issues(probabilities, given).numpy()
    assert theirs.sum() > 200
    assert (ours != theirs).sum() <= 4 * 3  # one for each pair of classes


@pytest.mark.parametrize(
    ("probabilities", "given", "message"),
    [
        (torch.full((2, 2), 0.5), torch.tensor([0]), r"labels of shape \(2,\)"),
        (
            torch.full((0, 2), 0.5),
            torch.tensor([], dtype=torch.int64),
            r"labels of shape \(0,\), 0 > 0",
        ),
        (torch.full((2, 2), 0.5), torch.tensor([0, 2]), r"in \[0, 2\), got 0 to 2"),
        (torch.full((2, 2), 3.0), torch.tensor([0, 1]), "^Probabilities must sum to 1"),
        (torch.tensor([[1.5, -0.5], [0.5, 0.5]]), torch.tensor([0, 1]), r"in \[0, 1\], got -0.5"),
    ],
)
def test_invalid_probabilities_and_labels_are_refused(probabilities, given, message):
    with pytest.raises(ValueError, match=message):
        labels.find_label_issues(probabilities, given)
