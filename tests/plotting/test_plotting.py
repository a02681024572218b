"""Pictures are judged by eye; what is tested is that they show the numbers that they were given."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex

from helpers import plotting
from helpers.data import Split
from tests.conftest import predictions_from

NAMES = ("a", "b", "c")
IMAGES = torch.randint(256, (5, 1, 28, 28), dtype=torch.uint8)


def shown(figure) -> list[torch.Tensor]:
    return [torch.tensor(ax.images[0].get_array().data) for ax in figure.axes if ax.images]


def test_a_grid_shows_each_image_under_its_title():
    figure = plotting.image_grid(IMAGES, list("vwxyz"), columns=3)
    assert [ax.get_title() for ax in figure.axes] == [*"vwxyz", ""]
    assert all(torch.equal(a, b) for a, b in zip(shown(figure), IMAGES[:, 0], strict=True))
    assert not any(ax.axison for ax in figure.axes)


def test_a_grid_has_the_rows_and_columns_that_it_needs():
    def shape(figure) -> tuple[int, int]:
        return figure.axes[0].get_gridspec().get_geometry()

    many = torch.zeros(11, 1, 28, 28, dtype=torch.uint8)
    assert shape(plotting.image_grid(many)) == (2, 10)
    assert shape(plotting.image_grid(many[:10])) == (1, 10)
    assert shape(plotting.image_grid(IMAGES, columns=2)) == (3, 2)
    assert shape(plotting.image_grid(IMAGES, columns=7)) == (1, 5)


def test_a_cell_of_a_grid_has_the_width_asked_for_and_text_has_room_of_its_own():
    def size(**settings) -> list[float]:
        return plotting.image_grid(IMAGES[:4], columns=2, cell=2.0, **settings).get_size_inches()

    width, height = size()
    assert width == 2 * 2.0
    assert 2 * 2.0 <= height <= 2 * 2.2
    assert size(titles="abcd")[1] - height >= 2 * 9 / 72  # a line of 9 points in each row
    assert size(heading="h")[1] - height >= 12 / 72


def test_a_grid_has_its_heading_and_its_colours():
    plain = plotting.image_grid(IMAGES[:2], ["a", "b"])
    assert [to_hex(ax.title.get_color()) for ax in plain.axes] == ["#000000", "#000000"]
    figure = plotting.image_grid(IMAGES[:2], ["a", "b"], colours=["red", "blue"], heading="Two")
    assert [to_hex(ax.title.get_color()) for ax in figure.axes] == ["#ff0000", "#0000ff"]
    assert (figure.get_suptitle(), plain.get_suptitle()) == ("Two", "")


def test_pixels_are_shown_as_they_are():
    """0 is black and 255 is white, also where neither occurs, and no pixel is smoothed."""
    dull = torch.full((2, 1, 28, 28), 100, dtype=torch.uint8)
    figures = [
        plotting.image_grid(dull),
        plotting.class_samples(Split(dull, torch.tensor([0, 1])), ("a", "b")).figure,
        plotting.augmentation_preview(dull, {"x": dull}, variants=1),
        plotting.probability_bars(dull[0], torch.tensor([0.5, 0.5]), ("a", "b")),
    ]
    for figure in figures:
        for picture in (picture for ax in figure.axes for picture in ax.images):
            assert picture.get_clim() == (0, 255)
            assert picture.get_cmap()(1.0) == (1, 1, 1, 1)
            assert picture.get_interpolation() == "nearest"


def test_class_samples_put_each_class_in_its_row():
    split = Split(IMAGES, torch.tensor([0, 1, 1, 0, 1]))
    ax = plotting.class_samples(split, ("a", "b"), per_class=2)
    mosaic = torch.tensor(ax.images[0].get_array().data)
    assert mosaic.shape == (56, 56)
    assert torch.equal(mosaic[28:, 28:], IMAGES[2, 0])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert list(ax.get_yticks()) == [14, 42]  # in the middle of each row
    assert len(ax.get_xticks()) == 0
    ten_of_each = Split(IMAGES[:1].repeat(24, 1, 1, 1), torch.arange(24) % 2)
    assert plotting.class_samples(ten_of_each, ("a", "b")).images[0].get_size() == (56, 280)


def test_no_images_make_an_empty_grid():
    assert not shown(plotting.image_grid(IMAGES[:0], []))
    assert not shown(plotting.image_grid(IMAGES[:0], columns=0))


def test_predicted_images_name_guess_truth_and_probability_in_colour():
    predictions = predictions_from(labels=[0, 1], targets=[0, 2])
    figure = plotting.predicted_images(
        Split(IMAGES[:2], torch.tensor([0, 2])), predictions, torch.arange(2), NAMES
    )
    titles = [ax.title for ax in figure.axes[:2]]
    assert [title.get_text() for title in titles] == ["a (58%)\ntrue: a", "b (58%)\ntrue: c"]
    assert [to_hex(title.get_color()) for title in titles] == [plotting.RIGHT, plotting.WRONG]


def test_predicted_images_are_a_grid_of_five_columns_or_as_many_as_asked_for():
    split = Split(IMAGES.repeat(2, 1, 1, 1), torch.zeros(10, dtype=torch.int64))
    predictions = predictions_from(labels=[0] * 10, targets=[0] * 10)
    figure = plotting.predicted_images(split, predictions, torch.arange(10), NAMES)
    assert figure.axes[0].get_gridspec().get_geometry() == (2, 5)
    figure = plotting.predicted_images(
        split, predictions, torch.tensor([7, 1]), NAMES, columns=1, heading="Two of ten"
    )
    assert figure.axes[0].get_gridspec().get_geometry() == (2, 1)
    assert figure.get_suptitle() == "Two of ten"
    assert all(torch.equal(a, b) for a, b in zip(shown(figure), IMAGES[[2, 1], 0], strict=True))


def test_the_preview_groups_variants_by_original():
    varied = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 1, 28, 28)
    figure = plotting.augmentation_preview(IMAGES[:2], {"shift": varied}, variants=2)
    assert [ax.get_title() for ax in figure.axes[:2]] == ["original", "shift"]
    strips = shown(figure)
    assert torch.equal(strips[2], IMAGES[1, 0])
    assert strips[1][0, ::28].tolist() == [0, 1]
    assert strips[3][0, ::28].tolist() == [2, 3]
    assert not any(ax.axison for ax in figure.axes)
    assert figure.axes[0].get_gridspec().get_width_ratios() == [1, 2]  # so that all are as large


def test_one_original_alone_has_a_preview():
    figure = plotting.augmentation_preview(IMAGES[:1], {"shift": IMAGES[:1]}, variants=1)
    assert [torch.equal(strip, IMAGES[0, 0]) for strip in shown(figure)] == [True, True]


def test_probability_bars_have_the_lengths_given():
    figure = plotting.probability_bars(IMAGES[0], torch.tensor([0.2, 0.7, 0.1]), NAMES)
    picture, bars = figure.axes
    assert torch.equal(shown(figure)[0], IMAGES[0, 0])
    assert not picture.axison
    assert [bar.get_width() for bar in bars.patches] == pytest.approx([0.2, 0.7, 0.1])
    assert [label.get_text() for label in bars.get_yticklabels()] == list(NAMES)
    assert bars.yaxis_inverted()  # the first class is on top
    assert bars.get_xlim() == (0, 1)
    assert bars.get_xlabel() == "probability"
    assert bars.xaxis.get_major_formatter()(0.25) == "25%"


def test_feature_maps_have_a_row_for_each_layer():
    figure = plotting.activations({"first": torch.rand(3, 8, 8), "second": torch.rand(2, 4, 4)})
    assert [len(ax.images) for ax in figure.axes] == [1, 1, 1, 1, 1, 0]
    assert [figure.axes[0].get_ylabel(), figure.axes[3].get_ylabel()] == ["first", "second"]
    assert not any(len(ax.get_xticks()) or len(ax.get_yticks()) for ax in figure.axes)


def test_a_feature_map_is_scaled_by_itself():
    ramp = torch.linspace(-3, 5, 16).view(1, 4, 4)
    (picture,) = plotting.activations({"only": ramp}).axes[0].images
    assert torch.equal(torch.tensor(picture.get_array().data), ramp[0])
    assert picture.get_clim() == (-3, 5)


def test_class_balance_has_a_bar_for_each_count():
    ax = plotting.class_balance({"train": [5, 6, 7], "test": [1, 2, 3]}, NAMES)
    assert [bar.get_height() for bar in ax.patches] == [5, 6, 7, 1, 2, 3]
    assert [label.get_text() for label in ax.get_xticklabels()] == list(NAMES)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["train", "test"]
    assert ax.get_ylabel() == "images"


def test_long_names_below_the_bars_are_turned():
    def turned(names) -> bool:
        labels = plotting.class_balance({"train": [1, 2, 3]}, names).get_xticklabels()
        return any(label.get_rotation() for label in labels)

    assert not turned(NAMES)
    assert not turned(("abcdefg", "abcdefg", "abcdef"))
    assert turned(("abcdefg", "abcdefg", "abcdefg"))


def test_the_histogram_is_of_shares():
    ax = plotting.pixel_histogram({"x": torch.tensor([0, 0, 0, 255], dtype=torch.uint8)})
    line = ax.lines[0].get_ydata()
    assert (line[0], line[255], line.sum()) == (0.75, 0.25, 1)
    assert list(ax.lines[0].get_xdata()) == list(range(256))
    assert ax.get_yscale() == "log"
    assert ax.yaxis.get_major_formatter()(0.05) == "5 %"
    assert ax.get_xlabel().startswith("grey value")
    assert ax.get_ylabel() == "share of pixels"
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


def test_a_heat_map_names_rows_and_columns_and_shades_by_the_square_root():
    ax = plotting.heatmap(
        np.array([[0.0, 25.0], [100.0, 4.0]]), ("a", "b"), title="T", form=".0f", xlabel="x"
    )
    assert [text.get_text() for text in ax.texts] == ["0", "25", "100", "4"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "b"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert (ax.get_title(), ax.get_xlabel(), ax.get_ylabel()) == ("T", "x", "")
    assert ax.get_aspect() == 1
    assert len(ax.figure.axes) == 1  # no bar of colours: the numbers stand in the cells
    (mesh,) = ax.collections
    assert list(mesh.norm([0, 4, 25, 100])) == pytest.approx([0, 0.2, 0.5, 1])
    dark, light = mesh.get_cmap()(1.0), mesh.get_cmap()(0.0)
    assert sum(dark[:3]) < sum(light[:3])


def test_long_names_below_a_heat_map_are_turned_and_end_at_their_column():
    for names, angle, side in ((("abc", "b"), 0, "center"), (("abcd", "b"), 40, "right")):
        ax = plotting.heatmap(np.eye(2), names, title="", form=".0f")
        for label in ax.get_xticklabels():
            assert (label.get_rotation(), label.get_ha()) == (angle, side)
            assert label.get_rotation_mode() == "anchor"
        assert {label.get_rotation() for label in ax.get_yticklabels()} == {0}


def test_panels_can_be_drawn_into_axes_of_ones_own():
    figure, axes = plt.subplots(1, 3)
    assert plotting.heatmap(np.eye(2), ("a", "b"), title="", form=".0f", ax=axes[0]) is axes[0]
    assert plotting.durations({"a": 1.0}, title="", ax=axes[1]) is axes[1]
    assert plotting.pixel_histogram({"x": IMAGES}, ax=axes[2]) is axes[2]
    assert plt.get_fignums() == [figure.number]


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
    assert one.legends[0].get_title().get_text() == ""
    assert "dashed" in several.legends[0].get_title().get_text()
    assert (
        len(plotting.learning_curves(history()).axes) == 2
    )  # interrupted before the first was done


def test_training_is_dashed_and_validation_solid_in_the_colour_of_its_name():
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
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("cross-entropy (nats)", "images right")
    assert accuracy.yaxis.get_major_formatter()(0.985) == "98.5 %"


def test_curves_of_one_training_differ_in_colour():
    training, validation = plotting.learning_curves(history(2, 1)).axes[0].lines
    assert training.get_color() != validation.get_color()


@pytest.mark.parametrize(("epochs", "marked"), [(1, True), (15, True), (16, False)])
def test_epochs_are_whole_and_each_is_marked_where_there_are_few(epochs, marked):
    for ax in plotting.learning_curves(history(*range(epochs))).axes:
        assert ax.get_xlim() == (0.5, epochs + 0.5)
        assert all(tick == int(tick) for tick in ax.get_xticks())
        assert {line.get_marker() for line in ax.lines} == ({"o"} if marked else {""})


def test_panels_stand_side_by_side_and_are_open_at_the_top_and_right():
    curves = plotting.learning_curves(history(2, 1))
    matrices = plotting.confusion_matrix(torch.eye(2, dtype=torch.int64), ("a", "b"))
    for figure in (curves, matrices):
        assert figure.axes[0].get_gridspec().get_geometry() == (1, 2)
    panels = [
        *curves.axes,
        plotting.class_balance({"train": [1, 2, 3]}, NAMES),
        plotting.pixel_histogram({"x": IMAGES}),
        plotting.durations({"a": 1.0}, title=""),
        plotting.probability_bars(IMAGES[0], torch.ones(3) / 3, NAMES).axes[1],
    ]
    for ax in panels:
        shown = {side for side, spine in ax.spines.items() if spine.get_visible()}
        assert shown == {"left", "bottom"}


def test_rows_of_pixels_have_no_frame():
    samples = plotting.class_samples(Split(IMAGES[:1], torch.tensor([0])), ("a",))
    for ax in (samples, *plotting.activations({"x": torch.rand(2, 4, 4)}).axes):
        assert not any(spine.get_visible() for spine in ax.spines.values())


def test_a_panel_can_be_drawn_into_axes_of_ones_own():
    _, ax = plt.subplots()
    assert plotting.class_balance({"train": [1, 2, 3]}, NAMES, ax=ax) is ax
    assert len(plt.get_fignums()) == 1


def test_durations_are_bars_in_their_order_with_their_seconds():
    ax = plotting.durations({"slow": 123.4, "ten": 10, "fast": 1.26}, title="An epoch")
    assert [bar.get_width() for bar in ax.patches] == [123.4, 10, 1.26]
    assert [text.get_text() for text in ax.texts] == ["123 s", "10 s", "1.3 s"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["slow", "ten", "fast"]
    assert ax.get_xlabel() == "seconds"
    assert ax.yaxis_inverted()
    assert ax.get_title() == "An epoch"


def test_a_map_has_a_colour_for_each_class_and_a_ring_around_each_mistake():
    points = np.array([[0.0, 0.0], [1.0, 2.0], [3.0, 1.0]])
    wrong = torch.tensor([False, True, False])
    ax = plotting.embedding(points, torch.tensor([0, 1, 1]), wrong, NAMES)
    first, second, third, rings = ax.collections
    assert first.get_offsets().tolist() == [[0, 0]]
    assert second.get_offsets().tolist() == [[1, 2], [3, 1]]
    assert len(third.get_offsets()) == 0
    assert rings.get_offsets().tolist() == [[1, 2]]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [*NAMES, "mistake"]


def test_occlusion_maps_share_a_scale_around_zero():
    falls = [torch.full((28, 28), -0.5), torch.full((28, 28), 2.0)]
    figure = plotting.occlusion_maps(IMAGES[:2], falls, ["left", "right"])
    above, _, below, _ = figure.axes[:4]
    assert above.get_title() == "left"
    assert torch.equal(torch.tensor(above.images[0].get_array().data), IMAGES[0, 0])
    maps = [ax.images[0] for ax in figure.axes[:4] if ax.images[0].cmap.name == "RdBu_r"]
    assert [image.get_clim() for image in maps] == [(-2, 2), (-2, 2)]
    assert maps[0].get_array().min() == -0.5
    assert below is not above


def test_a_map_of_nothing_but_zeros_can_be_drawn():
    plotting.occlusion_maps(IMAGES[:1], [torch.zeros(28, 28)], ["nothing"])
