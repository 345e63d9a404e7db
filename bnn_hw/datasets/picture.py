# SPDX-License-Identifier: Apache-2.0
"""Picture files as pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from bnn_hw.errors import ArtefactError, UsageError
from bnn_hw.tools import require

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

__all__ = ["SUFFIXES", "Picture", "read_pictures"]

SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pbm", ".pgm", ".ppm", ".pnm")

_Colour: TypeAlias = tuple[int, int, int]  # red, green, blue: 0..255
_PLAIN_GREY: Final = ("1", "L")  # Pillow's modes
_COLOURLESS: Final = (*_PLAIN_GREY, "LA", "La", "P", "PA")  # or with a palette, which may hold greys alone
_ALPHA: Final = ("LA", "La", "PA", "RGBA", "RGBa")
_ORIENTATION: Final = 0x0112  # EXIF's tag


@dataclass(frozen=True, eq=False)
class Picture:
    """The pixels of a picture file, and how they were obtained.

    `pixels`: [rows, columns, channels] uint8, of one channel if the picture is grey, else red, green and blue.
    """

    pixels: np.ndarray
    transparent: bool  # and laid on the background
    turned: bool  # as its EXIF data say
    greatest: int  # the greatest value in a file of 16 bits a pixel, whose upper 8 bits are `pixels`; 0 for other files


def read_pictures(paths: Sequence[Path], background: str = "white") -> list[Picture]:
    """Returns pictures as viewers show them: turned as their EXIF data say, with transparent pixels on the `background`.

    `background`: a colour in CSS's notation, such as black or #rrggbb. Of 16 bits a pixel the upper 8 are kept. Raises
    `ArtefactError` for a file that is damaged, that holds several pictures or pixels that are not integers, or that is
    invisible on that background, and `ToolError` where Pillow is missing.
    """
    require("pillow")
    colour = _colour(background)
    return [_read(path, colour) for path in paths]


def _colour(name: str) -> _Colour:
    from PIL import ImageColor

    rule = f"background must be an opaque colour such as white, black or #rrggbb, not {name!r}"
    try:
        colour = ImageColor.getrgb(name)
    except ValueError as error:
        raise UsageError(rule) from error
    if len(colour) != 3:
        raise UsageError(rule)
    return colour


def _read(path: Path, background: _Colour) -> Picture:
    from PIL import Image, ImageOps

    try:
        with path.open("rb") as file, Image.open(file) as image:  # opened by name, Pillow 13 misreads a TIFF that must be turned
            if getattr(image, "is_animated", False) and image.format != "MPO":  # a phone's JPEG, with a small one behind it
                raise ValueError("it holds several pictures")
            _scale_transparency(image)
            deep, colourless, turned = image.mode.startswith("I"), image.mode in _COLOURLESS, _orientation(image) > 1
            upright = ImageOps.exif_transpose(image) if turned and image.format != "TIFF" else image  # Pillow turns a TIFF itself
            pixels, alpha, greatest = (_deep if deep else _shallow)(upright)
    except Exception as error:  # Pillow lets nearly any exception out of a damaged file
        raise ArtefactError(f"{path} cannot be read as a picture: {error}; save it as PNG, or move it elsewhere") from error
    transparent = bool(alpha.min(initial=255) < 255)
    if transparent:
        pixels = _laid(pixels, alpha, background)
        if alpha.min() < alpha.max() and (pixels == pixels[0, 0]).all():
            other = "black" if pixels.mean() >= 128 else "white"
            raise ArtefactError(f"{path}: nothing of this transparent picture is seen on its background; give --background {other}")
    if (deep or colourless) and (pixels == pixels[..., :1]).all():
        pixels = pixels[..., :1]
    return Picture(pixels, transparent, turned, greatest)


def _orientation(image: "Image") -> int:
    """Returns in which of EXIF's eight ways a picture is turned; 1, not turned, if its EXIF data are damaged or absent."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # as in `_read`; viewers show such a picture anyway
        return 1
    return orientation if orientation in range(1, 9) else 1


def _scale_transparency(image: "ImageFile") -> None:
    """Brings the transparent colour of a PNG file to the scale of its pixels, which Pillow 13 does for other depths only."""
    match image.tile[0][3] if image.format == "PNG" and image.tile else None, image.info.get("transparency"):
        case "L;2", int(level):
            image.info["transparency"] = level * 85
        case "L;4", int(level):
            image.info["transparency"] = level * 17
        case "RGB;16B", tuple(levels):
            image.info["transparency"] = tuple(level >> 8 for level in levels)


def _shallow(image: "Image") -> tuple[np.ndarray, np.ndarray, int]:
    """Returns pixels [rows, columns, 1 or 3] uint8, alpha [rows, columns] uint8, empty where nothing is transparent, and 0."""
    if image.mode == "F":
        raise ValueError("its pixels are real numbers")
    if image.mode in _ALPHA or "transparency" in image.info:
        whole = np.asarray(image.convert("RGBA"))
        return whole[..., :3], whole[..., 3], 0
    pixels = np.asarray(image.convert("L" if image.mode in _PLAIN_GREY else "RGB"))
    return pixels.reshape(*pixels.shape[:2], -1), np.zeros((0, 0), np.uint8), 0


def _deep(image: "Image") -> tuple[np.ndarray, np.ndarray, int]:
    """Returns the same of a picture of 16 bits a pixel, which Pillow itself would cut off at 255, and its greatest value."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() >> 16:
        raise ValueError(f"its pixels must be in 0..65535, not {values.min()}..{values.max()}")
    alpha = np.where(values == image.info.get("transparency", -1), np.uint8(0), np.uint8(255))
    return (values >> 8).astype(np.uint8)[..., None], alpha, int(values.max())


def _laid(pixels: np.ndarray, alpha: np.ndarray, background: _Colour) -> np.ndarray:
    """Returns ``(alpha * pixel + (255 - alpha) * background) / 255`` to the nearest: [rows, columns, 3] uint8."""
    weight = alpha[..., None].astype(np.uint16)
    return ((weight * pixels + (255 - weight) * np.array(background, np.uint16) + 127) // 255).astype(np.uint8)
