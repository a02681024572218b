"""Read pictures of all kinds as arrays of one size."""

import base64
import io
import math
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from helpers.messages import Show, progress_bar

LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as Pillow has it


def read_pictures(
    paths: Sequence[Path | bytes], *, size: int, progress: Show = None
) -> list[np.ndarray | str]:
    """Read picture files, or their contents, as `prepare` returns them.

    A file that cannot be read gives a text that says why, instead of an array. A picture of more
    than 89 million pixels is not decoded.
    """

    def read(path: Path | bytes) -> np.ndarray | str:
        try:
            with Image.open(io.BytesIO(path) if isinstance(path, bytes) else path) as picture:
                return prepare(picture, size)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            return "it is too large"
        except FileNotFoundError:
            return "there is no such file"
        except Exception as error:  # Pillow's readers raise all kinds for damaged files
            return str(error) or type(error).__name__

    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", module="PIL", category=UserWarning)  # odd EXIF or palette
        first = [path for path in paths[:100] if isinstance(path, Path) and path.is_file()]
        # threads help with photographs; small files take longer in them
        large = sum(path.stat().st_size for path in first) > 100_000 * len(first)
        found = (pool.map if large else map)(read, paths)
        about = {"total": len(paths), "unit": " pictures", "desc": "reading"}
        return list(progress_bar(progress, iterable=found, **about))


def prepare(picture: Image.Image, size: int) -> np.ndarray:
    """Turn a picture upright, and scale it to `size` pixels without distortion.

    The rest of the square gets the median color of the border. What is transparent becomes white.
    Returns uint8 (3, S, S), or (1, S, S) of a grey picture; of one with 16 bits or more its values,
    float32 (1, S, S).
    """
    picture = ImageOps.exif_transpose(picture)  # phones record how they were held
    if picture.mode.startswith("I") or picture.mode == "F":
        picture = Image.fromarray(np.nan_to_num(np.asarray(picture, dtype=np.float32)))
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
    least = math.ceil(max(picture.size) / size)  # of a narrower one, older Pillows leave no pixel
    if min(picture.size) < least:
        picture = picture.resize([max(side, least) for side in picture.size])
    square = ImageOps.pad(picture, (size, size), color=fill)  # type: ignore[arg-type]
    return np.atleast_3d(np.asarray(square)).transpose(2, 0, 1)


def stack(pictures: Sequence[np.ndarray], channels: int | None) -> Tensor:
    """Put arrays from `prepare` together: uint8 (N, C, S, S).

    Without `channels`, C is 1 if all pictures are grey, otherwise 3. White is the same in all
    pictures of 16 bits: see `white_level`.
    """
    white = white_level(max((p.max() for p in pictures if p.dtype == np.float32), default=0))
    eight = [
        p if p.dtype == np.uint8 else np.rint(p * (255 / white)).clip(0, 255).astype(np.uint8)
        for p in pictures
    ]
    if channels is None:
        channels = 3 if any(len(p) == 3 and (p != p[:1]).any() for p in eight) else 1
    if channels == 1:
        return torch.from_numpy(np.stack([_to_grey(p) for p in eight]))
    return torch.from_numpy(np.stack([np.broadcast_to(p, (3, *p.shape[1:])) for p in eight]))


def white_level(peak: float) -> float:
    """What is white in pictures of 16 bits or more whose largest value is `peak`.

    Cameras and scanners often fill only the lower 8, 10, 12 or 14 of them.
    """
    return next((2**bits - 1 for bits in (8, 10, 12, 14, 16, 32) if peak < 2**bits), peak)


def _to_grey(picture: np.ndarray) -> np.ndarray:
    if len(picture) == 1 or (picture == picture[:1]).all():
        return picture[:1]
    return np.rint(np.tensordot(LUMINANCE, picture, 1)).astype(np.uint8)[None]


def to_picture(image: Tensor) -> Image.Image:
    """An image uint8 (C, H, W) as a picture of Pillow."""
    return Image.fromarray(image.movedim(0, 2).squeeze(2).cpu().numpy())


def to_png(image: Tensor) -> bytes:
    """An image uint8 (C, H, W) as the content of a PNG file."""
    file = io.BytesIO()
    to_picture(image).save(file, "PNG")
    return file.getvalue()


def data_url(image: Tensor) -> str:
    """An image uint8 (C, H, W) as a URL that holds the picture itself."""
    return f"data:image/png;base64,{base64.b64encode(to_png(image)).decode()}"
