import ast
import inspect
import json
import math
import re
import statistics
from dataclasses import FrozenInstanceError, replace

import pytest
import torch

from helpers import data, device, evaluation, headless, models, training
from helpers.data import Augmentation, Split, Splits
from helpers.files import PROJECT
from helpers.training import Execution, Recipe, recipes

CPU = torch.device("cpu")
EXPECTED = {"report", "fast", "sprint", "tiny", "small", "compact", "medium", "accurate"}
RELIABILITY = PROJECT / "benchmarks" / "results" / "reliability.json"


@pytest.fixture
def splits(tiny) -> Splits:
    return Splits(train=tiny, validation=tiny[:20], test=tiny[20:], spec=data.MNIST)


def small(**changes) -> Recipe:
    settings = {
        "model": "linear",
        "epochs": 2,
        "batch_size": 32,
        "learning_rate": 0.01,
        "precision": "float32",
    }
    return Recipe(**{**settings, "source": "", "measured": "", **changes})


@pytest.mark.parametrize(("name", "dataset"), training.RECIPES)
def test_a_recipe_builds_its_model_and_names_its_source_and_accuracy(name, dataset):
    recipe = training.find_recipe(name, dataset)
    spec = data.spec(dataset)
    model = recipe.build(spec)
    assert model.architecture["mean"] == spec.mean
    assert model(torch.zeros(2, 1, 28, 28, dtype=torch.uint8)).shape == (2, 10)
    assert recipe.source
    assert re.search(r"\d\d\.\d\d % ± \d\.\d\d over \d+ seeds", recipe.measured)
    with pytest.raises(FrozenInstanceError):
        recipe.epochs = 3


@pytest.mark.parametrize("dataset", data.SPECS)
def test_every_data_set_has_every_recipe(dataset):
    assert {name for name, _ in training.RECIPES} == EXPECTED
    assert {name for name, of_dataset in training.RECIPES if of_dataset == dataset} == EXPECTED


def test_unknown_recipes_are_refused(monkeypatch):
    with pytest.raises(
        ValueError,
        match=r"no recipe 'best'.* report, sprint, fast, tiny, small, compact, medium, accurate\.$",
    ):
        training.find_recipe("best", "mnist")
    with pytest.raises(ValueError, match="no data set 'cifar'"):
        training.find_recipe("fast", "cifar")
    fewer = {key: recipe for key, recipe in training.RECIPES.items() if key != ("sprint", "mnist")}
    monkeypatch.setattr(recipes, "RECIPES", fewer)
    with pytest.raises(
        ValueError, match=r" report, fast, tiny, small, compact, medium, accurate\.$"
    ):
        training.find_recipe("sprint", "mnist")


def test_training_a_recipe_equals_fit_with_its_settings(splits, tiny):
    """The same weights, bit for bit, as a training set up by hand."""
    recipe = small(
        momentum=0.8, weight_decay=0.1, label_smoothing=0.2, train_images=40,
        augmentation=Augmentation(shift=1),
    )  # fmt: skip
    model, history = training.train(recipe, splits, device=CPU, seed=7)

    device.seed_everything(7)
    reference = models.build("linear", mean=data.MNIST.mean, std=data.MNIST.std)
    optimizer = torch.optim.SGD(
        reference.parameters(), lr=0.01, momentum=0.8, nesterov=True, weight_decay=0.1, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.01, total_steps=4, cycle_momentum=False
    )
    training.fit(
        reference, optimizer, tiny[:40], validation=splits.validation, epochs=2, batch_size=32,
        scheduler=schedule, augment=Augmentation(shift=1), label_smoothing=0.2,
        execution=Execution(channels_last=True),
    )  # fmt: skip
    for weights, expected in zip(model.parameters(), reference.parameters(), strict=True):
        assert torch.equal(weights, expected)
    assert len(history.epochs) == 2
    assert history.epochs[0].validation_accuracy > 0


def test_a_recipe_may_train_on_validation_too(splits, tiny):
    """The weights of the last epoch, as if the images of both were one split."""
    recipe = small(train_on_validation=True, train_images=40)
    model, history = training.train(recipe, splits, device=CPU, seed=7)
    both = Split(
        torch.cat([tiny.images[:40], tiny.images[:20]]),
        torch.cat([tiny.targets[:40], tiny.targets[:20]]),
    )
    reference, _ = training.train_on(small(), both, data.MNIST, device=CPU, seed=7)
    for weights, expected in zip(model.parameters(), reference.parameters(), strict=True):
        assert torch.equal(weights, expected)
    assert math.isnan(history.epochs[-1].validation_accuracy)
    assert history.best_epoch is None


def test_a_model_is_evaluated_on_images_that_it_was_not_trained_on(splits):
    assert small().held_out_splits(splits) == {"validation": splits.validation, "test": splits.test}
    assert small(train_on_validation=True).held_out_splits(splits) == {"test": splits.test}


def test_the_optimizer_is_fused():
    optimizer, _ = small().optimizer(models.build("linear"), 70)
    assert optimizer.defaults["fused"] is True


def test_a_training_uses_channels_last_and_compiles_only_when_asked(splits, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda model: compiled.append(model) or model)
    recipe = small(model="fast_cnn", model_kwargs={"width": 8}, epochs=1)
    model, _ = training.train(recipe, splits, device=CPU)
    assert model.architecture["width"] == 8
    assert model.group_1[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert not compiled
    model, _ = training.train(recipe, splits, device=CPU, execution=Execution(compile=True))
    assert compiled == [model]


def test_without_momentum_there_is_no_nesterov(splits):
    training.train(small(momentum=0.0), splits, device=CPU)


def test_without_one_cycle_the_rate_is_constant(splits):
    _, history = training.train(small(batch_size=1, one_cycle=False), splits, device=CPU)
    assert [record.learning_rate for record in history.epochs] == [0.01, 0.01]


def test_the_schedule_ends_near_zero(splits):
    _, history = training.train(small(batch_size=1), splits, device=CPU)
    assert history.epochs[-1].learning_rate < 0.01 / 1_000


@pytest.mark.parametrize("notebook", ["02", "03"])
def test_the_report_recipe_matches_the_notebook_defaults(notebook):
    found = headless.parameters_of(headless.find_notebook(notebook))
    defaults = {name: ast.literal_eval(about["default"]) for name, about in found.items()}
    recipe = training.find_recipe("report", defaults["dataset"])
    for name in ("epochs", "batch_size", "learning_rate", "momentum"):
        assert getattr(recipe, name) == defaults[name]
    assert recipe.augmentation == Augmentation(shift=defaults["shift"])
    assert recipe.train_images is None


def test_every_setting_of_a_recipe_is_used():
    source = inspect.getsource(inspect.getmodule(Recipe))
    for name in set(Recipe.__dataclass_fields__) - {"source", "measured", "duration"}:
        assert re.search(rf"(recipe|self)\.{name}\b", source), name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sprint", pytest.param("fast", marks=pytest.mark.long)])
@pytest.mark.parametrize("dataset", data.SPECS)
def test_the_fast_recipes_reach_their_accuracy(name, dataset):
    """On validation, within four standard deviations of the results of twenty seeds."""
    seeds = next(
        row["validation_accuracy"]
        for row in json.loads(RELIABILITY.read_text())["recipes"]
        if (row["recipe"], row["dataset"]) == (name, dataset)
    )
    splits = data.load_splits(dataset)
    model, _ = training.train(training.find_recipe(name, dataset), splits, device=CPU)
    accuracy = evaluation.accuracy(evaluation.predict(model, splits.validation))
    assert abs(accuracy - statistics.mean(seeds)) < 4 * statistics.stdev(seeds)


@pytest.mark.parametrize("fastest", ["bfloat16", "float32"])
def test_by_default_the_fastest_precision_is_used(splits, monkeypatch, fastest):
    monkeypatch.setattr(recipes, "fastest_precision", lambda device: {CPU: fastest}[device])
    used = []

    def fit(*arguments, **settings):
        used.append(settings["execution"].precision)
        return training.fit(*arguments, **settings)

    monkeypatch.setattr(recipes, "fit", fit)
    training.train(small(precision="auto"), splits, device=CPU)
    training.train(small(precision="float32"), splits, device=CPU)
    assert used == [fastest, "float32"]


def test_the_seed_determines_the_weights(splits):
    def weights(**seed: int) -> torch.Tensor:
        model, _ = training.train(
            small(augmentation=Augmentation(shift=1)), splits, device=CPU, **seed
        )
        return model.classifier[1].weight

    assert torch.equal(weights(seed=1), weights(seed=1))
    assert not torch.equal(weights(seed=1), weights(seed=2))
    assert torch.equal(weights(), weights(seed=0))


def test_an_unknown_precision_is_refused_at_once():
    with pytest.raises(ValueError, match=r"no precision 'float8'.*float32, bfloat16"):
        small(precision="float8")


def test_train_images_above_the_total_means_all_images(splits):
    seen: list[int] = []

    def count(images, generator):
        seen.append(len(images))
        return images

    recipe = replace(small(epochs=1, train_images=1_000), augmentation=count)
    training.train(recipe, splits, device=CPU)
    assert sum(seen) == 70


def test_splits_are_not_changed(splits):
    before = Split(splits.train.images.clone(), splits.train.targets.clone())
    training.train(small(augmentation=Augmentation(shift=2, erase=1.0)), splits, device=CPU)
    assert torch.equal(splits.train.images, before.images)
    assert torch.equal(splits.train.targets, before.targets)


def test_a_recipe_for_own_data_has_enough_steps_and_a_fitting_model():
    images = torch.randint(256, (100, 3, 20, 20), dtype=torch.uint8)
    splits = data.from_arrays(images, torch.arange(100) % 4)
    recipe = training.find_recipe("fast", splits)
    steps = recipe.epochs * -(-len(splits.train) // recipe.batch_size)
    assert 600 <= steps < 600 + steps // recipe.epochs
    assert recipe.build(splits.spec)(images[:2]).shape == (2, 4)
    for name in ("report", "fast", "compact", "accurate"):
        own = training.find_recipe(name, splits)
        assert own.batch_size <= 32
        assert own.augmentation == Augmentation(shift=1)
        assert not own.train_on_validation
        assert (own.measured, own.duration) == ("", "")  # nothing is measured on these data
        assert own.source == "as on MNIST, for data of your own"
    published = training.find_recipe("fast", "mnist")
    assert recipe.model_kwargs["width"] > published.model_kwargs["width"]
    assert recipe.learning_rate < published.learning_rate
    message = r"recipe for your own data 'sprint'.*: report, fast, compact, accurate\."
    with pytest.raises(ValueError, match=message):
        training.find_recipe("sprint", splits)


@pytest.mark.parametrize("number", [6, 24, 30, 63, 64, 100])
def test_the_batch_size_for_a_small_data_set_fits_a_two_fold_audit(number):
    images = torch.randint(256, (number, 1, 20, 20), dtype=torch.uint8)
    splits = data.from_arrays(images, torch.arange(number) % 2)
    batch_size = training.find_recipe("fast", splits).batch_size
    assert batch_size == 32 or batch_size == len(splits.train) // 2 < 32
    assert batch_size <= len(splits.labeled) // 2


def test_a_custom_class_replaces_the_model_of_a_recipe(mnist, tmp_path):
    (tmp_path / "net.py").write_text("from torch import nn\n\nclass Net(nn.Identity): pass\n")
    recipe = training.find_recipe("fast", mnist, f"{tmp_path / 'net.py'}:Net")
    assert isinstance(recipe.build(mnist.spec)[1], torch.nn.Identity)
    published = training.find_recipe("fast", "mnist")
    assert recipe.epochs == published.epochs
    assert published.model_kwargs
    assert not recipe.model_kwargs
