import numpy as np
import pytest
import torch
from PIL import Image

from helpers import own_image


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
    """A thick vertical bar, off the centre."""
    pixels = np.full((120, 160), background)
    pixels[20:100, 30:50] = ink
    return pixels


@pytest.mark.parametrize(("background", "ink"), [(240, 20), (10, 230), (200, 120)])
def test_dark_on_light_and_light_on_dark_come_out_alike(tmp_path, background, ink):
    image = own_image.read_digit(save(tmp_path, stroke(background, ink)))
    assert image.dtype == torch.uint8
    assert image.shape == (1, 1, 28, 28)
    assert image.max() == 255
    assert image[0, 0, 0].max() == 0
    rows, columns = image[0, 0].nonzero().T
    assert rows.max() - rows.min() + 1 == 20  # the longer side fills the box of 20
    assert columns.max() - columns.min() + 1 == 5  # 80 : 20 stays 20 : 5


def test_a_telephone_held_sideways_is_understood(tmp_path):
    upright = own_image.read_digit(save(tmp_path, stroke(240, 20)))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees to the right
    lying = Image.fromarray(np.rot90(stroke(240, 20)).astype("uint8"))
    lying.save(tmp_path / "phone.png", exif=exif)
    assert torch.equal(own_image.read_digit(tmp_path / "phone.png"), upright)


def test_ink_on_nothing_and_sixteen_bits_are_understood(tmp_path):
    expected = own_image.read_digit(save(tmp_path, stroke(255, 0)))
    black = np.zeros((120, 160, 4), dtype="uint8")
    black[..., 3] = 255 - stroke(255, 0)  # black ink, the rest transparent
    Image.fromarray(black).save(tmp_path / "ink.png")
    deep = (stroke(255, 0) * 257).astype("uint16")
    Image.fromarray(deep).save(tmp_path / "deep.png")
    for name in ("ink.png", "deep.png"):
        assert torch.equal(own_image.read_digit(tmp_path / name), expected)


def test_the_mass_comes_to_the_middle():
    row, column = centre_of_mass(own_image.read_digit(own_image.SAMPLE))
    assert abs(row - 13.5) < 1
    assert abs(column - 13.5) < 1


def test_the_shipped_sample_is_read_as_a_four():
    from helpers import checkpoints, evaluation

    model = checkpoints.load_pretrained("mnist/tiny_vgg")
    assert evaluation.predict(model, own_image.read_digit(own_image.SAMPLE)).labels.item() == 4


def test_bad_pictures_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no picture at"):
        own_image.read_digit(tmp_path / "missing.png")
    (tmp_path / "text.png").write_text("no picture")
    content = own_image.SAMPLE.read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    for name in ("text.png", "cut.png"):
        with pytest.raises(ValueError, match=rf"{name} is not a picture"):
            own_image.read_digit(tmp_path / name)
    with pytest.raises(ValueError, match="shows nothing"):
        own_image.read_digit(save(tmp_path, np.full((50, 50), 200)))
