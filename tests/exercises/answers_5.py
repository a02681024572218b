"""Answers to the exercises of chapter 5: right ones, and wrong ones with a part of their hint."""

import copy
import math
import statistics

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import fuse_conv_bn_eval

from helpers import evaluation
from helpers.models.networks import Block


def built(channels_in, channels_out):
    return sum(weights.numel() for weights in Block(channels_in, channels_out).parameters())


def by_layers(channels_in, channels_out):
    sizes = [channels_in, channels_in, 9 * channels_in * channels_out]
    sizes += [channels_out, channels_out, 9 * channels_out * channels_out]
    return sum(sizes) + (channels_in * channels_out) * (channels_in != channels_out)


def plain(channels_in, channels_out):
    first, second = (
        sum(w.numel() for w in Block(channels_in, channels_out, residual=False).parameters()),
        0,
    )
    return first + second


def with_bias(channels_in, channels_out):
    return built(channels_in, channels_out) + channels_out + channels_out


def without_norms(channels_in, channels_out):
    return built(channels_in, channels_out) - sum(2 * c for c in (channels_in, channels_out))


def always_shortcut(channels_in, channels_out):
    return plain(channels_in, channels_out) + channels_in * channels_out


def field_forwards(layers):
    side, step = 1, 1
    for kernel, stride in layers:
        side += step * (kernel - 1)
        step *= stride
    return side


def field_backwards(layers):
    side = 1
    for kernel, stride in reversed(layers):
        side = (side - 1) * stride + kernel
    return side


def field_of_whole_kernels(layers):
    side, step = 1, 1
    for kernel, stride in layers:
        side += step * kernel
        step *= stride
    return side


def field_of_own_stride(layers):
    side, step = 1, 1
    for kernel, stride in layers:
        step *= stride
        side += step * (kernel - 1)
    return side


class ByNames(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm_1, self.norm_2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.conv_1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.conv_2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def f(self, x):
        return self.conv_2(F.relu(self.norm_2(self.conv_1(F.relu(self.norm_1(x))))))

    def forward(self, x):
        return x + self.f(x)


class InARow(nn.Module):
    def __init__(self, channels):
        super().__init__()
        halves = [
            (
                nn.BatchNorm2d(channels),
                nn.ReLU(),
                nn.Conv2d(channels, channels, 3, padding="same", bias=False),
            )
            for _ in range(2)
        ]
        self.f = nn.Sequential(*halves[0], *halves[1])

    def forward(self, x):
        return torch.add(self.f(x), x)


class NotAdded(ByNames):
    def forward(self, x):
        return self.f(x)


class Activated(ByNames):
    def forward(self, x):
        return F.relu(x + self.f(x))


class SideBySide(ByNames):
    def forward(self, x):
        return torch.cat([x, self.f(x)], dim=1)


class ConvolutionFirst(ByNames):
    def f(self, x):
        x = F.relu(self.norm_1(self.conv_1(x)))
        return F.relu(self.norm_2(self.conv_2(x)))


class WithoutReLU(ByNames):
    def f(self, x):
        return self.conv_2(self.norm_2(self.conv_1(self.norm_1(x))))


class Shrinking(ByNames):
    def __init__(self, channels):
        super().__init__(channels)
        self.conv_2 = nn.Conv2d(channels, channels, 3, bias=False)


class Biased(ByNames):
    def __init__(self, channels):
        super().__init__(channels)
        self.conv_2 = nn.Conv2d(channels, channels, 3, padding=1)


class Shared(ByNames):
    def __init__(self, channels):
        super().__init__(channels)
        self.conv_2 = self.conv_1


class InPlace(ByNames):
    def forward(self, x):
        x += self.f(x)
        return x


class InAList(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.layers = [nn.BatchNorm2d(channels), nn.Conv2d(channels, channels, 3, padding=1)]

    def forward(self, x):
        return x + self.layers[1](F.relu(self.layers[0](x)))


def schedule(steps=24, moves_every=1, used=None, peak=0.1, late=False):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(2))], lr=1)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, steps, cycle_momentum=False)
    rates = []
    for step in range(used or steps):
        before = scheduler.get_last_lr()[0]
        optimizer.step()
        if (step + 1) % moves_every == 0:
            scheduler.step()
        rates.append(scheduler.get_last_lr()[0] if late else before)
    return rates


def cosine():
    """The same schedule by its formula: two halves of a cosine wave."""
    up, rates = 0.3 * 24 - 1, []
    for step in range(24):
        low = 0.1 / 25 if step <= up else 0.1 / 25 / 1e4
        done = step / up if step <= up else (step - up) / (23 - up)
        start, end = (low, 0.1) if step <= up else (0.1, low)
        rates.append(end + (start - end) / 2 * (1 + math.cos(math.pi * done)))
    return rates


def gain(before, after):
    return torch.tensor(after, dtype=torch.float64) - torch.tensor(before, dtype=torch.float64)


def by_helper(before, after):
    return list(evaluation.mean_interval(gain(before, after).tolist()))


def by_hand(before, after):
    gains = gain(before, after)
    half = 2.776445 * gains.std() / len(gains) ** 0.5
    return gains.mean() - half, gains.mean() + half


def by_normal(before, after):
    gains = gain(before, after).tolist()
    half = 1.96 * statistics.stdev(gains) / len(gains) ** 0.5
    return statistics.mean(gains) - half, statistics.mean(gains) + half


def of_unrelated(before, after):
    n, (a, b) = len(before), (torch.tensor(before), torch.tensor(after))
    half = 2.306004 * math.sqrt((a.var() + b.var()) / n)
    return float(b.mean() - a.mean()) - half, float(b.mean() - a.mean()) + half


def fold(convolution, norm, eps=True, root=True, shift=True):
    new = nn.Conv2d(
        convolution.in_channels, convolution.out_channels, convolution.kernel_size,
        stride=convolution.stride, padding=convolution.padding,
    )  # fmt: skip
    spread = norm.running_var + (norm.eps if eps else 0)
    scale = norm.weight / (spread.sqrt() if root else spread)
    bias = torch.zeros(len(scale)) if convolution.bias is None else convolution.bias
    with torch.no_grad():
        new.weight.copy_(torch.einsum("o,oihw->oihw", scale, convolution.weight))
        new.bias.copy_(scale * (bias - norm.running_mean) + norm.bias * shift)
    return new


def in_place(convolution, norm):
    new = fold(convolution, norm)
    convolution.weight.data, convolution.bias = new.weight.data, new.bias
    return convolution


def along_inputs(convolution, norm):
    new = fold(convolution, norm)
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    new.weight = nn.Parameter(convolution.weight * scale[None, :, None, None])
    return new


def default_stride(convolution, norm):
    new = nn.Conv2d(convolution.in_channels, convolution.out_channels, convolution.kernel_size)
    new.load_state_dict(fold(convolution, norm).state_dict())
    return new


RIGHT = {
    "5.1": [built, by_layers],
    "5.2": [field_forwards, field_backwards],
    "5.3": [ByNames, InARow],
    "5.4": [schedule(), cosine()],
    "5.5": [by_helper, by_hand],
    "5.6": [fold, fuse_conv_bn_eval],
}
WRONG = {
    "5.1": [
        (with_bias, "You count biases"),
        (without_norms, "Batch normalization has parameters"),
        (plain, "1 × 1 is missing"),
        (always_shortcut, "always count"),
        (lambda i, o: by_layers(i, o) - i - o, "scaled *and* shifted"),
        (lambda i, o: by_layers(i, o) - 9 * o * o + 9 * o * i, "that the first has made"),
        (lambda i, o: by_layers(i, o) - 6 * o * (i + o), "nine weights"),
        (built(16, 32), "name of the function"),
    ],
    "5.2": [
        (lambda layers: 1 + sum(kernel - 1 for kernel, _ in layers), "Strides are missing"),
        (field_of_whole_kernels, "overlap"),
        (field_of_own_stride, "not its own"),
        (lambda layers: field_forwards(layers) ** 2, "Its side is wanted"),
        (lambda layers: field_forwards(layers) - 1, "one pixel too few"),
        (lambda layers: layers.side, "stops with AttributeError"),
    ],
    "5.3": [
        (NotAdded, "x is not added"),
        (Activated, "negative values get lost"),
        (SideBySide, "must be added"),
        (ConvolutionFirst, "Your order"),
        (WithoutReLU, "both ReLUs"),
        (Shrinking, "shrinking by two pixels"),
        (Biased, "has a bias"),
        (Shared, "used twice"),
        (InPlace, "changes its input"),
        (InAList, "plain list"),
        (ByNames(4), "without brackets"),
    ],
    "5.4": [
        (schedule(3), "from epoch to epoch"),
        (schedule(21), "7 steps"),
        (schedule(24, moves_every=100), "never changes"),
        (schedule(late=True), "shifted by a step"),
        (3 * schedule(8), "begins anew"),
        (schedule(8), "steps of one epoch"),
        (schedule(72, used=24), "total_steps"),
        (schedule(3_000), "each image"),
        (0.1, "one number"),
    ],
    "5.5": [
        (lambda before, after: by_helper(after, before), "sign"),
        (of_unrelated, "unrelated"),
        (by_normal, "1.96"),
        (lambda before, after: evaluation.mean_interval(after), "not of the gain"),
        (lambda before, after: gain(before, after).mean(), "How sure is it"),
        (lambda before, after: by_helper(before, after)[::-1], "(low, high)"),
        (lambda before, after: (gain(before, after).min(), gain(before, after).max()), "smallest"),
    ],
    "5.6": [
        (lambda convolution, norm: fold(convolution, norm, eps=False), "eps is missing"),
        (lambda convolution, norm: fold(convolution, norm, root=False), "root of the variance"),
        (
            lambda convolution, norm: fold(convolution, norm, shift=False),
            "normalization is missing",
        ),
        (along_inputs, "Which dimension"),
        (default_stride, "Keep the stride"),
        (in_place, "old convolution has changed"),
        (lambda convolution, norm: nn.Sequential(convolution, norm), "must return an nn.Conv2d"),
        (lambda convolution, norm: copy.deepcopy(convolution), "Nothing has changed"),
    ],
}
