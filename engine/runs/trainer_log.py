"""`trainer_log.jsonl`: the loss curve as the field's tools write and read it (FORMATS 3)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from engine.runs.eventlog import LineFile

FILE_NAME = "trainer_log.jsonl"


@dataclass(frozen=True, kw_only=True)
class LogPoint:
    """One line of the log. A value the line does not hold is None; NaN and infinity are data.

    `step` and `total_steps` count optimiser steps (batches during prediction). `elapsed` and
    `remaining` are seconds, `throughput` is tokens a second, `percentage` 0 to 100. `watched`
    holds the numbers under every other key.
    """

    step: int = 0
    total_steps: int = 0
    loss: float | None = None
    eval_loss: float | None = None
    predict_loss: float | None = None
    reward: float | None = None
    accuracy: float | None = None
    lr: float | None = None
    grad_norm: float | None = None
    epoch: float | None = None
    percentage: float | None = None
    elapsed: float | None = None
    remaining: float | None = None
    throughput: float | None = None
    total_tokens: int | None = None
    vram_allocated: float | None = None
    vram_reserved: float | None = None
    watched: dict[str, float] = field(default_factory=dict)


class TrainerLog:
    """Appends points to a run's `trainer_log.jsonl`; opens the file on the first append."""

    def __init__(self, path: Path) -> None:
        """`path` is the file itself, or the run folder that holds it."""
        self.path = path / FILE_NAME if path.is_dir() else path
        self._file = LineFile(self.path)

    def append(self, point: LogPoint) -> None:
        """Write one line. Raises OSError (a full disk) rather than losing it silently."""
        self._file.append(json.dumps(_record(point), ensure_ascii=False))

    def close(self) -> None:
        self._file.close()


def read_trainer_log(path: Path) -> list[LogPoint]:
    """Every point of a log in file order, in all the variants the field has.

    `path` is the file or its run folder. A last line cut in half, empty lines and lines that are
    not JSON objects are left out. After a resume steps may repeat: see `without_repeats`.
    """
    if path.is_dir():
        path = path / FILE_NAME
    if not path.is_file():  # to open a pipe would wait for ever
        return []
    try:
        with path.open("rb") as file:
            return [point for line in file if (point := parse_point(line)) is not None]
    except FileNotFoundError:
        return []


def parse_point(line: bytes | str) -> LogPoint | None:
    """The point of one line, or None where the line holds none."""
    if isinstance(line, bytes):
        line = line.decode("utf-8", errors="replace")
    line = line.strip()
    if not line:
        return None
    try:
        record = json.loads(line)  # takes NaN, Infinity and -Infinity as bare literals
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    values: dict[str, Any] = {}
    watched: dict[str, float] = {}
    for key, raw in record.items():
        name = _NAMES.get(key)
        if name in ("elapsed", "remaining"):
            values[name] = _seconds(raw)
        elif name in ("step", "total_steps", "total_tokens"):
            number = _number(raw)
            if number is not None and math.isfinite(number):
                values[name] = int(number)
        elif name is not None:
            # Two spellings of one key in a line: the first that holds a number wins.
            if values.get(name) is None:
                values[name] = _number(raw)
        elif (number := _number(raw)) is not None:
            watched[key] = number
    return LogPoint(**values, watched=watched)


def without_repeats(points: Iterable[LogPoint]) -> list[LogPoint]:
    """The points of one unbroken run: where a resume went back, what it repeated wins.

    A training line at or before the last training step means that the run was resumed from an
    earlier checkpoint: the lines from that step on belong to the abandoned part. Lines without
    any measure (progress only) are left out.
    """
    kept: list[LogPoint] = []
    last_train = last_eval = -1
    for point in points:
        if point.loss is not None:
            if point.step <= last_train:
                kept = [p for p in kept if p.step < point.step]
                last_eval = max((p.step for p in kept if p.eval_loss is not None), default=-1)
            last_train = point.step
        elif point.eval_loss is not None:
            if point.step <= last_eval:
                kept = [p for p in kept if p.eval_loss is None or p.step < point.step]
            last_eval = point.step
        elif point.reward is None and point.lr is None and not point.watched:
            continue
        kept.append(point)
    return kept


_NAMES = {
    "current_steps": "step",
    "step": "step",
    "global_step": "step",
    "total_steps": "total_steps",
    "max_steps": "total_steps",
    "loss": "loss",
    "eval_loss": "eval_loss",
    "predict_loss": "predict_loss",
    "reward": "reward",
    "accuracy": "accuracy",
    "lr": "lr",
    "learning_rate": "lr",
    "grad_norm": "grad_norm",
    "epoch": "epoch",
    "percentage": "percentage",
    "elapsed_time": "elapsed",
    "remaining_time": "remaining",
    "throughput": "throughput",
    "total_tokens": "total_tokens",
    "vram_allocated": "vram_allocated",
    "vram_reserved": "vram_reserved",
}
_WRITTEN = (
    ("loss", "loss"),
    ("eval_loss", "eval_loss"),
    ("predict_loss", "predict_loss"),
    ("reward", "reward"),
    ("accuracy", "accuracy"),
    ("lr", "lr"),
    ("grad_norm", "grad_norm"),
    ("epoch", "epoch"),
)
_TIME = re.compile(r"^\s*(?:(-?\d+) days?, )?(\d+):(\d{1,2}):(\d{1,2})(\.\d+)?\s*$")


def _record(point: LogPoint) -> dict[str, Any]:
    record: dict[str, Any] = {"current_steps": point.step, "total_steps": point.total_steps}
    for attribute, key in _WRITTEN:
        value = getattr(point, attribute)
        if value is not None:
            record[key] = value
    percentage = point.percentage
    if percentage is None and point.total_steps > 0:
        percentage = 100 * point.step / point.total_steps
    if percentage is not None:
        record["percentage"] = round(percentage, 2)
    for key, seconds in (("elapsed_time", point.elapsed), ("remaining_time", point.remaining)):
        if seconds is not None and math.isfinite(seconds):
            record[key] = str(timedelta(seconds=int(seconds)))
    if point.throughput is not None:
        record["throughput"] = round(point.throughput, 2)
    for key in ("total_tokens", "vram_allocated", "vram_reserved"):
        value = getattr(point, key)
        if value is not None:
            record[key] = value
    for key, value in point.watched.items():
        record.setdefault(key, value)
    return record


def _number(raw: Any) -> float | None:
    if isinstance(raw, bool):
        return None
    if isinstance(raw, (int, float)):
        try:
            return float(raw)
        except OverflowError:
            return math.inf if raw > 0 else -math.inf
    if isinstance(raw, str):
        # Some tools write rates as text ("1.0000e-04").
        try:
            return float(raw)
        except ValueError:
            return None
    return None


def _seconds(raw: Any) -> float | None:
    """Seconds of a Python timedelta's text (`0:00:05`, `1 day, 2:03:04`) or of a number."""
    if isinstance(raw, str) and (match := _TIME.match(raw)):
        days, hours, minutes, seconds, fraction = match.groups()
        whole = int(days or 0) * 86400 + int(hours) * 3600 + int(minutes) * 60 + int(seconds)
        return whole + float(fraction or 0)
    return _number(raw)
