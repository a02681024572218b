"""The networks, and `build`, which makes one by name.

Each takes images as they are stored, uint8 from 0 to 255, and normalizes them in its first layer.
Mean and standard deviation are saved with the weights, so a loaded model normalizes as in training.
Shapes in comments are for images (N, 1, 28, 28); `channels` and `size` change them.
"""

import inspect
import runpy
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.files import short_digest
from helpers.messages import check_name, unknown_name


class Normalize(nn.Module):
    """Normalize pixels in [0, 255] to float32 with mean 0 and standard deviation 1.

    `mean` and `std` are over the training pixels scaled to [0, 1], as in a DatasetSpec. They are
    buffers: saved with the weights, moved with the model, not trained.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(255 * mean))
        self.register_buffer("std", torch.tensor(255 * std))

    def forward(self, images: Tensor) -> Tensor:
        return (images.float() - self.mean) / self.std


class Network(nn.Module):
    """Base class: a network normalizes images uint8 (N, C, S, S), and returns float logits (N, K).

    `num_classes` is K, `channels` C and `size` S; `mean` and `std` are arguments of `Normalize`.
    """

    def __init__(
        self,
        num_classes: int = 10,
        mean: float = 0.0,
        std: float = 1.0,
        channels: int = 1,
        size: int = 28,
    ) -> None:
        super().__init__()
        self.num_classes, self.channels, self.size = num_classes, channels, size
        self.normalize = Normalize(mean, std)


class Linear(Network):
    """Softmax regression: one weight for each pixel and class. 7,850 parameters.

    images (N, C, S, S) → flatten (N, C·S²) → linear (N, K).
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        inputs = self.channels * self.size**2
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(inputs, self.num_classes))

    def forward(self, images: Tensor) -> Tensor:  # (N, 1, 28, 28)
        return self.classifier(self.normalize(images))  # (N, K)


class MLP(Network):
    """A multilayer perceptron: each hidden unit is connected to every pixel.

    images (N, C, S, S) → flatten (N, C·S²) → hidden (N, H) → ReLU → linear (N, K).
    """

    def __init__(self, hidden_units: int = 128, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        inputs = self.channels * self.size**2
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(inputs, hidden_units), nn.ReLU())
        self.classifier = nn.Linear(hidden_units, self.num_classes)

    def forward(self, images: Tensor) -> Tensor:  # (N, 1, 28, 28)
        return self.classifier(self.hidden(self.normalize(images)))  # (N, K)


class TinyVGG(Network):
    """Two blocks of conv-ReLU-conv-ReLU-pool and a linear classifier. 7,740 parameters at H = 10.

    The network of the CNN Explainer (Wang et al., "CNN Explainer: Learning Convolutional Neural
    Networks with Interactive Visualization", IEEE VIS 2020), with a padding of 1, so that only
    pooling reduces the resolution. It is a small VGG (Simonyan and Zisserman, 2015, table 1). With
    `batch_norm`, batch normalization follows each convolution (Ioffe and Szegedy, 2015).
    """

    def __init__(self, hidden_units: int = 10, batch_norm: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.block_1 = _vgg_block(self.channels, hidden_units, batch_norm)
        self.block_2 = _vgg_block(hidden_units, hidden_units, batch_norm)
        features = hidden_units * (self.size // 4) ** 2
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(features, self.num_classes))

    def forward(self, images: Tensor) -> Tensor:  # (N, 1, 28, 28)
        features = self.block_1(self.normalize(images))  # (N, H, 14, 14)
        features = self.block_2(features)  # (N, H, 7, 7)
        return self.classifier(features)  # (N, K)


def _vgg_block(channels_in: int, channels_out: int, batch_norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (channels_in, channels_out):
        layers.append(nn.Conv2d(channels, channels_out, kernel_size=3, padding=1))
        if batch_norm:
            layers.append(nn.BatchNorm2d(channels_out))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers, nn.MaxPool2d(kernel_size=2))


class FastCNN(Network):
    """A network that trains in seconds on a CPU. 20,498 parameters at width 8, 75,546 at 16.

    The first convolution has a stride of 2, so all later layers work on a quarter of the pixels.
    Two groups of two convolutions follow, as in the fast CIFAR-10 networks (Jordan, "94% on
    CIFAR-10 in 3.29 Seconds on a Single GPU", 2024, section 3.1). Pooling after a group's first
    convolution quarters the work of its second. Multiples of 8 or 16 channels suit vector units.
    """

    def __init__(self, width: int = 16, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        convolution = nn.Conv2d(self.channels, width, kernel_size=4, stride=2, padding=1)
        self.stem = nn.Sequential(convolution, nn.ReLU())
        self.group_1 = _fast_group(width, 2 * width)
        self.group_2 = _fast_group(2 * width, 4 * width)
        features = 4 * width * (self.size // 8) ** 2
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(features, self.num_classes))

    def forward(self, images: Tensor) -> Tensor:  # (N, 1, 28, 28)
        features = self.stem(self.normalize(images))  # (N, W, 14, 14)
        features = self.group_1(features)  # (N, 2W, 7, 7)
        features = self.group_2(features)  # (N, 4W, 3, 3)
        return self.classifier(features)  # (N, K)


def _fast_group(channels_in: int, channels_out: int) -> nn.Sequential:
    def convolution(channels: int) -> nn.Conv2d:  # no bias: batch norm would subtract it
        return nn.Conv2d(channels, channels_out, kernel_size=3, padding=1, bias=False)

    return nn.Sequential(
        convolution(channels_in), nn.MaxPool2d(kernel_size=2), nn.BatchNorm2d(channels_out),
        nn.ReLU(), convolution(channels_out), nn.BatchNorm2d(channels_out), nn.ReLU(),
    )  # fmt: skip


class Block(nn.Module):
    """A residual block: x + f(x), where f is batch norm, ReLU, convolution, and the same again.

    The pre-activation block of He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016,
    figure 4e. Where the number of channels or the size of the image changes, a 1 × 1 convolution is
    the shortcut. With `residual=False` the block is f(x) alone: two layers of a plain network.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        stride: int = 1,
        residual: bool = True,
        separable: bool = False,
    ) -> None:
        super().__init__()
        self.norm_1 = nn.BatchNorm2d(channels_in)
        self.conv_1 = _convolution(channels_in, channels_out, stride, separable)
        self.norm_2 = nn.BatchNorm2d(channels_out)
        self.conv_2 = _convolution(channels_out, channels_out, 1, separable)
        self.residual = residual
        self.shortcut: nn.Module | None = None
        if residual and (stride != 1 or channels_in != channels_out):
            self.shortcut = nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W)
        out = F.relu(self.norm_1(x))
        identity = x if self.shortcut is None else self.shortcut(out)  # (N, C', H', W')
        out = self.conv_2(F.relu(self.norm_2(self.conv_1(out))))  # (N, C', H', W')
        return out + identity if self.residual else out


def _convolution(channels_in: int, channels_out: int, stride: int, separable: bool) -> nn.Module:
    """A 3 × 3 convolution; if `separable`, a depthwise one followed by a pointwise one (1 × 1).

    From C to C channels, it then has 9·C + C² weights, not 9·C² (Chollet, "Xception", CVPR 2017).
    """
    if not separable:
        return nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
    filters = nn.Conv2d(channels_in, channels_in, 3, stride, 1, groups=channels_in, bias=False)
    return nn.Sequential(filters, nn.Conv2d(channels_in, channels_out, 1, bias=False))


class ResNet(Network):
    """Three stages of residual blocks. 77,562 parameters at width 16 with one block in each stage.

    `blocks` is the number of blocks in each stage. Stages 2 and 3 halve height and width and double
    the channels. A `stride` of 2 halves height and width in the stem, too, for a quarter of the
    operations. `separable` convolutions have fewer weights. Global average pooling (Lin et al.,
    "Network in Network", 2014, section 3.2) keeps the classifier small. Raises ValueError unless
    `blocks` holds three numbers in [1, 200]; a damaged file could ask for billions of blocks.
    """

    def __init__(
        self,
        width: int = 16,
        blocks: Sequence[int] = (1, 1, 1),
        stride: int = 1,
        residual: bool = True,
        separable: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if len(blocks) != 3 or not all(1 <= number <= 200 for number in blocks):
            raise ValueError(f"Expected 1 to 200 blocks in each of 3 stages, got {blocks!r:.80}.")
        self.stem = nn.Conv2d(self.channels, width, 2 + stride, stride, padding=1, bias=False)
        widths = [width, width, 2 * width, 4 * width]
        stages = []
        for i, c in enumerate(widths[1:]):
            first = Block(widths[i], c, 1 if i == 0 else 2, residual, separable)
            others = [Block(c, c, 1, residual, separable) for _ in range(blocks[i] - 1)]
            stages.append(nn.Sequential(first, *others))
        self.stage_1, self.stage_2, self.stage_3 = stages
        self.norm = nn.BatchNorm2d(4 * width)
        self.classifier = nn.Linear(4 * width, self.num_classes)

    def forward(self, images: Tensor) -> Tensor:  # (N, 1, 28, 28)
        features = self.stem(self.normalize(images))  # (N, W, 28, 28) at stride 1
        features = self.stage_1(features)  # (N, W, 28, 28)
        features = self.stage_2(features)  # (N, 2W, 14, 14)
        features = self.stage_3(features)  # (N, 4W, 7, 7)
        features = torch.mean(F.relu(self.norm(features)), dim=(2, 3))  # (N, 4W)
        return self.classifier(features)  # (N, K)


NETWORK_ARGUMENTS = inspect.signature(Network).parameters  # arguments of all networks
MODELS: dict[str, Callable[..., nn.Module]] = {
    "linear": Linear,
    "mlp": MLP,
    "tiny_vgg": TinyVGG,
    "fast_cnn": FastCNN,
    "resnet": ResNet,
    "compact": partial(ResNet, width=16, blocks=(1, 2, 1)),  # 96,122 parameters
    "accurate": partial(ResNet, width=64, stride=2),  # 1,226,122 parameters
}


def build(name: str, **model_kwargs: Any) -> nn.Module:
    """Build a model by its name in MODELS, such as "tiny_vgg", with random weights.

    `model_kwargs` are arguments of its class. `model.architecture` records the name and all
    arguments, so that the model can be rebuilt from a checkpoint. A name such as "my_file.py:MyNet"
    builds a class of your own; see `build_own`. Raises ValueError for an unknown name or argument.
    """
    if ".py:" in name:
        return build_own(name, **model_kwargs)
    check_name("model", name, MODELS)
    # defaults are recorded, too, so that old checkpoints still load after a default has changed
    parameters = {**inspect.signature(MODELS[name]).parameters, **NETWORK_ARGUMENTS}
    defaults = {k: p.default for k, p in parameters.items() if p.kind is not p.VAR_KEYWORD}
    try:
        model = MODELS[name](**model_kwargs)
    except TypeError as error:
        raise ValueError(f"Model {name!r} cannot be built with {model_kwargs}: {error}.") from error
    model.architecture = {"name": name, **defaults, **model_kwargs}  # type: ignore[assignment]
    return model


def build_own(name: str, *, mean: float = 0.0, std: float = 1.0, **model_kwargs: Any) -> nn.Module:
    """Run the file in a name such as "my_file.py:MyNet", and build its class, with random weights.

    The class, or function, may take any of `num_classes`, `channels`, `size`, `mean` and `std`. If
    the model has no Normalize layer, one with `mean` and `std` is put before it. Lazy layers need
    `channels` and `size`. Raises ValueError if these are missing, if there is no such file or
    class, or if it takes other arguments or makes no nn.Module. Other errors are not caught.
    """
    path, _, class_name = name.rpartition(":")
    file = Path(path).expanduser()
    if not file.is_file():
        raise ValueError(f"There is no file {path}. Expected a name such as my_file.py:MyNet.")
    namespace = runpy.run_path(str(file), run_name=file.stem)
    if not callable(make := namespace.get(class_name)):
        classes = [n for n, kind in namespace.items() if isinstance(kind, type)]
        raise ValueError(unknown_name(f"class in {path}", class_name, classes))
    known = {**model_kwargs, "mean": mean, "std": std}
    parameters = inspect.signature(make).parameters
    extra = any(p.kind is p.VAR_KEYWORD for p in parameters.values())  # as in torchvision's models
    wanted = {k: v for k, v in known.items() if k in parameters or (extra and k == "num_classes")}
    try:
        model = make(**wanted)
    except TypeError as error:
        raise ValueError(f"{name} cannot be built with {wanted}: {error}.") from error
    if not isinstance(model, nn.Module):
        raise ValueError(f"Expected {name} to return an nn.Module, got a {type(model).__name__}.")
    if not any(isinstance(layer, Normalize) for layer in model.modules()):
        model = nn.Sequential(Normalize(mean, std), model)
    if any(isinstance(p, nn.parameter.UninitializedParameter) for p in model.parameters()):
        if not {"channels", "size"} <= known.keys():
            raise ValueError(f"{name} has lazy layers, so it needs `channels` and `size`.")
        shape = 1, known["channels"], known["size"], known["size"]
        model.eval()(torch.zeros(shape, dtype=torch.uint8))  # initializes lazy layers
        model.train()
    model.architecture = {"name": name, **known, "source": source_digest(name)}
    return model


def source_digest(name: str) -> str:
    """The digest of the file in "my_file.py:MyNet", to detect changes; "" for names in MODELS."""
    file = Path(name.rpartition(":")[0]).expanduser()
    return short_digest(file.read_bytes()) if ".py:" in name else ""


def count_parameters(model: nn.Module) -> int:
    """The number of trainable parameters of a model or layer."""
    return sum(weights.numel() for weights in model.parameters() if weights.requires_grad)
