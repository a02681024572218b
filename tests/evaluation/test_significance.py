import math

import numpy as np
import pandas as pd
import pytest
import torch

from helpers import evaluation


def bits(text: str) -> torch.Tensor:
    return torch.tensor([letter == "1" for letter in text])


def test_only_images_on_which_the_models_differ_count():
    """Like six coin tosses that are all heads: the probability is twice 1/64."""
    paired = evaluation.mcnemar(bits("1111000000"), bits("1111111111"))
    assert (paired.only_first, paired.only_second, paired.images) == (0, 6, 10)
    assert paired.p_value == pytest.approx(2 / 2**6)
    assert paired.difference == pytest.approx(0.6)


def test_the_p_value_is_the_sum_of_binomial_probabilities():
    """By hand: at most 2 of 10 coin tosses, or at least 8 of 10."""
    first, second = bits("11" + "0" * 8 + "1" * 90), bits("00" + "1" * 8 + "1" * 90)
    paired = evaluation.mcnemar(first, second)
    expected = 2 * sum(math.comb(10, k) for k in range(3)) / 2**10
    assert paired.p_value == pytest.approx(expected)
    assert paired.difference == pytest.approx(0.06)
    swapped = evaluation.mcnemar(second, first)
    assert (swapped.p_value, swapped.difference) == pytest.approx((expected, -0.06))
    assert (swapped.only_first, swapped.only_second) == (8, 2)


def test_equal_models_have_a_p_value_of_one():
    paired = evaluation.mcnemar(bits("1010"), bits("1010"))
    assert (paired.p_value, paired.difference) == (1.0, 0.0)


def test_bits_are_packed_and_unpacked():
    """1010 0000 1 in bytes: 0xA0, 0x80."""
    values = bits("101000001")
    assert evaluation.pack_bits(values) == "oIA="
    assert torch.equal(evaluation.unpack_bits("oIA=", 9), values)


@pytest.mark.parametrize(("first", "second"), [("101", "10"), ("", "")])
def test_vectors_of_different_lengths_are_refused(first, second):
    with pytest.raises(ValueError, match="the same length"):
        evaluation.mcnemar(bits(first), bits(second))
    with pytest.raises(ValueError, match=r"\(1, 2\)"):
        evaluation.mcnemar(bits("10")[None], bits("10")[None])


def test_the_interval_of_an_accuracy_is_the_wilson_interval():
    """The formula of the paper, with z = 1.96: 94 % of 10,000 images, ± 0.47 points."""
    low, high = evaluation.accuracy_interval(0.94, 10_000)
    z, n, p = 1.959964, 10_000, 0.94
    center = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert (low, high) == pytest.approx((center - half, center + half))
    assert (high - low) / 2 == pytest.approx(0.0047, abs=1e-4)


def test_an_accuracy_of_one_has_an_interval():
    low, high = evaluation.accuracy_interval(1.0, 10)
    assert 0.7 < low < 0.75
    assert high == pytest.approx(1.0)


@pytest.mark.parametrize(("accuracy", "images"), [(0.5, 0), (94.0, 100), (1.01, 100), (-0.1, 10)])
def test_an_accuracy_outside_0_to_1_or_zero_images_is_refused(accuracy, images):
    with pytest.raises(ValueError, match="images >= 1"):
        evaluation.accuracy_interval(accuracy, images)


def test_the_interval_of_a_mean_uses_students_t():
    """1, 2, 3 have standard deviation 1; t is 4.303 for two degrees of freedom."""
    low, high = evaluation.mean_interval([1.0, 2.0, 3.0])
    half = 4.302653 / math.sqrt(3)
    assert (low, high) == pytest.approx((2 - half, 2 + half))


def test_one_seed_has_no_interval():
    with pytest.raises(ValueError, match="at least 2 values, got 1"):
        evaluation.mean_interval([0.9])
    evaluation.mean_interval([0.9, 0.9])


def test_the_pareto_front_has_models_more_accurate_than_all_cheaper_ones():
    accuracies = {"a": 0.90, "b": 0.91, "c": 0.91, "d": 0.95, "e": 0.94, "f": 0.96}
    costs = {"a": 10, "b": 10, "c": 20, "d": 30, "e": 35, "f": 40}
    assert evaluation.pareto_front(accuracies, costs) == ["b", "d", "f"]
    assert evaluation.pareto_front({}, {}) == []
    frame = pd.DataFrame({"accuracy": accuracies, "cost": costs})
    assert evaluation.pareto_front(frame["accuracy"], frame["cost"]) == ["b", "d", "f"]


def test_the_number_of_seeds_matches_cohens_table():
    """Cohen's table 2.4.1: differences of one standard deviation, and of half of it."""
    assert evaluation.seeds_needed(0.2, 0.2) == 17
    assert evaluation.seeds_needed(-0.1, 0.2) == 64
    assert evaluation.seeds_needed(0.2, 0.2, power=0.95) == 27
    # for large effects, every degree of freedom counts
    assert [evaluation.seeds_needed(effect, 1.0) for effect in (2.0, 4.0, 10.0)] == [6, 3, 2]
    assert evaluation.seeds_needed(0.5, 0.0) == 2  # one value has no standard deviation


@pytest.mark.parametrize("difference", [0.2, 0.3, 0.5, 1.0])
def test_the_number_of_seeds_reaches_the_power_and_one_less_does_not(difference):
    """Simulated: in 80 % of 20,000 pairs of samples, a t-test finds the difference."""
    from scipy.stats import ttest_ind

    def power(n: int) -> float:
        rng = np.random.default_rng(0)
        first, second = (rng.normal(mean, 0.3, (20_000, n)) for mean in (0, difference))
        return (ttest_ind(first, second, axis=1).pvalue < 0.05).mean()

    n = evaluation.seeds_needed(difference, 0.3)
    assert power(n) > 0.8 - 0.01
    assert power(n - 1) < 0.8 + 0.01


@pytest.mark.parametrize(
    "wrong", [(0.0, 0.1, 0.8), (0.1, -0.1, 0.8), (0.1, 0.1, 1.0), (0.1, 0.1, 0.0)]
)
def test_a_difference_of_0_and_impossible_values_are_refused(wrong):
    difference, deviation, power = wrong
    message = f"Expected difference.* got {difference}, {deviation}, {power}\\.$"
    with pytest.raises(ValueError, match=message):
        evaluation.seeds_needed(difference, deviation, power=power)
