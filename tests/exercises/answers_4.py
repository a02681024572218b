"""Answers to the exercises of chapter 4: right ones, and wrong ones with a part of their hint."""

import math

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn import metrics

from helpers import data, evaluation, models

SPLITS = data.load_splits("fashion_mnist")
PREDICTIONS = evaluation.predict(
    models.load_pretrained("fashion_mnist/tiny_vgg"), SPLITS.validation
)
IS_WRONG = (PREDICTIONS.predicted != PREDICTIONS.targets).numpy()
COUNTS = IS_WRONG[np.argsort(PREDICTIONS.confidence.numpy())].reshape(10, -1).sum(axis=1)


def by_formula(accuracy, n):
    reach = 1.96 * math.sqrt(accuracy * (1 - accuracy) / n)
    return [accuracy - reach, accuracy + reach]


def by_statistics(accuracy, n):
    answers = torch.zeros(n, dtype=torch.float64)
    answers[: round(accuracy * n)] = 1
    return accuracy + torch.tensor([-1.96, 1.96]) * answers.std(correction=0) / n**0.5


def one_error(accuracy, n):
    error = math.sqrt(accuracy * (1 - accuracy) / n)
    return accuracy - error, accuracy + error


def without_root(accuracy, n):
    reach = 1.96 * accuracy * (1 - accuracy) / n
    return accuracy - reach, accuracy + reach


def without_complement(accuracy, n):
    reach = 1.96 * math.sqrt(accuracy / n)
    return accuracy - reach, accuracy + reach


def without_n(accuracy, n):
    reach = 1.96 * math.sqrt(accuracy * (1 - accuracy))
    return accuracy - reach, accuracy + reach


def n_outside(accuracy, n):
    reach = 1.96 * math.sqrt(accuracy * (1 - accuracy)) / n
    return accuracy - reach, accuracy + reach


def reach_only(accuracy, n):
    return 1.96 * math.sqrt(accuracy * (1 - accuracy) / n)


def high_first(accuracy, n):
    return by_formula(accuracy, n)[::-1]


def in_percent(accuracy, n):
    return [100 * end for end in by_formula(accuracy, n)]


def not_imported(accuracy, n):
    return accuracy - 1.96 * maths.sqrt(accuracy / n)  # noqa: F821


def by_loop(confusion):
    result = []
    for k in range(len(confusion)):
        predicted = confusion[:, k].sum().item()
        result.append(confusion[k, k].item() / predicted if predicted else 0)
    return result


def by_nan_to_num(confusion):
    return torch.nan_to_num(confusion.diagonal() / confusion.sum(0))


def recall(confusion):
    return confusion.diag() / confusion.sum(1)


def f1(confusion):
    p, r = by_nan_to_num(confusion), recall(confusion)
    return torch.nan_to_num(2 * p * r / (p + r))


def accuracy(confusion):
    return confusion.trace() / confusion.sum()


def macro(confusion):
    return by_nan_to_num(confusion).mean()


def of_all(confusion):
    return confusion.diag() / confusion.sum()


def whole_matrix(confusion):
    return confusion / confusion.sum(0).clamp(min=1)


def not_a_number(confusion):
    return confusion.diag() / confusion.sum(0)


def false_discovery(confusion):
    return 1 - by_nan_to_num(confusion)


def by_topk(logits, targets, count):
    probabilities = logits.softmax(-1)
    confidence = probabilities.amax(-1)
    confidence[probabilities.argmax(-1) == targets] = -1
    return confidence.topk(count).indices


def by_sorting(logits, targets, count):
    rows = []
    for i, row in enumerate(logits.softmax(1)):
        if row.argmax() != targets[i]:
            rows.append((-row.max().item(), i))
    return [i for _, i in sorted(rows)[:count]]


def among_mistakes(logits, targets, count):
    wrong = logits[logits.argmax(1) != targets]
    return wrong.softmax(1).amax(1).topk(count).indices


def by_logit(logits, targets, count):
    largest = logits.amax(1)
    largest[logits.argmax(1) == targets] = -1e9
    return largest.topk(count).indices


def least(logits, targets, count):
    confidence = logits.softmax(1).amax(1)
    confidence[logits.argmax(1) == targets] = 9
    return confidence.argsort()[:count]


def right_ones(logits, targets, count):
    confidence = logits.softmax(1).amax(1)
    confidence[logits.argmax(1) != targets] = -1
    return confidence.topk(count).indices


def everything(logits, targets, count):
    return logits.softmax(1).amax(1).topk(count).indices


def unsorted(logits, targets, count):
    return by_topk(logits, targets, count).sort().values


def confidences(logits, targets, count):
    return logits.softmax(1).amax(1)[by_topk(logits, targets, count)]


def over_the_batch(logits, targets, count):
    return (logits.argmax(dim=0) != targets).nonzero()[:count]


def bars(heights=COUNTS, lying=False, **labels):
    ax = Figure().subplots()
    draw = ax.barh if lying else ax.bar
    draw(range(1, 11), heights)
    ax.set(**{"title": "Mistakes", "xlabel": "tenth", "ylabel": "mistakes", **labels})
    return ax


def no_bars():
    ax = Figure().subplots()
    ax.plot(COUNTS)
    return ax


def side_by_side(votes, targets, predicted):
    counts = [0, 0, 0]
    for row, target, guess in zip(
        votes.tolist(), targets.tolist(), predicted.tolist(), strict=True
    ):
        if row.count(target) >= 7:
            counts[0] += 1
        elif row.count(guess) >= 7:
            counts[1] += 1
        else:
            counts[2] += 1
    return counts


def by_means(votes, targets, predicted):
    label = ((votes == targets[:, None]).float().mean(1) >= 0.7).sum()
    model = ((votes == predicted[:, None]).float().mean(1) >= 0.7).sum()
    return torch.stack([label, model, len(votes) - label - model])


def sides(votes, targets, predicted, needed):
    label = ((votes == targets[:, None]).sum(1) >= needed).sum().item()
    model = ((votes == predicted[:, None]).sum(1) >= needed).sum().item()
    return [label, model, len(votes) - label - model]


def by_half(*given):
    return sides(*given, needed=6)


def more_than_seven(*given):
    return sides(*given, needed=8)


def all_votes(votes, targets, predicted):
    label = (votes == targets[:, None]).sum().item()
    model = (votes == predicted[:, None]).sum().item()
    return [label, model, votes.numel() - label - model]


def most_votes(votes, targets, predicted):
    most = votes.mode(1).values
    label, model = (most == targets).sum().item(), (most == predicted).sum().item()
    return [label, model, len(votes) - label - model]


def model_first(*given):
    label, model, rest = side_by_side(*given)
    return [model, label, rest]


def two_only(*given):
    return side_by_side(*given)[:2]


def shares(*given):
    return [count / len(given[0]) for count in side_by_side(*given)]


def without_new_axis(votes, targets, predicted):
    return [((votes == targets).sum(1) >= 7).sum().item()]


RIGHT = {
    "4.1": [by_formula, by_statistics],
    "4.2": [by_loop, by_nan_to_num],
    "4.3": [by_topk, by_sorting],
    "4.4": [bars(), bars(lying=True)],
    "4.5": [side_by_side, by_means],
}
WRONG = {
    "4.1": [
        (one_error, "Reach 1.96"),
        (without_root, "root of the standard error"),
        (without_complement, "not a alone"),
        (without_n, "number of images is missing"),
        (n_outside, "under the root"),
        (reach_only, "both ends"),
        (high_first, "exchanged"),
        (in_percent, "a percentage"),
        (not_imported, "NameError"),
    ],
    "4.2": [
        (recall, "That is the recall"),
        (f1, "That is F1"),
        (accuracy, "That is the accuracy"),
        (macro, "mean over the classes"),
        (of_all, "divided by all images"),
        (whole_matrix, "its diagonal"),
        (not_a_number, "0 / 0"),
        (false_discovery, "1 minus"),
        (metrics.precision_score, "it stops with TypeError"),
    ],
    "4.3": [
        (among_mistakes, "number the mistakes only"),
        (by_logit, "softmax first"),
        (least, "*least* confident"),
        (right_ones, "These are right answers"),
        (everything, "Right answers are among them"),
        (unsorted, "their order is not"),
        (confidences, "row numbers are wanted"),
        (over_the_batch, "stops with RuntimeError"),
    ],
    "4.4": [
        (bars(COUNTS[::-1]), "order is reversed"),
        (bars(500 - COUNTS), "Right answers are counted"),
        (bars(COUNTS / 500), "These are shares"),
        (bars(COUNTS / 5), "These are percentages"),
        (bars(COUNTS.cumsum()), "added up"),
        (bars(IS_WRONG.reshape(10, -1).sum(axis=1)), "Sort the mistakes by confidence"),
        (bars(np.histogram(PREDICTIONS.confidence[IS_WRONG], 10, (0, 1))[0]), "equal widths"),
        (bars(xlabel=""), "Missing: xlabel"),
        (bars(title="", ylabel=" "), "Missing: title, ylabel"),
        (no_bars(), "There are no bars"),
        (COUNTS, "The Axes of the plot are wanted"),
    ],
    "4.5": [
        (by_half, "More than half is not enough"),
        (more_than_seven, "*at least* seven"),
        (all_votes, "Decide for each mistake first"),
        (most_votes, "class with most votes decides"),
        (model_first, "exchanged"),
        (two_only, "undecided ones are missing"),
        (shares, "These are shares"),
        (without_new_axis, "stops with RuntimeError"),
    ],
}
