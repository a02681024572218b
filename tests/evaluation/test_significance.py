import math

import numpy as np
import pandas as pd
import pytest
import torch

from helpers import evaluation


def bits(text: str) -> torch.Tensor:
    return torch.tensor([letter == "1" for letter in text])


def test_only_images_on_which_two_models_differ_count():
    """Six tosses, all of them heads: twice 1/64."""
    paired = evaluation.mcnemar(bits("1111000000"), bits("1111111111"))
    assert (paired.only_first, paired.only_second, paired.images) == (0, 6, 10)
    assert paired.p_value == pytest.approx(2 / 2**6)
    assert paired.difference == pytest.approx(0.6)


def test_the_test_is_the_sum_over_coins_that_fell_no_likelier():
    """Against the binomial distribution, summed by hand: 2 of 10, or 8 of 10, or farther out."""
    first, second = bits("11" + "0" * 8 + "1" * 90), bits("00" + "1" * 8 + "1" * 90)
    paired = evaluation.mcnemar(first, second)
    expected = 2 * sum(math.comb(10, k) for k in range(3)) / 2**10
    assert paired.p_value == pytest.approx(expected)
    assert paired.difference == pytest.approx(0.06)
    turned = evaluation.mcnemar(second, first)
    assert (turned.p_value, turned.difference) == pytest.approx((expected, -0.06))
    assert (turned.only_first, turned.only_second) == (8, 2)


def test_models_that_never_differ_are_not_told_apart():
    paired = evaluation.mcnemar(bits("1010"), bits("1010"))
    assert (paired.p_value, paired.difference) == (1.0, 0.0)


def test_who_is_right_goes_into_a_record_and_comes_back():
    """1010 0000 1 in bytes: 0xA0, 0x80."""
    right = bits("101000001")
    assert evaluation.pack_bits(right) == "oIA="
    assert torch.equal(evaluation.unpack_bits("oIA=", 9), right)


@pytest.mark.parametrize(("first", "second"), [("101", "10"), ("", "")])
def test_other_images_are_refused(first, second):
    with pytest.raises(ValueError, match="the same length"):
        evaluation.mcnemar(bits(first), bits(second))
    with pytest.raises(ValueError, match=r"\(1, 2\)"):
        evaluation.mcnemar(bits("10")[None], bits("10")[None])


def test_the_interval_of_an_accuracy_is_wilson_s():
    """The formula of the paper, with z = 1.96: 94 % of 10,000 images, ± 0.47 points."""
    low, high = evaluation.accuracy_interval(0.94, 10_000)
    z, n, p = 1.959964, 10_000, 0.94
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert (low, high) == pytest.approx((centre - half, centre + half))
    assert (high - low) / 2 == pytest.approx(0.0047, abs=1e-4)


def test_all_right_is_not_certainty():
    low, high = evaluation.accuracy_interval(1.0, 10)
    assert 0.7 < low < 0.75
    assert high == pytest.approx(1.0)


@pytest.mark.parametrize(("accuracy", "images"), [(0.5, 0), (94.0, 100), (-0.1, 10)])
def test_what_is_no_fraction_of_images_is_refused(accuracy, images):
    with pytest.raises(ValueError, match="at least 1 image"):
        evaluation.accuracy_interval(accuracy, images)


def test_the_interval_of_a_mean_is_student_s():
    """Three values 1 apart: sd 1, and t = 4.303 for two degrees of freedom."""
    low, high = evaluation.mean_interval([1.0, 2.0, 3.0])
    half = 4.302653 / math.sqrt(3)
    assert (low, high) == pytest.approx((2 - half, 2 + half))


def test_one_seed_has_no_interval():
    with pytest.raises(ValueError, match="at least 2 values, got 1"):
        evaluation.mean_interval([0.9])
    evaluation.mean_interval([0.9, 0.9])


def test_the_frontier_has_who_is_better_than_everybody_cheaper():
    accuracies = {
        "dear": 0.95,
        "best": 0.96,
        "waste": 0.94,
        "cheap": 0.90,
        "twin": 0.91,
        "as": 0.91,
    }
    prices = {"dear": 30, "best": 40, "waste": 35, "cheap": 10, "twin": 10, "as": 20}
    assert evaluation.pareto_front(accuracies, prices) == ["twin", "dear", "best"]
    assert evaluation.pareto_front({}, {}) == []
    columns = pd.DataFrame({"accuracy": accuracies, "price": prices})
    assert evaluation.pareto_front(columns["accuracy"], columns["price"]) == ["twin", "dear", "best"]


def test_so_many_seeds_show_a_difference():
    """As in Cohen's table 2.4.1: differences of one deviation, and of half of it."""
    assert evaluation.seeds_needed(0.2, 0.2) == 17
    assert evaluation.seeds_needed(-0.1, 0.2) == 64
    assert evaluation.seeds_needed(0.2, 0.2, power=0.95) == 27
    assert evaluation.seeds_needed(0.5, 0.0) == 2  # fewer have no spread


@pytest.mark.parametrize("difference", [0.2, 0.3, 0.5, 1.0])
def test_the_number_of_seeds_is_enough_when_it_is_tried_and_one_less_is_not(difference):
    """Of pairs of samples of that size a t-test tells four in five apart, of few seeds too."""
    from scipy.stats import ttest_ind

    def found(n: int) -> float:
        chance = np.random.default_rng(0)
        first, second = (chance.normal(mean, 0.3, (20_000, n)) for mean in (0, difference))
        return (ttest_ind(first, second, axis=1).pvalue < 0.05).mean()

    n = evaluation.seeds_needed(difference, 0.3)
    assert found(n) > 0.8 - 0.01
    assert found(n - 1) < 0.8 + 0.01


@pytest.mark.parametrize("wrong", [(0.0, 0.1, 0.8), (0.1, -0.1, 0.8), (0.1, 0.1, 1.0)])
def test_no_difference_needs_no_seeds(wrong):
    difference, deviation, power = wrong
    with pytest.raises(ValueError, match="Wanted a difference"):
        evaluation.seeds_needed(difference, deviation, power=power)
