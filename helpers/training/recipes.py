"""Recipes: tested hyperparameters of a training, with the accuracy that they reach.

A recipe is a frozen record of everything that a training depends on, except data, seed and device.
recipes.toml holds the recipes; `find_recipe` looks one up by name and data set; `train` and
`train_on` train a model with it.
"""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR

from helpers import data, models
from helpers.data import Augmentation, DatasetSpec, Split, Splits
from helpers.device import seed_everything
from helpers.messages import check_name
from helpers.training.checks import count_steps
from helpers.training.execution import Execution, fastest_precision
from helpers.training.history import History
from helpers.training.loop import fit


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of a training by SGD with Nesterov momentum, usually on a one-cycle schedule.

    The schedule is torch's OneCycleLR (Smith and Topin, "Super-Convergence", 2018).
    """

    model: str  # a name that models.build knows
    epochs: int  # passes over the training images
    batch_size: int
    learning_rate: float  # the maximum of the schedule, or constant
    source: str  # where the settings come from
    measured: str  # the test accuracy that they reach, over how many seeds
    duration: str = ""  # on two cores; from tiny to accurate, on one
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)  # such as its width
    train_images: int | None = None  # number of first images of the training split; None: all
    train_on_validation: bool = False  # use the validation split as well, after all choices
    one_cycle: bool = True  # otherwise the learning rate is constant
    momentum: float = 0.9
    weight_decay: float = 0.0
    label_smoothing: float = 0.0  # Szegedy et al., "Rethinking the Inception …", 2016, section 7
    augmentation: Augmentation = field(default_factory=Augmentation)
    precision: str = "auto"  # a name in PRECISIONS; "auto": see `fastest_precision`

    def __post_init__(self) -> None:
        if self.precision != "auto":
            Execution(precision=self.precision)  # raises ValueError for an unknown one

    def precision_on(self, device: torch.device) -> str:
        """The precision of the recipe on a device, a name in PRECISIONS, never "auto"."""
        return fastest_precision(device) if self.precision == "auto" else self.precision

    def training_split(self, splits: Splits) -> Split:
        """The images that a model of this recipe is trained on."""
        images = splits.train[: self.train_images]
        return images + splits.validation if self.train_on_validation else images

    def held_out_splits(self, splits: Splits) -> dict[str, Split]:
        """The test split and, unless the model is trained on it, the validation split, by name."""
        validation = {} if self.train_on_validation else {"validation": splits.validation}
        return validation | {"test": splits.test}

    def build(self, spec: DatasetSpec) -> nn.Module:
        """The model, on the CPU, with random weights from torch's global generator."""
        return models.build(
            self.model, mean=spec.mean, std=spec.std, num_classes=len(spec.class_names),
            channels=spec.channels, size=spec.size, **self.model_kwargs,
        )  # fmt: skip

    def optimizer(self, model: nn.Module, images: int) -> tuple[torch.optim.SGD, OneCycleLR | None]:
        """Optimizer and schedule (or None) for `model`, on its device, and a number of `images`."""
        optimizer = torch.optim.SGD(
            model.parameters(), self.learning_rate, momentum=self.momentum,
            nesterov=self.momentum > 0, weight_decay=self.weight_decay,
            fused=True,  # one kernel for all weights instead of several for each
        )  # fmt: skip
        if not self.one_cycle:
            return optimizer, None
        steps = count_steps(images, self.epochs, self.batch_size)
        rate = self.learning_rate
        return optimizer, OneCycleLR(optimizer, rate, total_steps=steps, cycle_momentum=False)


_TABLES = tomllib.loads((Path(__file__).parent / "recipes.toml").read_text(encoding="utf-8"))
_OWN = "own"  # in place of the data set, in recipes for your own data
_OWN_STEPS = 600  # minimum number of training steps on your own data


def _read(name: str, dataset: str) -> Recipe:
    """Read a recipe from recipes.toml; the recipe named by `like` supplies missing fields."""
    settings = dict(_TABLES[name][dataset])
    if "augmentation" in settings:
        settings["augmentation"] = Augmentation(**settings["augmentation"])
    if "like" in settings:
        return replace(_read(*settings.pop("like").split()), **settings)
    return Recipe(**settings)


# by name and data set
RECIPES = {(n, d): _read(n, d) for n in _TABLES for d in _TABLES[n] if d != _OWN}


def find_recipe(name: str, dataset: str | Splits, model: str = "") -> Recipe:
    """The recipe of that name for a data set, such as ("fast", "mnist").

    On splits of your own data, a recipe trains for at least 600 steps; a batch has at most 32 and
    at most half of the images, so that it fits into the folds of an audit. `model` is a class of
    your own, such as "my_file.py:MyNet". ValueError for an unknown data set or recipe.
    """
    if model:
        return replace(find_recipe(name, dataset), model=model, model_kwargs={})
    if isinstance(dataset, Splits) and dataset.spec.name not in data.SPECS:
        known = [recipe for recipe in _TABLES if _OWN in _TABLES[recipe]]
        check_name("recipe for your own data", name, known)
        recipe, batch_size = _read(name, _OWN), min(32, len(dataset.train) // 2 or 1)
        epochs = math.ceil(_OWN_STEPS / math.ceil(len(dataset.train) / batch_size))
        return replace(
            recipe, epochs=max(recipe.epochs, epochs), batch_size=batch_size, measured="",
            source="as on MNIST, for data of your own", duration="",
        )  # fmt: skip
    dataset = dataset.spec.name if isinstance(dataset, Splits) else dataset
    data.spec(dataset)
    check_name("recipe", name, [recipe for recipe, known in RECIPES if known == dataset])
    return RECIPES[name, dataset]


def train(
    recipe: Recipe, splits: Splits, *, device: torch.device, seed: int = 0, **options: Any
) -> tuple[nn.Module, History]:
    """Train a model by a recipe, on its `training_split`; `options` are passed to `train_on`.

    The model ends with the best weights on validation, unless it is trained on validation as well.
    """
    return train_on(
        recipe, recipe.training_split(splits), splits.spec,
        validation=recipe.held_out_splits(splits).get("validation"),
        device=device, seed=seed, **options,
    )  # fmt: skip


def train_on(
    recipe: Recipe,
    images: Split,
    spec: DatasetSpec,
    *,
    validation: Split | None = None,
    device: torch.device,
    seed: int = 0,
    execution: Execution = Execution(),  # noqa: B008 - it is frozen
    **options: Any,
) -> tuple[nn.Module, History]:
    """Seed all generators, build the model of a recipe, and train it on all of `images`.

    `options` are further arguments of `fit`, such as `on_epoch` and `checkpoint`. The precision of
    `execution` is replaced by the recipe's, its layout by channels last. Raises as `fit`.
    """
    seed_everything(seed)
    model = recipe.build(spec).to(device)
    optimizer, scheduler = recipe.optimizer(model, len(images))
    precision = recipe.precision_on(device)
    history = fit(
        model, optimizer, images, validation=validation, epochs=recipe.epochs,
        batch_size=recipe.batch_size, scheduler=scheduler, augment=recipe.augmentation,
        label_smoothing=recipe.label_smoothing,
        execution=replace(execution, precision=precision, channels_last=True), **options,
    )  # fmt: skip
    return model, history
