"""Which class of transformers a folder's model is loaded as."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal


def model_class(folder: Path, head: Literal["language", "score"]) -> Any:
    """The auto class for the model in `folder`, with a head that writes or one that scores."""
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    return AutoModelForSequenceClassification if head == "score" else AutoModelForCausalLM
