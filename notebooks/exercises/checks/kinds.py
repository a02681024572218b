"""The kinds of answers: each says whether an answer is right, and if not, what is likely wrong.

The `hint` of each kind returns None for a right answer. A mistake is a pair: what students
typically give, or a predicate that recognizes it, and the hint for it.
"""

import copy
import linecache
import math
import sysconfig
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from helpers.check import EMPTY, Checker

Mistakes = Sequence[tuple[Any, str]]
UNREADABLE = (TypeError, ValueError, RuntimeError, AttributeError, IndexError, KeyError)
LOOK_AGAIN = "Not this. Read the question and the section of the lesson again."
# what is often given instead of x, and what to ask then
NEAR_MISSES: list[tuple[Callable[[Tensor], Tensor], str]] = [
    (lambda x: 100 * x, "It is 100 times too large: a percentage, where a fraction is wanted?"),
    (lambda x: x / 100, "It is 100 times too small: a fraction, where a percentage is wanted?"),
    (lambda x: 1 - x, "It is 1 minus what is wanted. Did you count the opposite?"),
    (lambda x: 100 - x, "It is 100 minus what is wanted. Did you count the opposite?"),
    (lambda x: -x, "The sign is the other way round."),
    (lambda x: 1 / x, "It is upside down: exchange numerator and denominator."),
    (lambda x: x + 1, "It is 1 too large everywhere. Python counts from 0; look at both ends."),
    (lambda x: x - 1, "It is 1 too small everywhere. Python counts from 0; look at both ends."),
    (lambda x: x * 255, "It is 255 times too large. Are the pixels in [0, 255] instead of [0, 1]?"),
    (lambda x: x / 255, "It is 255 times too small. Are the pixels in [0, 1] instead of [0, 255]?"),
    (lambda x: x / math.log(2), "The logarithm has another base. The natural one is wanted."),
    (lambda x: x / math.log(10), "The logarithm has another base. The natural one is wanted."),
    (lambda x: x.softmax(-1), "There is one softmax too many."),
    (lambda x: x**2, "It is the square of what is wanted. Is a root missing?"),
    (lambda x: x.sqrt(), "It is the root of what is wanted. Is there a root too many?"),
]
# what is often done to the inputs of a function before it is right
NEAR_INPUTS: list[tuple[Callable[[Tensor], Tensor], str]] = [
    (lambda x: x.T, "It went along the wrong axis: images instead of classes, or the reverse."),
    (lambda x: x.softmax(-1), "There is one softmax too many. A function that you use has it."),
]
# what torch says, and what it means
MEANINGS = {
    "mat1 and mat2 shapes": "a linear layer gets another number of values than it was built for",
    "unsigned char": "whole pixel values meet weights that are not whole: use `.float()`",
    "must match the size": "two shapes do not fit: is the axis `dim` right, is an axis missing?",
    "Boolean value of Tensor": "a comparison gives many True and False, where one is wanted",
}


@dataclass(frozen=True)
class Value:
    """A number, or a tensor, array, list or tuple of numbers.

    A wrong value among the mistakes is compared like the right one; a predicate gets a float64
    tensor.
    """

    right: Any
    mistakes: Mistakes = ()
    otherwise: str = LOOK_AGAIN  # the hint if nothing else fits
    tolerance: float = 1e-4  # relative for numbers above 1, absolute below

    def hint(self, answer: object) -> str | None:
        """What is wrong with an answer; None if it is right."""
        got, want = _tensor(answer), _tensor(self.right)
        assert want is not None
        if got is None or (isinstance(answer, bool) and want.ndim == 0):
            wanted = "A number" if want.ndim == 0 else "Numbers"
            return f"{wanted} wanted, got {describe(answer)}."
        if self._same(got, want):
            return _wrong_dtype(answer, self.right)
        for wrong, hint in self.mistakes:
            if self._fits(wrong, got):
                return hint
        if not got.isfinite().all():
            return "It holds NaN or infinity. Is there a division by 0, or a logarithm of 0?"
        return _wrong_shape(got, want) or self._near_miss(got, want) or self.otherwise

    def _same(self, got: Tensor, want: Tensor) -> bool:
        if got.shape != want.shape:
            return False
        whole = not _is_floating(self.right) and torch.equal(want, want.round())
        tolerance = 1e-9 if whole else self.tolerance
        size = float(want.abs().max()) if want.numel() else 0
        atol = tolerance * min(1, size or 1)
        return torch.allclose(got, want, rtol=tolerance, atol=atol, equal_nan=True)

    def _fits(self, wrong: Any, got: Tensor) -> bool:
        if not callable(wrong):
            wrong = _tensor(wrong)
            return wrong is not None and self._same(got, wrong)
        try:
            return bool(wrong(got))
        except UNREADABLE:  # a predicate on another shape than it was made for
            return False

    def _near_miss(self, got: Tensor, want: Tensor) -> str | None:
        for change, hint in NEAR_MISSES:
            wrong = change(want)
            alike = want.ndim == 0 and "softmax" in hint  # of one number, softmax is always 1
            if not alike and self._same(got, wrong) and not self._same(wrong, want):
                return hint
        if want.ndim and self._same(got.softmax(-1), want):
            return "These are logits. Probabilities are wanted."
        if want.ndim and self._same(got.flatten().sort().values, want.flatten().sort().values):
            return "The numbers are right, but in another order."
        if not _is_floating(self.right) and not torch.equal(got, got.round()):
            return "Whole numbers are wanted. Round up, or down? Think of what is counted."
        if any(self._same(got, want.round(decimals=digits)) for digits in range(4)):
            return "It is rounded too much. Give more digits."
        return None


def _is_floating(numbers: Any) -> bool:
    return bool(torch.as_tensor(numbers).is_floating_point())


def _wrong_dtype(answer: object, right: Any) -> str | None:
    if isinstance(answer, Tensor) and answer.ndim and isinstance(right, Tensor):
        if answer.is_floating_point() and not right.is_floating_point():
            return f"The values are right, the dtype is not: {str(right.dtype)[6:]} is wanted."
        if right.is_floating_point() and not answer.is_floating_point():
            return "The values are right, the dtype is not: float32 is wanted."
    return None


def _wrong_shape(got: Tensor, want: Tensor) -> str | None:
    if got.shape == want.shape:
        return None
    shapes = f"The shape is {tuple(got.shape)}, wanted is {tuple(want.shape)}."
    if got.numel() != want.numel():
        return shapes
    if got.squeeze().shape == want.squeeze().shape:
        return f"{shapes} There is an axis of length 1 too many or too few."
    if got.ndim == want.ndim:
        return f"{shapes} The axes are in another order: is it transposed?"
    return f"{shapes} The number of values is right: is it flattened, or not yet?"


def _tensor(answer: object) -> Tensor | None:
    """A float64 tensor of an answer; None if there are no numbers in it."""
    try:
        array = answer.detach().cpu() if isinstance(answer, Tensor) else np.asarray(answer)
        found = torch.as_tensor(array)
    except UNREADABLE:
        return None
    return None if found.is_complex() else found.double()


def describe(answer: object) -> str:
    """An answer in a few words, for a message."""
    if isinstance(answer, str):
        return f"the text {answer[:40]!r}"
    kind = type(answer).__name__
    article = "an" if kind[0] in "aeiouAEIOU" else "a"
    return f"{answer} ({kind})" if isinstance(answer, bool) else f"{article} {kind}"


@dataclass(frozen=True)
class Choice:
    """One letter, or several: "b", or "ac" if two are right. Each wrong letter has its hint.

    A hint for "-a" is given if a right letter is left out.
    """

    right: str
    hints: Mapping[str, str]

    def hint(self, answer: object) -> str | None:
        """What is wrong with an answer; None if it is right."""
        parts = map(str, answer) if isinstance(answer, list | tuple | set) else [answer]
        text = "".join(part for part in parts if isinstance(part, str)).lower()
        letters = {letter for letter in text if letter.isalpha()}
        known = {*self.right, *(key for key in self.hints if len(key) == 1)}
        if not letters or letters - known:
            example = '"a"' if len(self.right) == 1 else '"ab"'
            return f"Give letters of the list only, such as {example}."
        if len(self.right) == 1 and len(letters) > 1:
            return "One letter only: which fits best?"
        for letter in sorted(letters - set(self.right)):
            return f"{letter}: {self.hints[letter]}"
        for letter in sorted(set(self.right) - letters):
            return self.hints.get(f"-{letter}", "These are right, but one more is.")
        return None


@dataclass(frozen=True)
class Parts:
    """Several answers in a dictionary, each of its own kind."""

    parts: Mapping[str, Checker]

    def hint(self, answer: object) -> str | None:
        """What is wrong with an answer; None if it is right."""
        names = ", ".join(map(repr, self.parts))
        if not isinstance(answer, Mapping):
            return f"A dictionary with the keys {names} is wanted, got {describe(answer)}."
        hints: dict[str, str] = {}
        for name, kind in self.parts.items():
            given = answer.get(name)
            wrong = EMPTY if given is None or given is Ellipsis else kind.hint(given)
            hints |= {name: wrong} if wrong else {}
        if not hints:
            return None
        first = next(iter(hints))
        count = f" ({len(self.parts) - len(hints)} of {len(self.parts)} are right.)"
        return f"{first}: {hints[first]}{count}"


@dataclass(frozen=True)
class Function:
    """A function, called with each tuple of `inputs` and compared with the right one.

    Mistakes are wrong functions. `observe(inputs, result)` says what is compared, such as the
    weights of a model after a step; usually it is what the function returns.
    """

    right: Callable[..., Any]
    inputs: Sequence[tuple[Any, ...]]
    mistakes: Sequence[tuple[Callable[..., Any], str]] = ()
    otherwise: str = LOOK_AGAIN
    tolerance: float = 1e-4
    observe: Callable[[tuple[Any, ...], Any], Any] | None = None

    def hint(self, answer: object) -> str | None:
        """What is wrong with an answer; None if it is right."""
        if not callable(answer) or isinstance(answer, type | nn.Module):
            return f"Give the name of the function, without brackets; got {describe(answer)}."
        hints = (self._hint_for(answer, inputs) for inputs in self.inputs)
        return next((hint for hint in hints if hint), None)

    def _hint_for(self, answer: Callable[..., Any], inputs: tuple[Any, ...]) -> str | None:
        passed = copy.deepcopy(inputs)
        try:
            got = self._call(answer, passed)
        except Exception as error:  # whatever a student's function raises
            return _where(error, answer)
        if got is None:
            return "The function returns None. Is there a `return`?"
        want = self._call(self.right, copy.deepcopy(inputs))
        mistakes = [(self._try(wrong, inputs), told) for wrong, told in self.mistakes]
        for change, told in NEAR_INPUTS:
            changed = tuple(change(x) if _is_table(x) else x for x in inputs)
            mistakes.append((self._try(self.right, changed), told))
        mistakes = [pair for pair in mistakes if pair[0] is not None]
        kind = Value(want, mistakes, self.otherwise, self.tolerance)
        hint = kind.hint(got) or (None if self.observe else _side_effect(inputs, passed))
        return hint and self._or_sum(hint, got, want, inputs)

    def _call(self, function: Callable[..., Any], inputs: tuple[Any, ...]) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            result = function(*inputs)
        return self.observe(inputs, result) if self.observe else result

    def _try(self, function: Callable[..., Any], inputs: tuple[Any, ...]) -> Any:
        try:
            return self._call(function, copy.deepcopy(inputs))
        except UNREADABLE:  # the right function on inputs of another shape
            return None

    def _or_sum(self, hint: str, got: Any, want: Any, inputs: tuple[Any, ...]) -> str:
        """A better hint, if a sum was given instead of a mean, or a mean instead of a sum."""
        given, wanted = _tensor(got), _tensor(want)
        if hint != self.otherwise or given is None or wanted is None or given.shape != wanted.shape:
            return hint
        sizes = {n for x in inputs if isinstance(x, Tensor) for n in (*x.shape, x.numel()) if n > 1}
        for n in sizes:
            if torch.allclose(given, wanted * n, rtol=self.tolerance):
                return "It is a whole number of times too large: a sum, where a mean is wanted?"
            if torch.allclose(given * n, wanted, rtol=self.tolerance):
                return "It is a whole number of times too small: a mean, where a sum is wanted?"
        return hint


def _is_table(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 2 and value.is_floating_point()


def _side_effect(before: tuple[Any, ...], after: tuple[Any, ...]) -> str | None:
    """A hint if a function that should only look has changed its inputs."""
    for old, new in zip(before, after, strict=True):
        if isinstance(old, Tensor) and not torch.equal(old, new):
            return "The result is right, but the function changes its input. Work on a copy."
        if isinstance(old, nn.Module) and old.training != new.training:
            mode = "training" if new.training else "evaluation"
            return f"The result is right, but the model is left in {mode} mode. Put it back."
    return None


def first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0]


def _where(error: Exception, code: Any) -> str:
    """One line on an error: what it says, and the line of the student's cell where it happened."""
    told = f"{type(error).__name__}: {first_line(error)}".rstrip(": ")
    meaning = next((text for part, text in MEANINGS.items() if part in told), "")
    told = f"{told} ({meaning})" if meaning else told
    own = getattr(getattr(code, "__code__", None), "co_filename", "")
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == own]
    if not frames or own.startswith((sysconfig.get_path("purelib"), sysconfig.get_path("stdlib"))):
        return f"When it is called as the question says, it stops with {told}"
    line = linecache.getline(frames[-1].filename, frames[-1].lineno or 0).strip()
    return f"Line {frames[-1].lineno} of the cell stops with {told} · `{line}`"


@dataclass(frozen=True)
class Model:
    """A network with the layers of `right`: given its weights, it must compute the same.

    Mistakes are wrong networks, or predicates on a network.
    """

    right: nn.Module
    images: Tensor  # that both are given
    mistakes: Mistakes = ()
    otherwise: str = "The weights are right. Look at the activations, and at the order."
    training: bool | None = None  # the mode that is wanted, if it matters

    def hint(self, answer: object) -> str | None:
        """What is wrong with an answer; None if it is right."""
        if isinstance(answer, type):
            return f"This is a class. Give a model, with brackets: `{answer.__name__}()`."
        if not isinstance(answer, nn.Module):
            return f"A model (nn.Module) is wanted, got {describe(answer)}."
        model = copy.deepcopy(answer).cpu()
        try:
            got = _outputs(model, self.images)
        except Exception as error:  # whatever a student's forward raises
            return _where(error, getattr(type(answer), "forward", None))
        if not isinstance(got, Tensor):
            return f"forward must return a tensor, got {describe(got)}. Is there a `return`?"
        want = _outputs(self.right, self.images)
        for wrong, told in self.mistakes:
            if self._fits(wrong, model):
                return told
        if got.shape != want.shape:
            return f"The outputs have the shape {tuple(got.shape)}, wanted is {tuple(want.shape)}."
        hint = _other_weights(model, self.right) or self._same_function(model, want)
        if hint is None and self.training not in (None, answer.training):
            return "The model is in the wrong mode: `eval()` is to measure, `train()` to learn."
        return hint

    def _fits(self, wrong: Any, model: nn.Module) -> bool:
        if not isinstance(wrong, nn.Module):
            try:
                return bool(wrong(model))
            except UNREADABLE:  # a predicate on a layer that this model lacks
                return False
        if _other_weights(model, wrong):
            return False
        return self._same_function(model, _outputs(wrong, self.images), wrong) is None

    def _same_function(
        self, model: nn.Module, want: Tensor, other: nn.Module | None = None
    ) -> str | None:
        twin = copy.deepcopy(model)
        with torch.no_grad():
            for mine, its in zip(
                twin.parameters(), (other or self.right).parameters(), strict=True
            ):
                mine.copy_(its)
        got = _outputs(twin, self.images)
        if got.shape == want.shape and torch.allclose(got, want, rtol=1e-3, atol=1e-4):
            return None
        if got.shape == want.shape and torch.allclose(got, want.softmax(-1), atol=1e-4):
            return "The model ends with a softmax. cross_entropy does that itself: return logits."
        return self.otherwise


def _outputs(model: nn.Module, images: Tensor) -> Any:
    """What a copy of the model computes in evaluation mode."""
    with torch.inference_mode():
        return copy.deepcopy(model).eval()(images.clone())


def _other_weights(model: nn.Module, right: nn.Module) -> str | None:
    got, want = ([tuple(p.shape) for p in m.parameters()] for m in (model, right))
    if got == want:
        return None
    if got == [shape for shape in want if len(shape) > 1]:
        return "The weights are right, the biases are missing."
    if len(got) != len(want):
        more = "many" if len(got) > len(want) else "few"
        return f"It has too {more} layers with weights: {len(got)} tensors of parameters."
    if sorted(got) == sorted(want):
        return "It has the right layers, but in another order."
    layer = next(i for i, (a, b) in enumerate(zip(got, want, strict=True)) if a != b) // 2 + 1
    return f"Look at layer {layer} of those with weights: its parameters have another shape."


@dataclass(frozen=True)
class Plot:
    """Matplotlib Axes with a title, labels at both axes, and the right data.

    Mistakes are wrong data of the bars or lines, or predicates on the list of all Axes.
    """

    bars: Any = None  # the heights of the bars
    lines: Sequence[Any] | None = None  # the y values of each line
    images: Tensor | None = None  # the pictures (n, H, W), one in each Axes
    mistakes: Mistakes = ()
    labels: Sequence[str] = ("title", "xlabel", "ylabel")  # that must be there

    def hint(self, answer: object) -> str | None:
        """What is wrong with an answer; None if it is right."""
        found = np.ravel(np.asarray(getattr(answer, "axes", answer), dtype=object))
        panels = [panel for panel in found if hasattr(panel, "get_xlabel")]
        if not panels:
            return f"The Axes of the plot are wanted (`ax`), got {describe(answer)}."
        for wrong, told in self.mistakes:
            if callable(wrong) and wrong(panels):
                return told
        hint = self._wrong_data(panels)
        texts = {name: getattr(panels[0], f"get_{name}")().strip() for name in self.labels}
        missing = [name for name, text in texts.items() if not text]
        if not hint and missing:
            return (
                f"The data are right. Missing: {', '.join(missing)}. Use `ax.set({missing[0]}=…)`."
            )
        if not hint and len(self.lines or ()) > 1 and panels[0].get_legend() is None:
            return "Several lines need a legend: give each a `label`, then call `ax.legend()`."
        return hint

    def _wrong_data(self, panels: list[Any]) -> str | None:
        data = [pair for pair in self.mistakes if not callable(pair[0])]
        if self.bars is not None:
            bars = [drawn for drawn in panels[0].containers if hasattr(drawn, "patches")]
            if not bars:
                return "There are no bars. `ax.bar` draws them."
            lying = bars[0].orientation == "horizontal"
            sizes = [bar.get_width() if lying else bar.get_height() for bar in bars[0]]
            if hint := Value(self.bars, data).hint(sizes):
                return f"The bars: {hint}"
        drawn = [line.get_ydata() for line in panels[0].lines]
        if self.lines is not None and len(drawn) != len(self.lines):
            return f"The number of lines is {len(drawn)}, wanted is {len(self.lines)}."
        for want in self.lines or ():
            hints = [Value(want, data).hint(line) for line in drawn]
            if None not in hints:
                return f"The lines: {hints[0]}"
        return None if self.images is None else self._wrong_images(panels)

    def _wrong_images(self, panels: list[Any]) -> str | None:
        assert self.images is not None
        drawn = [np.squeeze(image.get_array()) for panel in panels for image in panel.images]
        if len(drawn) != len(self.images):
            return f"The number of pictures is {len(drawn)}, wanted is {len(self.images)}."
        for number, (got, want) in enumerate(zip(drawn, self.images, strict=True), start=1):
            if hint := Value(want).hint(got):
                return f"Picture {number}: {hint}"
        return None
