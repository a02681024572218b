"""Files of older versions are read correctly, or refused with advice; never misread.

Under fixtures/, `before-subpackages` was written by the last commit before the package had
subpackages (25 November 2026), and `format-2` by the last one with training checkpoints of format
2 (28 November): by `save`, `fit` and the review of labels of that time.
"""

import shutil

import pytest
import torch

from helpers import data, device, evaluation, headless, labels, models, runs, training
from helpers.headless import Trial
from tests import halves
from tests.conftest import FIXTURES

OLD, FORMAT_2 = FIXTURES / "before-subpackages", FIXTURES / "format-2"


class Stopped(Exception):
    """Simulates a power cut."""


def train(folder=None, stop_after=None):
    """The training whose checkpoint after two of four epochs is in `format-2`."""
    device.seed_everything(3)
    model = models.build("tiny_vgg", hidden_units=4, num_classes=2, mean=0.4, std=0.3)
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, nesterov=True)
    tiny, seen = halves.images(70), []

    def on_epoch(record):
        seen.append(record.epoch)
        if record.epoch == stop_after:
            raise Stopped

    history = training.fit(
        model, optimizer, tiny, validation=tiny[:20], epochs=4, batch_size=16,
        scheduler=torch.optim.lr_scheduler.OneCycleLR(
            optimizer, 0.05, total_steps=20, cycle_momentum=False
        ),
        augment=data.Augmentation(shift=2), checkpoint=folder, on_epoch=on_epoch,
    )  # fmt: skip
    return model.state_dict(), history, seen


def test_a_training_saved_in_format_2_resumes_as_if_it_had_not_stopped(tmp_path):
    (old,) = (FORMAT_2 / "training").iterdir()
    assert torch.load(old, weights_only=True)["format"] == 2
    shutil.copy(old, tmp_path)
    resumed, history, seen = train(tmp_path)
    uninterrupted, expected, _ = train()
    assert seen == [3, 4]
    # the first two epochs were computed on another machine, which may round differently
    for name, weights in uninterrupted.items():
        torch.testing.assert_close(resumed[name], weights, rtol=1e-3, atol=1e-4, msg=name)
    for one, other in zip(history.epochs, expected.epochs, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-3)
        assert one.learning_rate == pytest.approx(other.learning_rate)


def test_resuming_from_format_2_equals_resuming_from_the_current_format(tmp_path):
    """The third epoch is the same from the old file and from a new one."""
    (old,) = (FORMAT_2 / "training").iterdir()
    shutil.copy(old, tmp_path)
    with pytest.raises(Stopped):
        train(tmp_path, stop_after=3)
    from_old, history, seen = train(tmp_path)
    assert seen == [4]
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    shutil.copy(old, tmp_path)
    again, expected, _ = train(tmp_path)
    assert all(torch.equal(from_old[name], weights) for name, weights in again.items())
    assert history.epochs[2].train_loss == expected.epochs[2].train_loss


def test_a_checkpoint_of_format_2_for_another_training_is_refused(tmp_path):
    (old,) = (FORMAT_2 / "training").iterdir()
    shutil.copy(old, tmp_path)
    model = models.build("linear", num_classes=2, mean=0.4, std=0.3)
    with pytest.raises(training.ResumeError, match=r"belongs to another .* there, ") as caught:
        training.fit(
            model, torch.optim.SGD(model.parameters(), 0.05), halves.images(70), epochs=4,
            batch_size=16, checkpoint=tmp_path,
        )  # fmt: skip
    assert "\n" not in str(caught.value)
    assert "delete it to train from the beginning" in str(caught.value)


def test_runs_from_before_the_subpackages_are_listed_with_current_states():
    frame = runs.collect(OLD / "records").set_index(["run", "notebook"])
    finished = frame.loc[("20261125-120000-quick", "02_train_mnist")]
    assert (finished["state"], finished["epochs"], finished["seconds"]) == ("finished", 2, 2.24)
    assert finished["parameters.seed"] == 3
    assert finished["measured.test_accuracy"] == 1.0
    assert frame.loc[("20261125-120000-quick", "03_train_fashion_mnist"), "state"] == "stopped"
    late = frame.loc[("20261125-120000-quick", "04_error_analysis")]
    assert (late["state"], late["message"]) == ("stopped", "by Ctrl-C")
    audit = frame.loc[("20261125-130000-audit", "audit_mnist")]
    assert (audit["parameters.folds"], audit["state"]) == (3, "finished")
    assert len(frame) == 5
    assert len(runs.overview(frame.reset_index(), OLD / "records")) == 5


def test_finished_notebooks_from_before_the_subpackages_are_recognized():
    folder = OLD / "records" / "20261125-120000-quick"
    done = headless.finished_notebooks(folder)
    assert {name: result.state for name, result in done.items()} == {
        "02_train_mnist": "finished",
        "03_train_fashion_mnist": "finished",
    }


def test_a_trial_of_older_code_is_listed_but_does_not_count_as_finished():
    trial = Trial("02_train_mnist", {"epochs": 1, "seed": 7})
    assert headless.finished_trial(trial, OLD / "records") is None
    (record,) = runs.read_records(OLD / "records" / "sweeps" / "0123456789ab", levels=1)
    assert (record["parameters"]["seed"], record["measured"]["test_accuracy"]) == (7, 0.75)


def test_weights_from_before_the_subpackages_predict_as_before():
    """The logits equal those computed by the version that wrote the weights."""
    path = OLD / "records" / "20261125-120000-quick" / "02_train_mnist" / "weights.safetensors"
    predictions = evaluation.predict(models.load(path, dataset="mnist"), halves.images(70)[:20])
    first = [22.1510, 17.4856, -4.0925, -2.6903, -6.2950, -3.6641, -6.9069, -6.7909, -5.2915]
    assert predictions.logits[0, :9].tolist() == pytest.approx(first, abs=1e-2)
    assert evaluation.accuracy(predictions) == 1.0


def test_a_run_of_format_2_has_its_weights_history_and_predictions():
    folder = FORMAT_2 / "records" / "20261128-120000-quick"
    frame = runs.load_run(folder).set_index("notebook")
    assert frame["state"].to_dict() == {
        "02_train_mnist": "finished",
        "03_train_fashion_mnist": "stopped",
    }
    assert frame.loc["02_train_mnist", "dataset"] == "halves"
    path = folder / "02_train_mnist" / "weights.safetensors"
    assert models.read_metadata(path)["notes"]["class_names"] == ["left", "right"]
    predictions = evaluation.predict(models.load(path), halves.images(70)[:20])
    lines = (path.parent / "predictions.csv").read_text().splitlines()
    written = [int(line.split(",")[1]) for line in lines[1:]]
    assert predictions.predicted.tolist() == written


@pytest.mark.parametrize(
    "records", [OLD / "records", FORMAT_2 / "records"], ids=["before-subpackages", "format-2"]
)
def test_old_runs_have_pages(records, tmp_path):
    shutil.copytree(records, tmp_path, dirs_exist_ok=True)
    for folder in sorted(path for path in tmp_path.iterdir() if path.name != "sweeps"):
        assert headless.write_pages(folder).is_file()
    assert "02_train_mnist" in headless.write_runs_index(tmp_path).read_text()


def test_decisions_from_before_the_subpackages_are_read(tmp_path):
    decisions = labels.load_decisions(OLD / "decisions.csv")
    assert decisions.reset_index().loc[:, "image":].to_dict("list") == {
        "image": [5, 7], "label": ["0", "1"], "suggested": ["2", "3"],
        "decision": ["wrong", "ambiguous"],
    }  # fmt: skip
