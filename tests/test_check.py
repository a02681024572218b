"""The self-checks: which hint each kind of answer gets, in any exercise."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import nn

from checks.kinds import Choice, Function, Model, Parts, Plot, Value
from helpers import check, files

TABLE = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]])
LOGITS = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 1.0], [1.0, 5.0, 0.0], [0.0, 1.0, 4.0]])


@pytest.mark.parametrize(
    ("right", "answer"),
    [
        (0.9, 0.90004), (0.9, torch.tensor(0.9)), (0.9, np.float32(0.9)), (1719, 1719.0),
        (0, 0), (-2, -2), ((1, 10), [1, 10]), ((1, 10), torch.Size([1, 10])),
        (TABLE, TABLE.tolist()), (TABLE, TABLE.numpy()), (TABLE, TABLE.clone().requires_grad_()),
        (torch.tensor([True, False]), [1, 0]), (12_945.2, 12_945.5),
    ],
)  # fmt: skip
def test_a_right_value_is_right_in_every_notation(right, answer):
    assert Value(right).hint(answer) is None


@pytest.mark.parametrize(
    ("right", "answer", "hint"),
    [
        (0.9, 90, "a percentage, where a fraction"),
        (90, 0.9, "a fraction, where a percentage"),
        (0.9, 0.1, "1 minus what is wanted"),
        (90, 10, "100 minus what is wanted"),
        (0.4, -0.4, "The sign"),
        (0.4, 2.5, "upside down"),
        (10, 11, "1 too large"),
        (10, 9, "1 too small"),
        (1719, 1718.75, "Whole numbers"),
        (0.1307, 33.3285, "255 times too large"),
        (33.3285, 0.1307, "255 times too small"),
        (2.302585, 3.321928, "another base"),
        (2.302585, 1.0, "another base"),
        (0.5, 0.25, "square"),
        (0.3, 0.3**0.5, "the root"),
        (0.9137, 0.91, "rounded"),
        (0.9, "0.9", "got the text '0.9'"),
        (1, True, "got True (bool)"),
        (0.9, float("nan"), "NaN"),
        (0.9, {}, "A number wanted, got a dict."),
        (0.9, ..., "A number wanted, got an ellipsis."),
        (0.9, [0.9, 0.8], "The shape is (2,), wanted is ()"),
        (0.9, 17, "Not this"),
        (0.4, 1.0, "Not this"),
        (TABLE, TABLE.T, "is it transposed"),
        (TABLE, TABLE[None], "axis of length 1"),
        (TABLE, TABLE.flatten(), "is it flattened"),
        (TABLE, TABLE[:1], "The shape is (1, 3)"),
        (TABLE, TABLE.flip(0), "in another order"),
        (TABLE, TABLE.softmax(-1), "one softmax too many"),
        (TABLE, TABLE.log() + 3, "These are logits"),
        (TABLE, TABLE > 2, "Not this"),
        (torch.tensor([3, 1]), torch.tensor([3.0, 1.0]), "int64 is wanted"),
        (torch.tensor([True, False]), torch.tensor([1.0, 0.0]), "bool is wanted"),
        (torch.tensor([3.0, 1.0]), torch.tensor([3, 1]), "float32"),
        (torch.tensor([3, 1]), torch.tensor([4, 2]), "1 too large everywhere"),
    ],
)
def test_a_wrong_value_gets_the_hint_for_its_likely_mistake(right, answer, hint):
    assert hint in Value(right).hint(answer)


def test_mistakes_of_an_exercise_come_before_general_ones():
    mistakes = [(lambda got: got.ndim == 0 and got > 50, "Too large."), (9, "The last one counts.")]
    kind = Value(10, mistakes, otherwise="Count again.")
    assert kind.hint(60) == "Too large."
    assert kind.hint(9) == "The last one counts."
    assert "1 too large" in kind.hint(11)
    assert kind.hint(3) == "Count again."
    assert Value(10, [(lambda got: got[3] > 0, "x")]).hint(3).startswith("Not this")


def test_letters_may_be_given_in_any_form_and_each_wrong_one_has_its_hint():
    one = Choice("b", {"a": "first", "c": "third"})
    assert one.hint("b") is one.hint("(B)") is one.hint(["b"]) is None
    assert one.hint("a") == "a: first"
    assert one.hint("ab").startswith("One letter only")
    for junk in ("z", "", 3, [], None, object()):
        assert one.hint(junk).startswith("Give letters of the list only")
    several = Choice("ac", {"b": "second", "-c": "think of the last"})
    assert several.hint("ca") is several.hint({"a", "c"}) is several.hint("a, c") is None
    assert several.hint("abc") == "b: second"
    assert several.hint("a") == "think of the last"
    assert several.hint("c") == "These are right, but one more is."


def test_the_first_wrong_part_is_named_and_the_right_parts_are_counted():
    kind = Parts({"n": Value(3), "word": Choice("a", {"b": "no"}), "rate": Value(0.5)})
    assert kind.hint({"n": 3, "word": "a", "rate": 0.5}) is None
    assert kind.hint({"n": 3, "word": "b", "rate": 0.7}) == "word: b: no (1 of 3 are right.)"
    assert kind.hint({"n": 3}).startswith("word: There is no answer yet.")
    assert "keys 'n', 'word', 'rate' is wanted, got a list" in kind.hint([3, "a", 0.5])


CLASSES = Function(lambda logits: logits.argmax(dim=1), inputs=[(LOGITS,)])
LOSS = Function(F.cross_entropy, inputs=[(LOGITS, torch.tensor([0, 1, 1, 0]))])


def changes_its_input(logits):
    return logits.mul_(2).argmax(dim=1)


def divides(logits):
    return logits / 0 @ logits


def test_likely_mistakes_of_a_function_get_their_hints():
    assert CLASSES.hint(lambda x: x.softmax(dim=1).max(dim=1).indices) is None
    assert "wrong axis" in CLASSES.hint(lambda x: x.argmax(dim=0))
    assert "Is there a `return`" in CLASSES.hint(lambda x: None)
    assert "changes its input" in CLASSES.hint(changes_its_input)
    assert "without brackets; got a Tensor" in CLASSES.hint(LOGITS.argmax(dim=1))
    assert "without brackets" in CLASSES.hint(int)
    assert "one softmax too many" in LOSS.hint(lambda x, y: F.cross_entropy(x.softmax(1), y))
    summed = LOSS.hint(lambda x, y: F.cross_entropy(x, y, reduction="sum"))
    assert "a sum, where a mean is wanted" in summed
    total = Function(lambda x: x.sum(), inputs=[(LOGITS,)])
    assert "a mean, where a sum is wanted" in total.hint(lambda x: x.mean())


def test_an_error_inside_a_function_is_reported_with_its_line():
    hint = CLASSES.hint(divides)
    line = divides.__code__.co_firstlineno + 1
    assert hint.startswith(f"Line {line} of the cell stops with RuntimeError: mat1 and mat2")
    assert "(a linear layer gets another number of values than it was built for)" in hint
    assert hint.endswith("`return logits / 0 @ logits`")
    assert "stops with TypeError" in CLASSES.hint(lambda: 1)
    assert "it stops with RuntimeError" in CLASSES.hint(max)


def test_both_functions_get_equal_random_numbers_and_the_state_is_restored():
    noisy = Function(lambda x: x + torch.randn(3), inputs=[(torch.zeros(3),)])
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    assert noisy.hint(lambda x: torch.randn(3) + x) is None
    assert torch.equal(torch.rand(1), expected)


def test_a_model_must_be_left_in_its_mode():
    def scores(model, x):
        return model(x)

    kind = Function(scores, inputs=[(nn.Linear(3, 3), LOGITS)])
    assert kind.hint(scores) is None
    assert "left in evaluation mode" in kind.hint(lambda model, x: model.eval()(x))


def network(*layers):
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2), *layers)


def test_a_model_is_compared_with_the_right_weights_loaded():
    kind = Model(network(), LOGITS, training=False)
    assert kind.hint(network().eval()) is None
    assert "wrong mode" in kind.hint(network())
    assert "ends with a softmax" in kind.hint(network(nn.Softmax(1)))
    assert "Look at the activations" in kind.hint(network(nn.ReLU()))
    assert "too many layers" in kind.hint(network(nn.Linear(2, 2)))
    other = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    assert "Look at layer 1" in kind.hint(other)
    no_bias = nn.Sequential(nn.Linear(3, 5, bias=False), nn.Tanh(), nn.Linear(5, 2, bias=False))
    assert "biases are missing" in kind.hint(no_bias)
    assert "shape (4, 3), wanted is (4, 2)" in kind.hint(nn.Linear(3, 3))
    assert "This is a class" in kind.hint(nn.Linear)
    assert "stops with RuntimeError" in kind.hint(nn.Linear(7, 2))
    assert "got a Tensor" in kind.hint(LOGITS)
    linear = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))
    mistaken = Model(network(), LOGITS, [(linear, "No activation."), (lambda m: m[9], "x")])
    assert mistaken.hint(linear) == "No activation."


def curves(*lines, legend=True, **labels):
    ax = Figure().subplots()
    for i, line in enumerate(lines):
        ax.plot(line, label=str(i))
    ax.set(**{"title": "t", "xlabel": "x", "ylabel": "y", **labels})
    if legend:
        ax.legend()
    return ax


def test_a_plot_needs_its_data_its_labels_and_a_legend():
    kind = Plot(lines=[[1, 2, 4], [3, 2, 1]], mistakes=[([4, 2, 1], "Backwards.")])
    assert kind.hint(curves([3, 2, 1], [1, 2, 4])) is None
    assert kind.hint(curves([3, 2, 1], [1, 2, 4]).figure) is None
    assert "Missing: xlabel" in kind.hint(curves([1, 2, 4], [3, 2, 1], xlabel=" "))
    assert "need a legend" in kind.hint(curves([1, 2, 4], [3, 2, 1], legend=False))
    assert "number of lines is 1, wanted is 2" in kind.hint(curves([1, 2, 4]))
    assert kind.hint(curves([4, 2, 1], [3, 2, 1])) == "The lines: Backwards."
    assert "Axes of the plot are wanted (`ax`), got a list" in kind.hint([])


@pytest.mark.parametrize("answer", [None, ...])
def test_a_missing_answer_is_reported(answer):
    assert repr(check.exercise("1.1", answer)).startswith("1.1: not yet. There is no answer yet")


def test_an_unknown_exercise_is_reported_with_the_nearest_one():
    message = repr(check.exercise("1.55", 3))
    assert message.startswith("1.55: not yet. There is no exercise '1.55'. Did you mean '1.5'?")
    assert "There is no exercise 'x'." in repr(check.exercise("x", 3))
    assert "There is no exercise '99.1'." in repr(check.exercise("99.1", 3))
    assert check.exercise(1.1, "acf")  # a number instead of a text
    assert repr(check.exercise("1.1", "ab")).startswith("1.1: not yet. ")


class Hostile:
    def __array__(self, *given, **options):
        raise OSError("not\nnow")

    def __iter__(self):
        raise OSError("not\nnow")


def test_an_answer_that_raises_when_inspected_is_reported_in_one_line():
    message = repr(check.exercise("3.5", Hostile()))
    assert "without brackets; got a Hostile" in message
    message = repr(check.exercise("1.3", Hostile()))
    assert message == "1.3: not yet. It cannot be checked, since it is a Hostile (OSError: not)."


def test_what_is_shown_in_a_notebook_is_escaped_and_marked():
    shown = check.Result("1.1", "a < b: use `eval()`, *once*")._repr_html_()
    assert "✗ 1.1: not yet. a &lt; b: use <code>eval()</code>, <em>once</em></div>" in shown
    assert "✓ 1.1: right." in check.Result("1.1", None)._repr_html_()


def test_without_the_folder_of_the_course_it_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PROJECT", tmp_path)
    check._chapter.cache_clear()
    with pytest.raises(FileNotFoundError, match="Run this in the folder of the course"):
        check.exercise("1.1", "a")
