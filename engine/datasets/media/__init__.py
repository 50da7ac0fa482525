"""Pictures that rows point to: where they lie, how large they are let be, how they look in cells.

PIL is imported when a picture is opened, and nothing here needs torch.
"""

from __future__ import annotations

from engine.datasets.media.limits import Limits
from engine.datasets.media.paths import find_picture, media_root, open_picture

__all__ = ["Limits", "find_picture", "media_root", "open_picture"]
