"""Answers sampled from a model while it is trained, and how likely models find them."""

from __future__ import annotations

# What a `Completions` event holds of a step: so many answers, so many characters of each text.
SHOWN_ROWS = 8
SHOWN_CHARACTERS = 2_000
