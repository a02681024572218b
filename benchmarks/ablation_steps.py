"""The steps of the ablation: from TinyVGG to the recipes `compact` and `accurate`.

Each step changes one thing. Notebook 05_better_architecture shows the measurements of
`python -m benchmarks.ablation`.
"""

from dataclasses import dataclass, replace

from helpers import training
from helpers.data import Augmentation
from helpers.training import Recipe


@dataclass(frozen=True)
class Step:
    """One step of the ablation."""

    name: str
    baseline: str  # name of the step to compare with
    change: str  # what differs, in words
    recipe: Recipe
    dataset: str = "fashion_mnist"
    seeds: int = 3
    test: bool = False  # whether it is tested; only if no choice depends on it
    ema_decay: float = 0.0  # of an exponential moving average of the weights; 0 for none


# Eight epochs each, for comparison, up to the step `longer`.
START = Recipe(
    model="tiny_vgg",
    epochs=8,
    batch_size=128,
    learning_rate=0.05,
    one_cycle=False,
    source="the report's ingredients",
    measured="",
)
NETWORK = {"width": 16, "blocks": (1, 2, 1), "stride": 2}
VARIED = Augmentation(shift=1, flip=True)

# Name, the change in words, and as settings of the recipe. The baseline of a step is the last one
# before it that is not in BESIDE. Steps in BESIDE were tried and dropped.
CHANGES: list[tuple[str, str, dict]] = [
    ("wider", "32 channels, not 10", {"model_kwargs": {"hidden_units": 32}}),
    (
        "batch norm",
        "normalized after each convolution",
        {"model_kwargs": {"hidden_units": 32, "batch_norm": True}},
    ),
    ("one-cycle", "the rate rises to 0.4, falls to 0", {"one_cycle": True, "learning_rate": 0.4}),
    (
        "deeper",
        "9 convolutions on a shrunk image, then a mean over pixels",
        {"model": "resnet", "model_kwargs": NETWORK | {"residual": False}},
    ),
    ("residual", "each two layers add to what they are given", {"model_kwargs": NETWORK}),
    ("weight decay", "weights are drawn to 0", {"weight_decay": 5e-4}),
    ("augmentation", "shifted by a pixel, mirrored", {"augmentation": VARIED}),
    ("label smoothing", "a target of 0.91, not 1", {"label_smoothing": 0.1}),
    ("EMA of weights", "an exponential moving average, decay 0.995", {}),
    (
        "erasing",
        "a quarter of the images lose a rectangle",
        {"augmentation": replace(VARIED, erase=0.25)},
    ),
    ("longer", "30 epochs, up to a rate of 0.1", {"epochs": 30, "learning_rate": 0.1}),
    ("no augmentation", "images as they are", {"augmentation": Augmentation()}),
]
BESIDE = {"EMA of weights", "erasing", "no augmentation"}
EMA_DECAY = {"EMA of weights": 0.995}
# The epochs with which `accurate` was chosen on validation, and the number of its seeds
CHOSEN_AT = {"fashion_mnist": 60, "mnist": 16}
SEEDS = {"fashion_mnist": 5, "mnist": 3}


def _ablation() -> list[Step]:
    steps = [Step("TinyVGG", "", "10 channels, one learning rate", START)]
    for name, words, settings in CHANGES:
        baseline = next(step for step in reversed(steps) if step.name not in BESIDE)
        recipe = replace(baseline.recipe, **settings)
        decay = EMA_DECAY.get(name, 0.0)
        steps.append(Step(name, baseline.name, words, recipe, ema_decay=decay))
    return steps


def _finals() -> list[Step]:
    """The recipes that the ablation led to, and `large`: `accurate` as chosen on validation."""
    steps = []
    for dataset, chosen_at in CHOSEN_AT.items():
        compact, accurate = (
            training.find_recipe(name, dataset) for name in ("compact", "accurate")
        )
        large = replace(accurate, train_on_validation=False, epochs=chosen_at)
        bigger = f"13 times the weights, on a shrunk image; {large.epochs} epochs"
        bigger += ", with erasing" if large.augmentation.erase else ""
        both = f"learns from validation, too; {accurate.epochs} epochs"
        steps += [
            Step("compact", "longer", "the image is not shrunk", compact, dataset, seeds=5),
            Step("large", "compact", bigger, large, dataset),
            Step("accurate", "large", both, accurate, dataset, seeds=SEEDS[dataset]),
        ]
    return steps


def _recipes(*names: str) -> list[Step]:
    """Recipes outside the ablation, on each of their data sets."""
    return [
        Step(name, "", "", recipe, dataset, test=True)
        for (name, dataset), recipe in training.RECIPES.items() if name in names
    ]  # fmt: skip


def named(steps: list[Step], names: list[str] | None) -> list[Step]:
    """The steps with these names, or all of them. Raises ValueError for an unknown name."""
    unknown = set(names or ()) - {step.name for step in steps}
    if unknown:
        known = ", ".join(dict.fromkeys(step.name for step in steps))
        raise ValueError(f"There is no step {min(unknown)!r}. Choose of: {known}.")
    return [step for step in steps if not names or step.name in names]


STEPS = [*_ablation(), *(replace(step, test=True) for step in _finals())]
FRONTIER = _recipes("tiny", "small", "medium")  # trained by benchmarks.frontier
QUICK = _recipes("report", "sprint", "fast")  # measured by benchmarks.reliability
