"""Images from files, all of one size and colour, as anybody's schema file states them."""

import io
import struct
import zlib
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps

from tacit.domains.own.content import Rows
from tacit.domains.own.files import IMAGE
from tacit.domains.own.schema_parts import Colour, ImageSpec
from tacit.domains.schema import Say, place
from tacit.errors import DataError

FORMATS: Final = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "PPM")
EIGHT_BITS: Final = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
"""Pillow's modes that become grey or RGB of eight bits without a choice of ours."""
WHITE: Final = 255
_BROKEN: Final = (
    *(OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError),
    *(OverflowError, AttributeError, struct.error, zlib.error),
    Image.DecompressionBombError,
)
"""What Pillow's readers raise on files that are cut, altered, or something else."""


class Images:
    """Images of one size: float32 [n, channels, height, width] from 0 (black) to 1.

    Parameters
    ----------
    spec
        Their size and colour.
    """

    groups: tuple[slice, ...] = ()

    def __init__(self, spec: ImageSpec) -> None:
        self._spec = spec
        self._column = spec.column or IMAGE
        self.needed = (self._column,)
        self.inputs = (1 if spec.colour is Colour.GREY else 3, *spec.size)

    def read(self, rows: Rows, say: Say) -> torch.Tensor:
        """Read every image; one that cannot be used is black, and said with its path."""
        found = np.zeros((len(rows.table), *self.inputs), np.float32)
        for pixels, row, cell in zip(
            found, rows.table.index, rows.table[self._column], strict=True
        ):
            try:
                pixels[:] = self._image(cell, rows.folder).astype(np.float32) / WHITE
            except DataError as error:
                named = "" if isinstance(cell, bytes) or cell == row else f" {str(cell)!r}"
                say(f"{rows.source}: {place(row)}: image{named} {error}")
        return torch.from_numpy(found)

    def _image(self, cell: str | bytes, folder: Path) -> npt.NDArray[np.uint8]:
        """Return pixels [channels, height, width]."""
        if cell in ("", b""):
            raise DataError("is missing: write a path, or take the row out")
        height, width = self._spec.size
        try:
            with Image.open(
                io.BytesIO(cell) if isinstance(cell, bytes) else folder / cell, formats=FORMATS
            ) as image:
                if image.mode not in EIGHT_BITS:
                    raise DataError(
                        f"has pixels of the mode {image.mode}: save it in grey or RGB of 8 bits"
                    )
                turned = ImageOps.exif_transpose(image)
                if turned.size != (width, height) and not self._spec.resize:
                    raise DataError(
                        f"has {turned.height} x {turned.width} pixels (height, width), and the "
                        f"schema says {height} x {width}: resize it, or write resize: true"
                    )
                plain = turned.convert("L" if self._spec.colour is Colour.GREY else "RGB")
                if plain.size != (width, height):
                    plain = plain.resize((width, height), Image.Resampling.BILINEAR)
        except FileNotFoundError as error:
            raise DataError(f"is not there: {error.filename}") from error
        except _BROKEN as error:
            raise DataError(f"cannot be read as {', '.join(FORMATS)}: {error}") from error
        pixels = np.asarray(plain, np.uint8)
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
