"""Measure how well handwritten digits are read, on synthetic photographs of MNIST digits.

python -m benchmarks.photographs            # the test digits, once, at the end
python -m benchmarks.photographs --tune     # the validation digits, to choose thresholds
"""

import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from tqdm import tqdm

from benchmarks.machine import describe
from helpers import data, evaluation, models
from helpers.files import PROJECT, write_atomic

RESULTS = PROJECT / "benchmarks" / "results" / "photographs.json"
SIZE = (800, 600)  # pixels of a photograph, width and height
TWELVE_MEGAPIXELS = (4000, 3000)
KINDS = (
    "light from one side", "shadow of the hand", "lined paper", "squared paper", "pencil",
    "blue ink", "thick marker", "white on black", "white on transparency", "1-bit",
    "twelve megapixels", "turned by EXIF", "slanted", "near the edge",
)  # fmt: skip
NON_DIGITS = ("empty", "noise", "texture", "face", "shapes", "garment", "letter", "scribble")
ROTATED = 6  # the EXIF orientation of a phone held upright: the viewer turns it to the right
ORIENTATION = 0x0112


def make(
    kind: str, image28: np.ndarray, generator: np.random.Generator, size: tuple[int, int] = SIZE
) -> Image.Image:
    """A photograph of one digit (28, 28), of a kind in KINDS, `size` pixels wide and high."""
    return make_page(kind, [[image28]], generator, size)


def make_page(
    kind: str,
    lines: Sequence[Sequence[np.ndarray]],
    generator: np.random.Generator,
    size: tuple[int, int] = SIZE,
) -> Image.Image:
    """A photograph of lines of digits (28, 28), rotated and in perspective."""
    target = TWELVE_MEGAPIXELS if kind == "twelve megapixels" else size
    scale = max(1, round(target[0] / 1000))  # light and paper have no finer detail than this
    width, height = target[0] // scale, target[1] // scale
    if kind == "turned by EXIF":
        width, height = height, width
    ink = _write(kind, lines, generator, (width, height))
    if kind == "white on transparency":
        alpha = Image.fromarray((255 * _view(ink, kind, generator, (width, height))).astype("u1"))
        white = Image.new("RGBA", alpha.size, (255, 255, 255, 0))
        white.putalpha(alpha)
        return white
    light = _view(_page(kind, ink, generator), kind, generator, (width, height))
    light *= _illuminate(kind, generator, (width, height))[..., None]
    return _expose(kind, light, generator, scale)


def make_non_digit(
    kind: str,
    generator: np.random.Generator,
    garments: np.ndarray | None = None,
    size: tuple[int, int] = SIZE,
) -> Image.Image:
    """A photograph without a digit, of a kind in NON_DIGITS; `garments` (N, 28, 28) are needed
    for "garment" only.
    """
    width, height = size
    if kind in ("noise", "texture"):
        grain = generator.normal(size=(height, width, 1))
        if kind == "texture":
            wide = generator.uniform(1, 25, 2) * width / 800
            grain = ndimage.gaussian_filter(grain, (*wide, 0))
        grain = grain / grain.std() * generator.uniform(10, 50) + generator.uniform(80, 180)
        return Image.fromarray(grain.clip(0, 255).repeat(3, axis=2).astype("u1"))
    if kind == "garment":
        assert garments is not None
        chosen = garments[generator.integers(len(garments))]
        wide = round(0.8 * height)
        garment = np.asarray(Image.fromarray(chosen).resize((wide, wide), Image.Resampling.BICUBIC))
        ink = np.zeros((height, width))
        ink[(height - wide) // 2 :, (width - wide) // 2 :][:wide, :wide] = garment / 255
        paper = "blue ink"
    else:
        ink = np.asarray(_draw(kind, generator, (width, height))).astype(float) / 255
        papers = ("light from one side", "shadow of the hand", "lined paper", "squared paper",
                  "pencil", "slanted", "white on black")  # fmt: skip
        paper = papers[generator.integers(len(papers))]
    ink = np.pad(ink, [(height // 4,) * 2, (width // 4,) * 2])
    light = _view(_page(paper, ink, generator), paper, generator, size)
    light *= _illuminate(paper, generator, size)[..., None]
    return _expose(paper, light, generator, 1)


def save(picture: Image.Image, folder: Path, name: str) -> Path:
    """Save as a phone does: JPEG with its EXIF; drawings as PNG. Returns the path."""
    if picture.mode != "RGB":
        picture.save(folder / f"{name}.png")
        return folder / f"{name}.png"
    picture.save(folder / f"{name}.jpg", quality=85, exif=picture.getexif())
    return folder / f"{name}.jpg"


def _write(
    kind: str,
    lines: Sequence[Sequence[np.ndarray]],
    generator: np.random.Generator,
    size: tuple[int, int],
) -> np.ndarray:
    """Ink (1.5 H, 1.5 W) in [0, 1]: digits in rows on a sheet larger than the photograph."""
    width, height = size
    sheet = np.zeros((height + 2 * (height // 4), width + 2 * (width // 4)))
    columns = max(len(line) for line in lines)
    pitch = min(0.8 * width / columns, 0.8 * height / len(lines))
    for row, line in enumerate(lines):
        for column, image28 in enumerate(line):
            tall = round(pitch * (generator.uniform(0.5, 0.9) if len(lines) * columns == 1
                                  else generator.uniform(0.6, 0.75)))  # fmt: skip
            glyph = _pen(kind, image28, tall, generator)
            free = 0.1 * (pitch - tall)
            x = width / 2 + (column - (columns - 1) / 2) * pitch + generator.uniform(-free, free)
            y = height / 2 + (row - (len(lines) - 1) / 2) * pitch + generator.uniform(-free, free)
            if kind == "near the edge":
                x = 0.5 * glyph.shape[1] + 0.015 * width
            top = height // 4 + round(y - glyph.shape[0] / 2)
            left = width // 4 + round(x - glyph.shape[1] / 2)
            place = sheet[top : top + glyph.shape[0], left : left + glyph.shape[1]]
            np.maximum(place, glyph, out=place)
    return sheet


def _pen(kind: str, image28: np.ndarray, tall: int, generator: np.random.Generator) -> np.ndarray:
    """The digit, cropped and `tall` pixels high, with strokes of the pen's width."""
    inked = np.argwhere(image28 > 60)
    (top, left), (bottom, right) = inked.min(axis=0), inked.max(axis=0) + 1
    part = np.pad(image28[top:bottom, left:right], 3)
    factor = tall / (bottom - top)
    fine = Image.fromarray(part).resize(
        (round(part.shape[1] * factor), round(part.shape[0] * factor)), Image.Resampling.BICUBIC
    )
    shape = ndimage.gaussian_filter(np.asarray(fine).astype(float) / 255, 0.3 * factor)
    shape = shape / shape.max()
    if kind in ("pencil", "lined paper", "squared paper", "blue ink", "twelve megapixels"):
        small = Image.fromarray((shape * 255).astype("u1")).resize((part.shape[1] * 3,
                                                                    part.shape[0] * 3))  # fmt: skip
        line = thin(np.asarray(small) > 110)
        line = Image.fromarray(line.astype("u1") * 255).resize(fine.size, Image.Resampling.NEAREST)
        away = ndimage.distance_transform_edt(np.asarray(line) == 0) + factor / 6
        away = ndimage.gaussian_filter(away, factor / 4)
        pen = tall * generator.uniform(*((0.02, 0.035) if kind == "pencil" else (0.025, 0.05)))
        return (1 - (away - pen) / 1.5).clip(0, 1)
    level = 0.35 if kind == "thick marker" else 0.5
    return ((shape - level) * 0.6 * factor + 0.5).clip(0, 1)


def thin(mask: np.ndarray) -> np.ndarray:
    """The skeleton of strokes, bool (H, W): thinned from the border, without breaking them
    (Zhang and Suen, "A fast parallel algorithm for thinning digital patterns", 1984).
    """
    mask = np.pad(mask, 1)
    around = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
    changed = True
    while changed:
        changed = False
        for first, second in (((0, 2, 4), (2, 4, 6)), ((0, 2, 6), (0, 4, 6))):
            ring = np.stack([np.roll(mask, (-dy, -dx), (0, 1)) for dy, dx in around])
            count = ring.sum(axis=0)
            jumps = (~ring & np.roll(ring, -1, axis=0)).sum(axis=0)
            rim = mask & (count >= 2) & (count <= 6) & (jumps == 1)
            rim &= ~ring[list(first)].all(axis=0) & ~ring[list(second)].all(axis=0)
            mask = mask & ~rim
            changed |= bool(rim.any())
    return mask[1:-1, 1:-1]


def _page(kind: str, ink: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Reflectance (H, W, 3) in [0, 1] of paper, its rulings and the ink."""
    height, width = ink.shape
    paper = np.ones((height, width, 3)) * (0.92 - generator.uniform(0, 0.15, 3))
    fibres = ndimage.gaussian_filter(generator.normal(size=(height, width)), 2)
    paper *= 1 + 0.01 * (fibres / fibres.std())[..., None]
    if kind in ("lined paper", "squared paper"):
        lined = kind == "lined paper"
        step = height * (generator.uniform(0.09, 0.22) if lined else generator.uniform(0.05, 0.12))
        thick = generator.uniform(1.0, 0.006 * height)
        color = 1 - generator.uniform(0.15, 0.4) * np.array([1, 0.7, generator.uniform(0.2, 0.8)])
        for axis in (0,) if lined else (0, 1):
            places = np.arange(ink.shape[axis]) + generator.uniform(0, step)
            away = np.abs((places % step) - step / 2)
            line = (thick / 2 + 0.5 - away).clip(0, 1)
            line = line[:, None, None] if axis == 0 else line[None, :, None]
            paper *= 1 - line * (1 - color)
    if kind == "white on black":
        paper = 0.12 + 0.06 * (paper - 0.8)
        pen = np.ones((1, 1, 3)) * generator.uniform(0.6, 0.9)
    elif kind == "pencil":
        pen = np.ones((1, 1, 3)) * generator.uniform(0.3, 0.45)
        grain = ndimage.gaussian_filter(generator.normal(size=ink.shape), 1)
        ink = ink * (0.85 + 0.2 * grain / grain.std()).clip(0.3, 1)
    elif kind == "blue ink":
        pen = np.array([[[0.12, 0.18, 0.55]]]) * generator.uniform(0.8, 1.2)
    else:
        pen = np.ones((1, 1, 3)) * generator.uniform(0.06, 0.22)
    return paper * (1 - ink[..., None]) + pen * ink[..., None]


def _view(
    sheet: np.ndarray, kind: str, generator: np.random.Generator, size: tuple[int, int]
) -> np.ndarray:
    """The middle of a sheet, rotated and in perspective."""
    width, height = size
    strong = kind == "slanted"
    angle = generator.choice([-1, 1]) * generator.uniform(10, 15) if strong else (
        generator.uniform(-4, 4))  # fmt: skip
    if kind == "near the edge":
        angle = 0
    angle, lean = np.deg2rad(angle), 0.06 if strong else 0.015
    corners = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]]) * np.array([width, height]) / 2
    corners = corners * (1 + generator.uniform(-lean, lean, (4, 2)))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([sheet.shape[1], sheet.shape[0]]) / 2
    quad = tuple((corners @ turn.T + middle).ravel())
    layers = sheet[..., None] if sheet.ndim == 2 else sheet
    seen = [
        Image.fromarray(layer.astype(np.float32)).transform(
            size, Image.Transform.QUAD, quad, Image.Resampling.BILINEAR
        )
        for layer in np.moveaxis(layers, 2, 0)
    ]
    return np.stack(seen, axis=2).squeeze().astype(float)


def _illuminate(kind: str, generator: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """The light (H, W) that falls on the paper, at most 1: from one side, perhaps with a shadow."""
    width, height = size
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    angle = generator.uniform(0, 2 * np.pi)
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    ratio = generator.uniform(2, 3) if kind == "light from one side" else generator.uniform(1, 1.6)
    light = ratio ** ((along - along.max()) / (along.max() - along.min()))
    if kind in ("shadow of the hand", "thick marker"):
        edge = along + generator.uniform(-0.2, 0.2) + 0.15 * np.sin(3 * across + angle)
        soft = generator.uniform(0.02, 0.12)
        light *= 1 - generator.uniform(0.35, 0.6) / (1 + np.exp(-edge / soft))
    return light


def _expose(
    kind: str, light: np.ndarray, generator: np.random.Generator, scale: int
) -> Image.Image:
    """The photograph of light (H, W, 3), with blur and sensor noise."""
    light = 255 * ndimage.gaussian_filter(light, (0.7, 0.7, 0)) * generator.uniform(0.85, 1)
    if scale > 1:
        size = (light.shape[1] * scale, light.shape[0] * scale)
        fine = Image.fromarray(light.clip(0, 255).astype("u1")).resize(size)
        light = np.asarray(fine).astype(np.float32)
    noise = generator.standard_normal(light.shape, dtype=np.float32)
    light = light + noise * generator.uniform(2, 7)
    picture = Image.fromarray(light.clip(0, 255).astype("u1"))
    if kind == "1-bit":  # a scanner's threshold; the light of a scanner is even
        return picture.convert("L").point(lambda value: 255 * (value > 95)).convert("1")
    if kind == "turned by EXIF":
        picture = picture.transpose(Image.Transpose.ROTATE_90)
        picture.getexif()[ORIENTATION] = ROTATED
    return picture


def _draw(kind: str, generator: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """White drawings on black: faces, shapes, letters, scribbles."""
    width, height = size
    canvas = Image.new("L", size)
    draw = ImageDraw.Draw(canvas)
    pen = max(2, round(generator.uniform(0.008, 0.02) * height))
    r = generator.uniform(0.2, 0.38) * height
    x, y = width / 2, height / 2
    if kind == "face":
        squeeze = generator.uniform(0.75, 1)
        filled = generator.random() < 0.5
        draw.ellipse((x - squeeze * r, y - r, x + squeeze * r, y + r), outline=255, width=pen,
                     fill=120 if filled else None)  # fmt: skip
        for side in (-1, 1):
            eye, e = x + side * 0.35 * r, generator.uniform(0.06, 0.12) * r
            draw.ellipse((eye - e, y - 0.3 * r - e, eye + e, y - 0.3 * r + e), fill=255)
        draw.arc((x - 0.4 * r, y - 0.1 * r, x + 0.4 * r, y + 0.6 * r), 20, 160, 255, pen)
        draw.line((x, y - 0.1 * r, x - 0.08 * r, y + 0.15 * r), 255, pen)
    elif kind == "shapes":
        name = ("star", "house", "grid", "blob", "cross")[generator.integers(5)]
        turns = np.deg2rad(144) * np.arange(6) - np.pi / 2
        if name == "star":
            draw.line([(x + r * np.cos(t), y + r * np.sin(t)) for t in turns], 255, pen)
        elif name == "house":
            draw.rectangle((x - r, y, x + r, y + r), outline=255, width=pen)
            draw.line([(x - r, y), (x, y - r), (x + r, y)], 255, pen)
        elif name == "grid":
            for t in (-0.33, 0.33):
                draw.line((x - r, y + t * r, x + r, y + t * r), 255, pen)
                draw.line((x + t * r, y - r, x + t * r, y + r), 255, pen)
        elif name == "blob":
            for _ in range(6):
                a, b, s = *generator.uniform(-0.6, 0.6, 2) * r, generator.uniform(0.3, 0.6) * r
                draw.ellipse((x + a - s, y + b - s, x + a + s, y + b + s), fill=255)
        else:
            draw.line((x - r, y - r, x + r, y + r), 255, pen)
            draw.line((x - r, y + r, x + r, y - r), 255, pen)
    elif kind == "letter":
        letter = "AEFHKMNRWX"[generator.integers(10)]
        font = ImageFont.load_default(size=2 * r)
        draw.text((x, y), letter, 255, font, anchor="mm", stroke_width=pen // 3)
    elif kind == "scribble":
        turns = generator.integers(8, 16)
        points = generator.uniform(-1, 1, (turns, 2)) * r + (x, y)
        fine = ndimage.zoom(points, (12, 1), order=3, mode="nearest")
        draw.line([tuple(point) for point in fine], 255, pen, joint="curve")
    return canvas


def measure_digits(split: data.Split, model: torch.nn.Module, each: int, seed: int) -> dict:
    """Count, per kind, how many of `each` photographs are read right, wrong, or as no digit."""
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, kind in enumerate(tqdm(KINDS, desc="kinds")):
            generator = np.random.default_rng([seed, number])
            answers, seconds = Counter[str](), []
            for row in generator.permutation(len(split))[:each].tolist():
                photograph = make(kind, split.images[row, 0].numpy(), generator)
                path = save(photograph, Path(folder), "digit")
                start = time.perf_counter()
                read = evaluation.read_handwriting(model, path).digits.tolist()
                seconds.append(time.perf_counter() - start)
                if all(digit == evaluation.UNKNOWN for digit in read):
                    answers["nothing"] += 1
                else:
                    answers["right" if read == [split.targets[row].item()] else "wrong"] += 1
            figures[kind] = {name: answers[name] for name in ("right", "wrong", "nothing")}
            figures[kind]["median_seconds"] = round(statistics.median(seconds), 3)
    return figures


def measure_non_digits(
    garments: torch.Tensor, model: torch.nn.Module, total: int, seed: int
) -> dict:
    """Count photographs without a digit, by kind, and those in which a digit is read."""
    figures = {kind: {"photographs": 0, "called_a_digit": 0} for kind in NON_DIGITS}
    with tempfile.TemporaryDirectory() as folder:
        for number in tqdm(range(total), desc="non-digits"):
            kind = NON_DIGITS[number % len(NON_DIGITS)]
            generator = np.random.default_rng([seed, 1000, number])
            photograph = make_non_digit(kind, generator, garments[:, 0].numpy())
            reading = evaluation.read_handwriting(model, save(photograph, Path(folder), "other"))
            figures[kind]["photographs"] += 1
            called = bool((reading.digits != evaluation.UNKNOWN).any())
            figures[kind]["called_a_digit"] += called
    return figures


def measure_pages(split: data.Split, model: torch.nn.Module, each: int, seed: int) -> dict:
    """Read pages with 1 to 4 lines of 3 to 7 digits. Count the pages with the right number of
    digits, and the right digits, in order; all digits of the other pages count as wrong.
    """
    figures = dict.fromkeys(("pages", "count_right", "digits", "digits_right"), 0)
    with tempfile.TemporaryDirectory() as folder:
        for number, kind in enumerate(tqdm([*KINDS] * each, desc="pages")):
            if kind in ("near the edge", "twelve megapixels"):
                continue
            generator = np.random.default_rng([seed, 2000, number])
            rows, columns = generator.integers(1, 5), generator.integers(3, 8)
            drawn = generator.permutation(len(split))[: rows * columns].reshape(rows, columns)
            page = make_page(kind, [[split.images[i, 0].numpy() for i in line] for line in drawn],
                             generator, (1600, 1200))  # fmt: skip
            read = evaluation.read_handwriting(model, save(page, Path(folder), "page")).digits
            targets = split.targets[drawn.ravel()]
            figures["pages"] += 1
            figures["digits"] += len(targets)
            if len(read) == len(targets):  # a page out of order has most of its digits wrong
                figures["count_right"] += 1
                figures["digits_right"] += int((read == targets).sum())
    return figures


def main(
    each: Annotated[int, typer.Option(help="Photographs of each kind.")] = 50,
    others: Annotated[int, typer.Option(help="Photographs without a digit.")] = 500,
    pages: Annotated[int, typer.Option(help="Pages of each kind.")] = 4,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    tune: Annotated[bool, typer.Option(help="Validation digits; nothing is written.")] = False,
    out: Annotated[Path, typer.Option(help="File for the results.")] = RESULTS,
) -> None:
    """Make photographs, read them, and count the results."""
    torch.set_num_threads(1)
    model = models.load_pretrained("mnist/accurate")
    digits, garments = data.load_splits("mnist"), data.load_splits("fashion_mnist")
    chosen = digits.validation if tune else digits.test
    clothes = (garments.validation if tune else garments.test).images
    results = describe(1) | {
        "weights": "mnist/accurate",
        "split": "validation" if tune else "test",
        "seed": seed,
        "kinds": measure_digits(chosen, model, each, seed),
        "non_digits": measure_non_digits(clothes, model, others, seed),
        "pages": measure_pages(chosen, model, pages, seed),
    }
    right = sum(figures["right"] for figures in results["kinds"].values())
    called = sum(figures["called_a_digit"] for figures in results["non_digits"].values())
    results["share_right"] = right / (each * len(KINDS))
    results["share_of_non_digits_called_a_digit"] = called / max(1, others)
    typer.echo(json.dumps(results, indent=1))
    if not tune:
        write_atomic(out, json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
