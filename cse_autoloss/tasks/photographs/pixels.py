"""The pixels of a photograph as viewers show it: turned as its EXIF orientation says, 8 bits a channel, RGB."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cse_autoloss.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

ORIENTATION = 0x0112
"""EXIF's tag; 1 is upright, 5 to 8 swap the sides."""
TURNS = (
    *(
        "FLIP_LEFT_RIGHT",
        "ROTATE_180",
        "FLIP_TOP_BOTTOM",
        "TRANSPOSE",
        "ROTATE_270",
        "TRANSVERSE",
        "ROTATE_90",
    ),
)
"""Pillow's names of what makes an image of orientation 2 to 8 upright."""


class Picture(NamedTuple):
    """What a file turned out to hold.

    Attributes:
        width, height: pixels as they are stored.
        orientation: EXIF's, 1 to 8.
        checksum: of the file's bytes.
    """

    width: int
    height: int
    orientation: int
    checksum: str

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height as viewers show it."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def read_photograph(path: Path, upright: bool = True) -> Image.Image:
    """RGB, 8 bits.

    Pixels of 16 bits are scaled from their whole range, and floats from 0 to 1 or to 255, whichever holds them;
    transparency is left out, as most libraries do.

    Args:
        path: of any file that Pillow reads; of several pictures in it, the first.
        upright: follow the orientation in the file.

    Raises:
        DataError: in one line.
    """
    return decode(path, _eight_bits, upright)[1]


def inspect_photograph(path: Path) -> Picture:
    """Decode it whole, and tell what it is; errors as of `read_photograph`."""
    return decode(path, _eight_bits, upright=False)[0]


def decode(
    path: Path, to: Callable[[Image.Image], Image.Image], upright: bool = True
) -> tuple[Picture, Image.Image]:
    """What a file is, and what `to` makes of its image; errors, also of `to`'s ValueError, as of `read_photograph`."""
    from PIL import Image, UnidentifiedImageError

    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as opened:
            turn = opened.getexif().get(ORIENTATION, 1)
            orientation = turn if isinstance(turn, int) and 1 <= turn <= 8 else 1
            checksum = hashlib.blake2b(content, digest_size=16).hexdigest()
            picture = Picture(opened.width, opened.height, orientation, checksum)
            image = to(opened)
            if upright and orientation > 1:
                image = image.transpose(Image.Transpose[TURNS[orientation - 2]])
            return picture, image
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except UnidentifiedImageError:
        raise DataError(f"{path} does not decode: of no kind of image that is known") from None
    except (
        *(OSError, ValueError, SyntaxError, EOFError, OverflowError, MemoryError),
        *(Image.DecompressionBombError, Image.DecompressionBombWarning),
    ) as error:
        raise DataError(f"{path} does not decode: {' '.join(str(error).split())}") from None


def _eight_bits(image: Image.Image) -> Image.Image:
    from PIL import Image

    if image.mode == "I" or image.mode.startswith("I;16") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        if not np.isfinite(values).all() or values.min() < 0:
            raise ValueError("holds pixels below 0 or without a value")
        ranges = (1.0, 255.0, 65535.0) if image.mode == "F" else (65535.0,)
        whole = next((one for one in ranges if values.max() <= one), None)
        if whole is None:
            raise ValueError(f"holds pixels up to {values.max():g}; expected at most {ranges[-1]:g}")
        return Image.fromarray(np.round(values * (255 / whole)).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")
