from dataclasses import replace

import pytest
import torch

from helpers import data, labels, training
from helpers.data import Split
from helpers.labels import OutOfSamplePredictions, predict_out_of_sample

CPU = torch.device("cpu")
RECIPE = replace(training.find_recipe("sprint", "mnist"), epochs=3, batch_size=16, precision="float32")


def ask(labelled, test, folder, **changed):
    settings = {"keep": folder, "folds": 3, "seeds": (0, 1), "k": 3, "where": CPU} | changed
    return predict_out_of_sample(labelled, test, data.MNIST, RECIPE, **settings)


def test_the_judges_of_an_image_have_not_seen_its_label(tiny, tmp_path):
    """A label that contradicts its image is learned by heart by its own model, and by no other."""
    labels = tiny.targets.clone()
    labels[:2] = 1 - labels[:2]
    judged, tested = ask(Split(tiny.images, labels), tiny[:10], tmp_path)
    assert judged.probabilities.shape == judged.votes.shape == (2, 70, 10)
    assert tested.probabilities.shape == tested.votes.shape == (6, 10, 10)
    assert torch.equal(judged.mean.argmax(dim=1), tiny.targets)
    assert torch.equal(judged.votes.mean(dim=0).argmax(dim=1), tiny.targets)
    assert torch.equal(tested.mean.argmax(dim=1), tiny.targets[:10])
    torch.testing.assert_close(judged.probabilities.sum(dim=2), torch.ones(2, 70))


def test_folds_are_divided_anew_for_each_seed_and_have_their_share_of_each_class(
    tiny, tmp_path, monkeypatch
):
    held_out = []

    def note(train, unseen, *_, **__):
        held_out.append(unseen[0])
        assert abs(int((unseen[0].targets == 0).sum()) - len(unseen[0]) / 2) <= 1
        assert len(train) + len(unseen[0]) == 70
        n = [len(split) for split in unseen]
        return dict(
            zip(("held_out", "test"), (torch.full((2, m, 10), 0.1) for m in n), strict=True)
        )

    monkeypatch.setattr(cross_validation, "_ask", note)
    ask(tiny, tiny[:10], tmp_path)
    assert sum(map(len, held_out)) == 2 * 70
    assert not torch.equal(held_out[0].images, held_out[3].images)


def test_an_audit_that_was_stopped_goes_on(tiny, tmp_path, monkeypatch):
    whole = ask(tiny, tiny[:10], tmp_path / "unbroken")
    real, asked = labels._train_and_predict, []

    def stop_at_the_third(*arguments, **settings):
        asked.append(settings["seed"])
        if len(asked) == 3:
            raise KeyboardInterrupt
        return real(*arguments, **settings)

    monkeypatch.setattr(cross_validation, "_ask", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        ask(tiny, tiny[:10], tmp_path / "broken")
    resumed = ask(tiny, tiny[:10], tmp_path / "broken")
    assert len(asked) == 7  # six models, and the one that was stopped
    for before, after in zip(whole, resumed, strict=True):
        assert torch.equal(before.probabilities, after.probabilities)
        assert torch.equal(before.votes, after.votes)


def test_other_labels_or_settings_are_another_audit(tiny, tmp_path):
    ask(tiny, tiny[:10], tmp_path, seeds=(0,))
    ask(tiny, tiny[:10], tmp_path, seeds=(0,))
    assert len(list(tmp_path.iterdir())) == 1
    ask(tiny, tiny[:10], tmp_path, seeds=(0,), folds=2)
    flipped = tiny.targets.clone()
    flipped[0] = 1 - flipped[0]
    ask(Split(tiny.images, flipped), tiny[:10], tmp_path, seeds=(0,))
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("changed", ["recipe", "test", "pixel", "k", "where"])
def test_what_decides_an_opinion_is_in_the_name_of_its_folder(tiny, tmp_path, monkeypatch, changed):
    monkeypatch.setattr(
        cross_validation,
        "_ask",
        lambda _, unseen, *__, **___: dict(
            zip(("held_out", "test"), (torch.zeros(2, len(s), 10) for s in unseen), strict=True)
        ),
    )
    settings = {"keep": tmp_path, "folds": 2, "seeds": (0,), "k": 3, "where": CPU}
    predict_out_of_sample(tiny, tiny[:10], data.MNIST, RECIPE, **settings)
    recipe, test = RECIPE, tiny[:10]
    if changed == "recipe":
        recipe = replace(RECIPE, learning_rate=0.01)
    elif changed == "test":
        test = tiny[:11]
    elif changed == "pixel":  # in the middle, where a printed tensor has dots
        test = Split(test.images.clone(), test.targets)
        test.images[5, 0, 14, 14] += 1
    else:
        settings[changed] = {"k": 4, "where": torch.device("cpu", 0)}[changed]
    predict_out_of_sample(tiny, test, data.MNIST, recipe, **settings)
    names = [path.name for path in tmp_path.iterdir()]
    assert len(set(names)) == 2
    assert all(len(name) == len("mnist-") + 12 for name in names)


def test_after_a_change_of_the_code_nothing_old_is_trusted(tiny, tmp_path, monkeypatch):
    ask(tiny, tiny[:10], tmp_path, seeds=(0,))
    monkeypatch.setattr(cross_validation, "_code", lambda: ["another"])
    ask(tiny, tiny[:10], tmp_path, seeds=(0,))
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(("progress", "watched", "shown"), [
    (None, True, True), (None, False, False), (True, False, True), (False, True, False),
])  # fmt: skip
def test_a_bar_counts_the_models_where_somebody_watches(
    tiny, tmp_path, monkeypatch, capsys, progress, watched, shown
):
    monkeypatch.setattr(labels.device, "somebody_watches", lambda: watched)
    ask(tiny, tiny[:10], tmp_path, seeds=(0,), progress=progress)
    told = capsys.readouterr().err
    assert ("3/3" in told or "/3 [" in told) == shown
    assert (" models" in told) == shown
    assert "images" not in told


def test_an_interrupted_training_is_no_opinion(tiny, tmp_path, monkeypatch):
    train_on = labels.train_on

    def interrupted(*arguments, **settings):
        model, history = train_on(*arguments, **settings)
        history.interrupted = True
        return model, history

    monkeypatch.setattr(cross_validation, "train_on", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ask(tiny, tiny[:10], tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize("settings", [{"folds": 1}, {"seeds": ()}])
def test_one_fold_or_no_seed_is_refused(tiny, tmp_path, settings):
    with pytest.raises(ValueError, match="at least 2 folds and a seed"):
        ask(tiny, tiny, tmp_path, **settings)


def test_the_mean_is_over_the_judges():
    opinions = OutOfSamplePredictions(torch.tensor([[[1.0, 0.0]], [[0.5, 0.5]]]), torch.zeros(2, 1, 2))
    assert opinions.mean.tolist() == [[0.75, 0.25]]
