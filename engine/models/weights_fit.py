"""Whether the weights on disk are those that config.json describes: none missing, none of another
shape. transformers fills such places with random numbers and says so in its log only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.models.score_head import SCORE
from engine.problem import BadInput, Problem

_HINT = (
    "The copy may be incomplete, or config.json may be another model's: copy or download the "
    "model again."
)


def refuse_unfit(model: Any, told: Mapping[str, Any], folder: Path) -> None:
    """Raise `BadInput` where a parameter of `model` did not come out of `folder`.

    `told` is what `from_pretrained` returns with `output_loading_info`. A head that scores may be
    new: a reward model begins with a random one.
    """
    other = sorted(told["mismatched_keys"])
    if other:
        name, stored, wanted = other[0]
        raise _unfit(
            f"The weights do not fit config.json: {name} is {_shape(stored)} in the file, "
            f"{_shape(wanted)} by config.json.",
            folder,
        )
    parameters = {name for name, _ in model.named_parameters() if not name.startswith(f"{SCORE}.")}
    missing = sorted(parameters & set(told["missing_keys"]))
    if missing:
        raise _unfit(
            f"The weights lack {len(missing):,} of the {len(parameters):,} tensors that "
            f"config.json describes, {missing[0]} among them.",
            folder,
        )


def _unfit(what: str, folder: Path) -> BadInput:
    return BadInput(Problem(what, str(folder), _HINT, "model_name_or_path"))


def _shape(sizes: Any) -> str:
    return " × ".join(f"{size:,}" for size in sizes)
