"""What is a recipe, and how is one followed?

A recipe is a frozen record of everything that a training depends on but data, seed and device.
`train` and `train_on` follow it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict, Unpack

import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR

from helpers import device, models, training
from helpers.augmentation import Augmentation
from helpers.data import DatasetSpec, Split, Splits
from helpers.distributed import Alone
from helpers.history import EpochRecord, History


@dataclass(frozen=True)
class Recipe:
    """Settings of one training: SGD with Nesterov momentum, as a rule on a one-cycle schedule.

    One-cycle (Smith and Topin, "Super-Convergence", 2018): the learning rate rises over the first
    three tenths of the steps and falls to nearly 0 along a cosine, as torch's OneCycleLR has it.
    """

    model: str  # a name that models.build knows
    epochs: int  # passes over the training images
    batch_size: int
    learning_rate: float  # the largest one of the schedule
    source: str  # where the settings come from
    measured: str  # what they reach on the test split, over how many seeds
    settings: Mapping[str, Any] = field(default_factory=dict)  # of the model, such as its width
    train_images: int | None = None  # the first so many of the training split; None takes all
    refit: bool = False  # learn from the validation split too: nothing is left to choose
    one_cycle: bool = True  # otherwise the learning rate stays what it is
    average: float = 0.0  # the decay of the running mean of the weights; 0 for none
    momentum: float = 0.9
    weight_decay: float = 0.0
    label_smoothing: float = 0.0  # Szegedy et al., "Rethinking the Inception …", 2016, section 7
    augmentation: Augmentation = field(default_factory=Augmentation)
    precision: str = "auto"  # a name in device.PRECISIONS, or the fastest that is safe here

    def __post_init__(self) -> None:
        if self.precision not in ("auto", *device.PRECISIONS):
            choices = ", ".join(["auto", *device.PRECISIONS])
            raise ValueError(f"There is no precision {self.precision!r}. Choose one of: {choices}.")

    def precision_on(self, where: torch.device) -> str:
        """The number format in which the recipe computes on a device; never "auto"."""
        return device.fastest_precision(where) if self.precision == "auto" else self.precision

    def learned(self, splits: Splits) -> Split:
        """The images from which a model of this recipe learns."""
        images = splits.train[: self.train_images]
        return images + splits.validation if self.refit else images

    def unseen(self, splits: Splits) -> dict[str, Split]:
        """By name, those of validation and test from which a model of this recipe never learns."""
        validation = {} if self.refit else {"validation": splits.validation}
        return validation | {"test": splits.test}

    def build(self, spec: DatasetSpec) -> nn.Module:
        """The model with random weights from torch's generator, on the CPU."""
        return models.build(self.model, mean=spec.mean, std=spec.std, **self.settings)

    def optimizer(self, model: nn.Module, images: int) -> tuple[torch.optim.SGD, OneCycleLR | None]:
        """Optimizer and schedule for a training of `model`, on its device, on so many images."""
        optimizer = torch.optim.SGD(
            model.parameters(),
            self.learning_rate,
            momentum=self.momentum,
            nesterov=self.momentum > 0,
            weight_decay=self.weight_decay,
            fused=True,  # one kernel for all weights instead of several for each
        )
        if not self.one_cycle:
            return optimizer, None
        steps = self.epochs * math.ceil(images / self.batch_size)
        return optimizer, OneCycleLR(
            optimizer, self.learning_rate, total_steps=steps, cycle_momentum=False
        )


class Options(TypedDict, total=False):
    """What is handed on to `training.fit` as it is; its defaults hold."""

    on_epoch: Callable[[EpochRecord], object] | None
    progress: bool | None
    compile: bool
    checkpoint: Path | None
    ranks: Alone


def train(
    recipe: Recipe,
    splits: Splits,
    *,
    where: torch.device,
    seed: int = 0,
    **options: Unpack[Options],
) -> tuple[nn.Module, History]:
    """Train on the training split as the recipe says, and choose by the validation split.

    A recipe that says `refit` learns from both, and the weights of the last epoch stay. As
    `train_on` otherwise; raises what `training.fit` raises.
    """
    return train_on(
        recipe, recipe.learned(splits), splits.spec,
        validation=recipe.unseen(splits).get("validation"),
        where=where, seed=seed, **options,
    )  # fmt: skip


def train_on(
    recipe: Recipe,
    images: Split,
    spec: DatasetSpec,
    *,
    validation: Split | None = None,
    where: torch.device,
    seed: int = 0,
    **options: Unpack[Options],
) -> tuple[nn.Module, History]:
    """Build the model of a recipe with weights from `seed`, and train it on all of `images`.

    It computes on the device `where`, and seeds all generators. Raises what `training.fit` raises.
    """
    device.seed_everything(seed)
    model = recipe.build(spec).to(where)
    optimizer, scheduler = recipe.optimizer(model, len(images))
    history = training.fit(
        model,
        optimizer,
        images,
        validation=validation,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        scheduler=scheduler,
        augment=recipe.augmentation,
        seed=seed,
        label_smoothing=recipe.label_smoothing,
        average=recipe.average,
        precision=recipe.precision_on(where),
        channels_last=True,
        **options,
    )
    return model, history
