"""Pictures are judged by eye; what is tested is that they show the numbers that they were given."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex

from helpers import pictures, plotting
from helpers.data import Split
from tests.conftest import predictions_from

NAMES = ("a", "b", "c")
IMAGES = torch.randint(256, (5, 1, 28, 28), dtype=torch.uint8)


def shown(figure) -> list[torch.Tensor]:
    return [torch.tensor(ax.images[0].get_array().data) for ax in figure.axes if ax.images]


def test_a_grid_shows_each_image_under_its_title():
    figure = pictures.image_grid(IMAGES, list("vwxyz"), columns=3)
    assert [ax.get_title() for ax in figure.axes] == [*"vwxyz", ""]
    assert all(torch.equal(a, b) for a, b in zip(shown(figure), IMAGES[:, 0], strict=True))


def test_class_samples_put_each_class_in_its_row():
    split = Split(IMAGES, torch.tensor([0, 1, 1, 0, 1]))
    ax = pictures.class_samples(split, ("a", "b"), per_class=2)
    mosaic = torch.tensor(ax.images[0].get_array().data)
    assert mosaic.shape == (56, 56)
    assert torch.equal(mosaic[28:, 28:], IMAGES[2, 0])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]


def test_no_images_make_an_empty_grid():
    assert not shown(pictures.image_grid(IMAGES[:0], []))


def test_predicted_images_name_guess_truth_and_probability_in_colour():
    predictions = predictions_from(labels=[0, 1], targets=[0, 2])
    figure = pictures.predicted_images(
        Split(IMAGES[:2], torch.tensor([0, 2])), predictions, torch.arange(2), NAMES
    )
    titles = [ax.title for ax in figure.axes[:2]]
    assert [title.get_text() for title in titles] == ["a (58%)\ntrue: a", "b (58%)\ntrue: c"]
    assert [to_hex(title.get_color()) for title in titles] == [pictures.RIGHT, pictures.WRONG]


def test_the_preview_groups_variants_by_original():
    varied = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 1, 28, 28)
    figure = pictures.augmentation_preview(IMAGES[:2], {"shift": varied}, variants=2)
    assert [ax.get_title() for ax in figure.axes[:2]] == ["original", "shift"]
    strips = shown(figure)
    assert torch.equal(strips[2], IMAGES[1, 0])
    assert strips[3][0, ::28].tolist() == [2, 3]


def test_probability_bars_have_the_lengths_given():
    figure = pictures.probability_bars(IMAGES[0], torch.tensor([0.2, 0.7, 0.1]), NAMES)
    assert [bar.get_width() for bar in figure.axes[1].patches] == pytest.approx([0.2, 0.7, 0.1])


def test_feature_maps_have_a_row_for_each_layer():
    figure = pictures.feature_maps({"first": torch.rand(3, 8, 8), "second": torch.rand(2, 4, 4)})
    assert [len(ax.images) for ax in figure.axes] == [1, 1, 1, 1, 1, 0]
    assert [figure.axes[0].get_ylabel(), figure.axes[3].get_ylabel()] == ["first", "second"]


def test_class_balance_has_a_bar_for_each_count():
    ax = plotting.class_balance({"train": [5, 6, 7], "test": [1, 2, 3]}, NAMES)
    assert [bar.get_height() for bar in ax.patches] == [5, 6, 7, 1, 2, 3]


def test_the_histogram_is_of_shares():
    ax = plotting.pixel_histogram({"x": torch.tensor([0, 0, 0, 255], dtype=torch.uint8)})
    line = ax.lines[0].get_ydata()
    assert (line[0], line[255], line.sum()) == (0.75, 0.25, 1)


def test_the_confusion_matrix_shows_counts_and_row_shares():
    figure = plotting.confusion_matrix(torch.tensor([[3, 1], [0, 0]]), ("a", "b"))
    counts, shares = ([text.get_text() for text in ax.texts] for ax in figure.axes)
    assert counts == ["3", "1", "0", "0"]
    assert shares == ["75.0", "25.0", "0.0", "0.0"]
    assert figure.axes[0].get_ylabel() == "true class"
    assert figure.axes[0].get_xlabel() == "predicted class"


def history(*losses: float) -> pd.DataFrame:
    columns = ("train_loss", "validation_loss", "train_accuracy", "validation_accuracy")
    return pd.DataFrame({"epoch": range(1, len(losses) + 1), **{name: losses for name in columns}})


def test_learning_curves_of_one_and_of_several():
    one = plotting.learning_curves(history(3, 2, 1))
    assert [len(ax.lines) for ax in one.axes] == [2, 2]
    assert list(one.axes[0].lines[1].get_ydata()) == [3, 2, 1]
    assert [text.get_text() for text in one.legends[0].get_texts()] == [
        "training",
        "validation",
    ]
    several = plotting.learning_curves({"x": history(1, 2), "y": history(2)})
    assert [text.get_text() for text in several.legends[0].get_texts()] == ["x", "y"]
    assert (
        len(plotting.learning_curves(history()).axes) == 2
    )  # interrupted before the first was done


def test_a_panel_can_be_drawn_into_axes_of_ones_own():
    _, ax = plt.subplots()
    assert plotting.class_balance({"train": [1, 2, 3]}, NAMES, ax=ax) is ax
    assert len(plt.get_fignums()) == 1


def test_durations_are_bars_in_their_order_with_their_seconds():
    ax = plotting.durations({"slow": 23.4, "fast": 1.26}, title="An epoch")
    assert [bar.get_width() for bar in ax.patches] == [23.4, 1.26]
    assert [text.get_text() for text in ax.texts] == ["23 s", "1.3 s"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["slow", "fast"]
    assert ax.yaxis_inverted()
    assert ax.get_title() == "An epoch"
