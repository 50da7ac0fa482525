"""Converters: a row of a file, in one of the published formats, becomes an Example."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.datasets.example import Example
from engine.datasets.formats import alpaca, openai, sharegpt, text
from engine.datasets.formats.fields import RowFault
from engine.datasets.registry import DatasetInfo

__all__ = ["RowFault", "convert"]

_CONVERTERS = {
    "alpaca": alpaca.convert,
    "sharegpt": sharegpt.convert,
    "openai": openai.convert,
}


def convert(row: Mapping[str, Any], info: DatasetInfo, number: int) -> Example:
    """The Example of `row`, whose number (from 1) is `number`. Raises RowFault with the reason."""
    if info.shape == "text":
        return text.convert(row, info, number)
    return _CONVERTERS[info.formatting](row, info, number)
