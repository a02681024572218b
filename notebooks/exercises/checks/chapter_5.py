"""The exercises of chapter 5: a better architecture."""

import copy
import math
import statistics
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn

from checks.kinds import Function, Value
from helpers import evaluation

# 5.1 How many parameters has a residual block?


def block_parameters(c_in: int, c_out: int) -> int:
    shortcut = c_in * c_out if c_in != c_out else 0
    return 2 * (c_in + c_out) + 9 * c_out * (c_in + c_out) + shortcut


OFF: list[tuple[Callable[[int, int], int], str]] = [  # how far off the count is, and why
    (
        lambda i, o: 2 * o,
        "You count biases. These convolutions have none.",
    ),
    (
        lambda i, o: -2 * (i + o),
        "Batch normalization has parameters, too: it learns to scale and to shift each channel.",
    ),
    (
        lambda i, o: -2 * o,
        "One normalization is missing: there is one before each of the two convolutions.",
    ),
    (
        lambda i, o: -(i + o),
        "You count one number for each normalized channel. It is scaled *and* shifted.",
    ),
    (
        lambda i, o: 2 * (i + o),
        "You count the running means and variances. They are measured, not trained.",
    ),
    (
        lambda i, o: 2 * (o - i),
        "How many channels does the first normalization get? It stands before the convolution.",
    ),
    (
        lambda i, o: -(i != o) * i * o,
        "The convolution of 1 × 1 is missing, which is there if the number of channels changes.",
    ),
    (
        lambda i, o: (i == o) * i * o,
        "You always count a convolution of 1 × 1. Equal shapes can be added without one.",
    ),
    (
        lambda i, o: 8 * (i != o) * i * o,
        "The convolution beside the two others is 1 × 1. You count it as 3 × 3.",
    ),
    (
        lambda i, o: -6 * o * (i + o),
        "A kernel of 3 × 3 has nine weights for each pair of channels, not three.",
    ),
    (
        lambda i, o: 9 * o * (i - o),
        "The second convolution gets the channels that the first has made.",
    ),
]


def plus(off: Callable[[int, int], int]) -> Callable[[int, int], int]:
    return lambda c_in, c_out: block_parameters(c_in, c_out) + off(c_in, c_out)


# 5.2 How much of the image does a value see?

Layers = list[tuple[int, int]]
TINY_VGG = [(3, 1), (3, 1), (2, 2), (3, 1), (3, 1), (2, 2)]
OVERLAP = "Windows of neighboring values overlap. How many pixels does a layer *add*?"
STRIDED = [(4, 2), (2, 2), (3, 1), (3, 2), (3, 1)]


def receptive_field(layers: Layers) -> int:
    side, distance = 1, 1
    for kernel, stride in layers:
        side, distance = side + (kernel - 1) * distance, distance * stride
    return side


def with_own_stride(layers: Layers) -> int:
    side, distance = 1, 1
    for kernel, stride in layers:
        distance *= stride
        side += (kernel - 1) * distance
    return side


def with_whole_kernels(layers: Layers) -> int:
    side, distance = 1, 1
    for kernel, stride in layers:
        side, distance = side + kernel * distance, distance * stride
    return side


def with_last_stride(layers: Layers) -> int:
    side, distance = 1, 1
    for kernel, stride in layers:
        side, distance = side + (kernel - 1) * distance, stride
    return side


# 5.3 A block that can do nothing


def halves(x: Tensor, kernel: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    """Twice: batch normalization, ReLU, convolution."""
    for _ in range(2):
        x = F.conv2d(F.relu(F.batch_norm(x, mean, var)), kernel, padding=1)
    return x


def halves_reversed(x: Tensor, kernel: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    """Twice: convolution, batch normalization, ReLU."""
    for _ in range(2):
        x = F.relu(F.batch_norm(F.conv2d(x, kernel, padding=1), mean, var))
    return x


class ResidualBlock:
    """A class whose blocks return x + f(x)."""

    def hint(self, answer: object) -> str | None:
        """Make a block of 4 channels, and try what it does."""
        if isinstance(answer, nn.Module):
            return "This is one block. Give the class: ResidualBlock, without brackets."
        if not callable(answer):
            return f"A class is wanted, got a {type(answer).__name__}."
        x = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))
        given = x.clone()
        try:
            block = answer(4)
            if not isinstance(block, nn.Module):
                return f"A block must be an nn.Module, this is a {type(block).__name__}."
            out = block.eval()(x)
        except Exception as error:  # whatever a student's class raises
            return self._explain(error)
        if not isinstance(out, Tensor):
            return "forward returns no tensor. Is there a `return`?"
        if not torch.equal(x, given):
            return (
                "forward changes its input, and then adds the changed x. Do without inplace and +=."
            )
        return self._wrong_shape(out) or self._wrong_layers(block) or self._wrong_function(block, x)

    def _explain(self, error: Exception) -> str:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "size of tensor" in text:
            return "x and f(x) differ in size. What keeps the image from shrinking by two pixels?"
        if "super" in text or "before Module.__init__" in text:
            return "The first line of __init__ must be super().__init__()."
        return f"A block of 4 channels, for images (2, 4, 6, 6), stops: {text}"

    def _wrong_shape(self, out: Tensor) -> str | None:
        if out.shape == (2, 8, 6, 6):
            return "x and f(x) lie side by side, as torch.cat puts them. They must be added."
        if out.shape != (2, 4, 6, 6):
            return f"The shape (2, 4, 6, 6) must stay, and became {tuple(out.shape)}."
        return None

    def _wrong_layers(self, block: nn.Module) -> str | None:
        parts = list(block.modules())
        convolutions = [part for part in parts if isinstance(part, nn.Conv2d)]
        norms = [part for part in parts if isinstance(part, nn.BatchNorm2d)]
        if not list(block.parameters()):
            return "The block has no parameters. A plain list hides layers: use self or Sequential."
        if any(layer.bias is not None for layer in convolutions):
            return "A convolution has a bias. Wanted are convolutions without."
        if len(convolutions) == 1 or len(norms) == 1:
            return "One layer is used twice, with the same weights. Each needs a second one."
        if len(convolutions) != 2 or len(norms) != 2:
            counts = f"{len(convolutions)} and {len(norms)}"
            return f"Two convolutions and two BatchNorm2d are wanted, there are {counts}."
        return None

    @torch.no_grad()
    def _wrong_function(self, block: nn.Module, x: Tensor) -> str | None:
        for weights in block.parameters():
            if weights.ndim == 4:
                weights.zero_()
        still = block(x)
        if not still.any():
            return "With weights of zero, the block returns zeros. x is not added."
        if torch.allclose(still, F.relu(x)):
            return (
                "With weights of zero, negative values get lost: a ReLU works on x or on the sum."
            )
        if not torch.allclose(still, x, atol=1e-6):
            return "With weights of zero, the block should return x. Is it x itself that you add?"
        generator = torch.Generator().manual_seed(1)
        kernel, mean, var = (torch.rand(shape, generator=generator) for shape in SHAPES)
        for part in block.modules():
            if isinstance(part, nn.Conv2d):
                part.weight.copy_(kernel - 0.5)
            elif isinstance(part, nn.BatchNorm2d):
                part.running_mean.copy_(mean)
                part.running_var.copy_(var + 0.5)
        added, args = block(x) - x, (x, kernel - 0.5, mean, var + 0.5)
        if torch.allclose(added, halves(*args), atol=1e-4):
            return None
        if torch.allclose(added, halves_reversed(*args), atol=1e-4):
            return (
                "Your order is convolution, normalization, ReLU. Here the convolution comes last."
            )
        return "x is added correctly. Look at f: the order of its layers, and both ReLUs."


SHAPES = (4, 4, 3, 3), (4,), (4,)  # of a kernel, and of the mean and variance of each channel

# 5.4 The learning rate of every step


def one_cycle(steps: int, used: int | None = None) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)])
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.1, total_steps=steps, cycle_momentum=False
    )
    rates = []
    for _ in range(used or steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def rates() -> Value:
    right = one_cycle(24)
    shifted = torch.tensor(right[1:], dtype=torch.float64)
    return Value(
        right,
        [
            (
                lambda got: got.ndim == 0,
                "A list with one rate for each step is wanted; this is one number.",
            ),
            (
                lambda got: len(got) == 3 or len(got.unique()) == 3,
                "The rate changes only from epoch to epoch. This schedule moves after each batch.",
            ),
            (
                lambda got: len(got) == 21,
                "You count 7 steps in an epoch. The last batch is smaller, but it is a step.",
            ),
            (lambda got: len(got) == 8, "These are the steps of one epoch. There are three."),
            (
                lambda got: len(got) in (1_000, 3_000),
                "There is one rate for each image. A step takes a whole batch.",
            ),
            (
                lambda got: len(got) > 1 and len(got.unique()) == 1,
                "The rate never changes: the scheduler's own step is missing in the loop.",
            ),
            (
                lambda got: torch.allclose(got[:-1], shifted, atol=1e-5),
                "It is shifted by a step. Note the rate first, then let the scheduler move.",
            ),
            (
                lambda got: len(got) in (23, 25),
                "It is one step more or less than there are. Look at both ends of the loop.",
            ),
            (
                lambda got: len(got) == 24 and torch.allclose(got[:8], got[8:16]),
                "The schedule begins anew in each epoch. It goes once over the whole training.",
            ),
            (
                lambda got: len(got) == 24,
                "There are as many rates as steps. Is that also total_steps, and is the peak 0.1?",
            ),
        ],
        "The number of rates should be epochs times batches. How many batches has an epoch?",
        tolerance=1e-3,
    )


# 5.5 Is it a gain?


def gain_interval(before: Sequence[float], after: Sequence[float]) -> tuple[float, float]:
    return evaluation.mean_interval([b - a for a, b in zip(before, after, strict=True)])


def around_mean(half: Callable[[list[float]], float]) -> Callable[..., tuple[float, float]]:
    """The interval of the mean gain with another half width."""

    def interval(before: Sequence[float], after: Sequence[float]) -> tuple[float, float]:
        gains = [b - a for a, b in zip(before, after, strict=True)]
        mean = statistics.mean(gains)
        return mean - half(gains), mean + half(gains)

    return interval


def unpaired(before: Sequence[float], after: Sequence[float], pooled: bool) -> tuple[float, float]:
    found = stats.ttest_ind(after, before, equal_var=pooled).confidence_interval()
    return float(found.low), float(found.high)


def between_ends(before: Sequence[float], after: Sequence[float]) -> tuple[float, float]:
    ends = zip(evaluation.mean_interval(before), evaluation.mean_interval(after), strict=True)
    low, high = (new - old for old, new in ends)
    return low, high


def smallest_and_largest(before: Sequence[float], after: Sequence[float]) -> tuple[float, float]:
    gains = [b - a for a, b in zip(before, after, strict=True)]
    return min(gains), max(gains)


def error(gains: list[float]) -> float:
    return statistics.stdev(gains) / math.sqrt(len(gains))


def student(gains: list[float]) -> float:
    return float(stats.t.ppf(0.975, len(gains) - 1))


SEEDS = [90.1, 91.0, 92.3, 89.5, 90.6], [90.6, 91.8, 92.6, 90.2, 91.0]
NORMAL = "1.96 is the factor for many values. For five, that of Student's t is larger."
UNPAIRED = "You treat the two lists as unrelated. Take the difference of each seed first."

# 5.6 Fold the batch normalization away


def folded(
    convolution: nn.Conv2d, norm: nn.BatchNorm2d, *, eps: bool = True, root: bool = True,
    scaled_bias: bool = True, own_bias: bool = True, mean: float = 1.0, shift: bool = True,
    scaled: bool = True, along: int = 0,
) -> nn.Conv2d:  # fmt: skip
    """The convolution that does both; each option but the first of all is a mistake."""
    variance = norm.running_var + norm.eps * eps
    scale = norm.weight / (variance.sqrt() if root else variance)
    bias = 0 if convolution.bias is None or not own_bias else convolution.bias
    result = copy.deepcopy(convolution)
    shape = [-1 if axis == along else 1 for axis in range(4)]
    result.weight = nn.Parameter(convolution.weight * (scale.view(shape) if scaled else 1))
    inside = (bias * (1 if scaled_bias else 1 / scale) - mean * norm.running_mean) * scale
    result.bias = nn.Parameter(inside + norm.bias * shift)
    return result


def mistaken(**options: object) -> Callable[[nn.Conv2d, nn.BatchNorm2d], nn.Conv2d]:
    return lambda convolution, norm: folded(convolution, norm, **options)  # type: ignore[arg-type]


def layers(bias: bool) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """A convolution and a normalization that has seen images."""
    generator = torch.Generator().manual_seed(0)
    convolution, norm = nn.Conv2d(4, 4, 3, stride=2, padding=1, bias=bias), nn.BatchNorm2d(4)
    with torch.no_grad():
        for numbers in (*convolution.parameters(), *norm.parameters(), norm.running_mean):
            numbers.copy_(torch.randn(numbers.shape, generator=generator))
        norm.running_var.copy_(torch.tensor([2.0, 0.5, 1e-5, 0.1]))
    return convolution.eval(), norm.eval()


def changed_in_place(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    result = folded(convolution, norm)
    convolution.weight, convolution.bias = result.weight, result.bias
    return result


@torch.no_grad()
def outputs(inputs: tuple[nn.Conv2d, nn.BatchNorm2d], result: object) -> Tensor:
    """What the folded convolution, and the old one, make of an image."""
    if not isinstance(result, nn.Conv2d):
        raise TypeError(f"fold must return an nn.Conv2d, got a {type(result).__name__}.")
    image = torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(2))
    new, old = result(image), inputs[0](image)
    return torch.cat([new, old]) if new.shape == old.shape else torch.tensor(0.0)


EXERCISES = {
    "5.1": Function(
        block_parameters,
        [(16, 32), (16, 16), (8, 64)],
        [(plus(off), hint) for off, hint in OFF],
        "Count layer by layer: two normalizations, two convolutions, sometimes one more.",
    ),
    "5.2": Function(
        receptive_field,
        [([(3, 1)],), ([(3, 1), (3, 1)],), (TINY_VGG,), (STRIDED,)],
        [
            (
                lambda layers: receptive_field(layers) - 1,
                "It is one pixel too few. Without any layer, a value sees one pixel: itself.",
            ),
            (
                lambda layers: receptive_field(layers) ** 2,
                "You count the pixels in the field. Its side is wanted.",
            ),
            (with_whole_kernels, OVERLAP),
            (lambda layers: with_whole_kernels(layers) - 1, OVERLAP),
            (lambda layers: sum(kernel for kernel, _ in layers), OVERLAP),
            (
                lambda layers: 1 + sum(kernel - 1 for kernel, _ in layers),
                "Strides are missing. After a stride, a kernel of the same size reaches further.",
            ),
            (
                with_own_stride,
                "The stride of a layer widens the reach of the layers *after* it, not its own.",
            ),
            (
                with_last_stride,
                "You use the stride of the layer before only. The strides of all before multiply.",
            ),
        ],
        "Begin with one pixel. How many does each layer add, and how far apart are they?",
    ),
    "5.3": ResidualBlock(),
    "5.4": rates,
    "5.5": Function(
        gain_interval,
        [SEEDS],
        [
            (lambda a, b: gain_interval(b, a), "The sign is wrong. A gain is after less before."),
            (lambda a, b: gain_interval(a, b)[::-1], "The order is (low, high)."),
            (
                lambda a, b: statistics.mean(b) - statistics.mean(a),
                "This is the mean gain. How sure is it? An interval (low, high) is wanted.",
            ),
            (lambda a, b: unpaired(a, b, True), UNPAIRED),
            (lambda a, b: unpaired(a, b, False), UNPAIRED),
            (between_ends, "The difference of two intervals is no interval of the difference."),
            (
                lambda a, b: evaluation.mean_interval(b),
                "This is the interval of the accuracy after the change, not of the gain.",
            ),
            (
                lambda a, b: evaluation.mean_interval(a),
                "This is the interval of the accuracy before the change, not of the gain.",
            ),
            (around_mean(lambda gains: 1.96 * error(gains)), NORMAL),
            (around_mean(lambda gains: 1.96 * statistics.pstdev(gains) / 5**0.5), NORMAL),
            (
                smallest_and_largest,
                "These are the smallest and the largest gain. The mean is known better.",
            ),
            (
                around_mean(lambda gains: student(gains) * statistics.pstdev(gains) / 5**0.5),
                "This standard deviation divides by n. For a sample, divide by n − 1.",
            ),
            (
                around_mean(lambda gains: student(gains) * statistics.stdev(gains)),
                "So widely do single seeds spread. Their mean is known better, by the root of n.",
            ),
            (around_mean(statistics.stdev), "This is ± one standard deviation, no 95 % interval."),
            (around_mean(error), "This is ± one standard error, no 95 % interval."),
        ],
        "First one gain for each seed, then the interval of their mean.",
    ),
    "5.6": Function(
        folded,
        [layers(bias=True), layers(bias=False)],
        [
            (lambda conv, norm: conv, "Nothing has changed. Scale the weights, and set the bias."),
            (
                lambda conv, norm: nn.Conv2d(4, 4, 3),
                "The result has another size. Keep the stride and the padding.",
            ),
            (changed_in_place, "The result is right, but the old convolution has changed, too."),
            (mistaken(eps=False), "eps is missing. It matters where a variance is nearly zero."),
            (mistaken(root=False), "Divide by the root of the variance, the standard deviation."),
            (
                mistaken(along=1),
                "You scale the channels that the convolution gets. Which dimension are those "
                "that it makes?",
            ),
            (
                mistaken(scaled_bias=False),
                "The convolution's own bias goes through the normalization, too: scale it.",
            ),
            (mistaken(own_bias=False), "If the convolution has a bias of its own, yours loses it."),
            (mistaken(mean=-1.0), "The running mean is subtracted, not added."),
            (mistaken(mean=0.0), "The running mean is missing."),
            (mistaken(shift=False), "The bias of the normalization is missing."),
            (mistaken(scaled=False), "The bias is right, but the weights are not scaled."),
        ],
        "Put w·x + b for x in the formula, and sort: what multiplies x, and what remains?",
        tolerance=1e-3,
        observe=outputs,
    ),
}
