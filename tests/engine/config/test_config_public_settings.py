"""No setting appears, vanishes or changes its type by accident."""

from __future__ import annotations

from pathlib import Path

from engine.config import settings

LIST = Path(__file__).parent / "public_settings.txt"


def listing() -> str:
    """One line a setting: key, type, default, level."""
    return "".join(
        f"{name}\t{info.type_text}\t{info.default!r}\t{info.setting.level}\n"
        for name, info in sorted(settings().items())
    )


def test_public_settings_are_the_listed_ones() -> None:
    # A wanted change: write listing() to the file, in the same commit as the setting.
    assert listing() == LIST.read_text("utf-8")
