"""A drawing pad for notebooks. It shows the model's input and its predictions while you draw."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from helpers import data
from helpers.evaluation.predictions import predict

if TYPE_CHECKING:  # importing this module imports no widgets
    from anywidget import AnyWidget

TEMPLATES = Path(__file__).parent / "templates"


def drawing_pad(model: nn.Module, class_names: Sequence[str]) -> "AnyWidget":
    """A widget for JupyterLab: draw with mouse, pen or finger, and see the predictions meanwhile.

    `data.read_digit` prepares the drawing like the images of MNIST. The trait `probabilities` holds
    K floats in [0, 1], one for each class; it is empty unless exactly one digit is drawn. Raises
    ValueError if the model was built for images other than uint8 (N, 1, 28, 28).
    """
    import anywidget
    import traitlets

    architecture = getattr(model, "architecture", {})
    wants = architecture.get("channels", 1), architecture.get("size", 28)
    if wants != (1, 28):
        raise ValueError(
            f"The pad draws images of 1 channel and 28 × 28 pixels; this model needs {wants[0]} of "
            f"{wants[1]} × {wants[1]}. Use a model of MNIST, such as mnist/compact."
        )

    class DrawingPad(anywidget.AnyWidget):
        _esm = (TEMPLATES / "pad.js").read_text(encoding="utf-8")
        _css = (TEMPLATES / "pad.css").read_text(encoding="utf-8")
        class_names = traitlets.List(traitlets.Unicode()).tag(sync=True)
        drawing = traitlets.Unicode().tag(sync=True)  # a PNG as a data URL; empty if there is none
        picture = traitlets.Unicode().tag(sync=True)  # a PNG of the model's input, as a data URL
        probabilities = traitlets.List(traitlets.Float()).tag(sync=True)

        def __repr__(self) -> str:  # where no widget can be shown
            return "A drawing pad. To draw, open this in JupyterLab, VS Code or Colab."

        @traitlets.observe("drawing")
        def _predict(self, _: object) -> None:
            image = _read(self.drawing)
            with self.hold_sync():  # picture and bars change together
                self.picture = "" if image is None else data.data_url(image[0])
                self.probabilities = (
                    [] if image is None else predict(model, image).probabilities[0].tolist()
                )

    return DrawingPad(class_names=list(class_names))


def _read(drawing: str) -> Tensor | None:
    """The drawing in a data URL as uint8 (1, 1, 28, 28); None if it shows no single digit."""
    png = base64.b64decode(drawing.partition(",")[2])
    try:
        return data.read_digit(io.BytesIO(png))
    except ValueError:  # it shows nothing, several digits, or ink from edge to edge
        return None
