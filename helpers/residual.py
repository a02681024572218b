"""What lets a network be deep? Blocks that learn what to add to what they are given."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.networks import Normalise


class Block(nn.Module):
    """x + f(x), where f is twice normalisation, ReLU, convolution; x is changed where it must be.

    The block of He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016, figure 4e: the
    normalisations stand before the convolutions, so that nothing stands in the way from block to
    block. Where the number of channels or pixels changes, a convolution of one pixel changes x.
    Without `residual` it is f(x) alone: two layers of a plain network.
    """

    def __init__(
        self, channels_in: int, channels_out: int, stride: int = 1, residual: bool = True
    ) -> None:
        super().__init__()
        self.norm_1 = nn.BatchNorm2d(channels_in)
        self.conv_1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.norm_2 = nn.BatchNorm2d(channels_out)
        self.conv_2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.residual = residual
        self.change: nn.Module | None = None
        if residual and (stride != 1 or channels_in != channels_out):
            self.change = nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W)
        ready = F.relu(self.norm_1(x))
        added = self.conv_2(F.relu(self.norm_2(self.conv_1(ready))))  # (N, C', H', W')
        if not self.residual:
            return added
        return added + (x if self.change is None else self.change(ready))


class ResNet(nn.Module):
    """Three stages of residual blocks; the second and third halve the sides, double the channels.

    `blocks` says how many blocks each stage has. 77,562 parameters at width 16 with one block each.
    A `stride` of 2 shrinks the image before the first stage, which makes it all a quarter of the
    work. The mean over the last pixels, 7 × 7 or with that stride 4 × 4, goes to the classifier
    (Lin et al., "Network in Network", 2014, section 3.2), which so needs few weights and does not
    mind shifts. Raises ValueError unless `blocks` are three numbers of at least 1.
    """

    def __init__(
        self,
        width: int = 16,
        blocks: Sequence[int] = (1, 1, 1),
        stride: int = 1,
        residual: bool = True,
        num_classes: int = 10,
        mean: float = 0.0,
        std: float = 1.0,
    ) -> None:
        super().__init__()
        if len(blocks) != 3 or min(blocks) < 1:
            raise ValueError(f"Wanted at least one block in each of three stages, got {blocks}.")
        self.normalise = Normalise(mean, std)
        self.stem = nn.Conv2d(1, width, 2 + stride, stride, padding=1, bias=False)
        channels = [width, width, 2 * width, 4 * width]
        stages = []
        for i in range(3):
            first = Block(channels[i], channels[i + 1], 1 if i == 0 else 2, residual)
            c = channels[i + 1]
            others = [Block(c, c, residual=residual) for _ in range(blocks[i] - 1)]
            stages.append(nn.Sequential(first, *others))
        self.stage_1, self.stage_2, self.stage_3 = stages
        self.norm = nn.BatchNorm2d(4 * width)
        self.classifier = nn.Linear(4 * width, num_classes)

    def forward(self, images: Tensor) -> Tensor:  # (N, 1, 28, 28)
        features = self.stem(self.normalise(images))  # (N, W, 28, 28) at stride 1
        features = self.stage_1(features)  # (N, W, 28, 28)
        features = self.stage_2(features)  # (N, 2W, 14, 14)
        features = self.stage_3(features)  # (N, 4W, 7, 7)
        features = torch.mean(F.relu(self.norm(features)), dim=(2, 3))  # (N, 4W)
        return self.classifier(features)  # (N, K)
