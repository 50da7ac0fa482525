"""Plain text, one column, for pre-training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.datasets.dataset_info import DatasetInfo
from engine.datasets.example import Example
from engine.datasets.formats.fields import RowFault, text_field


def convert(row: Mapping[str, Any], info: DatasetInfo, number: int) -> Example:
    """The text of the column that `columns.prompt` names. Raises RowFault for an empty one."""
    text = text_field(row, info.columns.prompt, needed=True)
    if not text.strip():
        raise RowFault(f"{info.columns.prompt!r} is empty")
    return Example("text", number, text=text)
