"""What is right in the exercises of chapter 3, and which mistakes get which hint."""

import torch
from torch import nn

from helpers import data, evaluation, models
from checks.kinds import Choice, Function, Parts, Plot, Value


def beside() -> Plot:
    splits = data.load_splits("fashion_mnist")
    model = models.load_pretrained("fashion_mnist/tiny_vgg")
    rows, names = slice(10, 15), [name.lower() for name in splits.spec.class_names]
    labels = [names[k] for k in splits.validation.targets[rows]]
    predicted = [names[k] for k in evaluation.predict(model, splits.validation[rows]).predicted]
    right = [[guess, label] for guess, label in zip(predicted, labels, strict=True)]

    def titles(panels) -> list[list[str]]:
        texts = [panel.get_title().lower() for panel in panels if panel.images]
        return [[part.strip() for part in text.split(" / ")] for text in texts]

    def shows(image):
        def first_is(panels) -> bool:
            drawn = panels[0].images[0].get_array().squeeze()
            return drawn.shape == (28, 28) and bool((drawn == image[0].numpy()).all())

        return first_is

    return Plot(
        images=splits.validation.images[rows, 0],
        labels=(),
        mistakes=[
            (
                shows(splits.test.images[10]),
                "These are test images. Look at validation images as long as you choose.",
            ),
            (shows(splits.train.images[10]), "These are training images: the model knows them."),
            (shows(splits.validation.images[0]), "The first image wanted is that of row 10."),
            (
                lambda panels: len(panels) == 1,
                "Each image needs Axes of its own: `plt.subplots(1, 5)`. Give all of them.",
            ),
            (
                lambda panels: all(title == [""] for title in titles(panels)),
                "The titles are missing: `ax.set_title(...)` for each image.",
            ),
            (
                lambda panels: all(len(title) == 1 for title in titles(panels)),
                "A title has two parts, predicted and label, with ` / ` between them.",
            ),
            (
                lambda panels: all(part.isdigit() for title in titles(panels) for part in title),
                "The titles hold class numbers. Look up their names in `names`.",
            ),
            (
                lambda panels: titles(panels) == [pair[::-1] for pair in right],
                "The two parts are exchanged: the predicted class comes first.",
            ),
            (
                lambda panels: [title[0] for title in titles(panels)] == labels,
                "The first part is always the label. What does the model say?",
            ),
            (
                lambda panels: titles(panels) != right[: len(titles(panels))],
                "A title does not fit its image. Use the same row for image, prediction and label.",
            ),
        ],
    )


def count(predicted, targets, classes):
    counts = torch.zeros(classes, classes, dtype=torch.int64)
    for truth, guess in zip(targets, predicted, strict=True):
        counts[truth, guess] += 1
    return counts


def confusion() -> Function:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(3, (40,), generator=generator)
    predicted = torch.where(torch.arange(40) % 3 == 0, (targets + 1) % 3, targets)

    def only_mistakes(predicted, targets, classes):
        counts = count(predicted, targets, classes)
        return counts - counts.diag().diag()

    def shares(predicted, targets, classes):
        counts = count(predicted, targets, classes).double()
        return counts / counts.sum(dim=1, keepdim=True)

    def seen_once(predicted, targets, classes):
        return count(predicted, targets, classes).clamp(max=1)

    def without_last_class(predicted, targets, classes):
        classes = int(max(predicted.max(), targets.max())) + 1
        return count(predicted, targets, classes)

    return Function(
        count,
        inputs=[(predicted, targets, 3), (predicted[:10], targets[:10], 4)],
        mistakes=[
            (
                lambda predicted, targets, classes: count(targets, predicted, classes),
                "Rows and columns are exchanged. Rows are the true classes.",
            ),
            (only_mistakes, "The diagonal is empty. Right answers are counted as well."),
            (shares, "These are shares of each class. Counts are wanted."),
            (
                lambda *given: count(*given).double() / len(given[0]),
                "These are shares of all images. Counts are wanted.",
            ),
            (
                seen_once,
                "No entry is above 1: `counts[rows, columns] += 1` counts a pair only once.",
            ),
            (
                without_last_class,
                "A class that does not occur has a row and a column as well: use `classes`.",
            ),
        ],
        otherwise="Each image adds 1 to the entry [its label, its predicted class].",
    )


PREVENT = Choice(
    "bde",
    {
        "a": "More epochs are more time to learn by heart.",
        "c": "A larger network can learn more by heart, not less.",
        "f": "Nothing may be chosen by the test split: its accuracy would then look too good.",
        "-b": "One more prevents it. What can be done with the images?",
        "-d": "One more prevents it. What can be done to the weights?",
        "-e": "One more prevents it. When should training end?",
    },
)

PARAMETERS = Parts(
    {
        "linear": Value(
            7850,
            [
                (7840, "The biases are missing: one for each class."),
                (290, "There is a weight for each of the 28 × 28 pixels, not for each row."),
                (8624, "There is one bias for each class, not for each pixel."),
            ],
            otherwise="A weight for each pair of a pixel and a class, and a bias for each class.",
        ),
        "mlp": Value(
            101_770,
            [
                (101_632, "Both layers have biases: one for each of their outputs."),
                (100_480, "That is the first layer. The second one is missing."),
                (100_352, "That is the first layer without biases. There is a second one."),
                (101_760, "The second layer has biases as well."),
                (101_642, "The first layer has biases as well."),
            ],
            otherwise="Add up two linear layers. ReLU has no parameters.",
        ),
        "convolution": Value(
            910,
            [
                (900, "The biases are missing: one for each output channel."),
                (100, "Each output channel has a kernel for each of the ten input channels."),
                (90, "Each output channel has a kernel for each input channel, and a bias."),
                (1000, "A kernel has one bias for all input channels together."),
                (
                    lambda got: got.ndim == 0 and got > 10_000,
                    "The kernel is the same at every place, so the pixels do not count.",
                ),
            ],
            otherwise="Kernel side², times input channels, times output channels, and the biases.",
        ),
    }
)


def stop(losses, patience, *, late=0, previous=False, ties=False):
    best, waited = 1, 0
    for epoch, loss in enumerate(losses, start=1):
        other = losses[epoch - 2] if previous and epoch > 1 else losses[best - 1]
        if epoch > 1 and (loss < other or (ties and loss == other)):
            waited = 0
        elif epoch > 1:
            waited += 1
        if loss < losses[best - 1] or (ties and loss == losses[best - 1]):
            best = epoch
        if waited == patience + late:
            return epoch, best
    return len(losses), best


def stopping() -> Function:
    wavy = [1.0, 0.6, 0.7, 0.65, 0.66, 0.7, 0.75, 0.8, 0.5]
    flat = [1.0, 0.7, 0.7, 0.7, 0.7, 0.6]
    rising = [0.9, 0.8, 0.7]
    long = [0.9, 0.5, 0.6, 0.7, 0.8, 0.4, 0.5]
    return Function(
        stop,
        inputs=[(wavy, 3), (flat, 2), (rising, 2), (long, 5)],
        mistakes=[
            (
                lambda *given: stop(*given, previous=True),
                "It compares with the epoch before. Compare with the lowest loss so far.",
            ),
            (lambda *given: stop(*given, late=1), "It stops an epoch too late."),
            (lambda *given: stop(*given, late=-1), "It stops an epoch too early."),
            (
                lambda *given: stop(*given, ties=True),
                "An equal loss is no improvement: it is not below the lowest so far.",
            ),
            (
                lambda *given: stop(*given)[::-1],
                "The two epochs are exchanged: first where it stops, then the best.",
            ),
            (
                lambda losses, patience: (stop(losses, patience)[0],) * 2,
                "The best epoch is not the one where it stops. Keep its number.",
            ),
            (
                lambda losses, patience: (len(losses), losses.index(min(losses)) + 1),
                "It never stops early: it looks at losses that come after the stop.",
            ),
            (
                lambda losses, patience: (stop(losses, patience)[0], min(losses)),
                "The second is a loss. The number of its epoch is wanted.",
            ),
            (
                lambda losses, patience: tuple(epoch - 1 for epoch in stop(losses, patience)),
                "The epochs are counted from 0. The first one is epoch 1.",
            ),
        ],
        otherwise="Keep the best epoch so far; stop when it is `patience` epochs ago.",
    )


def measure(model, images, targets, size, *, train=False, restore=True):
    """The share of right answers in each batch, and the sizes of the batches."""
    was_training = model.training
    model.train(train)
    with torch.no_grad():
        parts = zip(images.split(size), targets.split(size), strict=True)
        right = [(model(x).argmax(dim=1) == y).double().mean() for x, y in parts]
    model.train(was_training if restore else train)
    return right, [len(part) for part in images.split(size)]


def share(*given, **options) -> float:
    right, sizes = measure(*given, **options)
    return float(sum(a * n for a, n in zip(right, sizes, strict=True)) / sum(sizes))


def accuracy() -> Function:
    generator = torch.Generator().manual_seed(1)
    images = 3 * torch.randn(50, 8, generator=generator) + 2
    targets = torch.randint(3, (50,), generator=generator)
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    evaluated = nn.Sequential(nn.Linear(8, 3)).eval()

    def whole_batch_in_training(model, images, targets, size):
        return share(model, images, targets, len(images), train=True)

    return Function(
        share,
        inputs=[(model, images, targets, 16), (evaluated, images[:20], targets[:20], 8)],
        mistakes=[
            (
                lambda *given: share(*given, train=True),
                "The model is in training mode, so the batch changes the result: `model.eval()`.",
            ),
            (
                whole_batch_in_training,
                "The model is in training mode, and all images are one batch: `model.eval()`.",
            ),
            (
                lambda *given: float(sum(measure(*given)[0]) / len(measure(*given)[0])),
                "That is a mean over batches. The last one has fewer images; count right answers.",
            ),
            (
                lambda *given: share(*given) * len(given[1]),
                "That is the number of right answers. Divide by the number of images.",
            ),
            (
                lambda *given: float(measure(*given)[0][-1]),
                "That is the accuracy of the last batch only.",
            ),
            (
                lambda model, images, targets, size: share(
                    model,
                    images[: len(images) // size * size],
                    targets[: len(images) // size * size],
                    size,
                ),
                "The images of the last, smaller batch are missing.",
            ),
        ],
        otherwise="Count the images whose largest logit is that of their class, batch by batch.",
    )


EXERCISES = {
    "3.1": beside,
    "3.2": confusion,
    "3.3": PREVENT,
    "3.4": PARAMETERS,
    "3.5": stopping,
    "3.6": accuracy,
}
