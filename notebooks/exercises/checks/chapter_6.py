"""The exercises of chapter 6: doubtful labels."""

import torch
from torch import Tensor

from checks.kinds import Function, Value

# 6.1 The confident joint by hand

PROBABILITIES = torch.tensor([
    [0.90, 0.05, 0.05], [0.80, 0.15, 0.05], [0.51, 0.47, 0.02], [0.39, 0.26, 0.35],
    [0.25, 0.55, 0.20], [0.42, 0.33, 0.25], [0.70, 0.20, 0.10],
    [0.02, 0.08, 0.90], [0.01, 0.37, 0.62], [0.20, 0.52, 0.28],
])  # fmt: skip
GIVEN = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
OWN = torch.stack([PROBABILITIES[k == GIVEN, k].mean() for k in range(3)])


def joint(limits: Tensor) -> Tensor:
    """Count each image for the most probable class that reaches its limit."""
    counts = torch.zeros(3, 3, dtype=torch.int64)
    for label, row in zip(GIVEN, PROBABILITIES, strict=True):
        if (row >= limits).any():
            counts[label, torch.where(row >= limits, row, -1).argmax()] += 1
    return counts


def joint_of_several() -> Tensor:
    """Count each image for all classes that it reaches."""
    reached = (PROBABILITIES >= OWN).long()
    return torch.stack([reached[k == GIVEN].sum(dim=0) for k in range(3)])


def joint_of_first() -> Tensor:
    """Count each image for the first class that it reaches."""
    counts = torch.zeros(3, 3, dtype=torch.int64)
    for label, row in zip(GIVEN, PROBABILITIES, strict=True):
        counts[label, (row >= OWN).int().argmax()] += int((row >= OWN).any())
    return counts


def joint_of_sure() -> Tensor:
    """Count each image for its most probable class, if that reaches its limit."""
    counts = torch.zeros(3, 3, dtype=torch.int64)
    for label, row in zip(GIVEN, PROBABILITIES, strict=True):
        counts[label, row.argmax()] += int(row.max() >= OWN[row.argmax()])
    return counts


ONE_LIMIT = "One limit for all classes is not wanted. Each class has its own threshold."

# 6.3 Wrong labels as a matrix


def flips(pullovers: float, coats: float) -> Tensor:
    """The shares of labels, if so many pullovers and coats get the other label."""
    shares = torch.eye(10)
    shares[2, 2], shares[2, 4] = 1 - pullovers, pullovers
    shares[4, 4], shares[4, 2] = 1 - coats, coats
    return shares


SYMMETRIC = torch.full((10, 10), 0.1 / 9).fill_diagonal_(0.9)

# 6.4 Average precision


def in_order(scores: Tensor, wrong: Tensor) -> Tensor:
    return wrong[scores.argsort(descending=True)].double()


def planted_so_far(scores: Tensor, wrong: Tensor) -> Tensor:
    """The share of planted errors in the list up to each rank."""
    return in_order(scores, wrong).cumsum(0) / torch.arange(1, len(scores) + 1)


def average_precision(scores: Tensor, wrong: Tensor) -> float:
    return planted_so_far(scores, wrong)[in_order(scores, wrong) > 0].mean().item()


def found_of_all(scores: Tensor, wrong: Tensor) -> Tensor:
    listed = in_order(scores, wrong)
    return (listed.cumsum(0) / listed.sum())[listed > 0].mean()


def pairs_in_order(scores: Tensor, wrong: Tensor) -> Tensor:
    return (scores[wrong][:, None] > scores[~wrong]).double().mean()


def from_rank_0(scores: Tensor, wrong: Tensor) -> Tensor:
    counts = in_order(scores, wrong).cumsum(0)
    return (counts / torch.arange(len(scores)).clamp(min=1))[in_order(scores, wrong) > 0].mean()


LISTS = [
    (
        torch.tensor([0.7, 0.1, 0.9, 0.4, 0.3, 0.5]),
        torch.tensor([True, True, False, True, True, False]),
    ),
    (torch.tensor([0.9, 0.8, 0.7, 0.2, 0.1]), torch.tensor([True, False, True, False, False])),
]

# 6.5 Who may judge an image?


def out_of_sample(probabilities: Tensor, part: Tensor) -> Tensor:
    return probabilities[part, torch.arange(len(part))]


def of_the_others(probabilities: Tensor, part: Tensor) -> Tensor:
    """The mean over the models that were trained on the image."""
    trained = torch.arange(len(probabilities))[:, None] != part
    return (probabilities * trained[:, :, None]).sum(dim=0) / trained.sum(dim=0)[:, None]


def divided(models: int, part: list[int]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(models, len(part), 4, generator=generator)
    return logits.softmax(dim=2), torch.tensor(part)


# 6.6 Near-duplicates across the splits


def differences(train: Tensor, test: Tensor) -> Tensor:
    return test[:, None].double() - train.double()


def near(distances: Tensor, limit: float) -> Tensor:
    return (distances <= limit).any(dim=1)


def root_mean_square(difference: Tensor) -> Tensor:
    return difference.square().mean(dim=(2, 3, 4)).sqrt()


def near_duplicates(train: Tensor, test: Tensor, limit: float) -> Tensor:
    return near(root_mean_square(differences(train, test)), limit)


def wrapped(train: Tensor, test: Tensor, limit: float) -> Tensor:
    return near(root_mean_square((test[:, None] - train).double()), limit)


def wrapped_squares(train: Tensor, test: Tensor, limit: float) -> Tensor:
    squares = (test[:, None] - train) ** 2
    return near(squares.double().mean(dim=(2, 3, 4)).sqrt(), limit)


def image_pairs() -> tuple[Tensor, Tensor, float]:
    """Training images, and variants of them; four of them are at most 8 away."""
    generator = torch.Generator().manual_seed(0)
    train = torch.randint(40, 60, (4, 1, 4, 4), generator=generator, dtype=torch.uint8)
    train += 50 * torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1)  # ever brighter
    upper, signs = torch.zeros(4, 4), torch.ones(4, 4)
    upper[:2], signs.view(-1)[::2] = 1, -1
    changes = [(0, -7), (1, 8), (2, 16 * upper), (3, 44 * signs), (0, -16), (1, 4 * upper), (3, 1)]
    test = [(train[i].double() + change).to(torch.uint8) for i, change in changes]
    return train, torch.stack(test), 8.0


DISTANCES = "These are distances. Which of them are at most the limit?"
WRAPS = "In uint8, 100 − 101 is 255, and squares overflow. Turn the pixels into float first."

EXERCISES = {
    "6.1": Value(
        joint(OWN),
        [
            (joint(OWN).T, "Rows are labels, columns are confident classes; yours are exchanged."),
            (
                joint(torch.zeros(3)),
                "You count each image for its most probable class. Where are the thresholds?",
            ),
            (joint(torch.full((3,), 0.5)), ONE_LIMIT),
            (joint(torch.full((3,), 0.6)), ONE_LIMIT),
            (
                joint(PROBABILITIES.mean(dim=0)),
                "Your thresholds are means over all images. Take those with the label only.",
            ),
            (
                joint_of_several(),
                "One image reaches two thresholds. It counts once, for the more probable class.",
            ),
            (
                joint_of_first(),
                "One image reaches two thresholds. You take the first; take the more probable.",
            ),
            (
                joint_of_sure(),
                "You look at the most probable class only. Another may reach its own threshold.",
            ),
            (
                lambda got: bool(torch.isclose(got.sum(), torch.ones(()).double())),
                "These are shares. Counts are wanted.",
            ),
        ],
        "Write the three thresholds down, then mark in each row what reaches its own.",
    ),
    "6.2": Value(
        0.164,
        [
            (
                0.11,
                "You divide by the images that were counted. Scale each row to its labels first.",
            ),
            (
                0.044,
                "You compare counts with all labels. Images that reach no threshold lack there.",
            ),
            (410, "This is a number of labels. Which share of all 2,500 is it?"),
            (0.11 * 2_500, "This is a number of labels, and the rows were not scaled."),
            (110, "Scale each row of counts to the number of its labels, then take the share."),
            (
                (0.2 + 0.02) / 2,
                "The rows have different weights: label 0 is four times as frequent.",
            ),
            (0.2 + 0.02, "These are shares of different labels. They cannot be added."),
            ([0.2, 0.02], "These are the shares for each label. Which share is it of all labels?"),
        ],
        "Which share of the counted labels 0 is wrong? And of the 2,000? Then the same for 1.",
        tolerance=2e-3,
    ),
    "6.3": Value(
        flips(0.1, 0.1),
        [
            (flips(0.05, 0.05), "Of both classes together a tenth is changed. So, of each class?"),
            (flips(0.1, 0.0), "Only pullovers change in yours. The classes are exchanged."),
            (flips(0.0, 0.1), "Only coats change in yours. The classes are exchanged."),
            (flips(0.9, 0.9), "A tenth gets the other label, nine tenths keep theirs."),
            (flips(0.2, 0.2), "A tenth of each of the two classes is changed, not a fifth."),
            (SYMMETRIC, "So it would be with random noise. Here two classes are concerned."),
            (torch.eye(10), "So it would be without a wrong label."),
            (
                flips(1.0, 1.0),
                "This exchanges all labels of the two classes. The rate is a tenth.",
            ),
            (
                lambda got: bool((got.sum(dim=1) - 1).abs().max() > 0.01 and got.max() <= 1),
                "Each row holds the shares of one class, so it must sum to 1.",
            ),
            (
                lambda got: bool((got.diag()[[0, 1, 3, 5, 6, 7, 8, 9]] < 1).any()),
                "Labels of other classes than 2 and 4 stay as they are.",
            ),
        ],
        "What happens to a pullover, what to a coat, and what to all others?",
    ),
    "6.4": Function(
        average_precision,
        LISTS,
        [
            (
                lambda scores, wrong: average_precision(-scores, wrong),
                "The list begins with the lowest score. The most suspicious label comes first.",
            ),
            (
                lambda scores, wrong: planted_so_far(scores, wrong).mean(),
                "You note the share at every label. Note it at planted errors only.",
            ),
            (
                lambda scores, wrong: average_precision(scores, wrong) * wrong.double().mean(),
                "You divide by the number of labels. The mean is over the planted errors.",
            ),
            (
                lambda scores, wrong: in_order(scores, wrong)[: int(wrong.sum())].mean(),
                "This is the precision at one place of the list. Average over all planted errors.",
            ),
            (
                lambda scores, wrong: (in_order(scores, wrong).cumsum(0) / wrong.sum()).mean(),
                "You note the share of all errors that were found, the recall.",
            ),
            (
                pairs_in_order,
                "This is how often a planted error is above a correct label (the area under ROC).",
            ),
            (found_of_all, "You note which share of the errors was found, not of the list."),
            (
                lambda scores, wrong: wrong.double().mean(),
                "This is what a random order would have. Where do the scores come in?",
            ),
            (
                lambda scores, wrong: average_precision(-torch.arange(len(wrong)), wrong),
                "The labels are in their given order. Sort them by the score first.",
            ),
            (from_rank_0, "Ranks begin with 1: the first label is a list of one."),
        ],
        "Try it by hand with three labels: planted, correct, planted.",
    ),
    "6.5": Function(
        out_of_sample,
        [divided(3, [0, 1, 2, 0, 2, 1, 1]), divided(2, [1, 1, 0, 0])],
        [
            (
                lambda probabilities, part: probabilities.mean(dim=0),
                "The mean holds models that were trained on the image. They know its label.",
            ),
            (of_the_others, "These are just the models that were trained on the image."),
            (
                lambda probabilities, part: probabilities[0],
                "Model 0 was trained on most of these images. Choose a model for each image.",
            ),
            (
                lambda probabilities, part: out_of_sample(
                    probabilities, (part + 1) % len(probabilities)
                ),
                "You take another model than that of the image's part. It saw the image.",
            ),
            (
                lambda probabilities, part: probabilities.max(dim=0).values,
                "The most confident model is likely to be one that was trained on the image.",
            ),
            (
                lambda probabilities, part: out_of_sample(probabilities, part).argmax(dim=1),
                "These are classes. An audit needs all probabilities, (N, K).",
            ),
            (
                lambda probabilities, part: probabilities[part],
                "This takes all images of a model, for each image. Index both axes at once.",
            ),
        ],
        "Which one model has not seen an image of part m?",
    ),
    "6.6": Function(
        near_duplicates,
        [image_pairs()],
        [
            (wrapped, WRAPS),
            (wrapped_squares, WRAPS),
            (
                lambda train, test, limit: near(
                    differences(train, test).abs().mean(dim=(2, 3, 4)), limit
                ),
                "You average absolute differences. Square them, and take the root of the mean.",
            ),
            (
                lambda train, test, limit: near(
                    differences(train, test).square().sum(dim=(2, 3, 4)).sqrt(), limit
                ),
                "You sum over the pixels. With a mean, the limit is in gray values.",
            ),
            (
                lambda train, test, limit: near(
                    differences(train, test).square().mean(dim=(2, 3, 4)), limit
                ),
                "The root is missing. So you compare squared gray values with gray values.",
            ),
            (
                lambda train, test, limit: near(
                    differences(train, test).mean(dim=(2, 3, 4)).abs(), limit
                ),
                "Brighter and darker pixels cancel in your mean. Square the differences first.",
            ),
            (
                lambda train, test, limit: (root_mean_square(differences(train, test)) < limit).any(
                    dim=1
                ),
                "A distance of exactly the limit counts, too: at most.",
            ),
            (
                lambda train, test, limit: near_duplicates(test, train, limit),
                "Wanted is an answer for each test image; yours is for each training image.",
            ),
            (
                lambda train, test, limit: root_mean_square(differences(train, test)) <= limit,
                "This holds every pair. A test image is found if *any* training image is near.",
            ),
            (
                lambda train, test, limit: (
                    root_mean_square(differences(train, test)) <= limit
                ).all(dim=1),
                "One near training image is enough; you ask for all of them.",
            ),
            (
                lambda train, test, limit: root_mean_square(differences(train, test)).amin(dim=1),
                DISTANCES,
            ),
            (
                lambda train, test, limit: 4 * root_mean_square(differences(train, test)).amin(1),
                DISTANCES,
            ),
            (
                lambda train, test, limit: near_duplicates(train, test, limit).sum(),
                "This is how many there are. Which ones? A bool for each test image.",
            ),
            (
                lambda train, test, limit: near_duplicates(train / 255, test / 255, limit),
                "With pixels in [0, 1] everything is near. The limit is in gray values of 255.",
            ),
        ],
        "Compute one distance for each pair of a test and a training image first.",
    ),
}
