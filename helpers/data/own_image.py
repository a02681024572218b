"""Cut handwritten digits out of a photograph, and prepare each as the images of MNIST were.

The steps: the light of the paper is estimated and taken away, ruled lines are removed, connected
strokes become digits, and each digit is scaled and centered. SciPy's `ndimage` has all that they
need.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from helpers.files import PROJECT

SAMPLE_DIGIT = PROJECT / "data" / "own" / "four.png"
LONGER_SIDE = 1000  # pixels; larger pictures are reduced to at most this
LEAST_CONTRAST = 32  # of 255 grey values, between ink and paper


@dataclass(frozen=True)
class Handwriting:
    """The digits on a picture in reading order: line by line, each from left to right."""

    images: Tensor  # uint8 (D, 1, 28, 28), white on black, in the format of MNIST
    boxes: Tensor  # int64 (D, 4), [left, top, right, bottom] of each digit in pixels of `picture`
    picture: Tensor  # uint8 (H, W), grey and upright, at most LONGER_SIDE pixels high or wide


def read_digit(path: Path | str) -> Tensor:
    """Read a picture of one digit, dark on light or light on dark, in the format of MNIST.

    Returns uint8 (1, 1, 28, 28). Raises as `read_digits`, and ValueError if the picture shows no
    digit or several.
    """
    images = read_digits(path).images
    if len(images) == 0:
        raise ValueError(
            f"{path} shows nothing: no strokes differ from the paper by {LEAST_CONTRAST} of 255 "
            "grey values. Write with a darker pen, or go closer with more light."
        )
    if len(images) > 1:
        raise ValueError(
            f"{path} shows {len(images)} digits or other things, wanted one. Cut the picture to "
            "one digit, or use read_digits, which reads them all."
        )
    return images


def read_digits(path: Path | str) -> Handwriting:
    """Read a photograph, scan or drawing of one digit, of a line or of a page of digits.

    Uneven light, shadows with soft edges and ruled or squared paper do no harm; neither does
    writing on a slant of up to 15°. Digits that touch each other are read as one.
    The format is that of MNIST (LeCun et al., "Gradient-based learning applied to document
    recognition", 1998, section III.A): the digit becomes white on black, is scaled to fit into
    20 × 20 pixels without distortion, and its centre of mass is put in the middle of 28 × 28. Grey
    values are stretched to the full range; those below a third of it (paper, shadow) become black.

    An empty page gives a record with D = 0. Whether a thing is a digit at all is not asked here:
    `evaluation.read_handwriting` does. Raises FileNotFoundError if there is no such file, and
    ValueError if it is not a picture or is too large.
    """
    grey = _read_grey(Path(path))
    ink = _remove_rulings(_find_ink(grey))
    cut = [(box, _center(torch.from_numpy(digit))) for box, digit in _cut_out(ink)]
    order = _reading_order(np.array([box for box, _ in cut]).reshape(-1, 4))
    return Handwriting(
        images=torch.cat(
            [torch.zeros(0, 1, 28, 28, dtype=torch.uint8), *(cut[i][1] for i in order)]
        ),
        boxes=torch.tensor([cut[i][0] for i in order], dtype=torch.int64).reshape(-1, 4),
        picture=torch.from_numpy(grey.round().astype(np.uint8)),
    )


def _read_grey(path: Path) -> np.ndarray:
    """Grey values from 0 to 255, float32 (H, W), upright; the size is checked before decoding."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(path)
        with picture:
            picture.draft("RGB", (LONGER_SIDE, LONGER_SIDE))  # JPEG: decode at a smaller size
            upright = ImageOps.exif_transpose(picture)  # phones record how they were held
    except FileNotFoundError:
        raise FileNotFoundError(f"There is no picture at {path}.") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise ValueError(
            f"{path} has more than {Image.MAX_IMAGE_PIXELS // 10**6} million pixels. Save it smaller."
        ) from None
    except OSError as error:
        raise ValueError(f"{path} is not a picture that can be read; PNG and JPEG can.") from error
    return np.asarray(_to_grey(upright), dtype=np.float32)


def _to_grey(picture: Image.Image) -> Image.Image:
    """Grey values from 0 to 255, mode F, reduced; ink on transparency gets paper of contrast."""
    if picture.mode.startswith("I"):  # 16 bits, which `convert` would clip instead of scaling
        values = np.array(picture, dtype=np.float32)
        # cameras and scanners often fill only the lower 10, 12 or 14 of them
        white = next(2**bits - 1 for bits in (8, 10, 12, 14, 16, 32) if values.max() < 2**bits)
        picture = Image.fromarray(values * 255 / white)
    elif picture.mode != "L" and not picture.has_transparency_data:
        picture = picture.convert("RGB")
    elif picture.mode != "L":
        picture = picture.convert("RGBA")
    picture.thumbnail((LONGER_SIDE, LONGER_SIDE), Image.Resampling.BOX, reducing_gap=2)
    if picture.mode == "RGBA":
        grey, opaque = np.asarray(picture.convert("L")), np.asarray(picture.getchannel("A"))
        is_light = opaque.any() and np.average(grey, weights=opaque) > 127
        paper = Image.new("RGBA", picture.size, "black" if is_light else "white")
        picture = Image.alpha_composite(paper, picture)
    return picture.convert("L" if picture.mode != "F" else "F").convert("F")


def _find_ink(grey: np.ndarray) -> np.ndarray:
    """How much darker than the paper, or lighter than the board, each pixel is: float32 (H, W).

    In even light the ground is the median of the border. In uneven light it is what a closing
    leaves: dark things narrower than a third of the picture disappear, and shadows stay.
    """
    from scipy import ndimage

    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    middle, low, high = np.median(border), grey.min(), grey.max()
    spread = np.quantile(np.abs(border - middle), 0.8)
    if max(grey.shape) < 100 or spread <= 0.05 * (high - low):
        if middle > (low + high) / 2:
            return np.maximum(middle - grey, 0)
        return np.maximum(grey - middle, 0)
    height, width = grey.shape
    factor = max(1, max(height, width) // 120)
    size = (max(1, width // factor), max(1, height // factor))
    small = np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BOX))
    detail = small - ndimage.gaussian_filter(small, max(size) / 8)
    is_dark_on_light = (detail**3).sum() < 0
    if not is_dark_on_light:
        small, grey = 255 - small, 255 - grey
    ground = ndimage.grey_closing(small, max(3, min(size) // 3))
    ground = ndimage.gaussian_filter(ground, 1.5)
    ground = np.asarray(Image.fromarray(ground).resize((width, height), Image.Resampling.BICUBIC))
    ink = ground - grey
    if is_dark_on_light:  # where there is half the light, ink and paper differ by half as much
        ink = ink * (ground.max() / np.maximum(ground, 1))
    return np.maximum(ink - np.median(ink), 0)


def _remove_rulings(ink: np.ndarray) -> np.ndarray:
    """Ink without the straight lines that run through the whole picture, float32 (H, W).

    On a line only that ink stays which is thicker than the line, or much darker: crossing strokes.
    """
    from scipy import ndimage

    if min(ink.shape) < 100:
        return ink
    mask = ink > max(LEAST_CONTRAST / 3, np.quantile(ink, 0.999) / 5)
    lines = [_on_long_lines(mask), _on_long_lines(mask.T).T]
    thickness = max(5, max(ink.shape) // 90)
    for line, size in zip(lines, [(thickness, 1), (1, thickness)], strict=True):
        if line.any():
            faint = line & (ink < 1.6 * np.median(ink[line & mask]))
            ink = np.where(faint, ndimage.grey_opening(ink, size), ink)
    return ink


def _on_long_lines(mask: np.ndarray) -> np.ndarray:
    """Which pixels, bool (H, W), lie on lines that slope by up to 18° and are inked almost all
    along. A Hough transform counts the inked pixels for each slope and offset, at half the size.
    """
    from scipy import ndimage

    height, width = (length // 2 for length in mask.shape)
    half = mask[: 2 * height, : 2 * width].reshape(height, 2, width, 2).any(axis=(1, 3))
    half = ndimage.maximum_filter1d(half, 3, axis=0)  # a line need not be quite straight
    rows, columns = half.nonzero()
    on_line = np.zeros(len(rows), dtype=bool)
    for slope in np.linspace(-0.32, 0.32, 2 * (width // 3) + 1):
        shift = np.round(slope * np.arange(width)).astype(int)
        first = shift.max()  # so that no offset is negative
        offsets = rows - shift[columns] + first
        bins = height + first - shift.min()
        counts = np.bincount(offsets, minlength=bins)
        # the number of columns in which a line of this offset is inside the picture
        enters = np.bincount(first - shift, minlength=bins + height)
        length = np.cumsum(enters) - np.cumsum(np.roll(enters, height))
        full = (counts > 0.75 * length[:bins]) & (length[:bins] > width / 5)
        on_line |= full[offsets]
    half[rows, columns] = on_line
    found = np.zeros_like(mask)
    found[: 2 * height, : 2 * width] = half.repeat(2, axis=0).repeat(2, axis=1)
    return found


def _cut_out(ink: np.ndarray) -> list[tuple[list[int], np.ndarray]]:
    """The box of each digit, and its ink (h, w) stretched to [0, 1] with black below a third."""
    from scipy import ndimage

    mask, tallest = _strokes(ink)
    # pens skip: pieces as near as this belong to one digit
    reach = round(0.04 * tallest)
    labels, _ = ndimage.label(ndimage.maximum_filter(mask, 2 * reach + 1), np.ones((3, 3)))
    labels[~mask] = 0
    _join_fragments(labels, tallest)
    found = []
    for i, box in enumerate(ndimage.find_objects(labels), 1):
        if box is None or _height(box) < 0.35 * tallest:
            continue
        digit = np.where(labels[box] == i, ink[box], 0)
        digit = digit / digit.max()
        digit[digit < 1 / 3] = 0
        rows, columns = box
        found.append(([columns.start, rows.start, columns.stop, rows.stop], digit))
    return found


def _strokes(ink: np.ndarray) -> tuple[np.ndarray, int]:
    """Where strokes are, bool (H, W), and the height of the tallest, or 0 without any.

    Shadows have soft edges, strokes sharp ones. Specks are left out.
    """
    from scipy import ndimage

    side = max(ink.shape)
    level = np.quantile(ink, 0.999)
    noise = 1.4826 * np.median(np.abs(ink - np.median(ink)))
    if level < max(LEAST_CONTRAST, 6 * noise):
        return np.zeros(ink.shape, dtype=bool), 0
    labels, _ = ndimage.label(ink >= level / 3, np.ones((3, 3)))
    boxes = ndimage.find_objects(labels)
    size = np.array([0] + [max(_height(box), _height(box[::-1])) for box in boxes])
    near = 2 * (side // 120) + 3
    edge = ndimage.maximum_filter(ink, near) - ndimage.minimum_filter(ink, near)
    for i in np.flatnonzero(size > side / 100):
        box = _grow(boxes[i - 1], 1)
        inside = labels[box] == i
        rim = inside & ~ndimage.binary_erosion(inside, border_value=1)
        if not rim.any() or edge[box][rim].mean() < 0.6 * np.quantile(ink[box][inside], 0.9):
            size[i] = 0
    if size.max() < side / 50:
        return np.zeros(ink.shape, dtype=bool), 0
    kept = size > max(side / 100, 0.1 * size.max())
    return kept[labels], max(_height(boxes[i - 1]) for i in np.flatnonzero(kept))


def _height(box: tuple[slice, slice]) -> int:
    return box[0].stop - box[0].start


def _grow(box: tuple[slice, slice], by: int) -> tuple[slice, ...]:
    return tuple(slice(max(0, side.start - by), side.stop + by) for side in box)


def _join_fragments(labels: np.ndarray, tallest: int) -> None:
    """Give each piece too low for a digit, such as the bar of a 5, the label of what is close by."""
    from scipy import ndimage

    for i, box in enumerate(ndimage.find_objects(labels), 1):
        if box is None or _height(box) >= 0.35 * tallest:
            continue
        reach = round(0.2 * tallest)
        around = labels[_grow(box, reach)]
        away = ndimage.distance_transform_edt(around != i)
        others = (around > 0) & (around != i) & (away <= reach)
        if others.any():
            nearest = np.where(others, away, np.inf).argmin()
            labels[labels == i] = around.flat[nearest]


def _reading_order(boxes: np.ndarray) -> list[int]:
    """The numbers of the boxes (D, 4) line by line. Lines may slope: each digit from left to right
    joins the line whose last digit is at about its height.
    """
    lines: list[list[int]] = []
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    reach = 0.6 * np.median(boxes[:, 3] - boxes[:, 1]) if len(boxes) else 0
    for i in np.argsort(boxes[:, 0], kind="stable").tolist():
        gaps = [abs(middles[line[-1], 1] - middles[i, 1]) for line in lines]
        if gaps and min(gaps) < reach:
            lines[int(np.argmin(gaps))].append(i)
        else:
            lines.append([i])
    steps = [
        middles[b] - middles[a] for line in lines for a, b in zip(line, line[1:], strict=False)
    ]
    slope = np.median([dy / dx for dx, dy in steps if dx > 0] or [0])
    lines.sort(key=lambda line: float(np.mean(middles[line, 1] - slope * middles[line, 0])))
    return [i for line in lines for i in line]


def _center(digit: Tensor) -> Tensor:
    """Scale a digit (h, w), in [0, 1], to fit into 20 × 20 and center its mass in 28 × 28."""
    height, width = digit.shape
    scale = 20 / max(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    small = torch.nn.functional.interpolate(
        digit[None, None], size, mode="bilinear", antialias=True
    )[0, 0]
    mass = small.sum()
    row = int(14 - (small.sum(dim=1) * torch.arange(size[0])).sum() / mass)
    column = int(14 - (small.sum(dim=0) * torch.arange(size[1])).sum() / mass)
    row, column = min(max(row, 0), 28 - size[0]), min(max(column, 0), 28 - size[1])
    image = torch.zeros(1, 1, 28, 28)
    image[0, 0, row : row + size[0], column : column + size[1]] = small
    return (255 * image / image.max()).round().to(torch.uint8)
