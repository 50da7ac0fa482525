"""Where the bundled theme files are."""

from __future__ import annotations

from pathlib import Path


def themes_dir() -> Path:
    """The folder of the bundled themes: inside the package as installed, else the source tree's."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "themes"
    return inside if inside.is_dir() else package.parent / "themes"
