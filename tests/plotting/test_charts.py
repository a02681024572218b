"""The charts show the numbers that they are given."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from helpers import plotting

NAMES = ("a", "b", "c")
PIXELS = {"x": torch.tensor([0, 0, 0, 255], dtype=torch.uint8)}


def test_class_balance_has_a_bar_for_each_count():
    ax = plotting.class_balance({"train": [5, 6, 7], "test": [1, 2, 3]}, NAMES)
    assert [bar.get_height() for bar in ax.patches] == [5, 6, 7, 1, 2, 3]
    assert [label.get_text() for label in ax.get_xticklabels()] == list(NAMES)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["train", "test"]
    assert ax.get_ylabel() == "images"


def test_long_names_below_the_bars_are_rotated():
    def rotated(names) -> bool:
        labels = plotting.class_balance({"train": [1, 2, 3]}, names).get_xticklabels()
        return any(label.get_rotation() for label in labels)

    assert not rotated(NAMES)
    assert not rotated(("abcdefg", "abcdefg", "abcdef"))
    assert rotated(("abcdefg", "abcdefg", "abcdefg"))


def test_the_histogram_shows_shares():
    ax = plotting.pixel_histogram(PIXELS)
    line = ax.lines[0].get_ydata()
    assert (line[0], line[255], line.sum()) == (0.75, 0.25, 1)
    assert list(ax.lines[0].get_xdata()) == list(range(256))
    assert ax.get_yscale() == "log"
    assert ax.yaxis.get_major_formatter()(0.05) == "5 %"
    assert ax.get_xlabel().startswith("gray value")
    assert (ax.get_ylabel(), ax.get_title()) == ("share of pixels", "Gray values")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["x"]


def test_the_confusion_matrix_shows_counts_and_row_shares():
    figure = plotting.confusion_matrix(torch.tensor([[3, 1, 0], [0, 0, 0], [1, 0, 0]]), NAMES)
    counts, shares = ([text.get_text() for text in ax.texts] for ax in figure.axes)
    assert counts == ["3", "1", "0", *"000", "1", "0", "0"]
    assert shares == ["75.0", "25.0", "0.0", *["0.0"] * 3, "100.0", "0.0", "0.0"]
    for ax in figure.axes:
        assert ax.get_ylabel() == "true class"
        assert ax.get_xlabel() == "predicted class"
    assert "%" in figure.axes[1].get_title()


def test_a_heatmap_names_rows_and_columns_and_shades_by_the_square_root():
    ax = plotting.heatmap(
        np.array([[0.0, 25.0], [100.0, 4.0]]), ("a", "b"), title="T", fmt=".0f", xlabel="x"
    )
    assert [text.get_text() for text in ax.texts] == ["0", "25", "100", "4"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "b"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert (ax.get_title(), ax.get_xlabel(), ax.get_ylabel()) == ("T", "x", "")
    assert ax.get_aspect() == 1
    assert len(ax.figure.axes) == 1  # no color bar: the numbers are in the cells
    (mesh,) = ax.collections
    assert list(mesh.norm([0, 4, 25, 100])) == pytest.approx([0, 0.2, 0.5, 1])
    dark, light = mesh.get_cmap()(1.0), mesh.get_cmap()(0.0)
    assert sum(dark[:3]) < sum(light[:3])


@pytest.mark.parametrize(
    ("classes", "numbers", "names"), [(20, 400, 20), (21, 0, 21), (50, 0, 50), (51, 0, 0)]
)
def test_a_heatmap_of_many_classes_shows_no_numbers_and_then_no_names(classes, numbers, names):
    ax = plotting.heatmap(np.eye(classes), [*map(str, range(classes))], title="", fmt=".0f")
    assert len(ax.texts) == numbers
    assert len(ax.get_xticklabels()) == len(ax.get_yticklabels()) == names


def test_long_names_below_a_heatmap_are_rotated_and_end_at_their_column():
    for names, angle, side in ((("abc", "b"), 0, "center"), (("abcd", "b"), 40, "right")):
        ax = plotting.heatmap(np.eye(2), names, title="", fmt=".0f")
        for label in ax.get_xticklabels():
            assert (label.get_rotation(), label.get_ha()) == (angle, side)
            assert label.get_rotation_mode() == "anchor"
        assert {label.get_rotation() for label in ax.get_yticklabels()} == {0}


def test_panels_can_be_drawn_into_given_axes():
    figure, axes = plt.subplots(1, 4)
    assert plotting.heatmap(np.eye(2), ("a", "b"), title="", fmt=".0f", ax=axes[0]) is axes[0]
    assert plotting.durations({"a": 1.0}, title="", ax=axes[1]) is axes[1]
    assert plotting.pixel_histogram(PIXELS, ax=axes[2]) is axes[2]
    assert plotting.class_balance({"train": [1, 2, 3]}, NAMES, ax=axes[3]) is axes[3]
    assert plt.get_fignums() == [figure.number]


def history(*losses: float) -> pd.DataFrame:
    columns = ("train_loss", "validation_loss", "train_accuracy", "validation_accuracy")
    return pd.DataFrame({"epoch": range(1, len(losses) + 1), **{name: losses for name in columns}})


def test_learning_curves_show_one_or_several_trainings():
    one = plotting.learning_curves(history(3, 2, 1))
    assert [len(ax.lines) for ax in one.axes] == [2, 2]
    assert list(one.axes[0].lines[1].get_ydata()) == [3, 2, 1]
    assert [text.get_text() for text in one.legends[0].get_texts()] == ["training", "validation"]
    several = plotting.learning_curves({"x": history(1, 2), "y": history(2)})
    assert [text.get_text() for text in several.legends[0].get_texts()] == ["x", "y"]
    assert one.legends[0].get_title().get_text() == ""
    assert "dashed" in several.legends[0].get_title().get_text()
    assert len(plotting.learning_curves(history()).axes) == 2  # stopped in the first epoch


def test_training_is_dashed_and_validation_solid_in_the_same_color():
    frame = pd.DataFrame(
        {
            "epoch": [1, 2],
            "train_loss": [4.0, 3.0],
            "validation_loss": [5.0, 2.0],
            "train_accuracy": [0.1, 0.3],
            "validation_accuracy": [0.2, 0.4],
        }
    )
    figure = plotting.learning_curves({"x": frame, "y": frame})
    for ax, measure in zip(figure.axes, ("loss", "accuracy"), strict=True):
        for training, validation in (ax.lines[:2], ax.lines[2:]):
            assert list(training.get_ydata()) == frame[f"train_{measure}"].tolist()
            assert list(validation.get_ydata()) == frame[f"validation_{measure}"].tolist()
            assert list(training.get_xdata()) == list(validation.get_xdata()) == [1, 2]
            assert (training.get_linestyle(), validation.get_linestyle()) == ("--", "-")
            assert training.get_color() == validation.get_color()
        assert ax.lines[0].get_color() != ax.lines[2].get_color()
    loss, accuracy = figure.axes
    assert (loss.get_title(), accuracy.get_title()) == ("Loss", "Accuracy")
    assert (loss.get_xlabel(), accuracy.get_xlabel()) == ("epoch", "epoch")
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == (
        "cross-entropy (nats)",
        "images classified correctly",
    )
    assert accuracy.yaxis.get_major_formatter()(0.985) == "98.5 %"


def test_curves_of_a_single_training_have_different_colors():
    training, validation = plotting.learning_curves(history(2, 1)).axes[0].lines
    assert training.get_color() != validation.get_color()


@pytest.mark.parametrize(("epochs", "every"), [(1, 1), (15, 1), (30, 3)])
def test_epochs_are_whole_numbers_and_about_ten_are_marked(epochs, every):
    for ax in plotting.learning_curves(history(*range(epochs))).axes:
        assert ax.get_xlim() == (0.5, epochs + 0.5)
        assert all(tick == int(tick) for tick in ax.get_xticks())
        assert {(line.get_marker(), line.get_markevery()) for line in ax.lines} == {("o", every)}


def test_several_trainings_are_told_apart_without_colors():
    histories = {name: history(2, 1) for name in "abcd"}
    loss = plotting.learning_curves(histories).axes[0]
    solid = [line for line in loss.lines if line.get_linestyle() == "-"]
    assert len({line.get_marker() for line in solid}) == 4


def test_panels_have_no_frame_at_the_top_and_right():
    curves = plotting.learning_curves(history(2, 1))
    panels = [
        *curves.axes,
        plotting.class_balance({"train": [1, 2, 3]}, NAMES),
        plotting.pixel_histogram(PIXELS),
        plotting.durations({"a": 1.0}, title=""),
    ]
    for ax in panels:
        shown = {side for side, spine in ax.spines.items() if spine.get_visible()}
        assert shown == {"left", "bottom"}


def test_durations_are_bars_in_the_given_order_with_their_seconds():
    ax = plotting.durations({"slow": 123.4, "ten": 10, "fast": 1.26}, title="An epoch")
    assert [bar.get_width() for bar in ax.patches] == [123.4, 10, 1.26]
    assert [text.get_text() for text in ax.texts] == ["123 s", "10 s", "1.3 s"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["slow", "ten", "fast"]
    assert ax.get_xlabel() == "seconds"
    assert ax.yaxis_inverted()
    assert ax.get_title() == "An epoch"


def test_an_embedding_has_a_color_for_each_class_and_a_ring_around_each_mistake():
    points = np.array([[0.0, 0.0], [1.0, 2.0], [3.0, 1.0]])
    wrong = torch.tensor([False, True, False])
    ax = plotting.embedding(points, torch.tensor([0, 1, 1]), wrong, NAMES)
    first, second, third, rings = ax.collections
    assert first.get_offsets().tolist() == [[0, 0]]
    assert second.get_offsets().tolist() == [[1, 2], [3, 1]]
    assert len(third.get_offsets()) == 0
    assert rings.get_offsets().tolist() == [[1, 2]]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [*NAMES, "mistake"]


def test_the_classes_of_an_embedding_can_be_told_apart_without_colors():
    points = np.array([[0.0, 0.0], [1.0, 2.0], [3.0, 1.0], [5.0, 6.0]])
    ax = plotting.embedding(points, torch.tensor([0, 1, 1, 1]), torch.zeros(4).bool(), NAMES)
    shapes = [tuple(map(tuple, kind.get_paths()[0].vertices)) for kind in ax.collections[:3]]
    assert len(set(shapes)) == 3
    named = {text.get_text(): text.get_position() for text in ax.texts}
    assert named == {NAMES[0]: (0, 0), NAMES[1]: (3, 2)}  # at the medians of the classes


def test_each_row_of_intervals_has_dots_mean_and_range():
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


def test_models_are_drawn_at_their_cost_and_the_front_is_labeled():
    models = pd.DataFrame(
        {"seconds": [10, 20, 40], "accuracy": [90.0, 89.0, 93.0]}, ["small", "worse", "large"]
    )
    ax = plotting.pareto_front(models, "seconds", ["small", "large"], xlabel="seconds")
    everything, best = ax.lines
    assert list(everything.get_xdata()) == [10, 20, 40]
    assert list(best.get_ydata()) == [90.0, 93.0]
    assert [text.get_text() for text in ax.texts] == ["small", "large"]
    assert ax.get_xscale() == "log"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("seconds", "accuracy on validation, %")
    assert not ax.collections
    same = plotting.pareto_front(models, "seconds", ["small"], ax=ax, xlabel="s")
    assert same is ax


def test_intervals_are_vertical_lines_at_the_cost():
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


def test_labels_of_costs_are_not_crowded():
    models = pd.DataFrame({"parameters": [7_000, 1_200_000], "accuracy": [90.0, 95.0]}, ["a", "b"])
    ax = plotting.pareto_front(models, "parameters", ["a", "b"], xlabel="parameters")
    ax.figure.canvas.draw()
    low, high = ax.get_xlim()
    texts = [
        label.get_text() for label in ax.get_xticklabels() if low < label.get_position()[0] < high
    ]
    assert texts == ["10,000", "100,000", "1,000,000"]


def test_labels_of_nearly_equal_models_do_not_overlap():
    models = pd.DataFrame(
        {"minutes": [0.6, 0.96, 1.01, 45], "accuracy": [89.6, 92.72, 92.79, 95.4]},
        ["plain", "deeper", "residual", "large"],
    )
    ax = plotting.pareto_front(models, "minutes", list(models.index), xlabel="minutes")
    ax.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
