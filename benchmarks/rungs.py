"""Which steps lead from TinyVGG to the best that a laptop can train?

Each changes one thing; the recipes at the top put together what the ladder has taught.
The notebook 05_better_architecture reads what `python -m benchmarks.ladder` has measured of them.
"""

from dataclasses import dataclass, replace

from helpers import training
from helpers.data import Augmentation
from helpers.training import Recipe


@dataclass(frozen=True)
class Rung:
    """One row of the ladder."""

    name: str
    below: str  # the name of the rung from which this one differs
    change: str  # in what, in words
    recipe: Recipe
    dataset: str = "fashion_mnist"
    seeds: int = 3
    test: bool = False  # is it tested, when no choice depends on it any more?


# Eight epochs each, so that they can be compared, up to the rung that trains longer.
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

# Name, what is new in words, and as settings. A rung stands on the one before it, unless that
# stands in BESIDE: those are tried, and left out again.
CHANGES: list[tuple[str, str, dict]] = [
    ("wider", "32 channels, not 10", {"settings": {"hidden_units": 32}}),
    (
        "batch norm",
        "normalised after each convolution",
        {"settings": {"hidden_units": 32, "batch_norm": True}},
    ),
    ("one-cycle", "the rate rises to 0.4, falls to 0", {"one_cycle": True, "learning_rate": 0.4}),
    (
        "deeper",
        "9 convolutions on a shrunk image, then a mean over pixels",
        {"model": "resnet", "settings": NETWORK | {"residual": False}},
    ),
    ("residual", "each two layers add to what they are given", {"settings": NETWORK}),
    ("weight decay", "weights are drawn to 0", {"weight_decay": 5e-4}),
    ("augmentation", "shifted by a pixel, mirrored", {"augmentation": VARIED}),
    ("label smoothing", "a target of 0.91, not 1", {"label_smoothing": 0.1}),
    ("running mean", "weights averaged over 200 steps", {"average": 0.995}),
    (
        "erasing",
        "a quarter of the images lose a rectangle",
        {"augmentation": replace(VARIED, erase=0.25)},
    ),
    ("longer", "30 epochs, up to a rate of 0.1", {"epochs": 30, "learning_rate": 0.1}),
    ("no augmentation", "images as they are", {"augmentation": Augmentation()}),
]
BESIDE = {"running mean", "erasing", "no augmentation"}
# Epochs with which `accurate` was chosen while there was still validation; and its seeds, as many
# as there were hours for: five, where they shall make a committee.
CHOSEN_AT = {"fashion_mnist": 60, "mnist": 16}
SEEDS = {"fashion_mnist": 5, "mnist": 3}


def _climb() -> list[Rung]:
    rungs = [Rung("TinyVGG", "", "10 channels, one learning rate", START)]
    for name, words, settings in CHANGES:
        below = next(rung for rung in reversed(rungs) if rung.name not in BESIDE)
        rungs.append(Rung(name, below.name, words, replace(below.recipe, **settings)))
    return rungs


def _finals() -> list[Rung]:
    """The recipes to which the ladder led, and `large`, as `accurate` was chosen: all tested."""
    rungs = []
    for dataset, chosen_at in CHOSEN_AT.items():
        compact, accurate = (training.find_recipe(name, dataset) for name in ("compact", "accurate"))
        large = replace(accurate, refit=False, epochs=chosen_at)
        bigger = f"13 times the weights, on a shrunk image; {large.epochs} epochs"
        bigger += ", with erasing" if large.augmentation.erase else ""
        refit = f"learns from validation, too; {accurate.epochs} epochs"
        rungs += [
            Rung("compact", "longer", "the image is not shrunk", compact, dataset, seeds=5),
            Rung("large", "compact", bigger, large, dataset),
            Rung("accurate", "large", refit, accurate, dataset, seeds=SEEDS[dataset]),
        ]
    return rungs


def named(rungs: list[Rung], names: list[str] | None) -> list[Rung]:
    """Those that have one of the names, or all of them. ValueError for a name that none has."""
    unknown = set(names or ()) - {rung.name for rung in rungs}
    if unknown:
        known = ", ".join(dict.fromkeys(rung.name for rung in rungs))
        raise ValueError(f"There is no rung {min(unknown)!r}. Choose of: {known}.")
    return [rung for rung in rungs if not names or rung.name in names]


RUNGS = [*_climb(), *(replace(rung, test=True) for rung in _finals())]
