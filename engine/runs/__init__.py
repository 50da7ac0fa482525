"""A run's folder on disk: its logs, its curves, its state, and the list of all runs."""

from __future__ import annotations

from engine.runs.curves import Curves, read_curves
from engine.runs.folder import new_run_folder
from engine.runs.history import RunSummary, acknowledge, interrupted_runs, list_runs, read_run
from engine.runs.process import running_pid
from engine.runs.trainer_log import LogPoint, TrainerLog, read_trainer_log

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
