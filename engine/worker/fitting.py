"""Whether the next run fits: its rows as the forecast needs them, memory, disk, and what helps.

Plain functions for `Engine.lookup`, without torch, like those of `engine.worker.questions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.config import RunConfig

if TYPE_CHECKING:
    from engine.models import Advice, Forecast, ModelCard, RowFacts

    __all__ = ["Advice", "RowFacts"]

# The settings that the rows' tokens follow from.
_ROWS_BY = (
    "model_name_or_path",
    "model_revision",
    "stage",
    "dataset",
    "dataset_dir",
    "max_samples",
    "cutoff_len",
    "template",
    "default_system",
    "train_on_prompt",
    "mask_history",
    "enable_thinking",
    "preserve_thinking",
    "packing",
    "neat_packing",
    "preprocessing_batch_size",
    "distill_on",
    "identity_name",
    "identity_author",
)


@dataclass(frozen=True)
class DiskUse:
    """Bytes that a run leaves on the disk: `total` for `kept` checkpoints of `checkpoint` bytes and
    the final weights; `free` is what the disk has, None where unknown."""

    total: int
    checkpoint: int
    kept: int
    free: int | None

    @property
    def fits(self) -> bool:
        return self.free is None or self.total <= self.free


def rows_key(config: RunConfig) -> tuple[object, ...]:
    """What the facts of the rows follow from: the same key, the same facts."""
    return tuple(getattr(config, name, None) for name in _ROWS_BY)


def row_facts(config: RunConfig) -> RowFacts | None:
    """The facts of the chosen sets' rows: the longest among up to 20,000 of each set, and how the
    first ones pack.

    None where no set is chosen or the model's tokenizer is not there yet. Raises BadInput where
    the sets can't be read.
    """
    from engine import models
    from engine.datasets import Encoder
    from engine.datasets.longest import sample_rows
    from engine.datasets.packing_outlook import packing_outlook
    from engine.models.rows import RowFacts, facts_of_rows

    name = config.model_name_or_path or ""
    if not config.datasets or not name or (name == "demo" and not models.demo_ready()):
        return None
    encoder = Encoder(models.resolve(name).path, config)
    rows = sample_rows(config, encoder)
    if rows is not None and not len(rows):
        return None
    if rows is None:
        facts = RowFacts(int(config.cutoff_len), trained=1.0)
    else:
        facts = facts_of_rows(rows, max(rows.lengths()))
    packed = packing_outlook(config, encoder)
    if packed is None:
        return facts
    # A packed row is laid out whole: as long as the conversations in it together.
    longest = max(facts.longest, packed.longest)
    return replace(facts, longest=longest, shared=0, each=packed.each, filled=packed.filled)


def forecast(card: ModelCard, config: RunConfig, rows: RowFacts | None = None) -> Forecast:
    """Memory that a run would take, by arithmetic."""
    from engine import models

    return models.forecast(card, config, rows)


def advice(card: ModelCard, config: RunConfig, rows: RowFacts | None = None) -> tuple[Advice, ...]:
    """What would make the run fit into this machine, the cheapest first; empty where it fits."""
    from engine.models.memory_advice import memory_advice
    from engine.telemetry import read_machine

    return memory_advice(card, config, read_machine(), rows)


def disk_use(
    card: ModelCard, config: RunConfig, total_steps: int, checkpoint: int, folders: Sequence[Path]
) -> DiskUse:
    """What the run leaves on the disk that holds the first of `folders`."""
    import shutil

    from engine.models.disk import checkpoints_kept, disk_bytes
    from engine.telemetry.machine import nearest_existing

    free: int | None = None
    for folder in folders[:1]:
        free = shutil.disk_usage(nearest_existing(folder)).free
    return DiskUse(
        disk_bytes(config, total_steps, checkpoint),
        checkpoint,
        checkpoints_kept(config, total_steps),
        free,
    )
