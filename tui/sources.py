"""What can be talked to, scored and exported: a base, and what runs have made of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.runs.history import RunSummary

_WHOLE = ("model.safetensors", "model.safetensors.index.json")


@dataclass(frozen=True)
class Source:
    """A model to talk to, score or export: a base, or a base with an adapter of a run.

    `model` and `adapter` are what the run description takes; `folder` is the run it came from.
    """

    label: str
    model: str
    adapter: str = ""
    folder: Path | None = None


def run_sources(run: RunSummary) -> tuple[Source, ...]:
    """The result of a run (when it has one) and its complete checkpoints, newest first; `model` is
    empty where the run's files don't tell its base. Reads the run's folder."""
    from engine.worker.questions import run_model

    model = run_model(run.path)
    lora = run.method in ("lora", "")
    found: list[Source] = []
    places = []
    if any((run.path / name).exists() for name in ("adapter_model.safetensors", *_WHOLE)):
        places.append((run.name, run.path))
    for step in reversed(run.checkpoints):
        folder = run.path / f"checkpoint-{step}"
        places.append((f"{run.name}/checkpoint-{step}", folder))
    for label, folder in places:
        if lora and (folder / "adapter_config.json").exists():
            found.append(Source(label, model, str(folder), run.path))
        elif (folder / "config.json").exists():
            found.append(Source(label, str(folder), "", run.path))
    return tuple(found)
