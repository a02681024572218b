"""Recipes: settings of a training that are known to work, with the accuracy that they reach.

A recipe is a frozen record of everything that a training depends on except data, seed and device.
`find_recipe` looks one up by name and data set; `train` and `train_on` follow it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR

from helpers import data, models
from helpers.data import Augmentation, DatasetSpec, Split, Splits
from helpers.device import seed_everything
from helpers.messages import unknown_name
from helpers.training.execution import Execution, fastest_precision
from helpers.training.history import History
from helpers.training.loop import fit


@dataclass(frozen=True)
class Recipe:
    """Settings of one training: SGD with Nesterov momentum, usually on a one-cycle schedule.

    One-cycle: Smith and Topin, "Super-Convergence", 2018, with torch's OneCycleLR.
    """

    model: str  # a name that models.build knows
    epochs: int  # passes over the training images
    batch_size: int
    learning_rate: float  # the maximum of the schedule
    source: str  # where the settings come from
    measured: str  # the test accuracy that they reach, over how many seeds
    duration: str = ""  # of training on two cores of an AMD EPYC; compact and accurate on one
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)  # such as its width
    train_images: int | None = None  # the first so many of the training split; None takes all
    train_on_validation: bool = False  # train on the validation split, too: all is chosen
    one_cycle: bool = True  # otherwise the learning rate is constant
    momentum: float = 0.9
    weight_decay: float = 0.0
    label_smoothing: float = 0.0  # Szegedy et al., "Rethinking the Inception …", 2016, section 7
    augmentation: Augmentation = field(default_factory=Augmentation)
    precision: str = "auto"  # a name in PRECISIONS, or the fastest that is safe on the device

    def __post_init__(self) -> None:
        if self.precision != "auto":
            Execution(precision=self.precision)  # raises ValueError for an unknown one

    def precision_on(self, device: torch.device) -> str:
        """The number format in which the recipe computes on a device; never "auto"."""
        return fastest_precision(device) if self.precision == "auto" else self.precision

    def training_split(self, splits: Splits) -> Split:
        """The images that a model of this recipe is trained on."""
        images = splits.train[: self.train_images]
        return images + splits.validation if self.train_on_validation else images

    def held_out_splits(self, splits: Splits) -> dict[str, Split]:
        """By name, those of validation and test that a model of this recipe is not trained on."""
        validation = {} if self.train_on_validation else {"validation": splits.validation}
        return validation | {"test": splits.test}

    def build(self, spec: DatasetSpec) -> nn.Module:
        """The model, on the CPU, with random weights from torch's generator."""
        return models.build(
            self.model, mean=spec.mean, std=spec.std, num_classes=len(spec.class_names),
            channels=spec.channels, size=spec.size, **self.model_kwargs,
        )  # fmt: skip

    def optimizer(self, model: nn.Module, images: int) -> tuple[torch.optim.SGD, OneCycleLR | None]:
        """Optimizer and schedule for `model`, which is on its device, and so many images."""
        optimizer = torch.optim.SGD(
            model.parameters(), self.learning_rate, momentum=self.momentum,
            nesterov=self.momentum > 0, weight_decay=self.weight_decay,
            fused=True,  # one kernel for all weights instead of several for each
        )  # fmt: skip
        if not self.one_cycle:
            return optimizer, None
        steps = self.epochs * math.ceil(images / self.batch_size)
        rate = self.learning_rate
        return optimizer, OneCycleLR(optimizer, rate, total_steps=steps, cycle_momentum=False)


# fmt: off
_REPORT = Recipe(
    model="tiny_vgg", epochs=5, batch_size=64, learning_rate=0.04,
    augmentation=Augmentation(shift=1), precision="float32",
    source="the report's ingredients; rate and batch size chosen on validation",
    measured="99.17 % ± 0.07 over 5 seeds", duration="30 to 60 s",
)
# The smallest network and the fewest images that reach the accuracy, chosen on validation. In so
# few steps, augmentation costs more than it gains.
_FAST = Recipe(
    model="fast_cnn", model_kwargs={"width": 8}, epochs=1, batch_size=96, learning_rate=0.2,
    weight_decay=5e-4, label_smoothing=0.1,
    source="chosen on validation: width, rate, batch size and images for 99 % in the shortest time",
    measured="99.14 % ± 0.06 over 20 seeds", duration="4 s",
)
# Chosen by the ablation of notebook 5 (benchmarks/ablation_steps.py).
_COMPACT = Recipe(
    model="compact", epochs=30, batch_size=128, learning_rate=0.1, weight_decay=5e-4,
    label_smoothing=0.1, augmentation=Augmentation(shift=1, flip=True),
    source="chosen on validation, one change at a time",
    measured="93.80 % ± 0.18 over 5 seeds", duration="11 min",
)
# A larger network on the downsampled image, with strong augmentation and a long training. Chosen on
# validation with 60 epochs and seed 0: 95.42 %; without erasing 94.98 %; with 16 epochs and without
# erasing 94.60 %. When all was chosen: 100 epochs, and all 60,000 images.
_ACCURATE = replace(
    _COMPACT, model="accurate", epochs=100, train_on_validation=True,
    augmentation=Augmentation(shift=1, flip=True, erase=0.5),
    source="chosen on validation with 60 epochs; then longer, and on all images",
    measured="95.03 % ± 0.08 over 5 seeds", duration="80 min",
)
_DIGITS = Augmentation(shift=2, degrees=10, scale=0.1)

# By name and data set. `report` is what notebooks 2 and 3 do. `sprint` is the fastest to 98 % on
# MNIST and 88 % on Fashion-MNIST, `fast` to 99 % and 90 %.
RECIPES: dict[tuple[str, str], Recipe] = {
    ("report", "mnist"): _REPORT,
    ("report", "fashion_mnist"): replace(_REPORT, measured="90.51 % ± 0.23 over 5 seeds"),
    ("sprint", "mnist"): replace(
        _FAST, train_images=15_000, learning_rate=0.15,
        source="as `fast`, for 98 % in the shortest time", measured="98.27 % ± 0.13 over 20 seeds",
        duration="1 s",
    ),
    ("fast", "mnist"): _FAST,
    ("sprint", "fashion_mnist"): replace(
        _FAST, source="as `fast` on MNIST", measured="88.94 % ± 0.25 over 20 seeds", duration="4 s"
    ),
    ("fast", "fashion_mnist"): replace(
        _FAST, model_kwargs={"width": 16}, train_images=40_000, epochs=2, batch_size=128,
        source="as `fast` on MNIST, for 90 % in the shortest time",
        measured="90.53 % ± 0.21 over 20 seeds", duration="9 s",
    ),
    ("compact", "mnist"): replace(
        _COMPACT, epochs=8, learning_rate=0.4, augmentation=_DIGITS,
        source="the network of Fashion-MNIST; augmentation and epochs chosen on validation",
        measured="99.64 % ± 0.03 over 5 seeds", duration="3 min",
    ),
    ("compact", "fashion_mnist"): _COMPACT,
    ("accurate", "mnist"): replace(
        _ACCURATE, epochs=24, augmentation=_DIGITS,
        source="network of Fashion-MNIST, augmentation of `compact`; 16 epochs, then as there",
        measured="99.72 % ± 0.03 over 3 seeds", duration="19 min",
    ),
    ("accurate", "fashion_mnist"): _ACCURATE,
}
# fmt: on


# For data of one's own, by name: the least number of epochs, and the learning rate.
_OWN = {"report": (5, 0.04), "fast": (2, 0.05), "compact": (8, 0.1), "accurate": (24, 0.1)}
_OWN_STEPS = 600


def find_recipe(name: str, dataset: str | Splits, model: str = "") -> Recipe:
    """The recipe of that name for a data set, such as ("fast", "mnist").

    That for splits of your own data is without what was tuned to Fashion-MNIST and its size, and
    without augmentation that may change a class; it trains for at least 600 steps. `model` replaces
    its model by a class of your own, such as "my_file.py:MyNet". Raises ValueError
    if there is no such data set or recipe.
    """
    if model:
        return replace(find_recipe(name, dataset), model=model, model_kwargs={})
    if isinstance(dataset, Splits) and dataset.spec.name not in data.SPECS:
        if name not in _OWN:
            raise ValueError(unknown_name("recipe for your own data", name, _OWN))
        epochs, rate = _OWN[name]
        batch_size = min(32, len(dataset.train))
        steps = math.ceil(len(dataset.train) / batch_size)
        return replace(
            RECIPES[name, "fashion_mnist"],
            epochs=max(epochs, math.ceil(_OWN_STEPS / steps)),
            batch_size=batch_size,
            learning_rate=rate,
            train_images=None,
            train_on_validation=False,
            augmentation=Augmentation(shift=1),
            source="as on MNIST, for data of your own",
            measured="",
            duration="",
        )
    dataset = dataset.spec.name if isinstance(dataset, Splits) else dataset
    data.spec(dataset)
    if (name, dataset) not in RECIPES:
        known = [recipe for recipe, for_dataset in RECIPES if for_dataset == dataset]
        raise ValueError(unknown_name("recipe", name, known))
    return RECIPES[name, dataset]


def train(
    recipe: Recipe, splits: Splits, *, device: torch.device, seed: int = 0, **options: Any
) -> tuple[nn.Module, History]:
    """Train as the recipe says on the images that it names; `options` are others of `train_on`.

    The model ends with the weights best on validation, unless the recipe trains on validation, too.
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

    `options` are `on_epoch` and `checkpoint` of `fit`. The precision is the recipe's, the memory
    layout channels last. Raises what `fit` raises.
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
