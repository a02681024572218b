import numpy as np
import pytest
import torch
from PIL import Image

from helpers import data


def centre_of_mass(image: torch.Tensor) -> tuple[float, float]:
    pixels = image[0, 0].float()
    places = torch.arange(28.0)
    return (
        ((pixels.sum(dim=1) * places).sum() / pixels.sum()).item(),
        ((pixels.sum(dim=0) * places).sum() / pixels.sum()).item(),
    )


def save(tmp_path, pixels: np.ndarray):
    Image.fromarray(pixels.astype("uint8")).save(tmp_path / "digit.png")
    return tmp_path / "digit.png"


def stroke(background: int, ink: int) -> np.ndarray:
    """A thick vertical bar, not in the centre."""
    pixels = np.full((120, 160), background)
    pixels[20:100, 30:50] = ink
    return pixels


@pytest.mark.parametrize(
    ("background", "ink"), [(240, 20), (10, 230), (200, 120), (128, 20), (127, 230)]
)
def test_dark_on_light_and_light_on_dark_give_the_same_format(tmp_path, background, ink):
    image = data.read_digit(save(tmp_path, stroke(background, ink)))
    assert image.dtype == torch.uint8
    assert image.shape == (1, 1, 28, 28)
    assert image.max() == 255
    assert image[0, 0, 0].max() == 0
    rows, columns = image[0, 0].nonzero().T
    assert rows.max() - rows.min() + 1 == 20  # the longer side fills the box of 20
    assert columns.max() - columns.min() + 1 == 5  # 80 : 20 stays 20 : 5


def test_a_picture_from_a_phone_held_sideways_is_rotated(tmp_path):
    upright = data.read_digit(save(tmp_path, stroke(240, 20)))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees to the right
    lying = Image.fromarray(np.rot90(stroke(240, 20)).astype("uint8"))
    lying.save(tmp_path / "phone.png", exif=exif)
    assert torch.equal(data.read_digit(tmp_path / "phone.png"), upright)


def test_transparent_pictures_and_sixteen_bits_are_read(tmp_path):
    expected = data.read_digit(save(tmp_path, stroke(255, 0)))
    black = np.zeros((120, 160, 4), dtype="uint8")
    black[..., 3] = 255 - stroke(255, 0)  # black ink, the rest transparent
    Image.fromarray(black).save(tmp_path / "ink.png")
    deep = (stroke(255, 0) * 257).astype("uint16")
    Image.fromarray(deep).save(tmp_path / "deep.png")
    for name in ("ink.png", "deep.png"):
        assert torch.equal(data.read_digit(tmp_path / name), expected)


@pytest.mark.parametrize(("background", "ink"), [(200, 120), (10, 230)])
def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path, background, ink):
    expected = data.read_digit(save(tmp_path, stroke(background, ink)))
    deep = (stroke(background, ink) * 257).astype("uint16")
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert torch.equal(data.read_digit(tmp_path / "deep.png"), expected)


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_the_lower_bits_of_sixteen_are_enough(tmp_path, bits):
    expected = data.read_digit(save(tmp_path, stroke(250, 20)))
    deep = (stroke(250, 20) * (2**bits - 1) / 255).round().astype("uint16")
    Image.fromarray(deep).save(tmp_path / "deep.png")
    gap = data.read_digit(tmp_path / "deep.png").int() - expected.int()
    assert gap.abs().max() <= 1  # the rounding


@pytest.mark.parametrize("transposed", [False, True])
def test_a_dark_digit_that_touches_two_edges_is_still_dark_on_light(tmp_path, transposed):
    """The two other edges are paper: a little more than half of the border of 20 x 20 pixels."""
    pixels = np.full((20, 20), 240)
    pixels[1:19] = 20
    image = data.read_digit(save(tmp_path, pixels.T if transposed else pixels))[0, 0]
    assert (image[8:20, 8:20] == 255).all()


@pytest.mark.parametrize(("background", "ink"), [(100, 132), (200, 168)])
def test_a_contrast_of_32_is_enough_and_less_is_refused(tmp_path, background, ink):
    less = ink - 1 if ink > background else ink + 1
    assert data.read_digit(save(tmp_path, stroke(background, ink))).max() == 255
    with pytest.raises(ValueError, match="shows nothing"):
        data.read_digit(save(tmp_path, stroke(background, less)))


@pytest.mark.parametrize(("shade", "expected"), [(86, 0), (87, 87), (155, 155), (200, 200)])
def test_grey_values_are_stretched_and_those_below_a_third_are_black(tmp_path, shade, expected):
    """The background is 10 and the ink 241, so 87 is a third of the range: 77 of 231."""
    pixels = np.full((80, 80), 10)
    pixels[10:50, 10:30], pixels[10:50, 30:50] = 241, shade
    image = data.read_digit(save(tmp_path, pixels))[0, 0]
    inked = image[14][image[14] > 0]
    assert inked[0] == 255
    assert inked[-1] == (round(255 * (expected - 10) / 231) if expected else 255)


def test_the_centre_of_mass_is_in_the_middle():
    row, column = centre_of_mass(data.read_digit(data.SAMPLE_DIGIT))
    assert abs(row - 13.5) < 1
    assert abs(column - 13.5) < 1


def read_boxes(tmp_path, *boxes: tuple[slice, slice], transposed: bool = False) -> torch.Tensor:
    """White boxes on a black square of 80 x 80, read as a digit, or that picture transposed."""
    pixels = np.zeros((80, 80))
    for box in boxes:
        pixels[box] = 255
    return data.read_digit(save(tmp_path, pixels.T if transposed else pixels))[0, 0]


def test_a_symmetric_digit_is_in_the_middle(tmp_path):
    """40 x 40 pixels anywhere become 20 x 20 in rows and columns 4 to 23."""
    image = read_boxes(tmp_path, np.s_[10:50, 5:45])
    expected = torch.zeros(28, 28, dtype=torch.uint8)
    expected[4:24, 4:24] = 255
    assert torch.equal(image, expected)


def test_a_thin_line_keeps_a_width_of_one(tmp_path):
    upright, lying = (
        read_boxes(tmp_path, np.s_[5:55, 7:8], transposed=transposed)
        for transposed in (False, True)
    )
    assert [len(axis.unique()) for axis in upright.nonzero().T] == [20, 1]
    assert torch.equal(lying, upright.T)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_digit_with_a_heavy_end_is_moved_to_the_edge_and_not_beyond(tmp_path, transposed):
    """60 x 30 becomes 20 x 10: a block at one end, and a thin line to the other."""
    line = np.s_[10:70, 20:21]
    for block, first, last in ((np.s_[10:25, 20:50], 8, 27), (np.s_[55:70, 20:50], 0, 19)):
        image = read_boxes(tmp_path, line, block, transposed=transposed)
        places = image.nonzero()[:, 1 if transposed else 0]
        assert (places.min(), places.max()) == (first, last)


def test_thin_strokes_do_not_vanish_when_scaled_down(tmp_path):
    """A frame of one pixel, 60 x 60: taking only every third pixel would miss all its sides."""
    sides = np.s_[10:11, 10:70], np.s_[69:70, 10:70], np.s_[10:70, 10:11], np.s_[10:70, 69:70]
    image = read_boxes(tmp_path, *sides)
    assert (image[4, 4:24] > 0).all()
    assert image.max() == 255
    assert torch.equal(image, image.T)
    assert torch.equal(image[4:24, 4:24], image[4:24, 4:24].flip(0))


def test_the_sample_digit_is_predicted_as_a_four():
    from helpers import evaluation, models

    model = models.load_pretrained("mnist/tiny_vgg")
    assert evaluation.predict(model, data.read_digit(data.SAMPLE_DIGIT)).predicted.item() == 4


def test_files_that_are_not_pictures_of_digits_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no picture at"):
        data.read_digit(tmp_path / "missing.png")
    (tmp_path / "text.png").write_text("no picture")
    content = data.SAMPLE_DIGIT.read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    for name in ("text.png", "cut.png"):
        with pytest.raises(ValueError, match=rf"{name} is not a picture"):
            data.read_digit(tmp_path / name)
    with pytest.raises(ValueError, match="shows nothing"):
        data.read_digit(save(tmp_path, np.full((50, 50), 200)))
