"""LLaMA Pro: new blocks that change nothing at first, and only they are trained."""

from __future__ import annotations

from typing import Any

from engine.models.blocks import expand_blocks, expanded_blocks


def add_blocks(model: Any, added: int) -> tuple[tuple[int, ...], bool]:
    """Where the `added` new blocks of `model` stand, and whether they were put in just now.

    A model that another run or a script expanded already trains the new blocks it has. Raises
    BadInput for a number that does not fit the model.
    """
    there = expanded_blocks(model, added)
    if there is not None:
        return there, False
    return expand_blocks(model, added), True
