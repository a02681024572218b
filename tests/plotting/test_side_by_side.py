import itertools

import pandas as pd

from helpers import plotting


def test_each_row_of_intervals_has_its_dots_its_mean_and_its_range():
    ax = plotting.intervals(
        {"first": [1.0, 3.0], "second": [4.0, 5.0, 6.0]},
        {"first": (0.5, 3.5), "second": (4.5, 5.5)},
        xlabel="accuracy, %",
    )
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in ax.lines]
    assert drawn[:3] == [([0.5, 3.5], [0, 0]), ([2.0], [0]), ([1.0, 3.0], [-0.2, 0.2])]
    assert drawn[3:] == [([4.5, 5.5], [1, 1]), ([5.0], [1]), ([4.0, 5.0, 6.0], [0.8, 1.0, 1.2])]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["first", "second"]
    assert ax.yaxis_inverted()
    assert ax.get_xlabel() == "accuracy, %"


def test_models_stand_at_their_price_and_the_best_ones_are_named():
    models = pd.DataFrame(
        {"seconds": [10, 20, 40], "accuracy": [90.0, 89.0, 93.0]}, ["small", "waste", "large"]
    )
    ax = plotting.pareto_front(models, "seconds", ["small", "large"], xlabel="seconds")
    everybody, best = ax.lines
    assert list(everybody.get_xdata()) == [10, 20, 40]
    assert list(best.get_ydata()) == [90.0, 93.0]
    assert [text.get_text() for text in ax.texts] == ["small", "large"]
    assert ax.get_xscale() == "log"
    assert ax.get_xlabel() == "seconds"
    assert not ax.collections
    same = plotting.pareto_front(models, "seconds", ["small"], ax=ax, xlabel="s")
    assert same is ax


def test_intervals_stand_upright_at_the_price():
    models = pd.DataFrame(
        {"seconds": [10, 20], "accuracy": [90.0, 91.0], "low": [89.0, 90.5], "high": [91.0, 91.5]},
        ["small", "large"],
    )
    ax = plotting.pareto_front(models, "seconds", ["small", "large"], xlabel="seconds")
    (ranges,) = ax.collections
    assert [segment.tolist() for segment in ranges.get_segments()] == [
        [[10, 89.0], [10, 91.0]],
        [[20, 90.5], [20, 91.5]],
    ]


def test_labels_of_prices_do_not_crowd():
    models = pd.DataFrame({"parameters": [7_000, 1_200_000], "accuracy": [90.0, 95.0]}, ["a", "b"])
    ax = plotting.pareto_front(models, "parameters", ["a", "b"], xlabel="parameters")
    ax.figure.canvas.draw()
    low, high = ax.get_xlim()
    told = [
        label.get_text() for label in ax.get_xticklabels() if low < label.get_position()[0] < high
    ]
    assert told == ["10,000", "100,000", "1,000,000"]


def test_labels_of_models_that_are_nearly_alike_stand_apart():
    models = pd.DataFrame(
        {"minutes": [0.6, 0.96, 1.01, 45], "accuracy": [89.6, 92.72, 92.79, 95.4]},
        ["plain", "deeper", "residual", "large"],
    )
    ax = plotting.pareto_front(models, "minutes", list(models.index), xlabel="minutes")
    ax.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
