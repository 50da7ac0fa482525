"""Result files of a job: each whole or absent, and all numbers together in one of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.runs.atomic import write_atomic
from engine.runs.json_object import read_object

ALL_RESULTS = "all_results.json"


def write_numbers(path: Path, numbers: dict[str, Any]) -> None:
    """Write one result file, its names sorted. Raises OSError on a full disk."""
    text = json.dumps(numbers, indent=4, sort_keys=True, ensure_ascii=False)
    write_atomic(path, text + "\n")


def write_results(folder: Path, name: str, numbers: dict[str, Any]) -> None:
    """Write `name` (`eval_results.json`), and bring `all_results.json` up to date with it.

    What other jobs wrote into `all_results.json` stays. Raises OSError on a full disk.
    """
    write_numbers(folder / name, numbers)
    # Where it is damaged by something else, the new numbers are written anyway.
    write_numbers(folder / ALL_RESULTS, {**read_object(folder / ALL_RESULTS), **numbers})
