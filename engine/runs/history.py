"""The list of runs under `saves/`: what each was, how far it came, what ended it.

Only the ends of logs are read, so that hundreds of runs list in a blink.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.events import (
    ENDED,
    Event,
    JobFailed,
    LogLine,
    RunDescribed,
    StateChanged,
    StepLogged,
    from_json,
)
from engine.paths import saves_dir
from engine.runs import process
from engine.runs.checkpoints import newest_complete
from engine.runs.eventlog import EventLog
from engine.runs.folder import CHECKPOINT, model_label
from engine.runs.json_object import read_object
from engine.runs.tail import head_lines, tail_lines
from engine.runs.trainer_log import LogPoint, parse_point

State = Literal["done", "stopped", "failed", "running", "interrupted"]
Kind = Literal["train", "evaluate", "predict", "export"]

_MARKS = frozenset(
    {
        "trainer_log.jsonl",
        "events.jsonl",
        "trainer_state.json",
        "training_args.yaml",
        "adapter_config.json",
        "train_results.json",
        "predict_results.json",
        "eval_results.json",
    }
)
_WEIGHTS = frozenset(
    {
        "adapter_model.safetensors",
        "adapter_model.bin",
        "model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
    }
)
# Adapters that a run keeps beside its result: its first values, the same in another form.
_PARTS = frozenset({"pissa_init", "pissa_backup", "pissa_converted", "loftq_init"})
_DEPTH = 6  # saves/<model>/<method>/<run>, with room for folders of folders
_FRESH_SECONDS = 120.0  # a foreign log that changed this recently is still being written
_MOST_BYTES = 4 << 20
_EVAL = re.compile(rb'"eval_loss": ?(-?[0-9.]+(?:[eE][-+]?[0-9]+)?)')


@dataclass(frozen=True)
class RunSummary:
    """One run in the list.

    `updated` is unix seconds of its last log line. `checkpoints` are the steps of its
    `checkpoint-N` folders. `best` is the lowest validation loss. `last_note` says what ended it,
    `kind` what it did (only `train` runs have a curve).
    """

    path: Path
    name: str
    model: str
    stage: str
    method: str
    state: State
    last_loss: float | None
    step: int
    total_steps: int
    updated: float
    checkpoints: tuple[int, ...]
    best: float | None
    last_note: str = ""
    kind: Kind = "train"


def list_runs(root: Path | None = None) -> list[RunSummary]:
    """Every run folder under `root` (default `saves/`), the newest first; of any tool."""
    runs = [read_run(folder) for folder in _run_folders(root or saves_dir(), _DEPTH)]
    return sorted(runs, key=lambda run: run.updated, reverse=True)


def find_run(name: str, root: Path | None = None) -> RunSummary | None:
    """The newest run called `name`, or the run whose folder `name` is."""
    folder = Path(name).expanduser()
    if _MARKS & set(_names(folder)):
        return read_run(folder)
    return next((run for run in list_runs(root) if run.name == name), None)


def read_run(folder: Path) -> RunSummary:
    """The summary of one run folder."""
    names = set(_names(folder))
    events = _last_events(folder) if "events.jsonl" in names else []
    points = _last_points(folder) if "trainer_log.jsonl" in names else []
    described = _described(folder) if "events.jsonl" in names else None
    steps = tuple(sorted(int(m.group(1)) for name in names if (m := CHECKPOINT.match(name))))
    last_loss, step, total = _progress(points, events, described, steps)
    model, stage, method = _identity(folder, names, described)
    updated = _updated(folder, names)
    state, note = _state(folder, names, events, points, updated, steps)
    return RunSummary(
        path=folder,
        name=folder.name,
        model=model,
        stage=stage,
        method=method,
        state=state,
        last_loss=last_loss,
        step=step,
        total_steps=total,
        updated=updated,
        checkpoints=steps,
        best=_best(folder / "trainer_log.jsonl") if "trainer_log.jsonl" in names else None,
        last_note=note,
        kind=_kind(names, events),
    )


def interrupted_runs(root: Path | None = None) -> list[RunSummary]:
    """Runs whose process died without a word (kill -9, the kernel's out-of-memory killer).

    Each is told once: call `acknowledge` when the person has been told.
    """
    folders = _run_folders(root or saves_dir(), _DEPTH)
    return [
        run
        for folder in folders
        if (folder / process.LOCK_NAME).exists() and process.running_pid(folder) is None
        if (run := read_run(folder)).state == "interrupted"
    ]


def acknowledge(run: RunSummary) -> None:
    """Write what became of an interrupted run into its log, and drop the dead process's claim."""
    log = EventLog(run.path / "events.jsonl")
    line = LogLine(
        run=run.name,
        seq=log.last_seq() + 1,
        time=time.time(),
        text=run.last_note,
        level="error",
    )
    log.append(line)
    log.close()
    (run.path / process.LOCK_NAME).unlink(missing_ok=True)


def _run_folders(root: Path, depth: int) -> Iterator[Path]:
    names = _names(root)
    if not names:
        return
    found = set(names)
    if found & _MARKS:
        yield root
        # Runs may lie inside a run's folder (an output_dir below another); checkpoints don't count.
    if depth == 0:
        return
    with os.scandir(root) as entries:
        folders = sorted(
            entry.path
            for entry in entries
            if not entry.name.startswith(".")
            and not CHECKPOINT.match(entry.name)
            and entry.name not in _PARTS
            and entry.is_dir(follow_symlinks=True)
            and not (entry.is_symlink() and _leads_back(entry.path))
        )
    for folder in folders:
        yield from _run_folders(Path(folder), depth - 1)


def _leads_back(link: str) -> bool:
    """Whether a link leads to a folder that it lies in: its runs would be listed over and over."""
    return Path(link).parent.resolve().is_relative_to(Path(link).resolve())


def _names(folder: Path) -> list[str]:
    """The files and folders in `folder`. Others (a pipe, a link to nowhere) are no part of a run:
    to open a pipe would wait for ever."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_file() or entry.is_dir()]
    except OSError:
        return []


def _last_points(folder: Path) -> list[LogPoint]:
    """The last point with a loss and, where it is another, the last point; in order."""
    found: list[LogPoint] = []
    for line in reversed(tail_lines(folder / "trainer_log.jsonl", 8192)):
        point = parse_point(line)
        if point is None:
            continue
        if point.loss is not None:
            return [point, *found]
        found = found or [point]
    return found


def _last_events(folder: Path) -> list[Event]:
    """What the end of the log says of states and faults, and its last step; in order.

    Lines of other kinds are told by their bytes and not parsed.
    """
    found: list[Event] = []
    stepped = False
    for line in reversed(tail_lines(folder / "events.jsonl")):
        step = b'"StepLogged"' in line
        if (step and stepped) or not (step or b'"StateChanged"' in line or b'"JobFailed"' in line):
            continue
        event = from_json(line.decode("utf-8", errors="replace"))
        if event is not None:
            stepped = stepped or step
            found.append(event)
    return found[::-1]


def _described(folder: Path) -> RunDescribed | None:
    for line in head_lines(folder / "events.jsonl"):
        if b'"RunDescribed"' in line:
            event = from_json(line.decode("utf-8", errors="replace"))
            if isinstance(event, RunDescribed):
                return event
    return None


def _progress(
    points: list[LogPoint],
    events: list[Event],
    described: RunDescribed | None,
    checkpoints: tuple[int, ...],
) -> tuple[float | None, int, int]:
    trained = [p for p in points if p.loss is not None]
    if trained:
        return trained[-1].loss, trained[-1].step, trained[-1].total_steps
    logged = [e for e in events if isinstance(e, StepLogged)]
    if logged:
        return logged[-1].loss, logged[-1].step, logged[-1].total_steps
    total = described.total_steps if described else (points[-1].total_steps if points else 0)
    step = points[-1].step if points else (checkpoints[-1] if checkpoints else 0)
    return None, step, total


def _identity(
    folder: Path, names: set[str], described: RunDescribed | None
) -> tuple[str, str, str]:
    """Model, stage and method: from what the run said, its settings, its adapter, its place."""
    if described is not None:
        return described.model, described.stage, described.method
    written: dict[str, str] = {}
    if "training_args.yaml" in names:
        for line in head_lines(folder / "training_args.yaml", 32768):
            key, colon, value = line.decode("utf-8", errors="replace").partition(":")
            if colon:
                written[key.strip()] = value.strip().strip("'\"")
    model, method = written.get("model_name_or_path", ""), written.get("finetuning_type", "")
    if not model and "adapter_config.json" in names:
        model, method = _adapter_base(folder / "adapter_config.json"), method or "lora"
    parents = folder.absolute().parts[-4:-1]
    placed = len(parents) == 3 and parents[0] == "saves"
    return (
        model_label(model) if model else (parents[1] if placed else folder.parent.name),
        written.get("stage", "") or ("sft" if "trainer_log.jsonl" in names else ""),
        method or (parents[2] if placed else ""),
    )


def _adapter_base(path: Path) -> str:
    return str(read_object(path).get("base_model_name_or_path") or "")


def _updated(folder: Path, names: set[str]) -> float:
    times = []
    for name in names & (_MARKS | _WEIGHTS):
        try:
            times.append((folder / name).stat().st_mtime)
        except OSError:
            continue
    return max(times, default=0.0)


def _state(
    folder: Path,
    names: set[str],
    events: list[Event],
    points: list[LogPoint],
    updated: float,
    checkpoints: tuple[int, ...],
) -> tuple[State, str]:
    if "events.jsonl" in names or process.LOCK_NAME in names:
        return _own_state(folder, names, events, checkpoints)
    return _foreign_state(names, points, updated)


def _own_state(
    folder: Path, names: set[str], events: list[Event], checkpoints: tuple[int, ...]
) -> tuple[State, str]:
    changes = [event for event in events if isinstance(event, StateChanged)]
    last = changes[-1] if changes else None
    if last is not None and last.state in ENDED:
        if last.state == "failed":
            failures = [event for event in events if isinstance(event, JobFailed)]
            return "failed", failures[-1].what if failures else last.detail
        if last.state == "stopped":
            return "stopped", last.detail or "Stopped by hand."
        return "done", last.detail
    if process.LOCK_NAME in names and process.running_pid(folder) is not None:
        return "running", last.detail if last else ""
    return "interrupted", _what_killed(folder, checkpoints)


def _what_killed(folder: Path, checkpoints: tuple[int, ...]) -> str:
    lock = process.read_lock(folder)
    if lock is not None and process.killed_for_memory(lock):
        cause = "Its process was killed; the kernel reports that memory had run out."
    else:
        cause = "Its process ended without a word (killed, or the machine went down)."
    whole = newest_complete(folder) if checkpoints else None
    if whole is not None:
        return f"{cause} It can be resumed from step {whole.step}."
    return f"{cause} No complete checkpoint had been saved."


def _foreign_state(names: set[str], points: list[LogPoint], updated: float) -> tuple[State, str]:
    finished = {"train_results.json", "all_results.json", "predict_results.json"} & names
    whole = bool(points) and points[-1].total_steps > 0
    if finished or (whole and points[-1].step >= points[-1].total_steps and _WEIGHTS & names):
        return "done", ""
    if points and time.time() - updated < _FRESH_SECONDS:
        return "running", "Written by another tool."
    if _WEIGHTS & names and not points:
        return "done", ""
    return "interrupted", "Its log ends before the last step." if points else ""


def _best(log: Path) -> float | None:
    """The lowest validation loss in a log; a pattern over bytes, as parsing lines is slow."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _MOST_BYTES))
            found = _EVAL.findall(file.read())
    except OSError:
        return None
    return min((float(value) for value in found), default=None)


def _kind(names: set[str], events: list[Event]) -> Kind:
    states = {event.state for event in events if isinstance(event, StateChanged)}
    if "trainer_log.jsonl" in names or "training" in states or "train_results.json" in names:
        return "train"
    if "predicting" in states or "predict_results.json" in names:
        return "predict"
    if "evaluating" in states or "eval_results.json" in names:
        return "evaluate"
    return "export" if "exporting" in states else "train"
