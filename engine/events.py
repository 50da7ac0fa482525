"""What the engine says: typed, frozen, in order.

Every event carries the run it belongs to, a sequence number that grows by one within that run, and
the wall-clock time in seconds. Events are appended to the run's `events.jsonl` first and shown
second, so a screen can watch a run in this process, in another, or one that ended last week.
`TranscriptEvent`s (chat) belong to a conversation and are never written to a run's log.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Literal

RunState = Literal[
    "queued",
    "loading",
    "training",
    "evaluating",
    "predicting",
    "exporting",
    "answering",
    "saving",
    "paused",
    "done",
    "stopped",
    "failed",
]
ENDED: frozenset[str] = frozenset({"done", "stopped", "failed"})

_KINDS: dict[str, type[Event]] = {}


@dataclass(frozen=True, kw_only=True)
class Event:
    """The base of all events. `run` is the run's id, `seq` its number, `time` unix seconds."""

    run: str = ""
    seq: int = 0
    time: float = 0.0
    # True where a screen should wake at once instead of at its next tick.
    urgent: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _KINDS[cls.__name__] = cls


@dataclass(frozen=True, kw_only=True)
class StateChanged(Event):
    """The job entered `state`; `detail` is a few words for the top line."""

    urgent: ClassVar[bool] = True
    state: RunState
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Progress(Event):
    """Work that is not training steps: downloading, loading, tokenising, merging.

    `done` and `total` count in `unit` (bytes, rows, shards); `total` 0 means unknown.
    """

    activity: str
    done: float
    total: float = 0.0
    unit: str = ""


@dataclass(frozen=True, kw_only=True)
class RunDescribed(Event):
    """What this run trains on, once known: counts of rows, steps and parameters."""

    model: str
    stage: str
    method: str
    rows: int
    eval_rows: int
    total_steps: int
    epochs: float
    trainable_parameters: int
    parameters: int
    precision: str
    device: str
    effective_batch: int


@dataclass(frozen=True, kw_only=True)
class StepLogged(Event):
    """One point of the loss curve, as the trainer logs it.

    `loss` is the mean since the last log (NaN and infinity are data). `throughput` counts real,
    non-padding tokens a second. `watched` holds whatever else the stage logs. `elapsed` and
    `remaining` are seconds; both are right after a resume too.
    """

    step: int
    total_steps: int
    loss: float
    learning_rate: float
    epoch: float
    grad_norm: float | None = None
    throughput: float | None = None
    tokens: int = 0
    elapsed: float = 0.0
    remaining: float | None = None
    watched: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StepTick(Event):
    """The step counter moved without a log line. Shown, latest wins; not kept in the log."""

    step: int
    total_steps: int
    epoch: float = 0.0
    throughput: float | None = None
    remaining: float | None = None


@dataclass(frozen=True, kw_only=True)
class Evaluated(Event):
    """A validation loss (and what else was measured) at a step; `best` marks the best so far."""

    step: int
    loss: float
    metrics: dict[str, float] = field(default_factory=dict)
    best: bool = False


@dataclass(frozen=True, kw_only=True)
class CheckpointSaved(Event):
    """A checkpoint is complete on disk (`size` in bytes, `seconds` it took)."""

    step: int
    path: str
    size: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class LogLine(Event):
    """A line for a person. `level` is info, note, warning or error."""

    text: str
    level: Literal["info", "note", "warning", "error"] = "info"


@dataclass(frozen=True, kw_only=True)
class PredictionMade(Event):
    """One row was answered: `prompt`, the model's `predict`, the reference `label`, its scores."""

    index: int
    total: int
    prompt: str
    predict: str
    label: str
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Completion:
    """One answer that a model sampled while it was trained by rewards.

    `reward` is what it was given in all, `rewards` each reward function's share by name,
    `advantage` how it compares with what was expected (None where the stage has no single one).
    """

    prompt: str
    text: str
    answer: str = ""
    reward: float | None = None
    rewards: dict[str, float] = field(default_factory=dict)
    advantage: float | None = None


@dataclass(frozen=True, kw_only=True)
class Completions(Event):
    """Some of the answers that a step learned from."""

    step: int
    rows: tuple[Completion, ...]


@dataclass(frozen=True, kw_only=True)
class JobFailed(Event):
    """The job ended because of a fault. `details` is the traceback, shown only when asked for.

    `smaller` is set where memory ran out and the run may go on with a smaller micro-batch: the
    settings to change, by name.
    """

    urgent: ClassVar[bool] = True
    what: str
    where: str = ""
    hint: str = ""
    details: str = ""
    bad_input: bool = False
    smaller: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class JobFinished(Event):
    """The job ended well, or was stopped with everything saved; `result` is what it produced."""

    urgent: ClassVar[bool] = True
    result: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TranscriptEvent(Event):
    """The base of chat events: part of a conversation, never of a run's log."""


@dataclass(frozen=True, kw_only=True)
class AnswerPiece(TranscriptEvent):
    """Text that was added to the running answer."""

    text: str


@dataclass(frozen=True, kw_only=True)
class AnswerEnded(TranscriptEvent):
    """The answer is complete (`reason`: end, length, stopped)."""

    urgent: ClassVar[bool] = True
    text: str
    tokens: int
    seconds: float
    first_token_seconds: float
    reason: str


# Latest wins: these are handed to subscribers but not kept in the log.
NOT_LOGGED: tuple[type[Event], ...] = (StepTick, TranscriptEvent)


def to_json(event: Event) -> str:
    """One line for `events.jsonl`; NaN and infinity are written as the strings NaN, Infinity."""
    record = {"kind": type(event).__name__, **_plain(asdict(event))}
    return json.dumps(record, ensure_ascii=False, allow_nan=False)


def from_json(line: str) -> Event | None:
    """The event of a line, or None for a line cut in half or of a kind from another version."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    kind = _KINDS.get(str(record.pop("kind", "")))
    if kind is None:
        return None
    known = {f.name: f for f in fields(kind)}
    values = {
        name: _number(value) if "float" in str(known[name].type) else value
        for name, value in record.items()
        if name in known
    }
    try:
        if kind is Completions:
            values["rows"] = tuple(_completion(row) for row in values["rows"])
        return kind(**values)
    except (TypeError, KeyError):
        return None


_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _completion(record: dict[str, Any]) -> Completion:
    numbers = ("reward", "rewards", "advantage")
    return Completion(**{k: _number(v) if k in numbers else v for k, v in record.items()})


def _number(value: Any) -> Any:
    if isinstance(value, str):
        return _WORDS.get(value, value)
    if isinstance(value, dict):
        return {key: _number(item) for key, item in value.items()}
    return value
