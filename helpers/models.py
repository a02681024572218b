"""What maps (N, 1, 28, 28) images to (N, K) logits? Networks by name, and how they were built."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from helpers.networks import MLP, FastCNN, Linear, Normalise, TinyVGG
from helpers.residual import ResNet

__all__ = ["MLP", "FastCNN", "Linear", "Normalise", "ResNet", "TinyVGG"]

MODELS: dict[str, Callable[..., nn.Module]] = {
    "linear": Linear,
    "mlp": MLP,
    "tiny_vgg": TinyVGG,
    "fast_cnn": FastCNN,
    "resnet": ResNet,
    "compact": partial(ResNet, width=16, blocks=(1, 2, 1)),  # 96,122 parameters
    "accurate": partial(ResNet, width=64, stride=2),  # 1,226,122 parameters
}


def build(name: str, **settings: Any) -> nn.Module:
    """Build a model by a name in MODELS, such as "tiny_vgg", with fresh random weights.

    `settings` are those of the class, such as `hidden_units`, and the `mean` and `std` of the data
    set's pixels. The model remembers how it was built in `model.architecture`, from which a
    checkpoint can build it again.

    Raises ValueError for an unknown name or setting.
    """
    if name not in MODELS:
        raise ValueError(f"There is no model {name!r}. Choose one of: {', '.join(MODELS)}.")
    try:
        complete = inspect.signature(MODELS[name]).bind(**settings)
    except TypeError as error:
        raise ValueError(f"Model {name!r} cannot be built with {settings}: {error}.") from error
    complete.apply_defaults()  # remembered too, so that changing one later spoils no checkpoint
    model = MODELS[name](**complete.arguments)
    model.architecture = {"name": name, **complete.arguments}  # type: ignore[assignment]
    return model


def count_parameters(model: nn.Module) -> int:
    """How many numbers the optimizer may change."""
    return sum(weights.numel() for weights in model.parameters() if weights.requires_grad)
