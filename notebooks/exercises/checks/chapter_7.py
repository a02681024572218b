"""The exercises of chapter 7: many runs."""

import itertools
import math
import statistics
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from helpers import evaluation
from checks.kinds import Function, Parts, Value

# 7.1 A mean and its spread

COMPACT = [93.71, 93.59, 94.08, 93.83, 93.78]  # test accuracies of five seeds, %


def summary() -> Value:
    mean, deviation = statistics.mean(COMPACT), statistics.stdev(COMPACT)
    low, high = evaluation.mean_interval(COMPACT)
    return Value(
        (mean, deviation),
        [
            (
                (mean, statistics.pstdev(COMPACT)),
                "This deviation divides by n. The mean comes from the same values: n − 1.",
            ),
            (
                (mean, deviation / math.sqrt(5)),
                "This is the standard error of the mean. How far does one training deviate?",
            ),
            (
                (mean, statistics.variance(COMPACT)),
                "This is the variance. The standard deviation is its root.",
            ),
            (
                (mean, (high - low) / 2),
                "This is half a confidence interval of the mean, not the standard deviation.",
            ),
            (
                (mean, max(COMPACT) - min(COMPACT)),
                "This is the range. It grows with the number of seeds; the deviation does not.",
            ),
            (
                (statistics.median(COMPACT), deviation),
                "This is the median. The mean is wanted.",
            ),
            ((max(COMPACT), deviation), "This is the best of the five, not their mean."),
            ((deviation, mean), "The order is (mean, deviation)."),
            (mean, "The mean is right. The deviation is missing: (mean, deviation)."),
            ((mean / 100, deviation / 100), "These are fractions. Give percent."),
            (
                (mean, deviation / 100),
                "The mean is in percent, the deviation is not.",
            ),
        ],
    )


# 7.4 The number to report


def share(right: Tensor) -> Tensor:
    return right.double().mean(dim=-1)


def reported(validation: Tensor, test: Tensor) -> Tensor:
    return share(test[share(validation).argmax()])


def chosen_on_both(validation: Tensor, test: Tensor) -> Tensor:
    return share(torch.cat([validation, test], dim=1)).argmax()


def table(*rows: str) -> Tensor:
    """True where a row has a 1."""
    return torch.tensor([[letter == "1" for letter in row] for row in rows])


VALIDATED = table("100000", "111110", "111100")
TESTED = table("11111110", "11000000", "11111100")

# 7.5 One batch, several processes


def combine(gradients: Tensor, sizes: Tensor) -> Tensor:
    return (gradients * sizes[:, None]).sum(dim=0) / sizes.sum()


# 7.6 The Pareto front

Numbers = Mapping[str, float]
ACCURACIES = {"small": 88.0, "wide": 90.0, "deep": 91.0, "slow": 89.0, "twin": 90.5, "huge": 91.0}
COSTS = {"small": 1.0, "wide": 2.0, "deep": 5.0, "slow": 3.0, "twin": 2.0, "huge": 9.0}
# beside the front, these are worse than a model two places before, but better than the one before
DIPPED = {"a": 80.0, "b": 85.0, "c": 82.0, "d": 84.0, "e": 90.0}
RISING = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0, "e": 5.0}


def unbeaten(
    beats: Callable[[tuple[float, float], tuple[float, float]], bool],
) -> Callable[[Numbers, Numbers], list[str]]:
    """The models that no other beats; each is given as a pair of accuracy and cost."""

    def front(accuracies: Numbers, costs: Numbers) -> list[str]:
        both = {name: (accuracies[name], costs[name]) for name in accuracies}
        left = [a for a in both if not any(beats(both[b], both[a]) for b in both)]
        return sorted(left, key=lambda name: costs[name])

    return front


pareto = unbeaten(lambda b, a: b[0] >= a[0] and b[1] <= a[1] and b != a)
strictly = unbeaten(lambda b, a: b[0] > a[0] and b[1] < a[1])
dear = unbeaten(lambda b, a: b[0] >= a[0] and b[1] >= a[1] and b != a)


def better_than_next(accuracies: Numbers, costs: Numbers) -> list[str]:
    names = sorted(costs, key=lambda name: (costs[name], -accuracies[name]))
    pairs = itertools.pairwise(names)
    return names[:1] + [b for a, b in pairs if accuracies[b] > accuracies[a]]


def beaten(accuracies: Numbers, costs: Numbers) -> list[str]:
    off = set(costs) - set(pareto(accuracies, costs))
    return sorted(off, key=lambda name: (costs[name], -accuracies[name]))


UNSORTED = "The right models. The cheapest comes first."


def places(inputs: tuple[Numbers, Numbers], result: object) -> list[int]:
    """For each model 10 times its number and its place in a list of names; 0 if not there."""
    names = [] if isinstance(result, str) else list(result)  # type: ignore[call-overload]
    if not names or not all(name in inputs[0] for name in names):
        raise ValueError("a list with names of models is wanted")
    if isinstance(result, set):
        raise ValueError("a set has no order, a list has one")
    of_all = enumerate(inputs[0], start=1)
    return [10 * i + names.index(name) if name in names else 0 for i, name in of_all]


EXERCISES = {
    "7.1": summary,
    "7.2": Value(
        16,
        [
            (60, "So many it was before. The deviation is only half as large now."),
            (30, "You halve the number. It grows with the square of the deviation."),
            (15, "Nearly. A t-test with few seeds needs a little more than a quarter: compute it."),
            (59, "So many it was before. The deviation is only half as large now."),
            (
                evaluation.seeds_needed(0.5, 1.92),
                "You halve the difference. That makes it harder; here the deviation is halved.",
            ),
            (240, "You quadruple the number. A smaller deviation makes the question easier."),
            (120, "You double the number. A smaller deviation makes the question easier."),
            (evaluation.seeds_needed(1, 1.92 / 4), "You quarter the deviation. Halve it."),
            (32, "These are the seeds of both settings together. How many of each?"),
        ],
        "Ask `evaluation.seeds_needed(difference, deviation)`, both in points.",
    ),
    "7.3": Parts(
        {
            "chance": Value(
                1 - 0.95**20,
                [
                    (1.0, "Adding twenty times 5 % counts cases double in which several do."),
                    (20 * 5, "Adding twenty times 5 % counts cases double in which several do."),
                    (0.95**20, "That none looks significant has this probability."),
                    (0.05**20, "That all twenty look significant has this probability."),
                    (0.05, "So likely is it in one test. You make twenty."),
                    (
                        20 * 0.05 * 0.95**19,
                        "Exactly one: this is its probability. Wanted: one or more.",
                    ),
                ],
                "How likely is it that a test stays silent? That all twenty do?",
                tolerance=2e-3,
            ),
            "level": Value(
                0.0025,
                [
                    (0.05, "At this level the probability is the one that you have just computed."),
                    (1.0, "A level of more than 5 % makes it worse."),
                    (0.05**20, "So strict a test would find nothing that is there, either."),
                    (0.95, "This is one minus a level. A level is small."),
                    (0.05 / math.sqrt(20), "Not the root: the number of tests itself counts."),
                    (0.25, "This is in percent. A fraction is wanted."),
                ],
                "Twenty tests share 5 %. How much is left for each?",
                tolerance=0.015,
            ),
        }
    ),
    "7.4": Function(
        reported,
        [(VALIDATED, TESTED)],
        [
            (
                lambda validation, test: share(test).max(),
                "You choose by the test images. Then the best number is partly luck.",
            ),
            (
                lambda validation, test: share(validation).max(),
                "The winner was chosen for this number, so it is too high. What did it not see?",
            ),
            (
                lambda validation, test: share(test).mean(),
                "This is the mean of all models. One of them is handed in.",
            ),
            (
                lambda validation, test: share(validation).argmax(),
                "This is the number of the chosen model. Its accuracy is wanted.",
            ),
            (
                lambda validation, test: share(test[chosen_on_both(validation, test)]),
                "You choose by both splits. The test split must have no part in it.",
            ),
            (
                lambda validation, test: share(torch.cat([validation, test], dim=1)).max(),
                "You measure on both splits together. Validation images have chosen already.",
            ),
            (
                lambda validation, test: share(validation[share(test).argmax()]),
                "The splits are exchanged: validation chooses, test reports.",
            ),
            (
                lambda validation, test: test[share(validation).argmax()].sum(),
                "This is how many are right. Which share is it?",
            ),
        ],
        "Two steps: which model? Then, on which images is it measured?",
    ),
    "7.5": Function(
        combine,
        [
            (torch.tensor([[1.0, 2.0, 0.0], [3.0, -2.0, 4.0]]), torch.tensor([3, 1])),
            (torch.arange(12.0).view(4, 3).sin(), torch.tensor([33, 33, 33, 29])),
        ],
        [
            (
                lambda gradients, sizes: gradients.mean(dim=0),
                "The plain mean: an image of the small share counts more than one of the large.",
            ),
            (
                lambda gradients, sizes: gradients.sum(dim=0),
                "The sum over the processes is too large, the more so the more there are.",
            ),
            (
                lambda gradients, sizes: (gradients * sizes[:, None]).sum(dim=0),
                "This is the gradient of the sum of losses. Their mean over images is wanted.",
            ),
            (
                lambda gradients, sizes: (gradients * sizes[:, None]).mean(dim=0),
                "Weighted by images, then divided by processes. Divide by all images.",
            ),
            (
                lambda gradients, sizes: (gradients / sizes[:, None]).mean(dim=0),
                "You divide by the size of a share. Each gradient is a mean already.",
            ),
            (
                lambda gradients, sizes: (gradients / sizes[:, None]).sum(dim=0),
                "You divide each by the size of its share. It is a mean already.",
            ),
            (
                lambda gradients, sizes: gradients.sum(dim=0) / sizes.sum(),
                "You add means and divide by images. Make each mean a sum over its images first.",
            ),
            (
                lambda gradients, sizes: gradients * sizes[:, None] / sizes.sum(),
                "Each row is weighted well. Now the processes must come together.",
            ),
        ],
        "What is the sum over the images of one share? And over all images?",
    ),
    "7.6": Function(
        pareto,
        [(ACCURACIES, COSTS), (DIPPED, RISING)],
        [
            (
                lambda accuracies, costs: [max(accuracies, key=lambda name: accuracies[name])],
                "The best alone is not the front: cheaper models that none beats belong to it.",
            ),
            (
                strictly,
                "A model that another beats in one of the two, and equals in the other, is off.",
            ),
            (dear, "You treat a high cost as good. Cheaper is better."),
            (
                lambda accuracies, costs: sorted(costs, key=lambda name: costs[name]),
                "These are all models. Which have another that is as cheap, and better?",
            ),
            (
                lambda accuracies, costs: pareto(accuracies, costs)[1:],
                "The cheapest model is missing. None is as cheap, so none beats it.",
            ),
            (
                lambda accuracies, costs: pareto(accuracies, costs)[:-1],
                "The best model is missing, though none is better.",
            ),
            (lambda accuracies, costs: pareto(accuracies, costs)[::-1], UNSORTED),
            (lambda accuracies, costs: sorted(pareto(accuracies, costs)), UNSORTED),
            (
                lambda accuracies, costs: [n for n in costs if n in pareto(accuracies, costs)],
                UNSORTED,
            ),
            (beaten, "These are the models that another one beats. Wanted are the others."),
            (
                better_than_next,
                "You compare with the next cheaper model only. Another cheaper one may be better.",
            ),
        ],
        "For each model, look for another that is as good and as cheap, and better in one.",
        observe=places,
    ),
}
