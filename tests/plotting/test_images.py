"""The figures show the images and numbers that they are given."""

import os
import subprocess
import sys

import pytest
import torch
from matplotlib.colors import to_hex, to_rgb

from helpers import plotting
from helpers.data import Handwriting, Split
from helpers.evaluation import Reading
from helpers.files import PROJECT
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


def test_a_grid_has_as_many_rows_and_columns_as_it_needs():
    def shape(figure) -> tuple[int, int]:
        return figure.axes[0].get_gridspec().get_geometry()

    many = torch.zeros(11, 1, 28, 28, dtype=torch.uint8)
    assert shape(plotting.image_grid(many)) == (2, 10)
    assert shape(plotting.image_grid(many[:10])) == (1, 10)
    assert shape(plotting.image_grid(IMAGES, columns=2)) == (3, 2)
    assert shape(plotting.image_grid(IMAGES, columns=7)) == (1, 5)


def test_cells_have_the_given_width_and_titles_get_extra_height():
    def size(**options) -> list[float]:
        return plotting.image_grid(IMAGES[:4], columns=2, cell=2.0, **options).get_size_inches()

    width, height = size()
    assert width == 2 * 2.0
    assert 2 * 2.0 <= height <= 2 * 2.2
    assert size(titles="abcd")[1] - height >= 2 * 9 / 72  # a line of 9 points in each row
    assert size(heading="h")[1] - height >= 12 / 72


def test_a_grid_has_a_heading_and_colored_titles():
    plain = plotting.image_grid(IMAGES[:2], ["a", "b"])
    assert [to_hex(ax.title.get_color()) for ax in plain.axes] == ["#000000", "#000000"]
    figure = plotting.image_grid(IMAGES[:2], ["a", "b"], colors=["red", "blue"], heading="Two")
    assert [to_hex(ax.title.get_color()) for ax in figure.axes] == ["#ff0000", "#0000ff"]
    assert (figure.get_suptitle(), plain.get_suptitle()) == ("Two", "")


def test_a_grid_of_no_images_is_empty():
    assert not shown(plotting.image_grid(IMAGES[:0], []))
    assert not shown(plotting.image_grid(IMAGES[:0], columns=0))


def test_pixels_are_not_rescaled_or_smoothed():
    """0 is black and 255 is white, also in images without such pixels."""
    gray = torch.full((2, 1, 28, 28), 100, dtype=torch.uint8)
    figures = [
        plotting.image_grid(gray),
        plotting.class_samples(Split(gray, torch.tensor([0, 1])), ("a", "b")).figure,
        plotting.augmentation_preview(gray, {"x": gray}, variants=1),
        plotting.probability_bars(gray[0], torch.tensor([0.5, 0.5]), ("a", "b")),
    ]
    for figure in figures:
        for picture in [picture for ax in figure.axes for picture in ax.images]:
            assert picture.get_clim() == (0, 255)
            assert picture.get_cmap()(1.0) == (1, 1, 1, 1)
            assert picture.get_interpolation() == "nearest"


def test_class_samples_put_each_class_in_its_row():
    split = Split(IMAGES, torch.tensor([0, 1, 1, 0, 1]))
    ax = plotting.class_samples(split, ("a", "b"), per_class=2)
    mosaic = torch.tensor(ax.images[0].get_array().data)
    assert mosaic.shape == (60, 60)
    assert torch.equal(mosaic[31:59, 31:59], IMAGES[2, 0])
    assert {*mosaic[30].tolist(), *mosaic[:, 29].tolist(), *mosaic[0].tolist()} == {255}  # borders
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert list(ax.get_yticks()) == [15, 45]  # in the middle of each row
    assert len(ax.get_xticks()) == 0
    ten_of_each = Split(IMAGES[:1].repeat(24, 1, 1, 1), torch.arange(24) % 2)
    assert plotting.class_samples(ten_of_each, ("a", "b")).images[0].get_size() == (60, 300)


def test_only_30_of_many_classes_are_shown():
    many = Split(IMAGES[:1].repeat(40, 1, 1, 1), torch.arange(40))
    ax = plotting.class_samples(many, [str(k) for k in range(40)], per_class=1)
    assert [label.get_text() for label in ax.get_yticklabels()] == [str(k) for k in range(30)]


def test_predicted_images_name_both_classes_and_confidence_in_green_or_red():
    predictions = predictions_from(predicted=[0, 1], targets=[0, 2])
    figure = plotting.predicted_images(
        Split(IMAGES[:2], torch.tensor([0, 2])), predictions, torch.arange(2), NAMES
    )
    titles = [ax.title for ax in figure.axes[:2]]
    assert [title.get_text() for title in titles] == ["a (58%)\ntrue: a", "b (58%)\ntrue: c"]
    right, wrong = (to_rgb(title.get_color()) for title in titles)
    assert right.index(max(right)) == 1  # green
    assert wrong.index(max(wrong)) == 0  # red


def test_predicted_images_are_a_grid_of_five_columns_by_default():
    split = Split(IMAGES.repeat(2, 1, 1, 1), torch.zeros(10, dtype=torch.int64))
    predictions = predictions_from(predicted=[0] * 10, targets=[0] * 10)
    figure = plotting.predicted_images(split, predictions, torch.arange(10), NAMES)
    assert figure.axes[0].get_gridspec().get_geometry() == (2, 5)
    figure = plotting.predicted_images(split, predictions, torch.tensor([7, 1]), NAMES, columns=1)
    assert figure.axes[0].get_gridspec().get_geometry() == (2, 1)
    assert all(torch.equal(a, b) for a, b in zip(shown(figure), IMAGES[[2, 1], 0], strict=True))


def test_the_preview_groups_variants_by_original():
    varied = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 1, 28, 28)
    figure = plotting.augmentation_preview(IMAGES[:2], {"shift": varied}, variants=2)
    assert [ax.get_title() for ax in figure.axes[:2]] == ["original", "shift"]
    strips = shown(figure)
    assert torch.equal(strips[2][1:-1, 1:-1], IMAGES[1, 0])
    assert strips[1][1, 1::30].tolist() == [0, 1]
    assert strips[3][1, 1::30].tolist() == [2, 3]
    assert [strip.shape for strip in strips] == [(30, 30), (30, 60)] * 2
    assert not any(ax.axison for ax in figure.axes)
    assert figure.axes[0].get_gridspec().get_width_ratios() == [
        1,
        2,
    ]  # so that all images have the same size


def test_a_preview_of_one_original_can_be_drawn():
    figure = plotting.augmentation_preview(IMAGES[:1], {"shift": IMAGES[:1]}, variants=1)
    assert [torch.equal(strip[1:-1, 1:-1], IMAGES[0, 0]) for strip in shown(figure)] == [True] * 2


def test_probability_bars_have_the_lengths_given():
    figure = plotting.probability_bars(IMAGES[0], torch.tensor([0.2, 0.7, 0.1]), NAMES)
    picture, bars = figure.axes
    assert torch.equal(shown(figure)[0], IMAGES[0, 0])
    assert not picture.axison
    assert [bar.get_width() for bar in bars.patches] == pytest.approx([0.2, 0.7, 0.1])
    assert [label.get_text() for label in bars.get_yticklabels()] == list(NAMES)
    assert bars.yaxis_inverted()  # the first class is on top
    assert bars.get_xlim() == (0, 1)
    assert [s for s, spine in bars.spines.items() if spine.get_visible()] == ["left", "bottom"]
    assert bars.get_xlabel() == "probability"
    assert bars.xaxis.get_major_formatter()(0.25) == "25%"


def test_activations_have_a_row_for_each_layer():
    figure = plotting.activations({"first": torch.rand(3, 8, 8), "second": torch.rand(2, 4, 4)})
    assert [len(ax.images) for ax in figure.axes] == [1, 1, 1, 1, 1, 0]
    assert [figure.axes[0].get_ylabel(), figure.axes[3].get_ylabel()] == ["first", "second"]
    assert not any(len(ax.get_xticks()) or len(ax.get_yticks()) for ax in figure.axes)


def test_each_channel_is_scaled_to_its_own_range():
    ramp = torch.linspace(-3, 5, 16).view(1, 4, 4)
    (picture,) = plotting.activations({"only": ramp}).axes[0].images
    assert torch.equal(torch.tensor(picture.get_array().data), ramp[0])
    assert picture.get_clim() == (-3, 5)


def test_rows_of_images_have_no_frame():
    samples = plotting.class_samples(Split(IMAGES[:1], torch.tensor([0])), ("a",))
    for ax in (samples, *plotting.activations({"x": torch.rand(2, 4, 4)}).axes):
        assert not any(spine.get_visible() for spine in ax.spines.values())


def test_occlusion_maps_share_a_scale_around_zero():
    maps = [torch.full((28, 28), -0.5), torch.full((28, 28), 2.0)]
    figure = plotting.occlusion_maps(IMAGES[:2], maps, ["left", "right"])
    shown = [ax.images[0] for ax in figure.axes[:4]]
    assert figure.axes[0].get_title() == "left"
    for image, expected in zip(shown, [*IMAGES[:2, 0], *maps], strict=True):
        assert torch.equal(torch.tensor(image.get_array().data), expected)
    assert [image.get_clim() for image in shown[2:]] == [(-2, 2), (-2, 2)]
    assert {image.cmap.name for image in shown[2:]} == {"RdBu_r"}


def test_an_occlusion_map_of_zeros_can_be_drawn():
    plotting.occlusion_maps(IMAGES[:1], [torch.zeros(28, 28)], ["nothing"])


def reading(picture, boxes, digits, probabilities) -> Reading:
    found = Handwriting(torch.zeros(len(digits), 1, 28, 28), boxes, picture)
    return Reading(found, torch.tensor(digits), torch.tensor(probabilities), [""] * len(digits))


def test_handwriting_has_a_box_and_a_text_for_each_digit():
    picture = torch.full((60, 80), 200, dtype=torch.uint8)
    boxes = torch.tensor([[10, 5, 20, 35], [40, 8, 70, 38]])
    ax = plotting.handwriting(reading(picture, boxes, [7, -1], [0.876, 0.3]))
    assert [text.get_text() for text in ax.texts] == ["7 88%", "?"]
    frames = [(*patch.get_xy(), patch.get_width(), patch.get_height()) for patch in ax.patches]
    assert frames == [(9.5, 4.5, 10, 30), (39.5, 7.5, 30, 30)]
    assert [to_hex(patch.get_edgecolor()) for patch in ax.patches] == ["#1a7a4c", "#c0392b"]
    assert torch.equal(torch.tensor(ax.images[0].get_array().data), picture)
    assert ax.images[0].cmap.name == "gray"
    assert not ax.axison


def test_handwriting_is_drawn_into_the_given_axes():
    import matplotlib.pyplot as plt

    _, ax = plt.subplots()
    nothing = reading(torch.zeros(9, 9, dtype=torch.uint8), torch.zeros(0, 4), [], [])
    assert plotting.handwriting(nothing, ax=ax) is ax
    assert not ax.patches


@pytest.mark.medium
def test_settings_of_the_user_do_not_change_a_test(tmp_path):
    settings = tmp_path / "matplotlibrc"
    settings.write_text("image.cmap: jet\ntext.usetex: True\n")
    test = f"{__file__}::{test_probability_bars_have_the_lengths_given.__name__}"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "default", test],
        cwd=PROJECT, env=os.environ | {"MATPLOTLIBRC": str(settings)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
