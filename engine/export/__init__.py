"""An adapter merged into its base, or a checkpoint, written as a plain model folder.

Importing this imports no torch: it comes when a job runs.
"""

from __future__ import annotations

from engine.export.run import run_export
from engine.export.target import check_target

__all__ = ["check_target", "run_export"]
