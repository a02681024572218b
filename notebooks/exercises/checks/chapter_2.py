"""What is right in the exercises of chapter 2, and which mistakes get which hint."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from helpers import data, device, models
from checks.kinds import Choice, Function, Model, Parts, Value


@dataclass(frozen=True)
class Loader:
    """A loader of shuffled training images in batches of 32."""

    def hint(self, answer: Any) -> str | None:
        train = data.load_splits("mnist").train
        try:
            images, targets = next(iter(answer))
            count = len(answer)
        except (TypeError, ValueError, StopIteration):
            return (
                f"A loader is wanted, which gives (images, targets); got {type(answer).__name__}."
            )
        if len(images) != 32:
            return f"The first batch has {len(images)} images. Set `batch_size`."
        if len(targets) != 32:
            return "The second of each pair must be the targets of the images."
        if count < len(train) // 32:
            return "These are too few batches for the training images. Which split is it?"
        if count > len(train) // 32 + 1:
            return "These are too many batches. Train on the training split only."
        if count == len(train) // 32:
            return "The last, smaller batch is missing: `drop_last` drops images."
        if torch.equal(targets, train.targets[:32]):
            return "The images come in their order. Set `shuffle=True`."
        return None


BATCHES = Parts(
    {
        "loader": Loader(),
        "batches": Value(
            1719,
            [
                (1718, "The images that are left over make one more batch."),
                (55_000, "That is the number of images. How many fit into a batch?"),
                (1875, "That is for 60,000 images. The training split has fewer."),
            ],
        ),
        "last": Value(
            24,
            [
                (32, "The images do not divide evenly. How many are left over?"),
                (8, "That many are missing to a full batch. How many are there?"),
                (0, "The images do not divide evenly by 32."),
            ],
        ),
    }
)


def vgg(
    padding: int = 1, activation: type = nn.ReLU, pool: type = nn.MaxPool2d, channels: int = 10
) -> nn.Sequential:
    def block(first: int) -> list[nn.Module]:
        return [
            nn.Conv2d(first, channels, 3, padding=padding), activation(),
            nn.Conv2d(channels, channels, 3, padding=padding), activation(), pool(2),
        ]  # fmt: skip

    side = 7 if padding else 4
    linear = nn.Linear(channels * side * side, 10)
    return nn.Sequential(*block(1), *block(channels), nn.Flatten(), linear)


def one_convolution_a_block() -> nn.Sequential:
    layers = [
        nn.Conv2d(1, 10, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(10, 10, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
    ]  # fmt: skip
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(490, 10))


def tiny_vgg() -> Model:
    torch_state = torch.get_rng_state()
    torch.manual_seed(0)
    images = torch.rand(4, 1, 28, 28)
    wanted = Model(
        vgg(),
        images,
        mistakes=[
            (
                vgg(activation=nn.Identity),
                "The ReLUs are missing. Without them, two convolutions are no more than one.",
            ),
            (
                vgg(pool=nn.AvgPool2d),
                "The pooling takes means. Max pooling keeps the largest of the four.",
            ),
            (vgg(padding=0), "The convolutions have no padding, so each loses a border."),
            (one_convolution_a_block(), "Each block has two convolutions, not one."),
            (
                lambda model: (
                    [m.out_channels for m in model.modules() if isinstance(m, nn.Conv2d)]
                    not in ([], [10] * 4)
                ),
                "Every convolution has 10 output channels, and there are four of them.",
            ),
        ],
    )
    torch.set_rng_state(torch_state)
    return wanted


def train_epoch(model, batches, learning_rate, *, clear=True, step=1.0, soft=False):
    """The loss of each batch, and its number of images."""
    losses = []
    for images, targets in batches:
        logits = model(images)
        loss = F.cross_entropy(logits.softmax(1) if soft else logits, targets)
        if clear:
            model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= step * learning_rate * parameter.grad
        losses.append((loss.item(), len(images)))
    return losses


def mean_loss(losses: list[tuple[float, int]]) -> float:
    return sum(loss * n for loss, n in losses) / sum(n for _, n in losses)


def epoch() -> Function:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(19, 1, 4, 4, generator=generator)
    targets = torch.randint(3, (19,), generator=generator)
    batches = list(zip(images.split(8), targets.split(8), strict=True))
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) / 2)

    def observe(inputs, result):
        """The loss that was returned, then all weights."""
        if result is None:
            return None
        return [float(result), *torch.cat([p.detach().flatten() for p in inputs[0].parameters()])]

    def summed(*given):
        return sum(loss for loss, _ in train_epoch(*given))

    return Function(
        lambda *given: mean_loss(train_epoch(*given)),
        inputs=[(model, batches, 0.5)],
        observe=observe,
        mistakes=[
            (
                lambda *given: mean_loss(train_epoch(*given, clear=False)),
                "The gradients are not cleared: backward adds to those of the batch before.",
            ),
            (
                lambda *given: summed(*given) / len(given[1]),
                "The loss is a mean over batches. The last one has fewer images; weigh by images.",
            ),
            (summed, "The loss is a sum over the batches. Divide, after weighing by images."),
            (
                lambda *given: train_epoch(*given)[-1][0],
                "That is the loss of the last batch only. Collect it over all batches.",
            ),
            (
                lambda *given: mean_loss(train_epoch(*given, step=-1.0)),
                "The weights go uphill. A step goes against the gradient: subtract.",
            ),
            (
                lambda *given: mean_loss(train_epoch(*given, step=0.0)),
                "The weights have not moved. Is the step missing?",
            ),
            (
                lambda *given: mean_loss(train_epoch(*given, soft=True)),
                "There is one softmax too many: cross_entropy wants logits.",
            ),
            (
                lambda *given: mean_loss(train_epoch(*given, step=1 / given[2])),
                "The learning rate is not used.",
            ),
        ],
        otherwise="Check two things: the loss that is returned, and the step of each parameter.",
    )


@dataclass(frozen=True)
class Seconds:
    """The seconds of a training on each device of this machine."""

    def hint(self, answer: Any) -> str | None:
        if not isinstance(answer, Mapping):
            return "A dictionary is wanted, with the seconds of each device by its type."
        wanted = {d.type for d in device.available()}
        if missing := wanted - set(answer):
            return f"The time on {' and '.join(sorted(missing))} is missing."
        if unknown := set(answer) - wanted:
            return f"This machine has no device of the type {sorted(map(str, unknown))[0]}."
        for name, seconds in answer.items():
            number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
            if not number or seconds != seconds:
                return f"{name}: seconds are wanted, as a number."
            if seconds <= 0:
                return f"{name}: a time is more than 0. End minus start, not the reverse."
            if seconds < 0.01:
                return f"{name}: that is too short. Start the clock before the training."
            if seconds > 3600:
                return f"{name}: that is a reading of a clock. Subtract the one at the start."
        return None


DEVICES = Parts(
    {
        "seconds": Seconds(),
        "why": Choice(
            "b",
            {
                "a": "Both compute float32, and the number of epochs was the same.",
                "c": "640 images of 28 × 28 pixels take half a megabyte.",
                "d": "A gray image is an image with one channel. A GPU computes that as well.",
            },
        ),
    }
)

CURVES = Parts(
    {
        "stop": Value(
            7,
            [
                (8, "There the *test* loss is lowest. Nothing may be chosen by the test split."),
                (6, "The first row is epoch 1, not 0."),
                (12, "There the training loss is lowest. It falls in any case; look at another."),
                (0.55, "That is the loss. In which epoch was it reached?"),
                (1, "There the validation loss is highest."),
            ],
            otherwise="Which of the three losses is there to choose by? Find where it is lowest.",
        ),
        "gap": Value(
            0.75,
            [
                (0.74, "That compares with the test loss. Take the validation loss."),
                (-0.75, "How much *larger* is the validation loss? Exchange the two."),
                (0.26, "That is the gap where one would stop. Take the last epoch."),
                (0.81, "That is the validation loss itself."),
            ],
            otherwise="Subtract the two losses of epoch 12.",
        ),
    }
)


def maps(model, image):
    return model.block_1(model.normalize(image))[0]


def inside() -> Function:
    images = data.load_splits("mnist").validation.images
    model = models.load_pretrained("mnist/tiny_vgg")
    return Function(
        maps,
        inputs=[(model, images[:1]), (model, images[1:2])],
        mistakes=[
            (
                lambda model, image: model.block_1(image.float())[0],
                "The image is not normalized. `model.normalize` comes first.",
            ),
            (
                lambda model, image: model.block_1(image.float() / 255)[0],
                "The image is scaled to [0, 1], but `model.normalize` does more. Use it.",
            ),
            (
                lambda model, image: model.block_2(model.block_1(model.normalize(image)))[0],
                "Those are the maps after the second block.",
            ),
            (
                lambda model, image: model.block_1[:-1](model.normalize(image))[0],
                "The pooling at the end of the block is missing.",
            ),
            (
                lambda model, image: model.block_1(model.normalize(image)),
                "The axis of the batch is still there. Take its only image.",
            ),
            (
                lambda model, image: model(image)[0],
                "Those are the logits of the whole model. Stop after the first block.",
            ),
        ],
        otherwise="Normalize, then the first block, then take the only image of the batch.",
    )


EXERCISES = {
    "2.1": BATCHES,
    "2.2": tiny_vgg,
    "2.3": epoch,
    "2.4": DEVICES,
    "2.5": CURVES,
    "2.6": inside,
}
