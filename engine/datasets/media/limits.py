"""How many pixels a picture may have: larger ones are shrunk and smaller ones grown, in shape."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Limits:
    """`most` and `least` are pixels of a whole picture (width times height)."""

    most: int
    least: int

    @classmethod
    def of(cls, config: Any) -> Limits:
        """Those of image_max_pixels and image_min_pixels."""
        return cls(config.image_max_pixels, config.image_min_pixels)

    def size(self, width: int, height: int) -> tuple[int, int]:
        """The size that a picture of `width` by `height` is given, its shape kept."""
        pixels = width * height
        if pixels > self.most:
            factor = math.sqrt(self.most / pixels)
            return max(1, int(width * factor)), max(1, int(height * factor))
        if pixels < self.least:
            factor = math.sqrt(self.least / pixels)
            return max(1, math.ceil(width * factor)), max(1, math.ceil(height * factor))
        return width, height

    def fitted(self, picture: Image) -> Image:
        """The picture within the limits; itself where it is already."""
        from PIL.Image import Resampling

        size = self.size(*picture.size)
        return picture if size == picture.size else picture.resize(size, Resampling.BICUBIC)
