"""What is right in the exercises of chapter 1, and which mistakes get which hint."""

from functools import cache

import torch.nn.functional as F

from helpers import data
from checks.kinds import Choice, Function, Parts, Plot, Value


@cache
def mnist() -> data.Splits:
    return data.load_splits("mnist")


@cache
def fashion() -> data.Splits:
    return data.load_splits("fashion_mnist")


CLASSIFICATION = Choice(
    "acf",
    {
        "b": "The boxes say where something is. That is object detection.",
        "d": "Here each pixel gets a class, not the whole picture. That is segmentation.",
        "e": "Here a picture comes out, not a class.",
        "-a": "One more is right. How many classes are there for one digit?",
        "-c": "One more is right. Two classes are enough for a classification.",
        "-f": "One more is right. Think of the data set of notebook 3.",
    },
)

LOAD = Parts(
    {
        "train": Value(
            55_000,
            [
                (60_000, "That is what is published. Here some are kept for validation."),
                (5_000, "Those are the validation images."),
            ],
        ),
        "test": Value(10_000, [(5_000, "Those are the validation images.")]),
        "image": Value(
            (1, 28, 28),
            [
                ((28, 28), "A gray image has a channel axis as well."),
                ((55_000, 1, 28, 28), "That is the shape of all images. Take one of them."),
            ],
        ),
        "white": Value(
            255,
            [
                (1, "The pixels are not scaled yet. Ask the tensor for its maximum."),
                (256, "A byte has 256 values, but the first one is 0."),
            ],
        ),
    }
)


def samples() -> Plot:
    train, test = fashion().train, fashion().test
    names = [fashion().spec.class_names[k] for k in train.targets[:5]]

    def titles(panels) -> list[str]:
        return [panel.get_title().strip().lower() for panel in panels if panel.images]

    def shows(panels, image) -> bool:
        drawn = panels[0].images[0].get_array().squeeze()
        return drawn.shape == image.shape and bool((drawn == image.numpy()).all())

    return Plot(
        images=train.images[:5, 0],
        labels=(),
        mistakes=[
            (
                lambda panels: shows(panels, test.images[0, 0]),
                "These are test images. They are kept for the end; show training images.",
            ),
            (
                lambda panels: len(panels) == 1,
                "Each image needs Axes of its own: `plt.subplots(1, 5)`. Give all of them.",
            ),
            (
                lambda panels: shows(panels, train.images[0, 0].T),
                "The pictures are mirrored at the diagonal. imshow wants (rows, columns).",
            ),
            (
                lambda panels: not any(titles(panels)),
                "The titles are missing: `ax.set_title(...)` for each image.",
            ),
            (
                lambda panels: all(title.isdigit() for title in titles(panels)),
                "The titles are class numbers. Look up their names in `class_names`.",
            ),
            (
                lambda panels: (
                    titles(panels) != [name.lower() for name in names][: len(titles(panels))]
                ),
                "A title is not the class of its image. Row i of targets belongs to image i.",
            ),
        ],
    )


def pixels() -> Parts:
    images = mnist().train.images[:, 0].float()
    variance = images.var(dim=0)
    never = int((variance == 0).sum())
    most = divmod(int(variance.argmax()), 28)
    bright = divmod(int(images.mean(dim=0).argmax()), 28)
    return Parts(
        {
            "never": Value(
                never,
                [
                    (784 - never, "That many do vary. Count the others."),
                    (
                        lambda got: got.ndim == 0 and 0 < got < 1,
                        "That is a share. Count the pixels.",
                    ),
                    (
                        int((mnist().train.images[:1000, 0].float().var(dim=0) == 0).sum()),
                        "Take all training images, not a part of them.",
                    ),
                ],
                otherwise="Compute one variance for each pixel, over the images, and count zeros.",
            ),
            "most": Value(
                most,
                [
                    (most[::-1], "Row and column are exchanged. The row comes first."),
                    (int(variance.argmax()), "That is the number of the pixel, row by row."),
                    (bright, "That is the brightest pixel on average. Which varies most?"),
                ],
                otherwise="Take the largest of the 784 variances over the images.",
            ),
        }
    )


def convolve(image, kernel):
    return F.conv2d(image[None, None], kernel[None, None])[0, 0]


def convolution() -> Function:
    image = mnist().train.images[0, 0, 6:16, 8:20].float() / 255  # (10, 12)
    kernel = mnist().train.images[1, 0, 8:11, 12:15].float() / 255 - 0.3
    k5 = mnist().train.images[2, 0, 8:13, 10:15].float() / 255
    return Function(
        convolve,
        inputs=[(image, kernel), (image, k5)],
        mistakes=[
            (
                lambda image, kernel: convolve(image, kernel.flip(0, 1)),
                "The kernel is turned around. Multiply pixel by pixel without turning it.",
            ),
            (
                lambda image, kernel: F.conv2d(image[None, None], kernel[None, None], padding=1)[
                    0, 0
                ],
                "The output is as large as the image. No zeros around it are wanted.",
            ),
            (
                lambda image, kernel: convolve(image, kernel) / kernel.numel(),
                "A mean is taken. The sum is wanted.",
            ),
            (
                lambda image, kernel: convolve(image, kernel)[:-1, :-1],
                "The last row and column are missing. The kernel fits once more.",
            ),
            (
                lambda image, kernel: convolve(image, kernel.T),
                "The kernel is transposed: rows of the kernel go along rows of the image.",
            ),
        ],
        otherwise="Look at the first place: it is the sum of (window * kernel).",
    )


def shape(right: tuple[int, ...], *mistakes: tuple[tuple[int, ...], str]) -> Value:
    return Value(
        right,
        [
            (right[1:], "The axis of the batch is missing. It stays 1."),
            ((1, 3, *right[2:]), "The channels are those of the input. How many come out?"),
            *mistakes,
            (
                (right[0], *right[2:], right[1]),
                "The channels come before rows and columns.",
            ),
        ],
        otherwise="Use (n + 2p - k) // s + 1 for both sides.",
    )


SHAPES = Parts(
    {
        "a": shape((1, 10, 62, 62), ((1, 10, 64, 64), "Without padding the border is lost.")),
        "b": shape((1, 10, 64, 64), ((1, 10, 62, 62), "The padding of 1 adds a border first.")),
        "c": shape(
            (1, 16, 30, 30),
            ((1, 16, 32, 32), "The sides are not just halved: the kernel needs room as well."),
            ((1, 16, 31, 31), "Round down, after dividing by the stride."),
            ((1, 16, 60, 60), "The stride is 2: the kernel skips every other place."),
            ((1, 16, 29, 29), "The first place counts as well: add 1 after dividing."),
        ),
        "d": shape(
            (1, 8, 1, 1),
            ((1, 8, 0, 0), "The kernel fits once: at one place, not at none."),
            (
                (1, 8, 64, 64),
                "The kernel is as large as the image. At how many places does it fit?",
            ),
            ((1, 8), "The axes of rows and columns stay, with length 1."),
        ),
        "parameters": Value(
            280,
            [
                (270, "The biases are missing: one for each output channel."),
                (100, "Each kernel has weights for all three input channels."),
                (90, "Each kernel has weights for all three input channels, and a bias."),
                (273, "There is a bias for each output channel, not for each input channel."),
            ],
            otherwise="Count weights: kernel side², times input channels, times output channels.",
        ),
    }
)

EXERCISES = {
    "1.1": CLASSIFICATION,
    "1.2": LOAD,
    "1.3": samples,
    "1.4": pixels,
    "1.5": convolution,
    "1.6": SHAPES,
}
