"""What can be asked of the engine while it works: none of it needs a device or torch.

Each is a plain function for `Engine.lookup`; the screen imports their result types from here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.config import RunConfig
from engine.config.method import writes_answers
from engine.problem import BadInput, Problem
from engine.runs.json_object import read_object

if TYPE_CHECKING:
    from engine.datasets import DatasetEntry, Encoder, Example, RowIndex, TokenPiece
    from engine.events import Completions
    from engine.models import FieldNote, Forecast, ModelCard
    from engine.runs.history import RunSummary
    from engine.telemetry import Machine

    __all__ = ["DatasetEntry", "FieldNote", "Forecast", "ModelCard"]


@dataclass(frozen=True)
class KnownModel:
    """A line of the model list: what the run description calls it, what a person calls it.

    `scores` tells that it is a reward model, which can't be talked to; `hub` is the hub that its id
    is of, empty for folders and the demo.
    """

    name: str
    label: str
    source: str
    parameters: int | None
    ready: bool
    scores: bool = False
    hub: str = ""


@dataclass(frozen=True)
class DataFacts:
    """What the chosen sets come to: rows that would be trained on and held out, by their counts."""

    rows: int
    eval_rows: int
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class RowView:
    """One row of a set, from three sides. `index` counts from 0; `pieces` is empty where the row
    can't be rendered, and `problem` then says why. While the set is being indexed, `share` of it
    is done, `total` are the rows known so far, and a row behind them comes empty."""

    dataset: str
    index: int
    total: int
    raw: dict[str, Any]
    example: Example | None
    pieces: tuple[TokenPiece, ...]
    problem: str = ""
    share: float = 1.0


def datasets_in(folder: str | None) -> list[DatasetEntry]:
    """The sets of a dataset folder (None: the default one). Raises BadInput."""
    from engine.datasets import list_datasets

    return list_datasets(folder)


def misfit(entry: DatasetEntry, stage: str) -> str:
    """Why a set does not suit a stage; an empty text where it does."""
    from engine.datasets import fits

    return fits(entry, stage) or ""


def known_models() -> list[KnownModel]:
    """The demo, local folders, the hub cache, ids typed before."""
    from engine import models

    found = []
    for entry in models.known_models():
        parameters, scores = None, False
        if entry.source == "demo":
            parameters = models.demo_card().parameters
        elif entry.path is not None:
            try:
                parameters = models.read_card(entry.path).parameters
            except BadInput:
                parameters = None
            scores = is_reward_model(entry.path)
        found.append(
            KnownModel(
                entry.id, entry.name, entry.source, parameters, entry.ready, scores, entry.hub
            )
        )
    return found


def model_card(name: str) -> ModelCard:
    """The card of a model that is on disk, or of the demo before it is fetched. Raises BadInput."""
    from engine import models

    if name == "demo" and not models.demo_ready():
        return models.demo_card()
    folder = models.resolve(name)
    return models.read_card(folder.path, folder.name)


def folder_fault(name: str) -> Problem | None:
    """What is wrong with the folder that a model's name means; None where nothing is, and for one
    that a hub may have."""
    from engine.models import resolve
    from engine.models.locate import names_folder

    name = name.strip()
    if name == "demo" or not names_folder(name):
        return None
    try:
        resolve(name)
    except BadInput as error:
        return error.problem
    return None


def is_reward_model(folder: Path) -> bool:
    """Whether a model or an adapter scores answers instead of writing them."""
    from engine.models import score_head

    return score_head.is_reward_model(folder)


def remember_model(name: str) -> None:
    """Keep a typed id or folder for the model list."""
    from engine.models.locate import remember

    remember(name)


def demo_ready() -> bool:
    from engine import models

    return models.demo_ready()


def precision_name(config: RunConfig) -> str:
    """The precision that a run would use on this machine, in a word: bf16, fp16, fp32."""
    from engine.models.device import expected_device
    from engine.models.precision import expected_precision

    machine = this_machine()
    return expected_precision(config, machine, expected_device(config, machine)).name


def data_facts(entries: Sequence[DatasetEntry], config: RunConfig) -> DataFacts:
    """Rows by the registry's counts: `max_samples` and `val_size` taken into account.

    Rows that turn out unusable are only known once they are read; the run says so then.
    """
    rows = {
        # Random rows of it, and some twice where there are fewer.
        entry.name: (entry.info.num_samples if entry.info else None) or entry.rows
        for entry in entries
    }
    missing = tuple(name for name in config.datasets if rows.get(name) is None)
    most = config.max_samples
    counts = [rows[name] or 0 for name in config.datasets if rows.get(name) is not None]
    total = sum(min(count, most) if most else count for count in counts)
    held = 0
    if config.val_size >= 1:
        held = min(int(config.val_size), total)
    elif config.val_size > 0:
        held = max(1, round(total * config.val_size)) if total else 0
    return DataFacts(total - held, held, missing)


@lru_cache(maxsize=1)
def this_machine() -> Machine:
    """What this machine has, read once."""
    from engine.telemetry import read_machine

    return read_machine()


_encoders: dict[tuple[Path, str], Encoder] = {}


def _encoder(folder: Path, config: RunConfig) -> Encoder:
    """The encoder for a model and settings; the last one made is kept. On the look-up thread."""
    from engine.config import to_flat
    from engine.datasets import Encoder

    key = (folder, json.dumps(to_flat(config), sort_keys=True, default=str))
    if key not in _encoders:
        made = Encoder(folder, config)
        _encoders.clear()
        _encoders[key] = made
    return _encoders[key]


def _rows_of(name: str, config: RunConfig) -> RowIndex:
    from engine.worker.rows import rows_of

    return rows_of(name, config)


def row_view(name: str, index: int, config: RunConfig) -> RowView:
    """Row `index` of a set as the file holds it, as a conversation, and as tokens.

    The tokens are those that would be trained on: the same encoder makes them. Raises BadInput
    where the set can't be read.
    """
    from engine.worker.rows import reached

    rows = _rows_of(name, config)
    come = reached(rows, index)
    share = 1.0 if rows.done else min(rows.share, 0.999)
    total = rows.known
    if not come:
        return RowView(name, index, total, {}, None, (), share=share)
    if total == 0:
        if isinstance(rows.fault, BadInput):
            raise BadInput(rows.fault.problem)
        return RowView(name, 0, 0, {}, None, (), "The set holds no row.")
    index = max(0, min(index, total - 1))
    try:
        raw = rows.raw(index)
    except BadInput as error:
        return RowView(name, index, total, {}, None, (), str(error.problem), share)
    from engine.datasets import RowProblem
    from engine.datasets.tables import plain_row

    raw, example = plain_row(raw), rows.example(index)
    if isinstance(example, RowProblem):
        return RowView(name, index, total, raw, None, (), example.reason, share)
    pieces, problem = _pieces(example, config)
    return RowView(name, index, total, raw, example, pieces, problem, share)


def _pieces(example: Example, config: RunConfig) -> tuple[tuple[TokenPiece, ...], str]:
    from engine import models

    name = config.model_name_or_path or ""
    if name == "demo" and not models.demo_ready():
        return (), "The tokens are shown once the demo model has been fetched (the first run does)."
    try:
        encoder = _encoder(models.resolve(name).path, config)
        if config.stage == "pt":
            from engine.datasets.encode_parts import as_text

            example = as_text(encoder, example)
        pieces = tuple(encoder.pieces(example))
        return (_asked(pieces) if writes_answers(config) else pieces), ""
    except BadInput as error:
        return (), str(error.problem)


def _asked(pieces: tuple[TokenPiece, ...]) -> tuple[TokenPiece, ...]:
    """The pieces up to the last answer: a stage that writes its own answers is only asked."""
    last = next((n for n in range(len(pieces) - 1, -1, -1) if pieces[n].part == "trained"), None)
    if last is None:
        return pieces
    while last > 0 and pieces[last - 1].part == "trained":
        last -= 1
    return tuple(replace(one, part="prompt") if one.part == "trained" else one
                 for one in pieces[:last])  # fmt: skip


def completions_of(run: Path) -> tuple[Completions, ...]:
    """The answers that a run's last steps sampled, oldest first; at most those of 200 steps.

    What a resume repeated counts once. Raises OSError where the log can't be read.
    """
    from collections import deque

    from engine.events import Completions, from_json

    found: deque[Completions] = deque(maxlen=200)
    path = run / "events.jsonl"
    if not path.is_file():
        return ()
    with path.open("rb") as file:
        for line in file:
            # The kind stands first in a line: the others need not be parsed.
            if b'"Completions"' not in line[:40]:
                continue
            event = from_json(line.decode("utf-8", errors="replace"))
            if isinstance(event, Completions) and event.rows:
                while found and found[-1].step >= event.step:
                    found.pop()
                found.append(event)
    return tuple(found)


def run_model(run: Path) -> str:
    """The base model that a run was trained from, as its own files tell; empty where they don't."""
    base = str(read_object(run / "adapter_config.json").get("base_model_name_or_path") or "")
    written = _written(run / "training_args.yaml").get("model_name_or_path")
    return str(written or base)


@dataclass(frozen=True)
class BestStep:
    """Where a run measured best: `measure` is the log's name of what it watched."""

    step: int
    measure: str
    value: float


def best_step(run: Path) -> BestStep | None:
    """The step whose evaluation was a run's best, by whichever measure it watched.

    It is what the trainer noted in its newest checkpoint; None where it noted none.
    """
    from engine.runs.checkpoints import list_checkpoints

    folders = [run, *(point.path for point in reversed(list_checkpoints(run)))]
    for folder in folders:
        state = read_object(folder / "trainer_state.json")
        step = state.get("best_global_step")
        value = state.get("best_metric") if step else None
        if not isinstance(step, int) or not isinstance(value, (int, float)):
            continue
        measure = str(_written(run / "training_args.yaml").get("metric_for_best_model") or "loss")
        return BestStep(step, measure.removeprefix("eval_"), float(value))
    return None


def run_settings(run: Path) -> RunConfig:
    """The settings that a run was started with. Raises BadInput."""
    from engine.config import read_file

    path = run / "training_args.yaml"
    if not path.is_file():
        raise BadInput(
            Problem(
                "This run kept no settings.",
                where=str(path),
                hint="Only runs with a training_args.yaml can be repeated.",
            )
        )
    return read_file(path).config


def _written(path: Path) -> dict[str, Any]:
    import yaml

    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return record if isinstance(record, dict) else {}


def seconds_a_step(runs: Sequence[RunSummary], config: RunConfig, model: str) -> float | None:
    """Seconds a step took in the newest run of the same model, method and batch, on this machine.

    None where no such run was long enough to tell.
    """
    from engine.runs.trainer_log import read_trainer_log

    for run in runs:
        if run.kind != "train" or run.model != model or run.method != config.finetuning_type:
            continue
        written = _written(run.path / "training_args.yaml")
        batch = (written.get("per_device_train_batch_size", 8)) * (
            written.get("gradient_accumulation_steps", 1)
        )
        points = [p for p in read_trainer_log(run.path) if p.elapsed is not None and p.step > 0]
        if batch == config.effective_batch and points and points[-1].step >= 5:
            return float(points[-1].elapsed or 0.0) / points[-1].step
    return None


def load_yaml(path: Path) -> tuple[RunConfig, tuple[str, ...]]:
    """A run description from a file, and the notes on it. Raises BadInput."""
    from engine.config import read_file

    read = read_file(path)
    return read.config, read.notes
