"""A run's folder on disk: its logs, its curves, its state, and the list of all runs."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.runs.curves import Curves, read_curves
    from engine.runs.folder import new_run_folder
    from engine.runs.history import RunSummary, acknowledge, interrupted_runs, list_runs, read_run
    from engine.runs.process import running_pid
    from engine.runs.trainer_log import LogPoint, TrainerLog, read_trainer_log

# Writing a file whole (`atomic`) is needed everywhere; reading curves is not.
_HOMES = {
    "Curves": "curves",
    "LogPoint": "trainer_log",
    "RunSummary": "history",
    "TrainerLog": "trainer_log",
    "acknowledge": "history",
    "interrupted_runs": "history",
    "list_runs": "history",
    "new_run_folder": "folder",
    "read_curves": "curves",
    "read_run": "history",
    "read_trainer_log": "trainer_log",
    "running_pid": "process",
}

__all__ = [
    "Curves",
    "LogPoint",
    "RunSummary",
    "TrainerLog",
    "acknowledge",
    "interrupted_runs",
    "list_runs",
    "new_run_folder",
    "read_curves",
    "read_run",
    "read_trainer_log",
    "running_pid",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
