"""Media that rows point to: where they lie, how large they are let be, how they look in cells.

PIL and the like are imported when a file is opened, and nothing here needs torch.
"""

from __future__ import annotations

from engine.datasets.media.limits import Limits
from engine.datasets.media.paths import find_medium, find_picture, media_root, open_picture

__all__ = ["Limits", "find_medium", "find_picture", "media_root", "open_picture"]
