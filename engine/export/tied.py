"""Whether a model's head and its embedding are one weight, and how both are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def tied_names(folder: Path, trust_remote_code: bool) -> tuple[str, str] | None:
    """The names of the head's and the embedding's weight where they are one, else None.

    Asked of transformers itself, on the meta device: no weight is read.
    """
    import torch
    from transformers import AutoConfig

    from engine.models.kinds import model_class

    options = {"trust_remote_code": trust_remote_code}
    make: Any = model_class(folder, "language")
    config = AutoConfig.from_pretrained(str(folder), local_files_only=True, **options)
    with torch.device("meta"):
        model = make.from_config(config, **options)
    model.tie_weights()
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or embedding is None or head.weight is not embedding.weight:
        return None
    names = {id(module): name for name, module in model.named_modules()}
    return f"{names[id(head)]}.weight", f"{names[id(embedding)]}.weight"


def untie(model: Any) -> None:
    """Give the head of a loaded model a copy of the weight it shares with the embedding."""
    import torch

    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is not None and head.weight is embedding.weight:
        head.weight = torch.nn.Parameter(head.weight.detach().clone(), requires_grad=False)
        model.config.tie_word_embeddings = False
        model.config.get_text_config().tie_word_embeddings = False
