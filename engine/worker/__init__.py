"""The engine thread: jobs in, events out, one job at a time; look-ups on a second thread."""

from __future__ import annotations

from engine.worker.engine import Engine, JobInfo
from engine.worker.jobs import (
    ChatJob,
    ChatMessage,
    EvaluateJob,
    ExportJob,
    Job,
    TrainJob,
)

__all__ = [
    "ChatJob",
    "ChatMessage",
    "Engine",
    "EvaluateJob",
    "ExportJob",
    "Job",
    "JobInfo",
    "TrainJob",
]
