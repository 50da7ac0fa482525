"""Which files are packed, by their names."""

from __future__ import annotations

from pathlib import Path

PACKED = (".gz", ".zst")


def is_packed(path: Path) -> bool:
    """Whether a file is packed, by its name."""
    return path.suffix.lower() in PACKED


def inner_suffix(path: Path) -> str:
    """What a file is below its packing: `.jsonl` of `rows.jsonl.gz`."""
    return Path(path.stem).suffix.lower() if is_packed(path) else path.suffix.lower()
