"""Optimisers beside transformers' own, and what keeps each exact over a stop: a module a family."""

from __future__ import annotations

from engine.training.optimisers.build import build_optimiser, check_optimiser, forget_shared
from engine.training.optimisers.plan import Plan

__all__ = ["Plan", "build_optimiser", "check_optimiser", "forget_shared"]
