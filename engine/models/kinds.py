"""Which class of transformers a folder's model is loaded as."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from engine.datasets.media.chat_parts import config_of, reads_in


def model_class(folder: Path, head: Literal["language", "score"]) -> Any:
    """The auto class for the model in `folder`, with a head that writes or one that scores.

    A model that sees or hears keeps its tower, whatever its rows hold.
    """
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
        AutoModelForMultimodalLM,
        AutoModelForSeq2SeqLM,
        AutoModelForSequenceClassification,
    )

    if head == "score":
        return AutoModelForSequenceClassification
    if reads_in(folder):
        from transformers.models.auto.modeling_auto import (
            MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
            MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
            MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
        )

        family = config_of(folder).get("model_type")
        if family in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
            return AutoModelForImageTextToText
        if family in MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES:
            return AutoModelForMultimodalLM
        # Where transformers 5.24 has Audio Flamingo 3, a decoder all the same.
        if family in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES:
            return AutoModelForSeq2SeqLM
    return AutoModelForCausalLM
