"""Which folder a job works in, and what becomes of it when the job never begins."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path

from engine.paths import saves_dir
from engine.problem import BadInput, Problem
from engine.runs import process
from engine.runs.eventlog import EventLog
from engine.runs.folder import holds_run, run_folder
from engine.worker.jobs import EvaluateJob, Job, TrainJob


def drop_folder(folder: Path | None) -> None:
    """A queued job goes: so does its folder, if it was made for it."""
    if folder is None:
        return
    with contextlib.suppress(OSError):
        process.release(folder)
        folder.rmdir()  # refuses where anything lies in it


def folder_of(job: Job) -> Path | None:
    """Choose, make and claim the job's folder.

    Raises BadInput where it can't be made or written, OSError on a full disk.
    """
    if isinstance(job, TrainJob):
        prefix = ""
    elif isinstance(job, EvaluateJob):
        prefix = "predict" if job.config.do_predict else "eval"
    else:
        return None
    try:
        folder = run_folder(job.config, prefix=prefix)
        process.claim(folder)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise BadInput(
            Problem(
                f"The run's folder can't be made or written: {error.strerror}.",
                where=job.config.output_dir or str(error.filename or saves_dir()),
                hint="Choose an output_dir that you may write to.",
                setting="output_dir",
            )
        ) from error
    return folder


def log_of(job: Job, folder: Path | None) -> EventLog | None:
    """A score of a run may be written into that run's folder; its log stays the training's."""
    if folder is not None and isinstance(job, EvaluateJob) and holds_run(folder):
        return EventLog(folder / "evaluation_events.jsonl")
    return None
