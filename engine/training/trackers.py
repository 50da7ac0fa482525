"""Hands a run's curves to trackers, and keeps their troubles away from it.

Each tracker has a thread of its own that does all its calls in order: a service that is slow,
unreachable or broken costs the run no step. Its first fault is told once, and it is left alone from
then on. The ids that trackers give a run are kept in its folder, so that a resume goes on with the
same curves.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from engine.config.trackers import chosen_trackers
from engine.problem import Stopped
from engine.runs.atomic import write_atomic
from engine.runs.json_object import read_object
from engine.training.tracker_services import SERVICES, ByTransformers, Service, TrackedRun

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.runs.session import JobSession

IDS = "trackers.json"
# How long the end of a run waits for trackers that still have something to send.
_PATIENCE = 60.0
# What transformers measures of a whole run: no point of a curve.
_ONCE = ("train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos")


class Trackers(TrainerCallback):
    """The trackers of a run as one callback of its trainer.

    `facts` describe the run; `step` is the one that it goes on from, 0 for a new run. A context
    manager: its end is that of the run, and waits a minute at most for the trackers.
    """

    def __init__(
        self,
        config: RunConfig,
        session: JobSession,
        folder: Path,
        facts: Mapping[str, Any],
        step: int,
    ) -> None:
        self._session = session
        self._folder = folder
        self._seen: tuple[Any, Any, Any] = (None, None, None)
        known = read_ids(folder) if step else {}
        self._ids = dict(known)
        self._lines: list[_Line] = []
        for name in chosen_trackers(config):
            service = SERVICES[name]() if name in SERVICES else self._passed_on(name)
            told = TrackedRun(
                config.run_name or folder.name, folder, config, facts, known.get(name), step
            )
            self._lines.append(_Line(name, service, told, session, self._keep))

    def _passed_on(self, name: str) -> Service:
        return ByTransformers(name, lambda: self._seen)

    def _keep(self, name: str, run: str) -> None:
        self._ids[name] = run
        write_atomic(self._folder / IDS, json.dumps(self._ids, indent=1, sort_keys=True) + "\n")

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
    ) -> None:
        self._seen = (args, state, model)
        for line in self._lines:
            line.start()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        values = curve_names(logs or {})
        if values:
            for line in self._lines:
                line.log(state.global_step, values)

    def __enter__(self) -> Trackers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        # A stopped run is no failed one.
        self.close(kind is None or issubclass(kind, Stopped))

    def close(self, well: bool) -> None:
        """Send what is left and end the tracked runs; waits for them, but not for ever."""
        for line in self._lines:
            line.end(well)
        until = time.monotonic() + _PATIENCE
        for line in self._lines:
            if not line.wait(max(until - time.monotonic(), 0.0)):
                self._session.say(
                    f"The tracker {line.name} did not take everything within "
                    f"{_PATIENCE:.0f} seconds; the run is complete without it.",
                    "note",
                )


def curve_names(logs: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a log line under the names that transformers gives them to trackers."""
    named = {}
    for key, value in logs.items():
        if key in _ONCE or isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        evaluated = key.startswith("eval_")
        named[f"eval/{key[5:]}" if evaluated else f"train/{key}"] = float(value)
    return named


def read_ids(folder: Path) -> dict[str, str]:
    """The ids that trackers gave the run in `folder`; empty where none is kept."""
    return {str(name): str(run) for name, run in read_object(folder / IDS).items()}


class _Line:
    """One tracker's thread, and what is waiting for it."""

    def __init__(
        self,
        name: str,
        service: Service,
        run: TrackedRun,
        session: JobSession,
        keep: Callable[[str, str], None],
    ) -> None:
        self.name = name
        self._service = service
        self._run = run
        self._session = session
        self._keep = keep
        self._waiting: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._over = False
        self._given_up = False
        self._thread = threading.Thread(target=self._work, name=f"tracker {name}", daemon=True)

    def start(self) -> None:
        if not self._thread.is_alive():
            self._waiting.put(self._begin)
            self._thread.start()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._waiting.put(lambda: self._service.log(step, values))

    def end(self, well: bool) -> None:
        def last() -> None:
            self._over = True
            self._service.end(well)

        self._waiting.put(last)

    def wait(self, seconds: float) -> bool:
        """True once everything was handed over, or nothing ever will be."""
        if not self._thread.ident:
            return True
        self._thread.join(seconds)
        self._given_up = self._thread.is_alive()
        return not self._given_up

    def _begin(self) -> None:
        run = self._service.begin(self._run)
        if run:
            self._keep(self.name, run)

    def _work(self) -> None:
        while not self._over:
            call = self._waiting.get()
            try:
                call()
            except BaseException as error:
                # Whatever a service does, even an exit, must not touch the run.
                self._tell(error)
                return

    def _tell(self, error: BaseException) -> None:
        if self._given_up:
            return  # the run has ended, and has said so
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        text = without_secrets(lines[0] if lines else type(error).__name__, self._run.config)
        self._session.say(
            f"The tracker {self.name} can't be reached or refused the run, which goes on without "
            f"it: {text[:300]}",
            "note",
        )


def without_secrets(text: str, config: Any) -> str:
    """`text` with the values of secret settings taken out."""
    from engine.config import settings

    for name, info in settings().items():
        value = getattr(config, name) if info.setting.secret else None
        if value:
            text = text.replace(str(value), f"<{name}>")
    return text
