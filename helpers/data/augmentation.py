"""Random augmentation of training images.

Each image gets random changes of its own, computed for the whole batch on its device. Pixels are in
[0, 255] before and after. Images are padded with 0 (black), the background of both data sets.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


@dataclass(frozen=True)
class Augmentation:
    """The random changes and their strengths, off by default. ValueError if one is out of range.

    Flip only clothes: a mirrored boot is a boot, but a mirrored 2 is not a digit.
    """

    shift: int = 0  # at most this many pixels left, right, up or down
    degrees: float = 0.0  # rotation by at most this angle, left or right
    scale: float = 0.0  # relative change of size, below 1: 0.1 gives 90 % to 110 %
    flip: bool = False  # mirror each image left to right with probability one half
    erase: float = 0.0  # probability that an image loses a random rectangle

    def __post_init__(self) -> None:
        in_range = 0 <= self.scale < 1 and 0 <= self.erase <= 1
        if not (0 <= self.shift < math.inf and 0 <= self.degrees < math.inf and in_range):
            wanted = "finite shift >= 0, degrees >= 0, scale in [0, 1) and erase in [0, 1]"
            raise ValueError(f"Expected {wanted}, got {self}.")

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """Augment uint8 (N, C, H, W) on the generator's device; float32 if rotated or scaled."""
        if self.degrees or self.scale:
            images = random_affine(images, generator, degrees=self.degrees, scale=self.scale)
        if self.shift:
            images = random_shift(images, generator, pixels=self.shift)
        if self.flip:
            images = random_flip(images, generator)
        if self.erase:
            images = random_erasing(images, generator, p=self.erase)
        return images


def random_shift(images: Tensor, generator: Generator, *, pixels: int) -> Tensor:
    """Shift each image (N, C, H, W) by an integer in [-pixels, pixels] along height and width."""
    n, channels, height, width = images.shape
    device = images.device
    padded = F.pad(images, [pixels] * 4)
    top, left = torch.randint(2 * pixels + 1, (2, n, 1), generator=generator, device=device)
    rows = top + torch.arange(height, device=device)  # (N, H)
    columns = left + torch.arange(width, device=device)  # (N, W)
    image = torch.arange(n, device=device)[:, None, None, None]
    channel = torch.arange(channels, device=device)[None, :, None, None]
    return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]


def random_affine(images: Tensor, generator: Generator, *, degrees: float, scale: float) -> Tensor:
    """Rotate and scale each image (N, C, H, W) about its center; returns float32.

    Angles are uniform in ±degrees, sizes in 1 ± scale; pixels are interpolated bilinearly.
    """
    n, device = len(images), images.device
    angle, size = torch.rand(2, n, generator=generator, device=device) * 2 - 1
    angle, size = angle * math.radians(degrees), 1 + size * scale
    cos, sin, zero = angle.cos() / size, angle.sin() / size, torch.zeros_like(angle)
    # affine_grid maps each output pixel to its place in the input: the inverse maps, (N, 2, 3)
    inverse = torch.stack([cos, sin, zero, -sin, cos, zero], dim=1).view(n, 2, 3)
    grid = F.affine_grid(inverse, list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, align_corners=False)


def random_flip(images: Tensor, generator: Generator) -> Tensor:
    """Mirror each image (N, C, H, W) left to right with probability one half."""
    flipped = torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device) < 0.5
    return torch.where(flipped, images.flip(3), images)


def random_erasing(images: Tensor, generator: Generator, *, p: float) -> Tensor:
    """Blacken a random rectangle of each image (N, C, H, W) with probability `p`.

    Random erasing (Zhong et al., AAAI 2020, algorithm 1). The rectangle has 2 % to 33 % of the
    area, as in torchvision, and sides in a ratio in [0.3, 1/0.3]. Here it may cross the edge.
    """
    n, _, height, width = images.shape
    device = images.device
    draw, area, ratio, y, x = torch.rand(5, n, 1, 1, 1, generator=generator, device=device)
    area = height * width * (0.02 + area * (0.33 - 0.02))
    ratio = torch.exp((2 * ratio - 1) * math.log(1 / 0.3))
    tall, wide = (area * ratio).sqrt(), (area / ratio).sqrt()
    rows = torch.arange(height, device=device)[:, None]  # (H, 1); the random numbers (N, 1, 1, 1)
    columns = torch.arange(width, device=device)  # (W,)
    inside = (abs(rows + 0.5 - y * height) < tall / 2) & (abs(columns + 0.5 - x * width) < wide / 2)
    return images.masked_fill(inside & (draw < p), 0)
