"""Result files of a job: each whole or absent, and all numbers together in one of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.runs.atomic import write_atomic

if TYPE_CHECKING:
    from engine.config import RunConfig

ALL_RESULTS = "all_results.json"


def write_results(folder: Path, name: str, numbers: dict[str, Any]) -> None:
    """Write `name` (`eval_results.json`), and bring `all_results.json` up to date with it.

    What other jobs wrote into `all_results.json` stays. Raises OSError on a full disk.
    """
    write_atomic(folder / name, _text(numbers))
    write_atomic(folder / ALL_RESULTS, _text({**_read(folder / ALL_RESULTS), **numbers}))


def describe(folder: Path, config: RunConfig) -> None:
    """Say in `training_args.yaml` what was measured, unless the folder belongs to a training."""
    from engine.config import write_yaml

    path = folder / "training_args.yaml"
    if not path.exists():
        write_atomic(path, write_yaml(config))


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # absent, or damaged by something else: the new numbers are written anyway
    return value if isinstance(value, dict) else {}


def _text(numbers: dict[str, Any]) -> str:
    return json.dumps(numbers, indent=4, sort_keys=True, ensure_ascii=False) + "\n"
