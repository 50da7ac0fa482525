"""Downloads of models: on a thread of their own, beside a run and beside quick look-ups.

One at a time, in the order they were asked for. The screen reads how far each is on its tick.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from engine.config import RunConfig
from engine.problem import FinetuiError, Problem, Stopped
from engine.worker.lookups import Lookups

DownloadState = Literal["waiting", "running", "done", "failed", "stopped"]


@dataclass(frozen=True)
class Download:
    """One download as it stands: `done` of `total` bytes, on file `number` of `count`, called
    `file`. `problem` says why it failed; `folder` and `licence` are known once it is done."""

    model: str
    hub: str
    state: DownloadState = "waiting"
    number: int = 0
    count: int = 0
    file: str = ""
    done: float = 0.0
    total: float = 0.0
    problem: Problem | None = None
    folder: str = ""
    licence: str = ""

    @property
    def under_way(self) -> bool:
        return self.state in ("waiting", "running")


class Downloads:
    """May be asked from any thread; the work is done on one thread of its own."""

    def __init__(self) -> None:
        self._thread = Lookups("finetui-downloads")
        self._lock = threading.Lock()
        self._known: dict[str, Download] = {}
        self._stops: dict[str, threading.Event] = {}

    def begin(self, config: RunConfig) -> Future[Download]:
        """Fetch the model that `config` names, from its hub; a second call for one that is under
        way changes nothing. The future never raises: what went wrong stands in its state."""
        model = (config.model_name_or_path or "").strip()
        with self._lock:
            known = self._known.get(model)
            if known is not None and known.under_way:
                ended: Future[Download] = Future()
                ended.set_result(known)
                return ended
            self._known[model] = Download(model, config.hub)
            self._stops[model] = threading.Event()
        return self._thread.ask(self._fetch, model, config)

    def of(self, model: str) -> Download | None:
        """How the download of a model stands; None where none was asked for."""
        with self._lock:
            return self._known.get(model)

    @property
    def current(self) -> Download | None:
        """The one that is under way."""
        with self._lock:
            return next((one for one in self._known.values() if one.state == "running"), None)

    def stop(self, model: str) -> None:
        """End a download; what came is kept and gone on from by the next one."""
        with self._lock:
            stop = self._stops.get(model)
        if stop is not None:
            stop.set()

    def close(self) -> None:
        """End all downloads; the one under way ends at its next piece."""
        with self._lock:
            stops = list(self._stops.values())
        for stop in stops:
            stop.set()
        self._thread.close()

    def _fetch(self, model: str, config: RunConfig) -> Download:
        from engine.models.locate import resolve
        from engine.models.places import place_of
        from engine.models.transfer import file_in

        stop = self._stops[model]

        def check_stop() -> None:
            if stop.is_set():
                raise Stopped(save=False)

        def progress(activity: str, done: float, total: float, unit: str) -> None:
            number, count, file = file_in(activity)
            self._note(
                model, state="running", number=number, count=count, file=file, done=done,
                total=total,
            )  # fmt: skip

        self._note(model, state="running")
        try:
            check_stop()
            folder = resolve(model, config, progress=progress, check_stop=check_stop)
        except Stopped:
            return self._note(model, state="stopped")
        except FinetuiError as error:
            return self._note(model, state="failed", problem=error.problem)
        except OSError as error:
            problem = Problem(
                f"{model} could not be fetched: {error.strerror or error}.",
                str(error.filename or Path.cwd()),
                "Check the folder that it is written to (cache_dir).",
            )
            return self._note(model, state="failed", problem=problem)
        except Exception as error:
            # Whatever a library raises ends this download, never the thread.
            problem = Problem(f"{model} could not be fetched: {type(error).__name__}: {error}.")
            return self._note(model, state="failed", problem=problem)
        place = place_of(model)
        licence = place.licence if place is not None else ""
        return self._note(model, state="done", folder=str(folder.path), licence=licence)

    def _note(self, model: str, **changes: object) -> Download:
        with self._lock:
            self._known[model] = replace(self._known[model], **changes)  # type: ignore[arg-type]
            return self._known[model]
