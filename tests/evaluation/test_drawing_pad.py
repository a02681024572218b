"""The drawing pad without its front end: it gets a PNG, and returns a picture and probabilities."""

import base64

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from helpers import data, evaluation, models
from tests.tools import pixels, saved

NAMES = data.MNIST.class_names


def data_url(*lines: tuple[int, ...], width: int = 22) -> str:
    """The message of the front end: black lines on white paper of 280 × 280 pixels."""
    paper = Image.new("RGBA", (280, 280), "white")
    for line in lines:
        ImageDraw.Draw(paper).line(line, fill="black", width=width)
    return f"data:image/png;base64,{base64.b64encode(saved(paper)).decode()}"


ONE = data_url((140, 40, 140, 240))


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return models.load_pretrained("mnist/tiny_vgg")


@pytest.fixture
def pad(model):
    return evaluation.drawing_pad(model, NAMES)


def test_the_pad_is_empty_at_first(pad):
    assert (pad.drawing, pad.picture, pad.probabilities) == ("", "", [])
    assert pad.class_names == list("0123456789")


def test_a_vertical_line_is_centered_and_predicted_as_a_one(pad, model):
    pad.drawing = ONE
    assert len(pad.probabilities) == 10
    assert sum(pad.probabilities) == pytest.approx(1)
    assert pad.probabilities[1] == max(pad.probabilities) > 0.9
    seen = pixels(pad.picture)
    assert seen.shape == (28, 28)
    assert set(np.nonzero(seen)[1]) <= {12, 13, 14, 15}
    assert len(set(np.nonzero(seen)[0])) == 20
    predicted = evaluation.predict(model, torch.from_numpy(seen.copy())[None, None])
    assert pad.probabilities == pytest.approx(predicted.probabilities[0].tolist())


def test_another_drawing_changes_the_answer_and_an_empty_one_clears_it(pad):
    pad.drawing = ONE
    first = pad.probabilities
    pad.drawing = data_url((60, 60, 220, 60, 120, 240))
    assert pad.probabilities[7] == max(pad.probabilities)
    assert pad.probabilities != first
    pad.drawing = ""
    assert (pad.picture, pad.probabilities) == ("", [])


@pytest.mark.parametrize(
    "drawing", [data_url(), data_url((0, 140, 280, 140), width=300)], ids=["white", "black"]
)
def test_blank_paper_and_paper_full_of_ink_show_nothing(pad, drawing):
    pad.drawing = ONE
    pad.drawing = drawing
    assert (pad.picture, pad.probabilities) == ("", [])


def test_a_single_dot_is_a_drawing(pad):
    pad.drawing = data_url((130, 140, 150, 140), width=20)
    assert len(pad.probabilities) == 10


def test_the_model_stays_in_its_mode(model):
    pad = evaluation.drawing_pad(model.train(), NAMES)
    pad.drawing = ONE
    assert model.training
    model.eval()


def test_without_a_front_end_the_pad_says_where_to_open_it(pad):
    text = pad._repr_mimebundle_()[0]["text/plain"]
    assert text == "A drawing pad. To draw, open this in JupyterLab, VS Code or Colab."


def test_a_model_of_color_images_is_refused(model, monkeypatch):
    monkeypatch.setitem(model.architecture, "channels", 3)
    monkeypatch.setitem(model.architecture, "size", 32)
    with pytest.raises(ValueError, match="needs 3 of 32 × 32"):
        evaluation.drawing_pad(model, NAMES)


def test_the_pad_accepts_any_model_of_gray_images():
    pad = evaluation.drawing_pad(models.build("linear").classifier, NAMES)
    assert pad.class_names == list(NAMES)


def test_the_front_end_receives_its_code_and_its_state(pad):
    pad.drawing = ONE
    state = pad.get_state()
    assert "export default" in state["_esm"]
    assert ".drawing-pad" in state["_css"]
    assert (state["class_names"], state["drawing"]) == (list(NAMES), ONE)
    assert (state["picture"], state["probabilities"]) == (pad.picture, pad.probabilities)
