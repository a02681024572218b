"""The weights that come with the package are as good as their cards say, to the image."""

import pytest
import torch

from benchmarks import ship
from benchmarks.rungs import RUNGS
from helpers import data, evaluation, models, training
from helpers.files import PROJECT

OTHER_PROCESSORS = 3  # images that they may see otherwise, since they round otherwise
LIMITS = {"tiny_vgg": 7_740, "compact": 100_000, "accurate": 1_300_000}  # parameters
SHIPPED = models.list_pretrained()
CARDED = [name for name in SHIPPED if not name.endswith("tiny_vgg")]  # those are of notebooks 2, 3


def path_of(name: str):
    return models.PRETRAINED / f"{name}.safetensors"


@pytest.fixture
def splits(request, name) -> data.Splits:
    return request.getfixturevalue(name.split("/")[0].removesuffix("_mnist"))


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_they_get_as_many_test_images_right_as_they_say(name, splits):
    model = models.load_pretrained(name)
    claimed = models.read_metadata(path_of(name))["notes"]["test_accuracy"]
    seen = evaluation.predict(model, splits.test)
    assert int((seen.labels == seen.targets).sum()) == pytest.approx(
        round(claimed * len(splits.test)), abs=OTHER_PROCESSORS
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", CARDED)
def test_several_views_and_validation_are_as_they_say_too(name, splits):
    model, notes = models.load_pretrained(name), models.read_metadata(path_of(name))["notes"]
    recipe = training.find_recipe(notes["recipe"], notes["dataset"])
    several = evaluation.predict_tta(model, splits.test, recipe.augmentation)
    assert evaluation.accuracy(several) == pytest.approx(notes["test_accuracy_of_views"], abs=3e-4)
    if not recipe.refit:
        validated = evaluation.accuracy(evaluation.predict(model, splits.validation))
        assert validated == pytest.approx(notes["validation_accuracy"], abs=6e-4)


@pytest.mark.parametrize("name", CARDED)
def test_the_card_is_what_the_weights_say_of_themselves(name):
    path = path_of(name)
    assert path.with_suffix(".md").read_text() == ship.card(path)
    about = models.read_metadata(path)
    notes = about["notes"]
    confusion = torch.tensor(notes["confusion"])
    assert confusion.sum() == 10_000
    assert confusion.trace().item() == round(10_000 * notes["test_accuracy"])
    assert notes["test_accuracy"] in [pytest.approx(a) for a in notes["test_accuracies"]]
    assert notes["data_digest"] == data.spec(notes["dataset"]).digest
    (rung,) = (r for r in RUNGS if f"{r.dataset}/{r.name}" == name)
    assert len(notes["test_accuracies"]) == rung.seeds
    assert about["architecture"]["name"] == rung.recipe.model
    assert notes["epochs"] == rung.recipe.epochs
    assert notes["images"] == 60_000 - (0 if rung.recipe.refit else data.VALIDATION_SIZE)
    assert notes["seconds"] == ship.price(rung.name, rung.dataset)
    # who has learned from the validation images has no say on them, and was not chosen by them
    assert ("validation_accuracy" in notes) != rung.recipe.refit
    assert not rung.recipe.refit or notes["seed"] == 0


@pytest.mark.parametrize("name", SHIPPED)
def test_they_are_small(name):
    model = models.load_pretrained(name)
    assert models.count_parameters(model) <= LIMITS[name.split("/")[1]]
    assert path_of(name).stat().st_size < 6e6


@pytest.mark.parametrize("name", CARDED)
def test_recipes_and_readme_claim_what_was_measured(name):
    notes = models.read_metadata(path_of(name))["notes"]
    recipe = training.find_recipe(notes["recipe"], notes["dataset"])
    assert recipe.measured == ship.mean_and_spread(notes["test_accuracies"])
    told, _, _ = recipe.measured.partition(" over")
    assert told in (PROJECT / "README.md").read_text()
