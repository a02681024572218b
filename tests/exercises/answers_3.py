"""Answers to the exercises of chapter 3: right ones, and wrong ones with a part of their hint."""

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn import metrics

from helpers import data, evaluation, models

SPLITS = data.load_splits("fashion_mnist")
NAMES = SPLITS.spec.class_names
PREDICTED = evaluation.predict(
    models.load_pretrained("fashion_mnist/tiny_vgg"), SPLITS.validation[:20]
).predicted


def row(split=SPLITS.validation, first=10, title="{0} / {1}", names=NAMES, shifted=0, count=5):
    axes = Figure().subplots(1, 5)
    for ax, i in zip(axes, range(first, first + count), strict=False):
        ax.imshow(split.images[i, 0].numpy())
        guess, label = PREDICTED[i + shifted], SPLITS.validation.targets[i]
        ax.set_title(title.format(names[guess], names[label]))
    return axes


def in_two_rows():
    figure = Figure()
    for place, i in enumerate(range(10, 15), start=1):
        ax = figure.add_subplot(2, 3, place)
        ax.imshow(SPLITS.validation.images[i].permute(1, 2, 0).numpy(), cmap="gray")
        ax.set_title(f"{NAMES[PREDICTED[i]]} / {NAMES[SPLITS.validation.targets[i]]}")
        ax.axis("off")
    return figure


def one_by_one(predicted, targets, classes):
    counts = [[0] * classes for _ in range(classes)]
    for guess, truth in zip(predicted.tolist(), targets.tolist(), strict=True):
        counts[truth][guess] += 1
    return counts


def by_bincount(predicted, targets, classes):
    return torch.bincount(targets * classes + predicted, minlength=classes**2).view(classes, -1)


def exchanged(predicted, targets, classes):
    return by_bincount(targets, predicted, classes)


def only_mistakes(predicted, targets, classes):
    return by_bincount(predicted, targets, classes).fill_diagonal_(0)


def shares(predicted, targets, classes):
    counts = by_bincount(predicted, targets, classes)
    return counts / counts.sum(dim=1, keepdim=True)


def shares_of_all(predicted, targets, classes):
    return by_bincount(predicted, targets, classes) / len(targets)


def pairs_once(predicted, targets, classes):
    counts = torch.zeros(classes, classes, dtype=torch.int64)
    counts[targets, predicted] += 1
    return counts


def from_sklearn(predicted, targets, classes):
    return metrics.confusion_matrix(targets, predicted)


def as_floats(predicted, targets, classes):
    return by_bincount(predicted, targets, classes).float()


def misspelled(predicted, targets, classes):
    return torch.zeros(classes, classes)[targets, predicteds]  # noqa: F821


def with_a_counter(losses, patience):
    lowest, best, waited = float("inf"), 0, 0
    for epoch, loss in enumerate(losses):
        if loss < lowest:
            lowest, best, waited = loss, epoch, 0
        else:
            waited += 1
            if waited >= patience:
                return epoch + 1, best + 1
    return len(losses), best + 1


def by_search(losses, patience):
    for stop in range(1, len(losses) + 1):
        best = int(np.argmin(losses[:stop])) + 1
        if stop - best >= patience:
            break
    return [stop, best]


def compares_with_the_epoch_before(losses, patience):
    waited = 0
    for epoch in range(1, len(losses)):
        waited = 0 if losses[epoch] < losses[epoch - 1] else waited + 1
        if waited == patience:
            return epoch + 1, int(np.argmin(losses[: epoch + 1])) + 1
    return len(losses), int(np.argmin(losses)) + 1


def too_late(losses, patience):
    return with_a_counter(losses, patience + 1)


def too_early(losses, patience):
    return with_a_counter(losses, patience - 1)


def ties_improve(losses, patience):
    best = 0
    for epoch, loss in enumerate(losses):
        if loss <= losses[best]:
            best = epoch
        if epoch - best == patience:
            return epoch + 1, best + 1
    return len(losses), best + 1


def from_zero(losses, patience):
    return tuple(epoch - 1 for epoch in with_a_counter(losses, patience))


def reversed_pair(losses, patience):
    return with_a_counter(losses, patience)[::-1]


def one_epoch(losses, patience):
    return with_a_counter(losses, patience)[0]


def looks_ahead(losses, patience):
    return len(losses), int(np.argmin(losses)) + 1


def with_the_loss(losses, patience):
    return with_a_counter(losses, patience)[0], min(losses)


def by_batches(model, images, targets, size):
    mode, right = model.training, []
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(images), size):
            logits = model(images[start : start + size])
            right += (logits.argmax(-1) == targets[start : start + size]).tolist()
    model.train(mode)
    return sum(right) / len(right)


def by_helpers(model, images, targets, size):
    with evaluation.preserve_train_mode(model):
        model.eval()
        logits = torch.cat([model(batch) for batch in images.split(size)])
    return (logits.argmax(1) == targets).float().mean()


def left_in_training(model, images, targets, size):
    logits = torch.cat([model(batch) for batch in images.split(size)])
    return (logits.argmax(1) == targets).float().mean().item()


def at_once_in_training(model, images, targets, size):
    return (model(images).argmax(1) == targets).float().mean().item()


def left_in_evaluation(model, images, targets, size):
    return (model.eval()(images).argmax(1) == targets).float().mean().item()


def mean_of_batches(model, images, targets, size):
    model.eval()
    batches = list(zip(images.split(size), targets.split(size), strict=True))
    return sum((model(x).argmax(1) == y).float().mean().item() for x, y in batches) / len(batches)


def counted(*given):
    return by_batches(*given) * len(given[1])


def percent(*given):
    return 100 * by_batches(*given)


def mistaken(*given):
    return 1 - by_batches(*given)


def last_dropped(model, images, targets, size):
    n = len(images) // size * size
    return by_batches(model, images[:n], targets[:n], size)


def over_the_batch(model, images, targets, size):
    return (model.eval()(images).argmax(dim=0) == targets).float().mean()


COUNTS = {"linear": 7850, "mlp": 101_770, "convolution": 910}
RIGHT = {
    "3.1": [row(), in_two_rows()],
    "3.2": [one_by_one, by_bincount],
    "3.3": ["bde", {"e", "d", "b"}],
    "3.4": [COUNTS, {**COUNTS, "linear": torch.tensor(7850), "convolution": 910.0}],
    "3.5": [with_a_counter, by_search],
    "3.6": [by_batches, by_helpers],
}
WRONG = {
    "3.1": [
        (row(SPLITS.test), "test images"),
        (row(SPLITS.train), "training images"),
        (row(first=0), "row 10"),
        (row(title=""), "titles are missing"),
        (row(title="{0}"), "two parts"),
        (row(names=range(10)), "class numbers"),
        (row(title="{1} / {0}"), "exchanged"),
        (row(title="{1} / {1}"), "always the label"),
        (row(shifted=1), "does not fit its image"),
        (row(count=4), "number of pictures is 4"),
        (SPLITS.validation.images[10:15], "The Axes of the plot are wanted"),
    ],
    "3.2": [
        (exchanged, "exchanged"),
        (only_mistakes, "diagonal is empty"),
        (shares, "shares of each class"),
        (shares_of_all, "shares of all images"),
        (pairs_once, "only once"),
        (from_sklearn, "use `classes`"),
        (as_floats, "int64 is wanted"),
        (misspelled, "NameError"),
    ],
    "3.3": [
        ("abde", "More epochs"),
        ("bcde", "larger network"),
        ("bdef", "test split"),
        ("de", "done with the images"),
        ("be", "to the weights"),
        ("bd", "When should training end"),
    ],
    "3.4": [
        ({**COUNTS, "linear": 7840}, "one for each class"),
        ({**COUNTS, "linear": 290}, "not for each row"),
        ({**COUNTS, "mlp": 100_480}, "second one is missing"),
        ({**COUNTS, "mlp": 101_632}, "Both layers"),
        ({**COUNTS, "convolution": 900}, "each output channel"),
        ({**COUNTS, "convolution": 100}, "ten input channels"),
        ({**COUNTS, "convolution": 705_600}, "pixels do not count"),
    ],
    "3.5": [
        (compares_with_the_epoch_before, "lowest loss so far"),
        (too_late, "too late"),
        (too_early, "too early"),
        (ties_improve, "equal loss"),
        (from_zero, "counted from 0"),
        (reversed_pair, "exchanged"),
        (one_epoch, "shape"),
        (looks_ahead, "never stops early"),
        (with_the_loss, "number of its epoch"),
    ],
    "3.6": [
        (left_in_training, "so the batch changes the result"),
        (at_once_in_training, "all images are one batch"),
        (left_in_evaluation, "left in evaluation mode"),
        (mean_of_batches, "mean over batches"),
        (counted, "number of right answers"),
        (percent, "a percentage"),
        (mistaken, "1 minus"),
        (last_dropped, "smaller batch are missing"),
        (over_the_batch, "stops with RuntimeError"),
    ],
}
