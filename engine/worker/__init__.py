"""The engine thread: jobs in, events out, one job at a time; look-ups on a second thread."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.worker.engine import Engine, JobInfo
    from engine.worker.jobs import (
        ChatJob,
        ChatMessage,
        EvaluateJob,
        ExportJob,
        Job,
        TrainJob,
    )

# The screen's first frame asks `engine.worker.questions` and needs no engine yet.
_HOMES = {
    "Engine": "engine",
    "JobInfo": "engine",
    "ChatJob": "jobs",
    "ChatMessage": "jobs",
    "EvaluateJob": "jobs",
    "ExportJob": "jobs",
    "Job": "jobs",
    "TrainJob": "jobs",
}

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


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
