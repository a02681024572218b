import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import helpers
from helpers import data, training
from helpers.data import Split
from helpers.labels import OutOfSamplePredictions, cross_validation, predict_out_of_sample
from helpers.messages import progress_bar

CPU = torch.device("cpu")
RECIPE = replace(
    training.find_recipe("sprint", "mnist"), epochs=3, batch_size=16, precision="float32"
)


def predict(labeled, test, cache_dir, **changed):
    settings = {"cache_dir": cache_dir, "folds": 3, "seeds": (0, 1), "k": 3, "device": CPU}
    return predict_out_of_sample(labeled, test, data.MNIST, RECIPE, **settings | changed)


def constant(_, held_out_splits, spec, *__, **___):
    """Replaces training and prediction."""
    classes = len(spec.class_names)
    return {
        name: torch.full((2, len(split), classes), 0.1) for name, split in held_out_splits.items()
    }


def test_no_prediction_comes_from_a_model_that_was_trained_on_the_label(tiny, tmp_path):
    """Only a model that was trained on a wrong label would repeat it."""
    wrong = tiny.targets.clone()
    wrong[:2] = 1 - wrong[:2]
    labeled, tested = predict(Split(tiny.images, wrong), tiny[:10], tmp_path)
    assert labeled.probabilities.shape == labeled.votes.shape == (2, 70, 10)
    assert tested.probabilities.shape == tested.votes.shape == (6, 10, 10)
    assert torch.equal(labeled.mean.argmax(dim=1), tiny.targets)
    assert torch.equal(labeled.votes.mean(dim=0).argmax(dim=1), tiny.targets)
    assert torch.equal(tested.mean.argmax(dim=1), tiny.targets[:10])
    torch.testing.assert_close(labeled.probabilities.sum(dim=2), torch.ones(2, 70))


def test_each_seed_has_other_folds_and_each_fold_its_share_of_each_class(
    tiny, tmp_path, monkeypatch
):
    held_out = []

    def record(train, held_out_splits, *_, **__):
        held_out.append(held_out_splits["held_out"])
        assert abs(int((held_out[-1].targets == 0).sum()) - len(held_out[-1]) / 2) <= 1
        assert len(train) + len(held_out[-1]) == 70
        return constant(train, held_out_splits, data.MNIST)

    monkeypatch.setattr(cross_validation, "_train_and_predict", record)
    predict(tiny, tiny[:10], tmp_path)
    assert sum(map(len, held_out)) == 2 * 70
    assert not torch.equal(held_out[0].images, held_out[3].images)


def test_a_stopped_audit_resumes_with_the_same_result(tiny, tmp_path, monkeypatch):
    uninterrupted = predict(tiny, tiny[:10], tmp_path / "uninterrupted")
    real, trained = cross_validation._train_and_predict, []

    def stop_at_the_third(*arguments, **settings):
        trained.append(settings["seed"])
        if len(trained) == 3:
            raise KeyboardInterrupt
        return real(*arguments, **settings)

    monkeypatch.setattr(cross_validation, "_train_and_predict", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        predict(tiny, tiny[:10], tmp_path / "broken")
    resumed = predict(tiny, tiny[:10], tmp_path / "broken")
    assert len(trained) == 7  # six models, and the one that was stopped
    for before, after in zip(uninterrupted, resumed, strict=True):
        assert torch.equal(before.probabilities, after.probabilities)
        assert torch.equal(before.votes, after.votes)


@pytest.mark.parametrize(
    "changed",
    ["recipe", "label", "test", "pixel", "classes", "mean", "folds", "k", "device", "torch"],
)
def test_the_cache_depends_on_all_that_decides_predictions(tiny, tmp_path, monkeypatch, changed):
    monkeypatch.setattr(cross_validation, "_train_and_predict", constant)
    settings = {"cache_dir": tmp_path, "folds": 2, "seeds": (0,), "k": 3, "device": CPU}
    notes = {"source": "elsewhere", "measured": "twice", "duration": "long"}  # these have no effect
    described = replace(RECIPE, **notes, train_on_validation=True)
    for recipe in (RECIPE, described):
        predict_out_of_sample(tiny, tiny[:10], data.MNIST, recipe, **settings)
    (first,) = tmp_path.iterdir()
    recipe, labeled, test, spec = RECIPE, tiny, tiny[:10], data.MNIST
    if changed == "recipe":
        recipe = replace(RECIPE, learning_rate=0.01)
    elif changed == "label":
        labeled = Split(tiny.images, tiny.targets.clone())
        labeled.targets[0] = 1 - labeled.targets[0]
    elif changed == "test":
        test = tiny[:11]
    elif changed == "pixel":  # in the middle, which a printed tensor abbreviates
        test = Split(test.images.clone(), test.targets)
        test.images[5, 0, 14, 14] += 1
    elif changed == "classes":
        spec = replace(spec, class_names=spec.class_names[:5])
    elif changed == "mean":
        spec = replace(spec, mean=0.5)
    elif changed == "torch":
        monkeypatch.setattr(torch, "__version__", "another")
    else:
        settings[changed] = {"folds": 3, "k": 4, "device": torch.device("meta")}[changed]
    predict_out_of_sample(labeled, test, spec, recipe, **settings)
    (second,) = set(tmp_path.iterdir()) - {first}
    assert len(second.name) == len(first.name) == len("mnist-") + 12


@pytest.mark.parametrize(
    ("file", "folders"),
    [
        ("data/augmentation.py", 2),
        ("models/networks.py", 2),
        ("evaluation/neighbors.py", 2),
        ("training/loop.py", 2),
        ("training/recipes.toml", 2),
        ("labels/cross_validation.py", 2),
        ("device.py", 2),
        ("plotting/charts.py", 1),
    ],
)
def test_the_cache_depends_on_the_code_that_decides_predictions(
    tiny, tmp_path, monkeypatch, file, folders
):
    package = tmp_path / "helpers"
    source = Path(helpers.__file__).parent
    shutil.copytree(source, package, ignore=shutil.ignore_patterns("weights", "__pycache__"))
    monkeypatch.setattr(cross_validation, "__file__", str(package / "labels/cross_validation.py"))
    monkeypatch.setattr(cross_validation, "_train_and_predict", constant)
    predict(tiny, tiny[:10], tmp_path / "cache")
    code = (package / file).read_text()
    (package / file).write_text(f"{code}# changed\n")
    predict(tiny, tiny[:10], tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == folders


@pytest.mark.parametrize(("progress", "interactive", "shown"), [
    (None, True, True), (None, False, False), (True, False, True), (False, True, False),
])  # fmt: skip
def test_one_bar_counts_epochs_and_searches_if_the_session_is_interactive(
    tiny, tmp_path, monkeypatch, capsys, progress, interactive, shown
):
    monkeypatch.setattr(helpers.messages, "is_interactive", lambda: interactive)
    predict(tiny, tiny[:10], tmp_path, seeds=(0,), progress=progress)
    printed = capsys.readouterr().err
    # three epochs and two neighbor searches for each of the models
    assert bool(re.search(r"/15 \[", printed)) == shown
    assert (" steps" in printed) == shown
    assert ("training" in printed) == shown
    assert ("searching neighbors" in printed) == shown
    assert "images" not in printed
    predict(tiny, tiny[:10], tmp_path, seeds=(0,), progress=progress)  # nothing is left to do
    assert ("audit: 100%" in capsys.readouterr().err) == shown


@pytest.mark.parametrize(("progress", "n"), [(False, 15), (True, 30)])
def test_the_bar_starts_with_cached_steps_and_ends_full(tiny, tmp_path, monkeypatch, progress, n):
    predict(tiny, tiny[:10], tmp_path, seeds=(0,))
    bars = []

    def keep(*arguments, **options):
        bars.append(progress_bar(*arguments, **options))
        return bars[-1]

    monkeypatch.setattr(cross_validation, "progress_bar", keep)
    predict(tiny, tiny[:10], tmp_path, seeds=(0, 1), progress=progress)
    (bar,) = bars
    assert bar.total == 30
    assert bar.n == n  # a hidden bar keeps its initial value
    assert not progress or bar.initial == 15


def test_a_stopped_training_is_not_cached(tiny, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.optim.SGD, "step", interrupt)
    with pytest.raises(KeyboardInterrupt):
        predict(tiny, tiny[:10], tmp_path)
    assert not list(tmp_path.rglob("*.tensors"))


def test_a_damaged_prediction_is_recomputed(tiny, tmp_path):
    first, _ = predict(tiny, tiny[:10], tmp_path)
    path = min(tmp_path.rglob("*.tensors"))
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    again, _ = predict(tiny, tiny[:10], tmp_path)
    assert torch.equal(again.probabilities, first.probabilities)
    assert path.read_bytes() == content


@pytest.mark.parametrize("settings", [{"folds": 1}, {"seeds": ()}])
def test_one_fold_or_no_seed_is_refused(tiny, tmp_path, settings):
    with pytest.raises(ValueError, match="at least 2 folds and 1 seed"):
        predict(tiny, tiny, tmp_path, **settings)


def test_the_mean_is_over_the_models():
    predictions = OutOfSamplePredictions(
        torch.tensor([[[1.0, 0.0]], [[0.5, 0.5]]]), torch.zeros(2, 1, 2)
    )
    assert predictions.mean.tolist() == [[0.75, 0.25]]
