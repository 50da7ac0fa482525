"""Rows on disk become checked conversations, and those become tokens with the trained part marked.

Importing this imports no tokenizer, template engine or table reader: they come when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.datasets.checks import DataCheck, check_dataset
    from engine.datasets.dataset_info import DatasetInfo
    from engine.datasets.encode import Encoded, Encoder, TokenPiece
    from engine.datasets.example import Example, Message, RowProblem
    from engine.datasets.fill import Fill
    from engine.datasets.listing import DatasetEntry, fits, list_datasets
    from engine.datasets.preparation import Prepared, prepare
    from engine.datasets.registry import find_dataset, read_registry
    from engine.datasets.rows import RowIndex, open_rows
    from engine.datasets.stage_rows import PartRows, StageRows, TokenRows

_HOMES = {
    "checks": ("DataCheck", "check_dataset"),
    "dataset_info": ("DatasetInfo",),
    "encode": ("Encoded", "Encoder", "TokenPiece"),
    "example": ("Example", "Message", "RowProblem"),
    "fill": ("Fill",),
    "listing": ("DatasetEntry", "fits", "list_datasets"),
    "preparation": ("Prepared", "prepare"),
    "registry": ("find_dataset", "read_registry"),
    "rows": ("RowIndex", "open_rows"),
    "stage_rows": ("PartRows", "StageRows", "TokenRows"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "DataCheck",
    "DatasetEntry",
    "DatasetInfo",
    "Encoded",
    "Encoder",
    "Example",
    "Fill",
    "Message",
    "PartRows",
    "Prepared",
    "RowIndex",
    "RowProblem",
    "StageRows",
    "TokenPiece",
    "TokenRows",
    "check_dataset",
    "find_dataset",
    "fits",
    "list_datasets",
    "open_rows",
    "prepare",
    "read_registry",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
