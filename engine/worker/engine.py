"""The engine thread: takes one job at a time, publishes what it says, survives what it does."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from engine import faults
from engine.events import (
    ENDED,
    CheckpointSaved,
    Event,
    JobFailed,
    JobFinished,
    RunState,
    StateChanged,
    StepLogged,
)
from engine.paths import program_log
from engine.problem import BadInput, FinetuiError, JobFault, Problem, Stopped
from engine.runs import process
from engine.runs.folder import Replacement, refuse_earlier_run
from engine.runs.session import Control, JobSession
from engine.worker import recovery
from engine.worker.downloads import Downloads
from engine.worker.jobs import Job, JobKind, TrainJob
from engine.worker.lookups import Lookups
from engine.worker.perform import PERFORMERS, Kept, Performer, collect
from engine.worker.places import drop_folder, folder_of, log_of
from engine.worker.quiet import library_log, quiet_libraries

T = TypeVar("T")
AT_WORK = Problem(
    "This run is at work already, or waits for its turn.",
    hint="Let it end or stop it, then resume it; or choose another output_dir.",
)
# Less than this left on the device after a job is the allocator's own.
_LEFT_BYTES = 64 << 20


@dataclass(frozen=True)
class JobInfo:
    """A job as it stands: `began` is unix seconds (0 while it waits), `detail` a few words."""

    run: str
    kind: JobKind
    job: Job
    folder: Path | None
    state: RunState
    detail: str = ""
    began: float = 0.0


@dataclass
class _Entry:
    info: JobInfo
    session: JobSession
    control: Control
    fault: BaseException | None = None
    ended: threading.Event = field(default_factory=threading.Event)
    replaces: Replacement | None = None
    saved: CheckpointSaved | None = None


class Engine:
    """Jobs in, events out. Every method may be called from any thread and returns at once.

    Subscribers are called on the thread that publishes (nearly always the engine's): they must be
    quick and never wait. `performers` maps a job's class to the function that does it.
    """

    def __init__(self, performers: Mapping[type[Any], Performer] | None = None) -> None:
        self._performers: Mapping[type[Any], Performer] = performers or PERFORMERS
        self._waiting: deque[_Entry] = deque()
        self._current: _Entry | None = None
        self._entries: dict[str, _Entry] = {}
        self._wake = threading.Condition()
        self._subscribers: list[Callable[[Event], None]] = []
        self._lookups = Lookups()
        self.downloads = Downloads()
        self._kept = Kept()
        self._unload = False
        self._closing = False
        self._poisoned_by = ""
        self._chats = 0
        self._thread: threading.Thread | None = None

    # -- the outside: any thread -----------------------------------------------------------

    def start(self) -> None:
        """Start the engine thread; a second call does nothing."""
        with self._wake:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._loop, name="finetui-engine", daemon=True
                )
                self._thread.start()

    def submit(self, job: Job) -> str:
        """Queue a job; returns its run id (the folder's name where it has one).

        Never raises: what is wrong with the job is told by its JobFailed event.
        """
        control = Control()
        folder: Path | None = None
        fault: BaseException | None = None
        try:
            folder = folder_of(job)
            if isinstance(job, TrainJob) and self.works_in(folder):
                folder = None  # its log and its claim are the other job's
                raise BadInput(AT_WORK)
            if isinstance(job, TrainJob) and folder is not None:
                Replacement(folder).put_back()  # of a process that was killed before its first step
        except (FinetuiError, OSError) as error:
            fault = error
        with self._wake:
            run = self._run_id(job, folder)
            log = log_of(job, folder)
            session = JobSession(run, folder, self._publish, control, log)
            entry = _Entry(JobInfo(run, job.kind, job, folder, "queued"), session, control, fault)
            self._entries[run] = entry
            self._waiting.append(entry)
            closing = self._closing
            busy = self._current is not None or len(self._waiting) > 1
        if busy:
            # Shown, not logged: a folder's log begins when its job does.
            self._publish(StateChanged(run=run, time=time.time(), state="queued"))
        with self._wake:
            self._wake.notify_all()
        if closing:
            self.stop(run)
        return run

    def subscribe(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call `callback` with every event from now on; returns the way to end that."""
        self._subscribers = [*self._subscribers, callback]

        def end() -> None:
            self._subscribers = [other for other in self._subscribers if other is not callback]

        return end

    def stop(self, run: str, save: bool = True) -> None:
        """Ask a job to end at its next micro-batch, saving first if wanted; a queued one goes.

        A second call can take the wish to save back. Unknown and ended runs are left alone.
        """
        with self._wake:
            entry = self._entries.get(run)
            if entry is None:
                return
            entry.control.stop(save)
            queued = entry in self._waiting
            if queued:
                self._waiting.remove(entry)
        if queued:
            drop_folder(entry.info.folder)
            self._publish(
                StateChanged(
                    run=run, time=time.time(), state="stopped", detail="taken out of the queue"
                )
            )
            entry.ended.set()

    def pause(self, run: str) -> None:
        """Hold a running job at its next micro-batch."""
        if (entry := self._entries.get(run)) is not None:
            entry.control.pause()

    def go_on(self, run: str) -> None:
        """Let a paused job go on."""
        if (entry := self._entries.get(run)) is not None:
            entry.control.go_on()

    @property
    def current(self) -> JobInfo | None:
        """The job that has the device, or None."""
        entry = self._current
        return entry.info if entry is not None else None

    def works_in(self, folder: Path | None) -> bool:
        """Whether a job that runs or waits trains in `folder`."""
        with self._wake:
            used = [e.info.folder for e in self._entries.values() if e.info.kind == "train"]
        return folder is not None and any(
            other is not None and other.resolve() == folder.resolve() for other in used
        )

    @property
    def queue(self) -> tuple[JobInfo, ...]:
        """The jobs that wait, in order."""
        with self._wake:
            return tuple(entry.info for entry in self._waiting)

    @property
    def idle(self) -> bool:
        """True when nothing runs and nothing waits."""
        with self._wake:
            return self._current is None and not self._waiting

    @property
    def chat_loaded(self) -> bool:
        """Whether a chat model is kept in memory."""
        return self._kept.loaded

    def wait(self, run: str, timeout: float | None = None) -> bool:
        """Wait until a run ended; True if it did. For callers without a screen."""
        entry = self._entries.get(run)
        return True if entry is None else entry.ended.wait(timeout)

    def lookup(self, function: Callable[..., T], *args: Any, key: str | None = None) -> Future[T]:
        """Compute `function(*args)` on the second thread, also while a job runs.

        With a `key`, a waiting look-up of the same key is cancelled: the newest wins.
        """
        return self._lookups.ask(function, *args, key=key)

    def unload(self) -> None:
        """Let the kept chat model go, as soon as the engine thread is free."""
        with self._wake:
            self._unload = True
            self._wake.notify_all()

    def shutdown(self, save: bool = True, deadline: float = 60.0) -> bool:
        """Stop the running job (saving if wanted), drop the queue, end both threads.

        Returns True once everything ended, False when `deadline` seconds passed first.
        """
        until = time.monotonic() + deadline
        with self._wake:
            self._closing = True
            queued = list(self._waiting)
            current = self._current
            self._wake.notify_all()
        for entry in queued:
            self.stop(entry.info.run, save)
        if current is not None:
            current.control.stop(save)
        self._lookups.close()
        self.downloads.close()
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(max(0.0, until - time.monotonic()))
        return not thread.is_alive()

    # -- the inside: the engine thread -----------------------------------------------------

    def _loop(self) -> None:
        quiet_libraries(program_log())
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._waiting or self._unload or self._closing)
                entry = self._waiting.popleft() if self._waiting else None
                self._current = entry
                unload, self._unload = self._unload, False
                if entry is None and self._closing:
                    break
            if unload:
                self._kept.drop()
            if entry is not None:
                self._run(entry)
        self._kept.drop()

    def _run(self, entry: _Entry) -> None:
        info = entry.info
        entry.info = replace(info, began=time.time())
        ending: RunState = "failed"
        detail, broken = "", False
        with library_log(info.folder, program_log()) as log:
            try:
                result = self._perform(entry)
            except Stopped as stop:
                ending = "stopped"
                detail = _stopped_how(entry, stop)
                faults.forget_frames(stop)
            except BaseException as error:
                # Whatever a library raises ends the job, never the engine.
                # A question that is too long says nothing against the model that is loaded.
                broken = not faults.is_bad_input(error)
                detail = self._fail(entry, error, log)
            else:
                ending = "done"
                with contextlib.suppress(OSError):
                    entry.session.publish(JobFinished(result=result))
            self._collect(entry, broken)
        self._end(entry, ending, detail)

    def _perform(self, entry: _Entry) -> dict[str, Any]:
        job, session = entry.info.job, entry.session
        if entry.fault is not None:
            raise entry.fault
        if self._poisoned_by:
            raise JobFault(
                Problem(
                    f"The GPU can't be used any more since {self._poisoned_by} failed.",
                    hint="Leave finetui and start it again; saved checkpoints are not affected.",
                )
            )
        if isinstance(job, TrainJob) and entry.info.folder is not None:
            try:
                refuse_earlier_run(job.config, entry.info.folder)
                process.claim(entry.info.folder)
            except FinetuiError:
                session.keep_out()
                raise
            if job.config.overwrite_output_dir and not job.config.resume_from_checkpoint:
                entry.replaces = Replacement(entry.info.folder)
                entry.replaces.set_aside()
        try:
            session.state("loading")
            return self._performers[type(job)](job, session, self._kept)
        finally:
            if entry.replaces is not None:
                entry.replaces.put_back()  # does nothing once the new run made a step

    def _fail(self, entry: _Entry, error: BaseException, log: Path) -> str:
        """Tell what went wrong; returns the sentence. Leaves nothing holding the job's memory."""
        details = "".join(traceback.format_exception(error))
        if faults.poisons_device(error):
            self._poisoned_by = entry.info.run
        problem = faults.explain(error, log)
        unexpected = not isinstance(error, FinetuiError)
        if unexpected:
            with contextlib.suppress(OSError), log.open("a", encoding="utf-8") as file:
                file.write(details + "\n")
        # Where the run that was to be replaced is back, its checkpoints are not this job's.
        folder = entry.info.folder if entry.replaces is None else None
        problem, smaller = recovery.offer(entry.info.job, folder, error, problem)
        entry.session.publish(
            JobFailed(
                what=problem.what,
                where=problem.where,
                hint=problem.hint,
                details=details,
                bad_input=faults.is_bad_input(error),
                smaller=smaller,
            )
        )
        faults.forget_frames(error)
        return problem.what

    def _collect(self, entry: _Entry, broken: bool) -> None:
        try:
            if broken:
                self._kept.drop()
            left = 0 if self._kept.loaded else collect()
        except Exception as error:
            # After a fatal CUDA error even asking for its memory raises.
            if faults.poisons_device(error):
                self._poisoned_by = entry.info.run
            else:
                logging.getLogger(__name__).exception("what a job held was not given back")
            return
        if left > _LEFT_BYTES:
            with contextlib.suppress(OSError):
                entry.session.say(f"{left / 1e9:.1f} GB of GPU memory are still held.", "note")

    def _end(self, entry: _Entry, state: RunState, detail: str) -> None:
        """The last event of a run, once its folder is free and the engine is too."""
        folder = entry.info.folder
        if folder is not None:
            with contextlib.suppress(OSError):
                process.release(folder)
        with self._wake:
            if self._current is entry:
                self._current = None
            self._entries.pop(entry.info.run, None)
        entry.session.state(state, detail)
        entry.session.close()
        entry.ended.set()

    def _publish(self, event: Event) -> None:
        entry = self._entries.get(event.run)
        if entry is not None:
            self._note(entry, event)
        for callback in self._subscribers:
            try:
                callback(event)
            except Exception:
                # A watcher's fault must not end the run it watches.
                logging.getLogger(__name__).exception("a subscriber failed on %r", event)

    def _note(self, entry: _Entry, event: Event) -> None:
        if isinstance(event, StateChanged) and event.state not in ENDED:
            entry.info = replace(entry.info, state=event.state, detail=event.detail)
        elif isinstance(event, (StepLogged, CheckpointSaved)):
            if isinstance(event, CheckpointSaved):
                entry.saved = event
            if entry.replaces is not None:
                # The new run stands on its own feet.
                entry.replaces.discard()
                entry.replaces = None

    def _run_id(self, job: Job, folder: Path | None) -> str:
        if folder is not None:
            return folder.name if folder.name not in self._entries else str(folder)
        self._chats += 1
        return f"{job.kind}-{self._chats}"


def _stopped_how(entry: _Entry, stop: Stopped) -> str:
    if entry.info.kind != "train":
        return ""
    if not stop.save:
        return "without saving"
    return f"checkpoint-{entry.saved.step} is saved" if entry.saved is not None else ""
