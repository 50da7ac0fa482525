"""Which class of transformers a folder's model is loaded as."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from engine.datasets.media.chat_parts import config_of, reads_pictures_in


def model_class(folder: Path, head: Literal["language", "score"]) -> Any:
    """The auto class for the model in `folder`, with a head that writes or one that scores.

    A model that reads pictures keeps its tower, whatever its rows hold.
    """
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
        AutoModelForSequenceClassification,
    )

    if head == "score":
        return AutoModelForSequenceClassification
    if reads_pictures_in(folder):
        from transformers.models.auto.modeling_auto import (
            MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
        )

        if config_of(folder).get("model_type") in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
            return AutoModelForImageTextToText
    return AutoModelForCausalLM
