"""What can be talked to, scored and exported: a base, and what runs have made of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tui.language import _

if TYPE_CHECKING:
    from engine.runs.history import RunSummary
    from engine.worker.questions import BestStep

_WHOLE = ("model.safetensors", "model.safetensors.index.json")


@dataclass(frozen=True)
class Source:
    """A model to talk to, score or export: a base, or a base with an adapter of a run.

    `model` and `adapter` are what the run description takes; `folder` is the run it came from.
    `scores` tells that it is a reward model, `best` that its run measured best there.
    """

    label: str
    model: str
    adapter: str = ""
    folder: Path | None = None
    scores: bool = False
    best: bool = False

    @property
    def marks(self) -> tuple[str, ...]:
        """What a list of models says of it beside its name."""
        words = [_("reward model")] if self.scores else []
        return ("  ".join([*words, *(["★"] if self.best else [])]),) if words or self.best else ()


def run_sources(run: RunSummary, best: BestStep | None = None) -> tuple[Source, ...]:
    """The result of a run (when it has one) and its complete checkpoints, newest first; `model` is
    empty where the run's files don't tell its base; `best` is where it measured best. Reads the
    run's folder."""
    from engine.worker.questions import is_reward_model, run_model

    model = run_model(run.path)
    adapter = run.method in ("lora", "oft", "")
    found: list[Source] = []
    places = []
    if any((run.path / name).exists() for name in ("adapter_model.safetensors", *_WHOLE)):
        places.append((run.name, run.path, False))
    for step in reversed(run.checkpoints):
        folder = run.path / f"checkpoint-{step}"
        at_best = best is not None and step == best.step
        places.append((f"{run.name}/checkpoint-{step}", folder, at_best))
    for label, folder, at_best in places:
        if adapter and (folder / "adapter_config.json").exists():
            scores = run.stage == "rm" or is_reward_model(folder)
            found.append(Source(label, model, str(folder), run.path, scores, at_best))
        elif (folder / "config.json").exists():
            scores = is_reward_model(folder)
            found.append(Source(label, str(folder), "", run.path, scores, at_best))
    return tuple(found)


def base_of(source: Source) -> Source | None:
    """What a run's model was made of; None for a base itself, and where the run does not tell.
    Reads the run's folder."""
    from engine.worker.questions import run_model

    if source.folder is None:
        return None
    model = source.model if source.adapter else run_model(source.folder)
    return Source(bare_name(model), model) if model else None


def bare_name(model: str) -> str:
    """The last part of a folder or a hub's name."""
    return model.rstrip("/").rsplit("/", 1)[-1]
