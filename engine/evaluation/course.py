"""The course of a measurement, whatever is measured: load, read, measure set by set, write."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from engine.problem import BadInput, Problem
from engine.runs.atomic import write_atomic
from engine.runs.results import write_results
from engine.runs.session import JobSession

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.datasets import Prepared
    from engine.models.inference import Loaded


@dataclass
class Tally:
    """Sums over the rows of a set, each field a number; `rows` counts them."""

    rows: int = 0

    @classmethod
    def joined(cls, parts: Iterable[Self]) -> Self:
        """The sums of several sets together."""
        parts = list(parts)
        return cls(**{f.name: sum(getattr(part, f.name) for part in parts) for f in fields(cls)})

    def numbers(self, prefix: str) -> dict[str, float]:
        """The means, each name behind `prefix`; empty where nothing was counted."""
        raise NotImplementedError


Measure = Callable[["Loaded", "Prepared", "RunConfig", JobSession], dict[str, Any]]


def measured(
    config: RunConfig,
    session: JobSession,
    *,
    head: Literal["language", "score"],
    form: Literal["tokens", "pairs"],
    measure: Measure,
    nothing: Problem,
) -> dict[str, Any]:
    """What `measure(loaded, prepared, config, session)` makes of the rows to measure on.

    It gives a `Tally` for each set. The result holds the means of all, with several sets also each
    one's own, `eval_runtime` and `eval_samples_per_second`, and is written into the session's
    folder. Raises BadInput (`nothing` where there are no rows), Stopped once asked to stop.
    """
    from engine.datasets import prepare
    from engine.models.inference import interruptible, load_for_inference

    def ask() -> None:
        session.check()

    loaded = load_for_inference(config, session, head)
    prepared = prepare(only_measured(config), loaded.encoder, session.progress, ask, form)
    for note in prepared.notes:
        session.say(note, "note")
    if not len(prepared.eval):
        raise BadInput(nothing)
    if session.folder is not None:
        describe(session.folder, config)
    began = time.monotonic()
    with interruptible(loaded.model, session.check):
        sums = measure(loaded, prepared, config, session)
    seconds = time.monotonic() - began
    total = type(next(iter(sums.values()))).joined(sums.values())
    result: dict[str, Any] = total.numbers("eval")
    if len(sums) > 1:
        for name, part in sums.items():
            result |= part.numbers(f"eval_{name}")
    result["eval_runtime"] = round(seconds, 4)
    result["eval_samples_per_second"] = round(total.rows / max(seconds, 1e-9), 3)
    if session.folder is not None:
        write_results(session.folder, "eval_results.json", result)
    return result


def only_measured(config: RunConfig) -> RunConfig:
    """The settings without the rows to train on, where others are measured."""
    return replace(config, dataset=None) if config.eval_datasets else config


def describe(folder: Path, config: RunConfig) -> None:
    """Say in `training_args.yaml` what was measured, unless the folder belongs to a training."""
    from engine.config import write_yaml

    path = folder / "training_args.yaml"
    if not path.exists():
        write_atomic(path, write_yaml(config))
