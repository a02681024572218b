"""Answers to the exercises of chapter 2: right ones, and wrong ones with a part of their hint."""

import torch
import torch.nn.functional as F
from torch import nn

from helpers import data, device

SPLITS = data.load_splits("mnist")
HERE = {d.type: 1.5 for d in device.available()}


def torch_loader(split=SPLITS.train, **options):
    pairs = torch.utils.data.TensorDataset(split.images, split.targets)
    return torch.utils.data.DataLoader(pairs, **{"batch_size": 32, "shuffle": True, **options})


BATCHES = {"loader": torch_loader(), "batches": 1719, "last": 24}


class TinyVGG(nn.Module):
    """Written with functions for ReLU and pooling."""

    relu, padding, end = staticmethod(F.relu), 1, staticmethod(lambda x: x)
    pool = staticmethod(F.max_pool2d)

    def __init__(self):
        super().__init__()
        side = 7 if self.padding else 4
        self.conv_1 = nn.Conv2d(1, 10, 3, padding=self.padding)
        self.conv_2 = nn.Conv2d(10, 10, 3, padding=self.padding)
        self.conv_3 = nn.Conv2d(10, 10, 3, padding=self.padding)
        self.conv_4 = nn.Conv2d(10, 10, 3, padding=self.padding)
        self.out = nn.Linear(10 * side * side, 10)

    def forward(self, x):
        x = self.pool(self.relu(self.conv_2(self.relu(self.conv_1(x)))), 2)
        x = self.pool(self.relu(self.conv_4(self.relu(self.conv_3(x)))), 2)
        return self.end(self.out(x.flatten(1)))


def variant(**changes):
    return type("Variant", (TinyVGG,), changes)()


def sequential(width=490, convolutions=2, bias=True):
    layers, channels = [], 1
    for _ in range(2):
        for _ in range(convolutions):
            layers += [nn.Conv2d(channels, 10, 3, padding="same", bias=bias), nn.ReLU()]
            channels = 10
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width, 10, bias=bias))


class WithoutReturn(TinyVGG):
    def forward(self, x):
        super().forward(x)


def steps(model, batches, rate, clear=True, step=True, loss_of=F.cross_entropy, sign=1):
    losses = []
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, maximize=sign < 0)
    for images, targets in batches:
        if clear:
            optimizer.zero_grad()
        loss = loss_of(model(images), targets)
        loss.backward()
        if step:
            optimizer.step()
        losses.append(loss.item())
    return losses, [len(images) for images, _ in batches]


def epoch(*given, **options):
    losses, sizes = steps(*given, **options)
    return sum(a * b for a, b in zip(losses, sizes, strict=True)) / sum(sizes)


def epoch_by_sums(model, batches, learning_rate):
    """Sums the losses of images, and updates the weights by the gradients that autograd returns."""
    sums = []
    for images, targets in batches:
        each = F.cross_entropy(model(images), targets, reduction="none")
        sums.append(each.detach())
        gradients = torch.autograd.grad(each.mean(), list(model.parameters()))
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter.data.sub_(learning_rate * gradient)
    return torch.cat(sums).mean()


def without_clearing(*given):
    return epoch(*given, clear=False)


def mean_of_batches(*given):
    losses, _ = steps(*given)
    return sum(losses) / len(losses)


def sum_of_batches(*given):
    return sum(steps(*given)[0])


def last_batch(*given):
    return steps(*given)[0][-1]


def without_step(*given):
    return epoch(*given, step=False)


def uphill(*given):
    return epoch(*given, sign=-1)


def softmax_twice(*given):
    return epoch(*given, loss_of=lambda x, y: F.cross_entropy(x.softmax(1), y))


def misspelled(model, batches, learning_rate):
    for images, _ in batches:
        model(images).backwards()


def no_result(*given):
    epoch(*given)


def block_1(model, image):
    return model.block_1(model.normalize(image)).squeeze(0).detach()


def layer_by_layer(model, image):
    features = model.normalize(image)
    for layer in model.block_1:
        features = layer(features)
    return features[0]


def not_normalized(model, image):
    return model.block_1(image.float())[0]


def scaled(model, image):
    return model.block_1(image / 255)[0]


def second_block(model, image):
    return model.block_2(model.block_1(model.normalize(image)))[0]


def before_pooling(model, image):
    return model.block_1[:-1](model.normalize(image))[0]


def with_batch(model, image):
    return model.block_1(model.normalize(image))


def whole_model(model, image):
    return model(image)[0]


def as_bytes(model, image):
    return model.block_1(image)


CURVES = {"stop": 7, "gap": 0.75}
DEVICES = {"seconds": HERE, "why": "b"}
RIGHT = {
    "2.1": [BATCHES, {**BATCHES, "loader": data.loader(SPLITS.train, 32, shuffle=True)}],
    "2.2": [TinyVGG(), sequential()],
    "2.3": [epoch, epoch_by_sums],
    "2.4": [DEVICES, {"seconds": dict.fromkeys(HERE, 40), "why": "B)"}],
    "2.5": [CURVES, {"stop": torch.tensor(7), "gap": 0.81 - 0.06}],
    "2.6": [block_1, layer_by_layer],
}
WRONG = {
    "2.1": [
        ({**BATCHES, "loader": torch_loader(batch_size=64)}, "has 64 images"),
        ({**BATCHES, "loader": torch_loader(shuffle=False)}, "shuffle=True"),
        ({**BATCHES, "loader": torch_loader(drop_last=True)}, "drops images"),
        ({**BATCHES, "loader": torch_loader(SPLITS.test)}, "Which split"),
        ({**BATCHES, "loader": SPLITS.train}, "A loader is wanted"),
        ({**BATCHES, "batches": 1718}, "one more batch"),
        ({**BATCHES, "batches": 1718.75}, "Whole numbers"),
        ({**BATCHES, "batches": 1875}, "60,000"),
        ({**BATCHES, "last": 32}, "left over"),
        ({**BATCHES, "last": 8}, "missing to a full batch"),
    ],
    "2.2": [
        (variant(relu=staticmethod(lambda x: x)), "ReLUs are missing"),
        (variant(pool=staticmethod(F.avg_pool2d)), "takes means"),
        (variant(padding=0), "no padding"),
        (variant(end=staticmethod(lambda x: x.softmax(1))), "ends with a softmax"),
        (sequential(convolutions=1), "two convolutions"),
        (sequential(bias=False), "biases are missing"),
        (sequential(width=10 * 28 * 28), "stops with RuntimeError"),
        (TinyVGG, "This is a class"),
        (WithoutReturn(), "must return a tensor"),
        (nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), "too few layers"),
    ],
    "2.3": [
        (without_clearing, "not cleared"),
        (mean_of_batches, "mean over batches"),
        (sum_of_batches, "sum over the batches"),
        (last_batch, "last batch only"),
        (without_step, "have not moved"),
        (uphill, "uphill"),
        (softmax_twice, "one softmax too many"),
        (misspelled, "backwards"),
        (no_result, "returns None"),
    ],
    "2.4": [
        ({**DEVICES, "seconds": {"cpu": 0.0}}, "more than 0"),
        ({**DEVICES, "seconds": {**HERE, "tpu": 1.0}}, "no device of the type tpu"),
        ({**DEVICES, "seconds": {}}, "is missing"),
        ({**DEVICES, "seconds": dict.fromkeys(HERE, 1.7e9)}, "reading of a clock"),
        ({**DEVICES, "seconds": dict.fromkeys(HERE, 0.0001)}, "too short"),
        ({**DEVICES, "seconds": dict.fromkeys(HERE, "2 s")}, "as a number"),
        ({**DEVICES, "seconds": 1.5}, "A dictionary is wanted"),
        ({**DEVICES, "why": "a"}, "same"),
        ({**DEVICES, "why": "c"}, "half a megabyte"),
        ({**DEVICES, "why": "d"}, "one channel"),
    ],
    "2.5": [
        ({**CURVES, "stop": 8}, "chosen by the test split"),
        ({**CURVES, "stop": 6}, "epoch 1, not 0"),
        ({**CURVES, "stop": 12}, "training loss is lowest"),
        ({**CURVES, "stop": 0.55}, "That is the loss"),
        ({**CURVES, "gap": -0.75}, "Exchange the two"),
        ({**CURVES, "gap": 0.74}, "test loss"),
        ({**CURVES, "gap": 0.26}, "last epoch"),
        ({**CURVES, "gap": 75}, "a percentage"),
    ],
    "2.6": [
        (not_normalized, "not normalized"),
        (scaled, "scaled to [0, 1]"),
        (second_block, "second block"),
        (before_pooling, "pooling"),
        (with_batch, "axis of the batch"),
        (whole_model, "logits"),
        (as_bytes, "stops with RuntimeError"),
    ],
}
