"""What is right in the exercises of chapter 4, and which mistakes get which hint."""

import torch

from helpers import data, evaluation, models
from checks.kinds import Function, Plot


def ends(accuracy, n, width=1.96, root=True, variance=None):
    error = accuracy * (1 - accuracy) / n if variance is None else variance / n
    error = error**0.5 if root else error
    return accuracy - width * error, accuracy + width * error


INTERVAL = Function(
    ends,
    inputs=[(0.9, 1000), (0.75, 200)],
    mistakes=[
        (lambda a, n: ends(a, n, width=1), "That is one standard error each way. Reach 1.96."),
        (lambda a, n: ends(a, n, width=0.98), "1.96 standard errors in each direction, not half."),
        (lambda a, n: ends(a, n, root=False), "The root of the standard error is missing."),
        (lambda a, n: ends(a, n, variance=a), "Under the root is a (1 − a), not a alone."),
        (
            lambda a, n: ends(a, n, variance=a * (1 - a) * n),
            "The number of images is missing: more images make it narrower.",
        ),
        (
            lambda a, n: ends(a, n, width=1.96 / n**0.5),
            "It is divided by n as a whole. n stands under the root.",
        ),
        (
            lambda a, n: ends(a, n)[1] - a,
            "That is how far it reaches. Return both ends, the lower one first.",
        ),
        (lambda a, n: ends(a, n)[::-1], "The ends are exchanged: the lower one comes first."),
        (
            lambda a, n: (-(ends(a, n)[1] - a), ends(a, n)[1] - a),
            "These are distances. The interval lies around the accuracy: add it.",
        ),
    ],
    otherwise="Compute the standard error first, then a − 1.96 of it and a + 1.96 of it.",
    tolerance=1e-5,
)


def right_precision(confusion):
    return confusion.diag() / confusion.sum(dim=0).clamp(min=1)


def recall(confusion):
    return confusion.diag() / confusion.sum(dim=1).clamp(min=1)


def f1(confusion):
    p, r = right_precision(confusion), recall(confusion)
    return 2 * p * r / (p + r).clamp(min=1e-9)


PRECISION = Function(
    right_precision,
    inputs=[
        (torch.tensor([[50, 10, 0], [5, 80, 5], [20, 0, 30]]),),
        (torch.tensor([[8, 2, 0], [1, 9, 0], [4, 6, 0]]),),
    ],
    mistakes=[
        (recall, "That is the recall. Divide by how often each class was *predicted*."),
        (f1, "That is F1, which joins precision and recall."),
        (
            lambda confusion: confusion.diag() / confusion.sum(),
            "Each count is divided by all images. Divide by those predicted as this class.",
        ),
        (
            lambda confusion: confusion.diag().sum() / confusion.sum(),
            "That is the accuracy, one number. A precision for each class is wanted.",
        ),
        (
            lambda confusion: confusion / confusion.sum(dim=0).clamp(min=1),
            "That is the whole matrix. The precisions are its diagonal.",
        ),
        (
            lambda confusion: right_precision(confusion).mean(),
            "That is the mean over the classes. Return one precision for each class.",
        ),
        (
            lambda confusion: confusion.diag() / confusion.sum(dim=0),
            "A class that was never predicted gives 0 / 0. Its precision is 0 here.",
        ),
    ],
    otherwise="Divide the diagonal by the sums of the columns.",
)


def confident(logits, targets, count, *, measure="softmax", lowest=False):
    predicted = logits.argmax(dim=1)
    confidence = (logits.softmax(dim=1) if measure == "softmax" else logits).max(dim=1).values
    rows = (predicted != targets).nonzero().flatten()
    return rows[confidence[rows].argsort(descending=not lowest)[:count]]


def confident_mistakes() -> Function:
    generator = torch.Generator().manual_seed(3)
    sizes = 6 * torch.rand(60, 1, generator=generator)
    offsets = 8 * torch.rand(60, 1, generator=generator)  # change logits, not probabilities
    logits = sizes * torch.randn(60, 4, generator=generator) + offsets
    targets = torch.randint(4, (60,), generator=generator)

    def among_mistakes(logits, targets, count):
        wrong = logits.argmax(dim=1) != targets
        return logits[wrong].softmax(dim=1).max(dim=1).values.argsort(descending=True)[:count]

    def by_row(logits, targets, count):
        return confident(logits, targets, count).sort().values

    def right_ones(logits, targets, count):
        confidence = logits.softmax(dim=1).max(dim=1).values
        return confidence.masked_fill(logits.argmax(1) != targets, 0).argsort(descending=True)[
            :count
        ]

    def all_images(logits, targets, count):
        return logits.softmax(dim=1).max(dim=1).values.argsort(descending=True)[:count]

    def values(logits, targets, count):
        return logits.softmax(1).max(1).values[confident(logits, targets, count)]

    def mask(logits, targets, count):
        return logits.argmax(dim=1) != targets

    return Function(
        confident,
        inputs=[(logits, targets, 5), (logits[:30], targets[:30], 3)],
        mistakes=[
            (
                among_mistakes,
                "These number the mistakes only. Translate them back to rows of all images.",
            ),
            (
                lambda *given: confident(*given, measure="logits"),
                "It sorts by the largest logit. Confidence is a probability: softmax first.",
            ),
            (
                lambda *given: confident(*given, lowest=True),
                "These are the *least* confident. Sort with `descending=True`.",
            ),
            (all_images, "Right answers are among them. Keep the mistakes only."),
            (right_ones, "These are right answers. A mistake is predicted != target."),
            (by_row, "The rows are right, their order is not: the most confident first."),
            (values, "These are confidences. The row numbers are wanted."),
            (mask, "That is a mask of all mistakes. The row numbers of some are wanted."),
        ],
        otherwise="Find the rows of the mistakes, and sort these by confidence.",
    )


def tenths() -> Plot:
    splits = data.load_splits("fashion_mnist")
    model = models.load_pretrained("fashion_mnist/tiny_vgg")
    predictions = evaluation.predict(model, splits.validation)
    wrong = (predictions.predicted != predictions.targets).double()
    counts = wrong[predictions.confidence.argsort()].view(10, -1).sum(dim=1)
    size = len(wrong) / 10
    return Plot(
        bars=counts,
        mistakes=[
            (counts.flip(0), "The order is reversed. The least confident come first."),
            (size - counts, "Right answers are counted. Count the mistakes."),
            (counts / size, "These are shares. Draw the numbers of mistakes."),
            (100 * counts / size, "These are percentages. Draw the numbers of mistakes."),
            (counts.cumsum(0), "The counts are added up. Each bar counts its own group."),
            (
                wrong.view(10, -1).sum(dim=1),
                "The images are in their own order. Sort the mistakes by confidence first.",
            ),
            (
                torch.histc(predictions.confidence[wrong.bool()], 10, 0, 1).double(),
                "The groups have equal widths. Ten groups of equally many images are wanted.",
            ),
        ],
    )


def sides(votes, targets, predicted, needed=7):
    with_label = (votes == targets[:, None]).sum(dim=1) >= needed
    with_model = (votes == predicted[:, None]).sum(dim=1) >= needed
    return torch.stack([with_label, with_model, ~with_label & ~with_model]).sum(dim=1)


def counted_sides() -> Function:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(4, (60,), generator=generator)
    predicted = (targets + torch.randint(1, 4, (60,), generator=generator)) % 4
    share = torch.rand(60, 10, generator=generator)
    pull = torch.rand(60, 1, generator=generator)
    votes = torch.where(share < pull, targets[:, None], predicted[:, None])
    stray = torch.rand(60, 10, generator=generator) < 0.1
    votes = torch.where(stray, (targets[:, None] + 2) % 4, votes)

    def all_votes(votes, targets, predicted):
        label, model = (votes == targets[:, None]).sum(), (votes == predicted[:, None]).sum()
        return torch.stack([label, model, votes.numel() - label - model])

    def winner(votes, targets, predicted):
        most = votes.mode(dim=1).values
        label, model = (most == targets).sum(), (most == predicted).sum()
        return torch.stack([label, model, len(votes) - label - model])

    return Function(
        lambda *given: sides(*given).tolist(),
        inputs=[(votes, targets, predicted), (votes[:25], targets[:25], predicted[:25])],
        mistakes=[
            (
                lambda *given: sides(*given, needed=6),
                "More than half is not enough: at least seven of ten are needed.",
            ),
            (lambda *given: sides(*given, needed=8), "Seven votes are enough: *at least* seven."),
            (all_votes, "All votes are counted together. Decide for each mistake first."),
            (winner, "The class with most votes decides here. At least seven are needed."),
            (
                lambda *given: sides(*given)[[1, 0, 2]],
                "The first two are exchanged: with the label comes first.",
            ),
            (
                lambda *given: sides(*given) / len(given[0]),
                "These are shares. Count the mistakes.",
            ),
            (
                lambda *given: sides(*given)[:2],
                "The undecided ones are missing. Three numbers are wanted.",
            ),
        ],
        otherwise="Count the votes for the label and for the predicted class, mistake by mistake.",
    )


EXERCISES = {
    "4.1": INTERVAL,
    "4.2": PRECISION,
    "4.3": confident_mistakes,
    "4.4": tenths,
    "4.5": counted_sides,
}
