"""Answers to the exercises of chapter 1: right ones, and wrong ones with a part of their hint."""

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure

from helpers import data

FASHION = data.load_splits("fashion_mnist")
NAMES = FASHION.spec.class_names
TRAIN, TEST = FASHION.train, FASHION.test
LOADED = {"train": 55_000, "test": 10_000, "image": (1, 28, 28), "white": 255}
PIXELS = {"never": 72, "most": (13, 14)}
SHAPES = {
    "a": (1, 10, 62, 62), "b": (1, 10, 64, 64), "c": (1, 16, 30, 30), "d": (1, 8, 1, 1),
    "parameters": 280,
}  # fmt: skip


def row(split=TRAIN, rows=range(5), titles=NAMES, transposed=False, shifted=0):
    axes = Figure().subplots(1, 5)
    for ax, i in zip(axes, rows, strict=False):
        image = split.images[i, 0].numpy()
        ax.imshow(image.T if transposed else image)
        ax.set_title(titles[split.targets[i + shifted]] if titles else "")
    return axes


def one_after_the_other():
    figure = Figure()
    for i in range(5):
        ax = figure.add_subplot(1, 5, i + 1)
        ax.imshow(TRAIN.images[i].permute(1, 2, 0).numpy(), cmap="gray")
        ax.set_title(NAMES[TRAIN.targets[i]].upper())
    return figure


def looped(image, kernel):
    k = len(kernel)
    return [
        [float((image[r : r + k, c : c + k] * kernel).sum()) for c in range(image.shape[1] - k + 1)]
        for r in range(image.shape[0] - k + 1)
    ]


def unfolded(image, kernel):
    k = kernel.shape[0]
    return (image.unfold(0, k, 1).unfold(1, k, 1) * kernel).sum(dim=(-1, -2))


def turned(image, kernel):
    return unfolded(image, kernel.flip(0).flip(1))


def one_too_few(image, kernel):
    return unfolded(image, kernel)[:-1, :-1]


def averaged(image, kernel):
    return unfolded(image, kernel) / kernel.numel()


def padded(image, kernel):
    return unfolded(F.pad(image, (1, 1, 1, 1)), kernel)


def misspelled(image, kernel):
    return (image * kernel).summ()


def overwritten(image, kernel):
    result = unfolded(image, kernel)
    image.zero_()
    return result


def without_return(image, kernel):
    unfolded(image, kernel)


RIGHT = {
    "1.1": ["acf", ["f", "C", "a"]],
    "1.2": [LOADED, {**LOADED, "image": torch.Size([1, 28, 28]), "white": torch.tensor(255)}],
    "1.3": [row(), one_after_the_other()],
    "1.4": [PIXELS, {"never": torch.tensor(72), "most": [13, 14]}],
    "1.5": [looped, unfolded],
    "1.6": [SHAPES, {k: torch.tensor(v) for k, v in SHAPES.items()}],
}
WRONG = {
    "1.1": [
        ("abcf", "object detection"),
        ("acdf", "segmentation"),
        ("acef", "a picture comes out"),
        ("af", "Two classes are enough"),
        ("cf", "one digit"),
        ("ac", "notebook 3"),
        ("all", "letters of the list"),
    ],
    "1.2": [
        ({**LOADED, "train": 60_000}, "train: That is what is published"),
        ({**LOADED, "image": (28, 28)}, "image: A gray image has a channel axis"),
        ({**LOADED, "white": 1.0}, "white: The pixels are not scaled"),
        ({**LOADED, "white": 256}, "the first one is 0"),
        ({**LOADED, "test": None}, "test: There is no answer yet"),
        (LOADED["train"], "A dictionary with the keys"),
    ],
    "1.3": [
        (row(TEST), "test images"),
        (row(titles=None), "titles are missing"),
        (row(titles=[str(k) for k in range(10)]), "class numbers"),
        (row(shifted=1), "Row i of targets belongs to image i"),
        (row(transposed=True), "mirrored at the diagonal"),
        (row(rows=range(4)), "number of pictures is 4"),
        (None, "no answer yet"),
    ],
    "1.4": [
        ({**PIXELS, "never": 784 - 72}, "That many do vary"),
        ({**PIXELS, "never": 72 / 784}, "a share"),
        ({**PIXELS, "most": (14, 13)}, "exchanged"),
        ({**PIXELS, "most": 13 * 28 + 14}, "number of the pixel"),
        ({**PIXELS, "most": (14, 15)}, "brightest pixel"),
    ],
    "1.5": [
        (turned, "turned around"),
        (padded, "No zeros around it"),
        (averaged, "The sum is wanted"),
        (one_too_few, "once more"),
        (misspelled, "stops with"),
        (overwritten, "changes its input"),
        (without_return, "returns None"),
        (unfolded(torch.ones(5, 5), torch.ones(3, 3)), "name of the function"),
    ],
    "1.6": [
        ({**SHAPES, "a": (1, 10, 64, 64)}, "border is lost"),
        ({**SHAPES, "a": (10, 62, 62)}, "axis of the batch"),
        ({**SHAPES, "b": (1, 3, 64, 64)}, "How many come out"),
        ({**SHAPES, "c": (1, 16, 31, 31)}, "Round down"),
        ({**SHAPES, "d": (1, 8, 0, 0)}, "not at none"),
        ({**SHAPES, "parameters": 270}, "biases are missing"),
        ({**SHAPES, "parameters": 100}, "all three input channels"),
    ],
}
