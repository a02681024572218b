"""Which networks are there? Each takes images as they are stored, uint8 from 0 to 255.

They normalise them themselves. So the constants travel with the weights: a checkpoint cannot be fed
wrongly scaled images, and augmentation works on plain pixels, where the padding it needs is simply
black.
"""

import torch
from torch import Tensor, nn


class Normalise(nn.Module):
    """Turn pixels from [0, 255] into float32 numbers with mean 0 and standard deviation 1.

    `mean` and `std` are those of the training images scaled to [0, 1], as a DatasetSpec holds
    them. They are buffers: saved with the weights, moved with the model, not trained.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(255 * mean))
        self.register_buffer("std", torch.tensor(255 * std))

    def forward(self, images: Tensor) -> Tensor:
        return (images.float() - self.mean) / self.std


class Linear(nn.Module):
    """One weight for each pixel and class: a straight cut through pixel space. 7,850 parameters.

    images (N, 1, 28, 28) → flatten (N, 784) → linear (N, K).
    """

    def __init__(self, num_classes: int = 10, mean: float = 0.0, std: float = 1.0) -> None:
        super().__init__()
        self.normalise = Normalise(mean, std)
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, num_classes))

    def forward(self, images: Tensor) -> Tensor:  # (N, 1, 28, 28)
        return self.classifier(self.normalise(images))  # (N, K)


class MLP(nn.Module):
    """A multilayer perceptron: every hidden unit sees every pixel, and none knows what is near.

    images (N, 1, 28, 28) → flatten (N, 784) → hidden (N, H) → ReLU → linear (N, K).
    """

    def __init__(
        self, hidden_units: int = 128, num_classes: int = 10, mean: float = 0.0, std: float = 1.0
    ) -> None:
        super().__init__()
        self.normalise = Normalise(mean, std)
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, hidden_units), nn.ReLU())
        self.classifier = nn.Linear(hidden_units, num_classes)

    def forward(self, images: Tensor) -> Tensor:  # (N, 1, 28, 28)
        return self.classifier(self.hidden(self.normalise(images)))  # (N, K)


class TinyVGG(nn.Module):
    """Two blocks of conv-ReLU-conv-ReLU-pool and a linear classifier. 7,740 parameters at H = 10.

    The network of the CNN Explainer (Wang et al., "CNN Explainer: Learning Convolutional Neural
    Networks with Interactive Visualization", IEEE VIS 2020), with a padding of 1 so that only the
    pooling shrinks the image. It is VGG (Simonyan and Zisserman, 2015, table 1) made tiny. With
    `batch_norm`, a normalisation follows each convolution (Ioffe and Szegedy, 2015).
    """

    def __init__(
        self,
        hidden_units: int = 10,
        batch_norm: bool = False,
        num_classes: int = 10,
        mean: float = 0.0,
        std: float = 1.0,
    ) -> None:
        super().__init__()
        self.normalise = Normalise(mean, std)
        self.block_1 = _vgg_block(1, hidden_units, batch_norm)
        self.block_2 = _vgg_block(hidden_units, hidden_units, batch_norm)
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(hidden_units * 7 * 7, num_classes))

    def forward(self, images: Tensor) -> Tensor:  # (N, 1, 28, 28)
        features = self.block_1(self.normalise(images))  # (N, H, 14, 14)
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


class FastCNN(nn.Module):
    """Accuracy after few seconds, on a laptop. 20,498 parameters at width 8, 75,546 at 16.

    The first convolution has a stride of 2, so all that follows works on a quarter of the pixels.
    Two groups of convolution, pooling, normalisation and ReLU follow, each with a second
    convolution: the group of the fast CIFAR-10 networks (Jordan, "94% on CIFAR-10 in 3.29 Seconds
    on a Single GPU", 2024, section 3.1), where pooling comes before what is then four times
    cheaper. Channels in multiples of 8 or 16 fill the vector units of a processor.
    """

    def __init__(
        self, width: int = 16, num_classes: int = 10, mean: float = 0.0, std: float = 1.0
    ) -> None:
        super().__init__()
        self.normalise = Normalise(mean, std)
        self.shrink = nn.Sequential(
            nn.Conv2d(1, width, kernel_size=4, stride=2, padding=1), nn.ReLU()
        )
        self.group_1 = _fast_group(width, 2 * width)
        self.group_2 = _fast_group(2 * width, 4 * width)
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(4 * width * 3 * 3, num_classes))

    def forward(self, images: Tensor) -> Tensor:  # (N, 1, 28, 28)
        features = self.shrink(self.normalise(images))  # (N, W, 14, 14)
        features = self.group_1(features)  # (N, 2W, 7, 7)
        features = self.group_2(features)  # (N, 4W, 3, 3)
        return self.classifier(features)  # (N, K)


def _fast_group(channels_in: int, channels_out: int) -> nn.Sequential:
    def convolution(channels: int) -> nn.Conv2d:  # no bias: the normalisation would remove it
        return nn.Conv2d(channels, channels_out, kernel_size=3, padding=1, bias=False)

    return nn.Sequential(
        convolution(channels_in),
        nn.MaxPool2d(kernel_size=2),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
        convolution(channels_out),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )
