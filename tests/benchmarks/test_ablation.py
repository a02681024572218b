"""The ablation of notebook 5: each step changes one thing, and its results are recorded."""

import json
from dataclasses import asdict, replace

import pytest
import torch

from benchmarks import ablation, ablation_steps, costs, ensemble, publish
from benchmarks.ablation_steps import STEPS, Step
from helpers import data, evaluation, models, training
from helpers.data import Augmentation
from helpers.training import EpochRecord, History

RECORD = EpochRecord(1, 0.5, 0.9, 0.5, 0.9, 0.1, 1.0)


@pytest.fixture
def small(monkeypatch, tiny, tmp_path) -> Step:
    splits = data.Splits(train=tiny, validation=tiny[:20], test=tiny[20:], spec=data.MNIST)
    monkeypatch.setattr(data, "load_splits", lambda name: splits)
    recipe = training.Recipe(
        model="linear", epochs=2, batch_size=10, learning_rate=0.01, precision="float32",
        augmentation=Augmentation(shift=1), source="", measured="",
    )  # fmt: skip
    monkeypatch.setitem(training.RECIPES, ("small", "mnist"), recipe)
    monkeypatch.setattr(ablation, "KEEP", tmp_path / "kept")
    return Step("small", "", "", recipe, dataset="mnist", seeds=2, test=True)


def test_a_step_records_which_images_are_right(small, tiny, tmp_path):
    row = ablation.measure(small, 1, tmp_path)
    model = models.load(tmp_path / f"{row['key']}.safetensors", dataset="mnist")
    for name, split in (("validation", tiny[:20]), ("test", tiny[20:])):
        seen = evaluation.predict(model, split)
        assert row[name]["accuracy"] == round(evaluation.accuracy(seen), 5)
        right = evaluation.unpack_bits(row[name]["right"], len(split))
        assert torch.equal(right, seen.predicted == split.targets)
        several = evaluation.predict_tta(model, split, Augmentation(shift=1))
        assert row[f"{name}_tta"]["loss"] == round(evaluation.loss(several), 5)
    assert (row["seed"], row["epochs"], row["parameters"]) == (1, 2, 7_850)


def test_a_step_without_test_is_not_evaluated_on_the_test_set(small, tmp_path):
    row = ablation.measure(replace(small, test=False), 0, tmp_path)
    assert {name for name in row if "test" in name} == set()
    assert "validation of views" not in row


def test_a_recipe_trained_on_validation_is_not_evaluated_on_it(small, tmp_path):
    refit = replace(small, recipe=replace(small.recipe, train_on_validation=True))
    row = ablation.measure(refit, 0, tmp_path)
    assert {"test", "test_tta"} <= set(row)
    assert not [name for name in row if "validation" in name]


def test_a_key_depends_on_the_settings_of_the_training(small):
    keys = {
        ablation.key(small, 0),
        ablation.key(small, 1),
        ablation.key(replace(small, dataset="fashion_mnist"), 0),
        ablation.key(replace(small, recipe=replace(small.recipe, epochs=3)), 0),
        ablation.key(replace(small, recipe=replace(small.recipe, augmentation=Augmentation())), 0),
    }
    assert len(keys) == 5
    annotated = replace(small.recipe, measured="99.99 %", source="elsewhere")
    assert ablation.key(replace(small, recipe=annotated, name="big", seeds=9), 0) == ablation.key(
        small, 0
    )


def test_only_missing_trainings_are_run(small, monkeypatch, tmp_path, capsys):
    class AtOnce:
        """A pool that runs each call at once, in this process."""

        def __init__(self, *_, **__) -> None: ...

        def shutdown(self, *, cancel_futures: bool) -> None:
            assert cancel_futures  # else hours of training would follow an error

        def submit(self, call, *arguments):
            from concurrent.futures import Future

            trained.append(arguments[1])
            future = Future()
            future.set_result(call(*arguments))
            return future

    (ablation.KEEP / ablation.key(small, 0)).mkdir(parents=True)
    trained: list[int] = []
    monkeypatch.setattr(ablation, "ProcessPoolExecutor", AtOnce)
    monkeypatch.setattr(ablation, "STEPS", [small])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    out = tmp_path / "ablation.json"
    options = {"only": None, "dataset": None, "jobs": 1, "out": out}
    ablation.main(**options)
    assert trained == [0, 1]
    first = json.loads(out.read_text())["trainings"]
    assert not (ablation.KEEP / first[0]["key"]).exists()  # deleted once it is recorded
    ablation.main(**options)
    assert trained == [0, 1]
    longer = replace(small, recipe=replace(small.recipe, epochs=3), seeds=1)
    monkeypatch.setattr(ablation, "STEPS", [longer])
    ablation.main(**options)
    assert trained == [0, 1, 0]
    second = json.loads(out.read_text())
    assert [row["epochs"] for row in second["trainings"]] == [3]
    assert second["past"] == first  # kept, since it took hours


def test_a_training_is_found_under_another_name_and_outlives_its_step(small):
    rows = {ablation.key(small, seed): {"key": ablation.key(small, seed)} for seed in (1, 0)}
    renamed = replace(small, name="big", change="in name")
    arranged = ablation.arranged(
        rows | {"gone": {"key": "gone", "step": "that is no more"}}, [renamed]
    )
    called = {"step": "big", "baseline": "", "change": "in name"}
    assert arranged["trainings"] == [
        {"key": ablation.key(small, seed)} | called for seed in range(2)
    ]
    assert arranged["past"] == [{"key": "gone", "step": "that is no more"}]


def test_each_step_has_a_baseline_and_differs_in_few_settings():
    known: dict[tuple[str, str], Step] = {}
    for step in STEPS:
        known[step.name, step.dataset] = step
        if not step.baseline:
            assert step == STEPS[0]
            continue
        # the ablation is on Fashion-MNIST, and the steps of MNIST are based on it
        baseline = known.get((step.baseline, step.dataset)) or known[step.baseline, "fashion_mnist"]
        assert baseline.name not in ablation_steps.BESIDE
        now, before = asdict(step.recipe), asdict(baseline.recipe)
        descriptive = {"source", "measured", "duration"}
        changed = {name for name in now if now[name] != before[name]} - descriptive
        if step.test:
            assert changed
        else:
            (settings,) = (new for name, _, new in ablation_steps.CHANGES if name == step.name)
            assert changed == set(settings), step.name
    without_test = [step for step in STEPS if not step.test]
    assert {step.recipe.epochs for step in without_test} == {8, 30}
    assert all(step.dataset == "fashion_mnist" for step in without_test)


def test_the_best_model_on_validation_is_shipped_with_its_card(small, monkeypatch, tmp_path, tiny):
    monkeypatch.setattr(publish, "KEEP", tmp_path / "kept")
    monkeypatch.setattr(models, "PRETRAINED", tmp_path / "weights")
    rows = [ablation.measure(small, seed, tmp_path / "kept") for seed in range(2)]
    rows[1]["validation"]["accuracy"] = 1.1
    monkeypatch.setattr(costs, "OUT", tmp_path / "costs.json")
    entry = {"step": "small", "dataset": "mnist", "epochs": 2, "seconds an epoch": 60}
    costs.OUT.write_text(json.dumps({"epochs": [entry]}))
    rows[1] |= {"processor": "an abacus", "date": "1 May 1900"}
    path = publish.publish("small", "mnist", rows)
    assert path == tmp_path / "weights" / "mnist" / "small.safetensors"
    notes = models.read_metadata(path)["notes"]
    assert notes["seed"] == 1
    seen = evaluation.predict(models.load(path), tiny[20:])
    assert notes["test_accuracy"] == evaluation.accuracy(seen)
    card = path.with_suffix(".md").read_text()
    right = int((seen.predicted == tiny[20:].targets).sum())
    assert f"**{100 * evaluation.accuracy(seen):.2f} %**, {right} of 50 images" in card
    assert publish.mean_and_spread(notes["test_accuracies"]) in card
    assert ", 2 minutes on one thread" in card
    longer = replace(small.recipe, epochs=3)
    monkeypatch.setitem(training.RECIPES, ("small", "mnist"), longer)
    with pytest.raises(ValueError, match=r"small on mnist, 3 epochs, has no cost yet: .*costs"):
        publish.cost("small", "mnist")
    for words in ("an abacus", "1 May 1900", "mean of 5 views", "--recipe small --seed 1", "MIT"):
        assert words in card
    assert card == publish.card(path)


def test_a_recipe_trained_on_validation_ships_its_first_seed(small, monkeypatch, tmp_path):
    refit = replace(small.recipe, train_on_validation=True)
    monkeypatch.setitem(training.RECIPES, ("small", "mnist"), refit)
    monkeypatch.setattr(publish, "KEEP", tmp_path / "kept")
    monkeypatch.setattr(models, "PRETRAINED", tmp_path / "weights")
    monkeypatch.setattr(publish, "cost", lambda *_: 60.0)
    step = replace(small, recipe=refit)
    rows = [ablation.measure(step, seed, tmp_path / "kept") for seed in range(2)]
    path = publish.publish("small", "mnist", rows)
    notes = models.read_metadata(path)["notes"]
    assert notes["seed"] == 0
    assert "validation_accuracy" not in notes
    card = path.with_suffix(".md").read_text()
    assert "by which these weights were chosen" not in card
    assert "trained on | 90 of the 60,000 training images" in card
    assert "trained on | all 60,000" in publish.card(with_notes(path, images=60_000))
    assert "those of seed 0" in card


def test_only_requested_models_with_all_seeds_are_shipped(small, monkeypatch, tmp_path):
    """`other` lacks a seed, and the recipe of `older` has changed since."""
    three = [
        replace(small, name=name, recipe=replace(small.recipe, epochs=epochs))
        for epochs, name in enumerate(("small", "other", "older"), start=2)
    ]
    monkeypatch.setattr(publish, "STEPS", [*three, plain(small)])
    monkeypatch.setattr(publish, "FRONTIER", [])
    for step in three:
        monkeypatch.setitem(training.RECIPES, (step.name, "mnist"), step.recipe)
    monkeypatch.setattr(publish, "RESULTS", tmp_path / "ablation.json")
    rows = [row_of(step, seed) for step in (*three, plain(small)) for seed in range(step.seeds)]
    rows[5]["key"] = "of before"
    (tmp_path / "ablation.json").write_text(json.dumps({"trainings": rows[:3] + rows[4:]}))
    shipped = []

    def shipping(name, dataset, rows):
        shipped.append((name, len(rows)))
        return publish.PROJECT / "README.md"

    monkeypatch.setattr(publish, "publish", shipping)
    publish.main(only=None)
    publish.main(only=["other", "older"])
    assert shipped == [("small", 2)]


def with_notes(path, **notes):
    """The same weights with other notes, as another file of the same name."""
    again = path.parent / "again" / path.name
    merged = models.read_metadata(path)["notes"] | notes
    return models.save(models.load(path), again, **merged)


def row_of(step: Step, seed: int) -> dict:
    named = {"step": step.name, "dataset": step.dataset, "seed": seed}
    return named | {"key": ablation.key(step, seed), "parameters": 7_850}


def plain(step: Step) -> Step:
    return replace(step, name="plain", recipe=replace(step.recipe, epochs=1), seeds=1, test=False)


def test_an_ensemble_is_the_mean_of_all_seeds(small, monkeypatch, tmp_path, tiny):
    """Untrained models, which disagree and are often wrong."""
    monkeypatch.setattr(ensemble, "KEEP", tmp_path)
    three = replace(small, seeds=3)
    monkeypatch.setattr(publish, "STEPS", [plain(small), three])
    monkeypatch.setattr(publish, "FRONTIER", [])
    monkeypatch.setattr(publish, "RESULTS", tmp_path / "ablation.json")
    torch.manual_seed(0)
    several, rows = [models.build("linear") for _ in range(3)], []
    for seed, model in enumerate(several):
        rows.append(row_of(three, seed))
        path = tmp_path / f"{rows[-1]['key']}.safetensors"
        models.save(model, path, dataset="mnist")
    (tmp_path / "ablation.json").write_text(json.dumps({"trainings": rows}))
    out = tmp_path / "ensemble.json"
    before = [{"step": name, "dataset": "mnist"} for name in ("small", "another")]
    out.write_text(json.dumps({"ensembles": before}))
    ensemble.main(only=["small"], out=out)
    another, updated = json.loads(out.read_text())["ensembles"]
    assert another == before[1]  # entries that were not requested stay
    assert (updated["models"], updated["parameters"]) == (3, 3 * 7_850)

    test = tiny[20:]
    total = sum(evaluation.predict(model, test).probabilities for model in several)
    right = total.argmax(dim=1) == test.targets
    assert torch.equal(evaluation.unpack_bits(updated["test"]["right"], 50), right)
    assert updated["test"]["accuracy"] == pytest.approx(right.double().mean().item())
    assert updated["test_tta"]["loss"] != updated["test"]["loss"]


def test_costs_come_from_the_second_epoch_on_an_eighth_of_data(small, monkeypatch, tmp_path):
    passes = []

    def train(recipe, splits, **_):
        passes.append((recipe.epochs, len(splits.train), len(splits.validation)))
        seconds = [100.0, float(len(passes))]
        return None, History([replace(RECORD, seconds=taken) for taken in seconds])

    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(costs, "STEPS", [small, replace(small, name="other")])
    monkeypatch.setattr(costs, "FRONTIER", [])
    monkeypatch.setattr(costs, "QUICK", [])
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    costs.main(rounds=3, out=tmp_path / "costs.json")
    assert set(passes) == {(2, 70 // 8, 20 // 8)}
    before = json.loads((tmp_path / "costs.json").read_text())
    measured = before["epochs"]
    assert [row["turns"] for row in measured] == [[8, 24, 40], [16, 32, 48]]  # the steps alternate
    assert [row["seconds an epoch"] for row in measured] == [24, 32]
    monkeypatch.setattr(costs, "describe", lambda threads: {"processor": "another"})
    costs.main(rounds=1, only=["small"], out=tmp_path / "new.json")  # needs no earlier file
    assert [row["step"] for row in json.loads((tmp_path / "new.json").read_text())["epochs"]] == [
        "small"
    ]
    passes.clear()
    costs.main(rounds=1, only=["small"], out=tmp_path / "costs.json")
    after = json.loads((tmp_path / "costs.json").read_text())
    other, again = after.pop("epochs")
    assert (other, again["turns"], again["processor"]) == (measured[1], [8], "another")
    assert after.items() <= before.items()  # the header describes the processor of most entries


def test_mean_and_spread_by_hand():
    assert publish.mean_and_spread([0.93, 0.94, 0.95]) == "94.00 % ± 1.00 over 3 seeds"
