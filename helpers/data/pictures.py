"""Read picture files as arrays of one size."""

import base64
import io
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from helpers.messages import Show, progress_bar

LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as in Pillow


def read_pictures(
    paths: Sequence[Path | bytes], *, size: int, progress: Show = None
) -> list[np.ndarray | str]:
    """Read picture files, given as paths or contents, and `prepare` them.

    For a file that cannot be read, the list holds the reason as text instead of an array. Pictures
    of more than 89 million pixels are not decoded. `progress` is the `show` of `progress_bar`.
    """

    def read(path: Path | bytes) -> np.ndarray | str:
        try:
            with Image.open(io.BytesIO(path) if isinstance(path, bytes) else path) as picture:
                return prepare(picture, size)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            return "it is too large"
        except FileNotFoundError:
            return "there is no such file"
        except Exception as error:  # Pillow raises many kinds of errors for damaged files
            return str(error) or type(error).__name__

    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", module="PIL", category=UserWarning)  # odd EXIF or palette
        first = [path for path in paths[:100] if isinstance(path, Path) and path.is_file()]
        # threads are faster for photographs, and slower for small files
        large = sum(path.stat().st_size for path in first) > 100_000 * len(first)
        found = (pool.map if large else map)(read, paths)
        about = {"total": len(paths), "unit": " pictures", "desc": "reading"}
        return list(progress_bar(progress, iterable=found, **about))


def prepare(picture: Image.Image, size: int) -> np.ndarray:
    """Turn a picture upright, and scale it to `size` pixels without distortion.

    The rest of the square gets the median color of the border. Transparent pixels become white.
    Returns uint8 (3, S, S), or (1, S, S) for a gray picture. A picture with 16 bits or more keeps
    its values, float32 (1, S, S); floats in [0, 1] become uint8.
    """
    picture = ImageOps.exif_transpose(picture)  # phones record how they were held
    if picture.mode.startswith("I") or picture.mode == "F":
        picture = normalize_depth(picture)
    elif picture.has_transparency_data:
        layers = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers)
        picture = picture.convert("RGB")
    else:
        picture = picture.convert("L" if picture.mode in ("1", "L") else "RGB")
    pixels = np.atleast_3d(np.asarray(picture))
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    color = np.median(border, axis=0)
    fill = float(color[0]) if picture.mode == "F" else tuple(int(c) for c in color)
    factor = size / max(picture.size)
    if min(picture.size) * factor < 1:  # older Pillows scale the narrow side to 0 pixels
        picture = picture.resize([max(1, round(side * factor)) for side in picture.size])
    square = ImageOps.pad(picture, (size, size), color=fill)  # type: ignore[arg-type]
    return np.atleast_3d(np.asarray(square)).transpose(2, 0, 1)


def normalize_depth(picture: Image.Image) -> Image.Image:
    """A picture of 16 bits or more as one of floats; floats in [0, 1] as one of 8 bits."""
    values = np.nan_to_num(np.asarray(picture, dtype=np.float32))
    if picture.mode == "F" and values.max() < 2:  # interpolation may exceed 1
        values = np.rint(255 * values).clip(0, 255).astype(np.uint8)
    return Image.fromarray(values)


def stack(pictures: Sequence[np.ndarray], channels: int | None) -> Tensor:
    """Stack arrays from `prepare` into one tensor, uint8 (N, C, S, S).

    Without `channels`, C is 1 if all pictures are gray, otherwise 3. All pictures with 16 bits or
    more are scaled by the same `white_level`.
    """
    white = white_level(max((p.max() for p in pictures if p.dtype == np.float32), default=0))
    eight = [
        p if p.dtype == np.uint8 else np.rint(p * (255 / white)).clip(0, 255).astype(np.uint8)
        for p in pictures
    ]
    if channels is None:
        channels = 3 if any(len(p) == 3 and (p != p[:1]).any() for p in eight) else 1
    if channels == 1:
        return torch.from_numpy(np.stack([_to_gray(p) for p in eight]))
    return torch.from_numpy(np.array([np.broadcast_to(p, (3, *p.shape[1:])) for p in eight]))


def white_level(peak: float) -> float:
    """The value of white in pictures of 16 bits or more whose largest value is `peak`.

    Cameras and scanners often use only the lower 8, 10, 12 or 14 bits.
    """
    return next((2**bits - 1 for bits in (8, 10, 12, 14, 16, 32) if peak < 2**bits), peak)


def _to_gray(picture: np.ndarray) -> np.ndarray:
    if len(picture) == 1 or (picture == picture[:1]).all():
        return picture[:1]
    return np.rint(np.tensordot(LUMINANCE, picture, 1)).astype(np.uint8)[None]


def to_picture(image: Tensor) -> Image.Image:
    """An image uint8 (C, H, W) as a PIL image."""
    return Image.fromarray(image.movedim(0, 2).squeeze(2).cpu().numpy())


def to_png(image: Tensor) -> bytes:
    """An image uint8 (C, H, W) as the content of a PNG file."""
    file = io.BytesIO()
    to_picture(image).save(file, "PNG")
    return file.getvalue()


def data_url(image: Tensor) -> str:
    """An image uint8 (C, H, W) as a data URL, which contains the picture."""
    return f"data:image/png;base64,{base64.b64encode(to_png(image)).decode()}"
