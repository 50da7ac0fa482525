"""Converters: a row of a file, in one of the published formats, becomes an Example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.datasets.dataset_info import DatasetInfo
from engine.datasets.example import Example
from engine.datasets.formats import alpaca, openai, sharegpt, text
from engine.datasets.formats.characters import check_characters
from engine.datasets.formats.fields import RowFault

__all__ = ["RowFault", "convert", "path_beside"]

_CONVERTERS = {
    "alpaca": alpaca.convert,
    "sharegpt": sharegpt.convert,
    "openai": openai.convert,
}


def convert(row: Mapping[str, Any], info: DatasetInfo, number: int) -> Example:
    """The Example of `row`, whose number (from 1) is `number`. Raises RowFault with the reason."""
    try:
        example = _converted(row, info, number)
        check_characters(example)
    except RecursionError:
        raise RowFault("it is nested too deeply") from None
    return example


def _converted(row: Mapping[str, Any], info: DatasetInfo, number: int) -> Example:
    if info.shape == "text":
        return text.convert(row, info, number)
    example = _CONVERTERS[info.formatting](row, info, number)
    if example.media:
        named = (one._replace(name=path_beside(info, one.name)) for one in example.media)
        return replace(example, media=tuple(named))
    return example


def path_beside(info: DatasetInfo, path: str) -> str:
    """The path of a medium; of a set of the person's own list, whose media lie beside its file and
    not in dataset_dir, the whole path."""
    if not info.file_name or not Path(info.file_name).is_absolute():
        return path
    own = Path(info.file_name)
    near = [root / path for root in (own.parent, own) if "://" not in path]
    return next((str(place) for place in near if place.is_file()), path)
