"""The bands that the notebooks claim follow from the records, and have the stated coverage."""

import ast
import json

import pytest

from benchmarks import bands
from helpers import claims, data, headless

SETTINGS = {
    "epochs": 5, "batch_size": 64, "learning_rate": 0.04, "momentum": 0.9,
    "train_images": 55000, "shift": 1,
}  # fmt: skip


def record(value: float, seed: int = 0, threads: int = 1, **changed: object) -> dict:
    return {
        "notebook": "02_train_mnist",
        "parameters": SETTINGS | {"seed": seed, "something_else": seed} | changed,
        "measured": {"test_accuracy": value},
        "device": f"cpu, x86_64, {threads} threads",
        "finished": f"2026-11-2{seed}T10:00:00+00:00",
        "versions": {"torch": "2.14.1"},
    }


def test_a_band_spans_four_standard_deviations_on_each_side():
    # mean 0.98, standard deviation 0.001: 0.976 to 0.984
    values = [0.979, 0.98, 0.981]
    made = [record(value, seed, 1 + seed % 2) for seed, value in enumerate(values)]
    (band,) = bands.derive(made)
    assert band["name"] == "mnist tiny_vgg test accuracy"
    assert band["settings"] == SETTINGS
    assert band["lo"] == pytest.approx(0.976, abs=0.0011)
    assert band["lo"] <= 0.976
    assert band["hi"] == pytest.approx(0.984, abs=0.0011)
    assert band["hi"] >= 0.984
    assert (band["mean"], band["sd"], band["n"]) == (0.98, 0.001, 3)
    assert band["what"] == "seeds 0 to 2; cpu, x86_64, 1 threads; cpu, x86_64, 2 threads"
    assert band["date"] == "2026-11-22"


def test_the_upper_end_of_a_band_is_at_most_1():
    (band,) = bands.derive([record(1.0), record(0.99, 1)])
    assert band["hi"] == 1.0


def test_other_settings_have_another_band():
    made = [record(v, s, epochs=e) for e in (1, 5) for s, v in enumerate([0.9, 0.91])]
    assert [band["settings"]["epochs"] for band in bands.derive(made)] == [1, 5]


def test_bands_not_measured_again_are_kept():
    def band(name, epochs, lo):
        return {"name": name, "settings": {"epochs": epochs}, "lo": lo}

    earlier = [band("a", 1, 0.1), band("a", 5, 0.2)]
    merged = bands.merge(earlier, [band("a", 5, 0.3), band("b", 1, 0.4)])
    assert merged == [band("a", 1, 0.1), band("a", 5, 0.3), band("b", 1, 0.4)]


@pytest.mark.parametrize("dataset", data.SPECS)
def test_the_shipped_weights_have_their_band(dataset):
    lo, hi = claims.band(f"{dataset} shipped tiny_vgg test accuracy", checkpoint="")
    assert hi - lo == pytest.approx(2 * bands.OTHER_PROCESSORS / 10_000)
    assert lo > 0.8


@pytest.mark.parametrize("profile", ["quick", "standard"])
@pytest.mark.parametrize("notebook", ["02_train_mnist", "03_train_fashion_mnist"])
def test_the_claims_of_the_notebooks_have_bands(notebook, profile):
    """A changed default, or a misspelled setting, must not disable the claim."""
    known = headless.parameters_of(headless.find_notebook(notebook))
    given = {name: ast.literal_eval(about["default"]) for name, about in known.items()}
    given |= headless.PROFILES[profile].get(notebook, {})
    name, settings = bands.CLAIMED[notebook, "test_accuracy"]
    lo, hi = claims.band(name, **{setting: given[setting] for setting in settings})
    assert 0.6 < lo < hi <= 1


def test_the_bands_in_use_come_from_five_seeds_on_one_thread_and_on_two():
    entries = json.loads(claims.BANDS.read_text())["bands"]
    trained = [entry for entry in entries if "shipped" not in entry["name"]]
    assert {entry["name"] for entry in trained} == {name for name, _ in bands.CLAIMED.values()}
    for entry in trained:
        assert entry["n"] >= 10
        assert "1 threads" in entry["what"]
        assert "2 threads" in entry["what"]
        assert entry["lo"] <= entry["mean"] - 3.9 * entry["sd"]
        assert entry["hi"] >= min(1, entry["mean"] + 3.9 * entry["sd"])
