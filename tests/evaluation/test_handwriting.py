"""Digits on photographs are read, and other things are rejected."""

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import photographs
from helpers import evaluation, models
from helpers.evaluation import UNKNOWN, handwriting

SMALL = (400, 300)


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return models.load_pretrained("mnist/accurate")


def photograph(tmp_path, mnist, kind: str, row: int, size=SMALL):
    generator = np.random.default_rng(row)
    picture = photographs.make(kind, mnist.validation.images[row, 0].numpy(), generator, size)
    return photographs.save(picture, tmp_path, "digit")


@pytest.mark.parametrize("kind", [kind for kind in photographs.KINDS if "mega" not in kind])
def test_two_digits_of_each_kind_of_photograph_are_read(tmp_path, mnist, model, kind):
    for row in (700, 3000):
        reading = evaluation.read_handwriting(model, photograph(tmp_path, mnist, kind, row))
        assert reading.digits.tolist() == [mnist.validation.targets[row]], str(reading)
        assert reading.rejections == [""]
        assert str(reading) == str(mnist.validation.targets[row].item())


@pytest.mark.parametrize("kind", ["noise", "shapes", "face"])
def test_other_objects_are_rejected_with_a_reason(tmp_path, model, kind):
    picture = photographs.make_non_digit(kind, np.random.default_rng(1), size=SMALL)
    reading = evaluation.read_handwriting(model, photographs.save(picture, tmp_path, "other"))
    assert (reading.digits == UNKNOWN).all()
    assert all(reading.rejections)
    assert str(reading).startswith("nothing that looks like a digit: ")


def test_an_empty_page_has_no_strokes(tmp_path, model):
    Image.new("L", (90, 60), 220).save(tmp_path / "empty.png")
    reading = evaluation.read_handwriting(model, tmp_path / "empty.png")
    assert str(reading) == "nothing that looks like a digit: no strokes"
    assert reading.handwriting.images.shape == (0, 1, 28, 28)
    assert reading.handwriting.boxes.shape == (0, 4)
    assert reading.digits.dtype == torch.int64
    assert len(reading.digits) == len(reading.probabilities) == 0


class FixedProbability(torch.nn.Module):
    """Predicts a 3 for every image, with a given probability."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        rest = torch.full((10,), (1 - probability) / 9)
        rest[3] = probability
        self.logits = torch.nn.Parameter(rest.log())

    def forward(self, images):
        return self.logits.expand(len(images), 10)


def picture_of(tmp_path, *boxes):
    pixels = np.full((120, 400), 230, dtype="uint8")
    for box in boxes:
        pixels[box] = 20
    Image.fromarray(pixels).save(tmp_path / "strokes.png")
    return tmp_path / "strokes.png"


STROKE, BLOCK = np.s_[20:100, 30:40], np.s_[20:100, 150:230]


@pytest.mark.parametrize(("probability", "digit"), [(0.84, UNKNOWN), (0.86, 3)])
def test_an_improbable_digit_is_rejected(tmp_path, probability, digit):
    reading = evaluation.read_handwriting(
        FixedProbability(probability), picture_of(tmp_path, STROKE)
    )
    assert reading.digits.tolist() == [digit]
    assert reading.probabilities.tolist() == pytest.approx([probability])
    assert reading.rejections == ["" if digit == 3 else "probability 84%"]


def test_a_block_is_rejected_however_probable(tmp_path):
    path = picture_of(tmp_path, STROKE, BLOCK)
    reading = evaluation.read_handwriting(FixedProbability(0.99), path)
    assert reading.digits.tolist() == [3, UNKNOWN]
    assert str(reading) == "3 ?"
    assert reading.rejections == ["", "an area 20 of 28 pixels wide"]


def test_a_stroke_among_mostly_other_objects_is_rejected(tmp_path):
    path = picture_of(tmp_path, STROKE, BLOCK, np.s_[20:100, 280:360])
    reading = evaluation.read_handwriting(FixedProbability(0.99), path)
    assert reading.digits.tolist() == [UNKNOWN] * 3
    assert reading.rejections[0] == "most objects in the picture are not digits"


def test_a_ladder_has_too_many_holes(tmp_path):
    bars = [np.s_[y : y + 4, 30:66] for y in (20, 40, 60, 80, 96)]
    sides = np.s_[20:100, 30:34], np.s_[20:100, 62:66]
    reading = evaluation.read_handwriting(
        FixedProbability(0.99), picture_of(tmp_path, *bars, *sides)
    )
    assert reading.rejections == ["a drawing of 1 pieces with 4 holes"]


def drawn(*boxes: tuple[slice, slice]) -> np.ndarray:
    image = np.zeros((28, 28), dtype=np.uint8)
    for box in boxes:
        image[box] = 255
    return image


SIDES = np.s_[4:25, 8], np.s_[4:25, 20]
SHAPES = {
    "a stroke from corner to corner": (np.eye(28, dtype=np.uint8) * 255, ""),
    "a five with a bar apart": (drawn(np.s_[4:24, 14], np.s_[4, 17:24]), ""),
    "three strokes": (
        drawn(np.s_[4:24, 6], np.s_[4:24, 14], np.s_[4:24, 22]),
        "a drawing of 3 pieces with 0 holes",
    ),
    "an eight": (drawn(*SIDES, *(np.s_[y, 8:20] for y in (4, 14, 24))), ""),
    "a ladder": (
        drawn(*SIDES, *(np.s_[y, 8:20] for y in (4, 10, 16, 24))),
        "a drawing of 1 pieces with 3 holes",
    ),
    "a frame around the image": (drawn(*(np.s_[y, :] for y in (0, 27)), np.s_[:, 0]), ""),
    "a stroke 10 wide": (drawn(np.s_[4:24, 9:19]), ""),
    "a stroke 12 wide": (drawn(np.s_[4:24, 8:20]), "an area 12 of 28 pixels wide"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_digits_have_few_pieces_few_holes_and_thin_strokes(name):
    image, reason = SHAPES[name]
    assert handwriting._odd_shape(image) == reason


@pytest.mark.long
def test_a_small_sample_confirms_the_benchmark_rates(mnist, fashion):
    """On validation 97 % of digits are read right and 11 % of other things are called digits."""
    accurate = models.load_pretrained("mnist/accurate")
    kinds = photographs.measure_digits(mnist.validation, accurate, 2, seed=1)
    right = sum(figures["right"] for figures in kinds.values())
    assert right >= 0.9 * 2 * len(photographs.KINDS)
    others = photographs.measure_non_digits(fashion.validation.images, accurate, 24, seed=1)
    assert sum(figures["called_a_digit"] for figures in others.values()) <= 5
