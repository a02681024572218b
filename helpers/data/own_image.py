"""Cut handwritten digits out of a photograph, and prepare them like the images of MNIST."""

import warnings
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from scipy import ndimage
from torch import Tensor

from helpers.data.pictures import normalize_depth, white_level
from helpers.files import PROJECT

SAMPLE_DIGIT = PROJECT / "data" / "own" / "four.png"
LONGER_SIDE = 1000  # pixels; larger pictures are reduced to this
MIN_CONTRAST = 32  # of 255 gray values, between ink and paper
EIGHT_CONNECTED = np.ones((3, 3))  # 8-connectivity: pixels that touch at a corner are connected


@dataclass(frozen=True)
class Handwriting:
    """The digits in a picture in reading order: line by line, each from left to right."""

    images: Tensor  # uint8 (D, 1, 28, 28), white on black, in the format of MNIST
    boxes: Tensor  # int64 (D, 4): left, top, right, bottom in pixels of `picture`; ends exclusive
    picture: Tensor  # uint8 (H, W), gray and upright, at most LONGER_SIDE high and wide


def read_digit(path: Path | str | BinaryIO) -> Tensor:
    """As `read_digits`, for one digit: uint8 (1, 1, 28, 28). ValueError if none or several."""
    images = read_digits(path).images
    if len(images) != 1:
        raise ValueError(
            f"Expected one digit in {path}, got {len(images)} objects. Crop the picture to one "
            f"digit, or use read_digits. A digit must differ from the paper by {MIN_CONTRAST} of "
            "255 gray values; if it is too faint, use a darker pen."
        )
    return images


def read_digits(path: Path | str | BinaryIO) -> Handwriting:
    """Read a photograph, scan or drawing of one digit, of a line or of a page of digits.

    Ink may be darker or lighter than the paper, light uneven, paper ruled, and lines slanted by up
    to 15°. Digits that touch are read as one. Each digit is prepared as in MNIST (LeCun et al.,
    "Gradient-based learning applied to document recognition", 1998, section III.A): it becomes
    white on black and is scaled to fit into 20 × 20 pixels without distortion; its center of mass
    is put in the middle of 28 × 28. Gray values are stretched to [0, 255]; those below a third of
    the range become black. An empty page gives D = 0. Objects that are not digits are cut out, too;
    `evaluation.read_handwriting` rejects them. Raises FileNotFoundError if there is no such file,
    and ValueError if it is not a picture or is too large.
    """
    gray = _read_gray(path)
    digits = _cut_out(_remove_rulings(_find_ink(gray)))
    boxes = np.array([[x.start, y.start, x.stop, y.stop] for (y, x), _ in digits]).reshape(-1, 4)
    order = _reading_order(boxes)
    none = torch.zeros(0, 1, 28, 28, dtype=torch.uint8)
    images = torch.cat([none, *(_center(torch.from_numpy(digits[i][1])) for i in order)])
    picture = torch.from_numpy(gray.round().astype(np.uint8))
    return Handwriting(images, torch.from_numpy(boxes[order].astype(np.int64)), picture)


def read_garment(path: Path | str | BinaryIO) -> Tensor:
    """Read a picture of one garment on a plain background: uint8 (1, 1, 28, 28), light on black.

    It is prepared as in Fashion-MNIST (Xiao et al., 2017, section 2): the background becomes black,
    the garment is cut out, its longer side is scaled to 28 pixels, and it is centered. This works
    for product pictures. It fails if the background has a pattern, a shadow, a person, or the color
    of the garment. Raises as `read_digits`, and ValueError if only the background is found.
    """
    gray = _read_gray(path)
    ground = np.median(np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]]))
    garment = (ground - gray) / ground if ground > 127 else (gray - ground) / (255 - ground)
    inside = ndimage.median_filter(np.abs(garment), 3) > MIN_CONTRAST / 2 / 255
    if not inside.any():
        raise ValueError(f"{path} shows nothing that differs from the background.")
    ((rows, columns),) = ndimage.find_objects(inside.astype(int))
    cut = torch.from_numpy(garment[rows, columns]).clamp(min=0)
    size = [max(1, round(side * 28 / max(cut.shape))) for side in cut.shape]
    small = F.interpolate(cut[None, None], size, mode="bilinear", antialias=True)
    left, top = (28 - size[1]) // 2, (28 - size[0]) // 2
    placed = F.pad(small, [left, 28 - size[1] - left, top, 28 - size[0] - top])
    return (255 * placed).round().to(torch.uint8)


def _read_gray(path: Path | str | BinaryIO) -> np.ndarray:
    """Gray values from 0 to 255, float32 (H, W), upright; the size is checked before decoding."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(path)
        with picture:
            picture.draft("RGB", (LONGER_SIDE, LONGER_SIDE))  # JPEG is decoded at a smaller size
            return np.asarray(_to_gray(ImageOps.exif_transpose(picture)), dtype=np.float32)
    except FileNotFoundError:
        raise FileNotFoundError(f"There is no picture at {path}.") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is too large; save it with fewer pixels. {error}") from error
    except Exception as error:  # Pillow raises many kinds of errors for damaged files
        raise ValueError(f"{path} is not a readable picture, such as PNG or JPEG.") from error


def _to_gray(picture: Image.Image) -> Image.Image:
    """Gray values from 0 to 255, reduced to LONGER_SIDE; transparency becomes black or white."""
    if picture.mode[0] in "IF":  # 16 bits, which `convert` would clip instead of scaling
        values = np.array(normalize_depth(picture), dtype=np.float32).clip(0)
        picture = Image.fromarray(values / white_level(values.max()) * 255)
    else:
        picture = picture.convert("LA" if picture.has_transparency_data else "L")
    picture.thumbnail((LONGER_SIDE, LONGER_SIDE), Image.Resampling.BOX, reducing_gap=2)
    if picture.mode != "LA":
        return picture
    gray, opaque = picture.split()
    white_ink = np.average(np.asarray(gray), weights=np.asarray(opaque) + 1e-9) > 127
    return Image.composite(gray, Image.new("L", gray.size, 0 if white_ink else 255), opaque)


def _find_ink(gray: np.ndarray) -> np.ndarray:
    """How much each pixel differs from the background toward the ink: float32 (H, W), at least 0.

    In even light the background is the median of the border. In uneven light it is a morphological
    closing, which removes dark objects narrower than a third of the picture, and keeps shadows.
    """
    border = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
    middle, low, high = np.median(border), gray.min(), gray.max()
    spread = np.quantile(np.abs(border - middle), 0.8)
    if max(gray.shape) < 100 or spread <= 0.05 * (high - low):
        return np.maximum(middle - gray if middle > (low + high) / 2 else gray - middle, 0)
    factor = max(1, max(gray.shape) // 120)
    size = (max(1, gray.shape[1] // factor), max(1, gray.shape[0] // factor))
    small = np.asarray(Image.fromarray(gray).resize(size, Image.Resampling.BOX))
    detail = small - ndimage.gaussian_filter(small, max(size) / 8)
    is_light_ink = (detail**3).sum() > 0  # ink is rarer than paper
    if is_light_ink:
        small, gray = 255 - small, 255 - gray
    closed = ndimage.gaussian_filter(ndimage.grey_closing(small, max(3, min(size) // 3)), 1.5)
    ground = Image.fromarray(closed).resize(gray.shape[::-1], Image.Resampling.BICUBIC)
    paper = np.maximum(np.asarray(ground), 1)
    # in half the light, dark ink differs from paper by half as much
    ink = (paper - gray) * (1 if is_light_ink else paper.max() / paper)
    return np.maximum(ink - np.median(ink), 0)


def _remove_rulings(ink: np.ndarray) -> np.ndarray:
    """Ink (H, W) without straight lines through the whole picture; strokes that cross them stay."""
    if min(ink.shape) < 100:
        return ink
    mask = ink > max(MIN_CONTRAST / 3, np.quantile(ink, 0.999) / 5)
    width = max(5, max(ink.shape) // 90)
    for line, size in ((_long_lines(mask), (width, 1)), (_long_lines(mask.T).T, (1, width))):
        if line.any():
            faint = line & (ink < 1.6 * np.median(ink[line & mask]))
            ink = np.where(faint, ndimage.grey_opening(ink, size), ink)
    return ink


def _long_lines(mask: np.ndarray) -> np.ndarray:
    """A mask, bool (H, W), of the pixels on lines that slope by up to 18° and have ink on 3/4 of
    their length. A Hough transform at half the size counts ink for each slope and offset.
    """
    half = ndimage.maximum_filter(mask, (5, 2))[::2, ::2]  # a line need not be quite straight
    height, width = half.shape
    rows, columns = half.nonzero()
    on_line = np.zeros(len(rows), dtype=bool)
    for slope in np.linspace(-0.32, 0.32, 2 * (width // 3) + 1):
        start = np.round(slope * (width - np.arange(width))).astype(int)
        start -= start.min()  # the offset of the pixel in row 0, for each column
        inked = np.bincount(start[columns] + rows, minlength=height + start.max())
        length = np.cumsum(np.bincount(start, minlength=len(inked)))  # inside the picture
        length[height:] -= length[:-height].copy()
        on_line |= ((inked > 0.75 * length) & (length > width / 20))[start[columns] + rows]
    half[rows, columns] = on_line
    return half.repeat(2, axis=0).repeat(2, axis=1)[: mask.shape[0], : mask.shape[1]]


def _cut_out(ink: np.ndarray) -> list[tuple[tuple[slice, ...], np.ndarray]]:
    """The box of each digit, and its ink (h, w) stretched to [0, 1] with black below a third."""
    strokes, tallest = _find_strokes(ink)
    reach = round(0.04 * tallest)  # pens skip: closer pieces are one digit
    labels, _ = ndimage.label(ndimage.maximum_filter(strokes, 2 * reach + 1), EIGHT_CONNECTED)
    labels[~strokes] = 0
    for i, box in enumerate(ndimage.find_objects(labels), 1):
        if box is not None and _length(box[0]) < 0.35 * tallest:  # such as the bar of a 5
            around = labels[_grow(box, round(0.2 * tallest))]
            away = ndimage.distance_transform_edt(around != i)
            away[(around == i) | (around == 0)] = np.inf
            near = away.min() <= 0.2 * tallest
            labels[labels == i] = around.flat[away.argmin()] if near else 0
    boxes = [(i, box) for i, box in enumerate(ndimage.find_objects(labels), 1) if box is not None]
    digits = [(box, ink[box] * (labels[box] == i)) for i, box in boxes]
    return [(box, np.where(d < d.max() / 3, 0, d / d.max())) for box, d in digits]


def _find_strokes(ink: np.ndarray) -> tuple[np.ndarray, int]:
    """A mask, bool (H, W), of strokes without shadows and specks; height of the tallest, or 0."""
    side, level = max(ink.shape), np.quantile(ink, 0.999)
    noise = 1.4826 * np.median(np.abs(ink - np.median(ink)))
    if level < max(MIN_CONTRAST, 6 * noise):
        return np.zeros(ink.shape, dtype=bool), 0
    labels, _ = ndimage.label(ink >= level / 3, EIGHT_CONNECTED)
    boxes = ndimage.find_objects(labels)
    size = np.array([0] + [max(map(_length, box)) for box in boxes])
    near = 2 * (side // 120) + 3
    edge = ndimage.maximum_filter(ink, near) - ndimage.minimum_filter(ink, near)
    for i in np.flatnonzero(size > side / 100):
        box = _grow(boxes[i - 1], 1)
        inside = labels[box] == i
        rim = inside & ~ndimage.binary_erosion(inside, border_value=1)
        if not rim.any() or edge[box][rim].mean() < 0.6 * np.quantile(ink[box][inside], 0.9):
            size[i] = 0
    kept = (size > max(side / 100, 0.1 * size.max())) & (size.max() >= side / 50)
    return kept[labels], max((_length(boxes[i - 1][0]) for i in np.flatnonzero(kept)), default=0)


def _length(side: slice) -> int:
    return side.stop - side.start


def _grow(box: tuple[slice, ...], by: int) -> tuple[slice, ...]:
    return tuple(slice(max(0, side.start - by), side.stop + by) for side in box)


def _reading_order(boxes: np.ndarray) -> list[int]:
    """The numbers of the boxes (D, 4) line by line. From left to right, each digit joins the line
    whose last digit is at about its height; then once more, with heights along the lines' slope.
    """
    middles, heights = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 3] - boxes[:, 1]
    lines: list[list[int]] = []
    for _ in range(2):
        steps = np.array([middles[b] - middles[a] for line in lines for a, b in pairwise(line)])
        slope = np.median(steps[:, 1] / np.maximum(steps[:, 0], 1)) if len(steps) else 0.0
        levels, lines = middles @ (-slope, 1), []
        for i in boxes[:, 0].argsort(kind="stable").tolist():
            gaps = {abs(levels[line[-1]] - levels[i]): line for line in lines}
            if gaps and min(gaps) < 0.6 * np.median(heights):
                gaps[min(gaps)].append(i)
            else:
                lines.append([i])
    lines.sort(key=lambda line: float(levels[line].mean()))
    return [i for line in lines for i in line]


def _center(digit: Tensor) -> Tensor:
    """Scale a digit (h, w), in [0, 1], to fit into 20 × 20 and center its mass in 28 × 28."""
    size = [max(1, round(side * 20 / max(digit.shape))) for side in digit.shape]
    small = F.interpolate(digit[None, None], size, mode="bilinear", antialias=True)
    mass = ndimage.center_of_mass(small[0, 0].numpy())
    row, column = (min(max(int(14 - m), 0), 28 - s) for m, s in zip(mass, size, strict=True))
    image = F.pad(small, [column, 28 - size[1] - column, row, 28 - size[0] - row])
    return (255 * image / image.max()).round().to(torch.uint8)
