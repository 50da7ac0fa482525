"""How good a model is on rows: its loss over them, or answers of its own beside the references.

Importing this imports neither torch nor the scoring libraries: they come when a job runs.
"""

from __future__ import annotations

from engine.evaluation.measure import run_evaluation
from engine.evaluation.predict import run_prediction
from engine.evaluation.scores import Scorer

__all__ = ["Scorer", "run_evaluation", "run_prediction"]
