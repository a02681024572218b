import pytest
import torch

from helpers import labels

TARGETS = torch.arange(1_000) % 10


def test_symmetric_noise_changes_the_given_share_of_the_labels_to_other_classes():
    noisy = labels.symmetric_noise(TARGETS, 0.05, classes=10, seed=0)
    assert int((noisy != TARGETS).sum()) == 50
    assert (noisy.min(), noisy.max()) == (0, 9)


def test_symmetric_noise_is_uniform_over_the_other_classes():
    threes = torch.full((90_000,), 3)
    counts = labels.symmetric_noise(threes, 1.0, classes=10, seed=0).bincount(minlength=10)
    assert counts[3] == 0
    others = counts[counts > 0].double()
    assert len(others) == 9
    # 10,000 each; the standard deviation of this binomial is 94
    assert (others - 10_000).abs().max() < 5 * 94


def test_the_seed_decides_which_labels_are_changed():
    first, again, other = (
        labels.symmetric_noise(TARGETS, 0.1, classes=10, seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_pair_flip_exchanges_two_classes_and_keeps_the_others():
    noisy = labels.pair_flip(TARGETS, [(4, 9)], 0.1, seed=0)
    changed = noisy != TARGETS
    assert int(changed.sum()) == 20  # of the 200 images of the pair
    assert {(int(a), int(b)) for a, b in zip(TARGETS[changed], noisy[changed], strict=True)} == {
        (4, 9),
        (9, 4),
    }


def test_no_noise_leaves_the_labels_as_they_are():
    assert torch.equal(labels.symmetric_noise(TARGETS, 0, classes=10, seed=0), TARGETS)


@pytest.mark.parametrize("rate", [-0.1, 1.1])
def test_a_rate_outside_its_range_is_refused(rate):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\], got"):
        labels.symmetric_noise(TARGETS, rate, classes=10, seed=0)
