"""What is remembered of models between starts: where each lies, its hub, revision and licence."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.paths import state_dir
from engine.runs.atomic import write_atomic
from engine.runs.json_object import read_object


@dataclass(frozen=True)
class Place:
    """Where a model was put. `hub` is huggingface, modelscope, or empty for a folder that a person
    named; `revision` and `licence` are empty where they are not known."""

    path: str
    hub: str = ""
    revision: str = ""
    licence: str = ""


def places() -> dict[str, Place]:
    """By model name. A damaged file counts as empty."""
    record = read_object(_memory())
    return {name: place for name, row in record.items() if (place := _place(row)) is not None}


def place_of(name: str) -> Place | None:
    """Where the model `name` was put, while there is still a model in that folder."""
    place = places().get(name)
    return place if place is not None and (Path(place.path) / "config.json").is_file() else None


def remember_place(name: str, place: Place) -> None:
    """Keep where a model lies."""
    known = places()
    known[name] = place
    rows = {key: asdict(one) for key, one in sorted(known.items())}
    write_atomic(_memory(), json.dumps(rows, ensure_ascii=False, indent=1))


def forget_place(name: str) -> None:
    """No longer keep where a model lies; its files stay."""
    rows = {key: asdict(one) for key, one in places().items() if key != name}
    write_atomic(_memory(), json.dumps(rows, ensure_ascii=False, indent=1))


def _place(row: Any) -> Place | None:
    if not isinstance(row, dict) or not isinstance(row.get("path"), str):
        return None
    return Place(**{key: str(row.get(key) or "") for key in ("path", "hub", "revision", "licence")})


def _memory() -> Path:
    return state_dir() / "model_places.json"
