import io

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import data
from tests.tools import saved


def center_of_mass(image: torch.Tensor) -> tuple[float, float]:
    pixels = image[0, 0].float()
    positions = torch.arange(28.0)
    return (
        ((pixels.sum(dim=1) * positions).sum() / pixels.sum()).item(),
        ((pixels.sum(dim=0) * positions).sum() / pixels.sum()).item(),
    )


def save(tmp_path, pixels: np.ndarray):
    Image.fromarray(pixels.astype("uint8")).save(tmp_path / "digit.png")
    return tmp_path / "digit.png"


def stroke(background: int, ink: int) -> np.ndarray:
    """A thick vertical bar, not in the center."""
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
    picture = data.read_digits(tmp_path / "deep.png").picture
    assert np.array_equal(picture, stroke(background, ink))


@pytest.mark.parametrize("peak", [1.0, 1.1])  # interpolation may exceed 1
def test_floating_point_pictures_from_0_to_1_are_read(tmp_path, peak):
    paper, ink = 255, 20
    expected = data.read_digit(save(tmp_path, stroke(paper, ink)))
    values = stroke(paper, ink) / np.float32(255)
    values[values == 1] = peak
    Image.fromarray(values).save(tmp_path / "float.tif")
    assert torch.equal(data.read_digit(tmp_path / "float.tif"), expected)


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_sixteen_bit_pictures_may_use_only_lower_bits(tmp_path, bits):
    expected = data.read_digit(save(tmp_path, stroke(250, 20)))
    deep = (stroke(250, 20) * (2**bits - 1) / 255).round().astype("uint16")
    Image.fromarray(deep).save(tmp_path / "deep.png")
    gap = data.read_digit(tmp_path / "deep.png").int() - expected.int()
    assert gap.abs().max() <= 1  # rounding


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
    with pytest.raises(ValueError, match="got 0 objects"):
        data.read_digit(save(tmp_path, stroke(background, less)))


@pytest.mark.parametrize(("shade", "expected"), [(86, 0), (87, 87), (155, 155), (200, 200)])
def test_gray_values_are_stretched_and_those_below_a_third_are_black(tmp_path, shade, expected):
    """The background is 10 and the ink 241, so 87 is a third of the range: 77 of 231."""
    pixels = np.full((80, 80), 10)
    pixels[10:50, 10:30], pixels[10:50, 30:50] = 241, shade
    image = data.read_digit(save(tmp_path, pixels))[0, 0]
    inked = image[14][image[14] > 0]
    assert inked[0] == 255
    assert inked[-1] == (round(255 * (expected - 10) / 231) if expected else 255)


def test_the_center_of_mass_is_in_the_middle():
    row, column = center_of_mass(data.read_digit(data.SAMPLE_DIGIT))
    assert abs(row - 13.5) < 1
    assert abs(column - 13.5) < 1


def read_boxes(tmp_path, *boxes: tuple[slice, slice], transposed: bool = False) -> torch.Tensor:
    """White boxes on a black square of 80 x 80, or its transpose, read as a digit."""
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
        positions = image.nonzero()[:, 1 if transposed else 0]
        assert (positions.min(), positions.max()) == (first, last)


def test_thin_strokes_do_not_vanish_when_scaled_down(tmp_path):
    """A frame of one pixel, 60 x 60: subsampling every third pixel would miss all its sides."""
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
        with pytest.raises(ValueError, match=rf"{name} is not a readable picture"):
            data.read_digit(tmp_path / name)
    with pytest.raises(ValueError, match="got 0 objects"):
        data.read_digit(save(tmp_path, np.full((50, 50), 200)))


def page(*positions: tuple[int, int], size=(300, 400), height=40) -> np.ndarray:
    """Bars 8 pixels wide on paper, with their upper left corners at (top, left)."""
    pixels = np.full(size, 230)
    for top, left in positions:
        pixels[top : top + height, left : left + 8] = 20
    return pixels


def test_boxes_are_in_reading_order_and_tight(tmp_path):
    positions = [(150, 60), (22, 200), (20, 50), (156, 200), (18, 320)]
    found = data.read_digits(save(tmp_path, page(*positions)))
    order = [(20, 50), (22, 200), (18, 320), (150, 60), (156, 200)]
    assert found.boxes.tolist() == [[x, y, x + 8, y + 40] for y, x in order]
    assert found.boxes.dtype == torch.int64
    assert found.images.shape == (5, 1, 28, 28)
    assert found.picture.shape == (300, 400)
    assert found.picture.dtype == torch.uint8


def test_lines_on_a_slant_are_still_lines(tmp_path):
    """The second line ends higher than the first begins."""
    lines = [[(top - 15 * i, 20 + 60 * i) for i in range(6)] for top in (110, 200)]
    found = data.read_digits(save(tmp_path, page(*lines[1], *lines[0])))
    assert [(y, x) for x, y, _, _ in found.boxes.tolist()] == [*lines[0], *lines[1]]


def test_read_digit_refuses_several_digits_or_none(tmp_path):
    with pytest.raises(ValueError, match=r"Expected one digit in .*, got 2 objects"):
        data.read_digit(save(tmp_path, page((20, 50), (20, 200))))
    with pytest.raises(ValueError, match=r"Expected one digit in .*, got 0 objects"):
        data.read_digit(save(tmp_path, page()))
    assert len(data.read_digits(save(tmp_path, page())).images) == 0


def test_the_bar_of_a_five_belongs_to_it(tmp_path):
    pixels = page((60, 50))
    pixels[52:56, 62:80] = 20
    assert data.read_digits(save(tmp_path, pixels)).boxes.tolist() == [[50, 52, 80, 100]]
    pixels[52:56, 62:80], pixels[52:56, 120:138] = 230, 20  # too far away: a speck
    assert data.read_digits(save(tmp_path, pixels)).boxes.tolist() == [[50, 60, 58, 100]]


def test_light_from_one_side_changes_only_gray_values(tmp_path):
    even = page((60, 20), (60, 370))
    light = np.linspace(1, 0.2, 400)
    uneven = data.read_digits(save(tmp_path, even * light))
    expected = data.read_digits(save(tmp_path, even))
    assert torch.equal(uneven.boxes, expected.boxes)
    assert (uneven.images.int() - expected.images.int()).abs().max() < 40


def test_a_soft_shadow_is_not_ink(tmp_path):
    across = 1 - 0.55 / (1 + np.exp(-(np.arange(400) - 200) / 12))
    found = data.read_digits(save(tmp_path, page((60, 196)) * across))
    assert found.boxes.tolist() == [[196, 60, 204, 100]]
    assert len(data.read_digits(save(tmp_path, page() * across)).boxes) == 0


@pytest.mark.parametrize("squared", [False, True])
def test_ruled_lines_are_removed_also_where_they_cross_a_stroke(tmp_path, squared):
    pixels = np.full((300, 400), 230)
    for start in range(15, 300, 30):
        pixels[start : start + 2] = 150
    if squared:
        pixels[:, 12::30] = pixels[:, 13::30] = 150
    pixels[100:190, 200:210] = 20
    found = data.read_digits(save(tmp_path, pixels))
    assert found.boxes.tolist() == [[200, 100, 210, 190]]
    assert len(found.images[0, 0].nonzero()[:, 0].unique()) == 20


def chalk(*positions: tuple[int, int]) -> np.ndarray:
    return 255 - 0.8 * page(*positions)  # bars of 239 on a board of 71


def test_chalk_on_a_board_is_read_also_in_light_from_one_side(tmp_path):
    even = chalk((60, 150), (60, 250))
    uneven = data.read_digits(save(tmp_path, even * np.linspace(1, 0.4, 400)))
    expected = data.read_digits(save(tmp_path, even))
    assert torch.equal(uneven.boxes, expected.boxes)
    assert (uneven.images.int() - expected.images.int()).abs().max() < 60


def test_the_grain_of_paper_in_light_from_one_side_is_not_ink(tmp_path):
    grain = np.random.default_rng(0).normal(0, 20, (300, 400))
    light = np.linspace(1, 0.5, 400)
    pixels = page((60, 150), (60, 250)) * light + grain
    pixels[60:100, 158:168] = 150 * light[158:168] + grain[60:100, 158:168]
    found = data.read_digits(save(tmp_path, pixels.clip(0, 255)))
    assert found.boxes.tolist() == [[150, 60, 168, 100], [250, 60, 258, 100]]


def ruled(level: int, slope: float = 0) -> np.ndarray:
    """Paper with lines of this gray value, three pixels thick, that fall by `slope`."""
    pixels = np.full((300, 400), 230)
    columns = np.arange(400)
    for start in range(-120, 400, 36):
        for thick in range(3):
            rows = np.round(start + slope * columns).astype(int) + thick
            inside = (rows >= 0) & (rows < 300)
            pixels[rows[inside], columns[inside]] = level
    return pixels


@pytest.mark.parametrize("slope", [-0.3, -0.17, -0.06, 0.09, 0.21, 0.31])
@pytest.mark.parametrize("transposed", [False, True])
def test_ruled_lines_may_slope(tmp_path, slope, transposed):
    pixels = ruled(150, slope)
    pixels[100:190, 200:210] = 20
    boxes = data.read_digits(save(tmp_path, pixels.T if transposed else pixels)).boxes
    expected = torch.tensor([100, 200, 190, 210] if transposed else [200, 100, 210, 190])
    large = boxes[(boxes[:, 2:] - boxes[:, :2]).amax(dim=1) > 20]  # lines may leave short ones
    assert len(boxes) <= 3
    assert (large - expected).abs().max() <= 3
    assert len(large) == 1


def test_strokes_on_a_ruled_line_or_as_faint_as_it_stay(tmp_path):
    """An L with its foot on a line, and a stroke between two lines, as faint as they are."""
    pixels = ruled(130)
    for left in (100, 200):
        pixels[110:171, left : left + 10] = 20
    assert (pixels[168:171, :100] == 130).all()
    pixels[168:171, 100:140] = 20
    pixels[150:153, 200:240] = 130
    boxes = data.read_digits(save(tmp_path, pixels)).boxes
    assert boxes[:, [0, 2]].tolist() == [[100, 140], [200, 240]]


def test_thin_strokes_survive_where_they_cross_a_ruled_line(tmp_path):
    pixels = ruled(150)
    pixels[100:190, 60:360:60] = 20
    images = data.read_digits(save(tmp_path, pixels)).images
    assert [len(image[0].nonzero()[:, 0].unique()) for image in images] == [20] * 5


@pytest.mark.parametrize(("gap", "digits"), [(3, 1), (4, 1), (5, 2)])
@pytest.mark.parametrize("side", [1, -1])
def test_pieces_that_nearly_touch_at_a_corner_are_one_digit(tmp_path, gap, digits, side):
    """The taller piece has 50 rows, so a gap may be twice 2 pixels, 0.04 of it."""
    pixels = np.full((200, 200), 230)
    pixels[20:70, 60:66] = 20
    start = 66 + gap if side == 1 else 60 - gap - 6
    pixels[70 + gap : 100 + gap, start : start + 6] = 20
    assert len(data.read_digits(save(tmp_path, pixels)).boxes) == digits


@pytest.mark.parametrize(("left", "right"), [(3, 6), (6, 3)])
def test_a_loose_bar_belongs_to_the_nearer_digit(tmp_path, left, right):
    pixels = page((60, 50), (60, 58 + left + 20 + right))
    pixels[70:74, 58 + left : 78 + left] = 20
    widths = [x1 - x0 for x0, _, x1, _ in data.read_digits(save(tmp_path, pixels)).boxes.tolist()]
    assert widths == ([28 + left, 8] if left < right else [8, 28 + right])


def test_a_loose_bar_that_is_too_far_away_at_a_corner_is_a_speck(tmp_path):
    """A fifth of 40 is 8: the bar is 7 rows above and 7 columns beside, at a distance of 9.9."""
    pixels = page((60, 50))
    pixels[50:54, 64:84] = 20
    assert data.read_digits(save(tmp_path, pixels)).boxes.tolist() == [[50, 60, 58, 100]]


def test_one_bit_and_white_ink_on_transparency_are_read(tmp_path):
    expected = data.read_digit(save(tmp_path, stroke(255, 0)))
    bit = Image.fromarray(stroke(255, 0).astype("uint8")).convert("1")
    bit.save(tmp_path / "bit.png")
    white = np.full((120, 160, 4), 255, dtype="uint8")
    white[..., 3] = 255 - stroke(255, 0)
    Image.fromarray(white).save(tmp_path / "white.png")
    for name in ("bit.png", "white.png"):
        assert torch.equal(data.read_digit(tmp_path / name), expected)


@pytest.mark.parametrize("hidden", [0, 255])
@pytest.mark.parametrize("ink", [0, 255])
def test_the_color_of_transparent_pixels_is_ignored(tmp_path, hidden, ink):
    drawn = stroke(0, 255)
    pixels = np.full((120, 160, 4), hidden, dtype="uint8")
    pixels[drawn == 255, :3] = ink
    pixels[..., 3] = drawn
    Image.fromarray(pixels).save(tmp_path / "ink.png")
    expected = data.read_digit(save(tmp_path, stroke(255, 0)))
    assert torch.equal(data.read_digit(tmp_path / "ink.png"), expected)


def test_reduced_pictures_are_means_of_their_pixels(tmp_path):
    large = np.random.default_rng(0).integers(0, 256, (1200, 2000))
    picture = data.read_digits(save(tmp_path, large)).picture
    means = large.reshape(600, 2, 1000, 2).mean(axis=(1, 3))
    assert np.abs(picture.numpy() - means).max() <= 1  # rounding


def test_a_diagonal_stroke_of_one_pixel_is_one_digit(tmp_path):
    pixels = np.full((300, 300), 230)
    for i in range(120):
        pixels[60 + i, 60 + i] = 20
    assert data.read_digits(save(tmp_path, pixels)).boxes.tolist() == [[60, 60, 180, 180]]


def test_a_soft_spot_on_even_paper_is_not_a_digit(tmp_path):
    rows, columns = np.ogrid[:300, :400]
    spot = 140 * np.exp(-((columns - 280) ** 2 + (rows - 160) ** 2) / (2 * 25**2))
    found = data.read_digits(save(tmp_path, page((60, 50)) - spot))
    assert found.boxes.tolist() == [[50, 60, 58, 100]]
    assert len(data.read_digits(save(tmp_path, page() - spot)).boxes) == 0


def test_a_speck_shorter_than_a_tenth_of_the_digit_is_ignored(tmp_path):
    pixels = np.full((300, 300), 230)
    pixels[50:150, 60:70] = 20
    for length, right in ((9, 70), (12, 85)):
        pixels[60 : 60 + length, 73:85] = 230
        pixels[60 : 60 + length, 73 : 73 + length] = 20
        assert data.read_digits(save(tmp_path, pixels)).boxes.tolist() == [[60, 50, right, 150]]


def falling(top: int, left: int, n: int) -> list[tuple[int, int]]:
    """Positions on a line that falls by 15°."""
    return [(top + 8 * i, left + 30 * i) for i in range(n)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (falling(10, 30, 12), falling(142, 360, 1)),
        (falling(110, 390, 1), falling(50, 0, 13)),  # although lower on average
        (falling(10, 0, 1), falling(60, 0, 13)),
        (falling(10, 0, 13), falling(60, 0, 2)),  # which ends where the first line passes
    ],
)
@pytest.mark.parametrize("rises", [False, True])
def test_slanted_lines_of_different_lengths_are_read_from_top_to_bottom(
    tmp_path, first, second, rises
):
    if rises:  # flipped vertically
        first, second = ([(188 - y, x) for y, x in line] for line in (second, first))
    pixels = page(*second, *first, size=(220, 430), height=32)
    found = data.read_digits(save(tmp_path, pixels))
    assert [(y, x) for x, y, _, _ in found.boxes.tolist()] == [*first, *second]


def test_a_digit_that_touches_the_edge_is_read(tmp_path):
    found = data.read_digits(save(tmp_path, page((0, 50), (130, 392))))
    assert found.boxes.tolist() == [[50, 0, 58, 40], [392, 130, 400, 170]]


def test_large_pictures_are_reduced(tmp_path):
    large = np.kron(page((60, 150)), np.ones((8, 8)))
    found = data.read_digits(save(tmp_path, large))
    assert found.picture.shape == (750, 1000)
    assert found.boxes.tolist() == [[375, 150, 395, 250]]


def test_huge_pictures_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    Image.new("1", (10_000, 10_000)).save(tmp_path / "huge.png")
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("was decoded"))
    with pytest.raises(ValueError, match=r"huge.png is too large; save it with fewer pixels"):
        data.read_digits(tmp_path / "huge.png")


@pytest.mark.parametrize("ground", [240, 20])
def test_a_garment_on_a_plain_ground_becomes_an_image_of_fashion_mnist(fashion, ground):
    trousers = fashion.test.images[2, 0]  # 28 pixels high
    shares = np.kron(trousers.numpy() / 255, np.ones((6, 6)))
    picture = np.full((220, 300), float(ground))
    picture[30:198, 50:218] += shares * (-ground if ground > 127 else 255 - ground)
    content = saved(Image.fromarray(picture.astype(np.uint8)))
    image = data.read_garment(io.BytesIO(content))
    assert image.shape == (1, 1, 28, 28)
    difference = min(
        (image[0, 0].roll((y, x), (0, 1)).float() - trousers.float()).abs().mean()
        for y in (-1, 0, 1)
        for x in (-2, -1, 0, 1, 2)
    )
    assert difference < 8  # of 255 gray values
    assert trousers.float().mean() > 40  # the difference to a black image


def garment_on(ground: int, shape: tuple[int, int], gray: int | np.ndarray) -> torch.Tensor:
    """Read a picture with a garment of this shape and gray value: (28, 28)."""
    picture = np.full((150, 240), ground)
    picture[20 : 20 + shape[0], 20 : 20 + shape[1]] = gray
    content = saved(Image.fromarray(picture.astype(np.uint8)))
    image = data.read_garment(io.BytesIO(content))
    assert image.dtype == torch.uint8
    return image[0, 0]


@pytest.mark.parametrize(
    ("ground", "gray", "value"),
    # the contrast to the ground as a share of the largest possible one, of 255
    [(128, 32, 191), (204, 51, 191), (127, 191, 128), (51, 153, 128)],
)
@pytest.mark.parametrize("shape", [(56, 30), (30, 56)])
def test_a_garment_is_scaled_to_28_pixels_and_put_in_the_middle(ground, gray, value, shape):
    expected = torch.zeros(28, 28, dtype=torch.uint8)
    expected[:, 6:21] = value  # 30 of 56 pixels become 15
    image = garment_on(ground, shape, gray)
    assert torch.equal(image, expected if shape[0] == 56 else expected.T)


def test_parts_of_a_garment_brighter_than_a_light_ground_are_black():
    gray = np.full((56, 56), 102)
    gray[20:36, 20:36] = 255
    image = garment_on(204, (56, 56), gray)
    assert image[14, 14] == 0
    assert image[2, 2] == 128


def test_fine_stripes_of_a_garment_become_gray_without_moire():
    gray = np.full((112, 112), 90)
    gray[:, ::4] = 250
    image = garment_on(0, (112, 112), gray)[4:24, 4:24]
    assert image.unique().tolist() == [130]  # a quarter of 250, three quarters of 90


def test_a_thin_garment_keeps_a_row():
    assert garment_on(0, (3, 196), 255).count_nonzero(dim=1).tolist() == [0] * 13 + [28] + [0] * 14


@pytest.mark.parametrize("ground", [240, 0])
def test_a_garment_needs_only_half_the_contrast_of_ink(ground):
    toward = 1 if ground == 0 else -1
    share = 255 / max(ground, 255 - ground)  # 255 / the largest possible contrast to the ground
    seen, faint = (round(ground + toward * contrast / share) for contrast in (18, 14))
    assert garment_on(ground, (56, 56), seen).max() > 0
    with pytest.raises(ValueError, match="nothing that differs"):
        garment_on(ground, (56, 56), faint)


def test_a_garment_of_the_color_of_the_ground_is_refused():
    with pytest.raises(ValueError, match="differs from the background"):
        data.read_garment(io.BytesIO(saved(Image.new("L", (90, 90), 200))))


def test_damaged_pixels_are_reported_as_an_unreadable_picture(tmp_path):
    Image.new("L", (40, 40), 9).save(tmp_path / "a.png")
    content = bytearray((tmp_path / "a.png").read_bytes())
    at = content.index(b"IDAT")
    content[at : at + 4] = b"IDAX"
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ValueError, match="is not a readable picture"):
        data.read_digits(tmp_path / "a.png")


def test_a_float_picture_is_scaled_and_nan_and_negative_pixels_are_black(tmp_path):
    pixels = np.zeros((80, 80), np.float32)
    pixels[10:50, 10:30], pixels[70, 70], pixels[60, 60] = 65_535, np.nan, -65_535
    Image.fromarray(pixels).save(tmp_path / "a.tiff")
    found = data.read_digits(tmp_path / "a.tiff")
    assert found.boxes.tolist() == [[10, 10, 30, 50]]
    assert found.picture.unique().tolist() == [0, 255]
