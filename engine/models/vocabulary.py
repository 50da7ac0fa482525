"""Embeddings for new tokens: rows are added, given a start, and found again beside an adapter."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.config.vocabulary import new_tokens
from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    import torch

    from engine.datasets.tokenizer import FastTokenizer

# A multiple of 64 rows keeps matrix products aligned.
_MULTIPLE = 64
_PREFIX = "base_model.model."


def add_to_tokenizer(tokenizer: Any, config: Any) -> None:
    """Add the run's new tokens to transformers' tokenizer, as `FastTokenizer.add_new` does."""
    from engine.datasets.tokenizer import as_added

    fresh = as_added(new_tokens(config))
    if fresh:
        tokenizer.add_tokens([token for token in fresh if not token.special])
        tokenizer.add_tokens([token for token in fresh if token.special], special_tokens=True)


def grow_embeddings(model: Any, tokenizer: FastTokenizer, config: Any) -> tuple[str, ...]:
    """Give every token of `tokenizer` a row of the embeddings and the head, in place.

    Added rows, and those of the run's new tokens, start as `init_special_tokens` says, drawn from
    the run's seed alone: noise round the mean of the rows that were there, or the mean of a
    description's tokens (with or without noise). The noise has the deviation 1/√width. Returns
    sentences for the log. Raises BadInput for embeddings that can't grow (rule 52).
    """
    new = new_tokens(config)
    if not tokenizer.new_ids and not (config.resize_vocab or new):
        return ()
    embedding = model.get_input_embeddings()
    before = int(embedding.weight.shape[0])
    grown = _resize(model, tokenizer.rows, _MULTIPLE)
    fresh = {*tokenizer.new_ids, *range(before, grown)}
    if not fresh:
        return (f"The embeddings have {before:,} rows, enough for all {tokenizer.rows:,} tokens.",)
    model.finetui_grown = True
    known = min(before, *tokenizer.new_ids) if tokenizer.new_ids else before
    described = _described(tokenizer, new.descriptions, config.init_special_tokens)
    noisy = config.init_special_tokens != "desc_init"
    weights = [model.get_input_embeddings().weight]
    head = model.get_output_embeddings()
    if head is not None and head.weight is not weights[0]:
        weights.append(head.weight)
    for weight in weights:
        _start(weight, sorted(fresh), known, described, noisy, config.seed)
    notes = []
    if tokenizer.new_ids:
        how = "as their descriptions say" if described else "near the mean of the others"
        notes.append(f"{len(tokenizer.new_ids):,} new tokens; their embeddings start {how}.")
    if grown > before:
        notes.append(f"The embeddings have grown from {before:,} to {grown:,} rows.")
    return tuple(notes)


def _described(
    tokenizer: FastTokenizer, descriptions: dict[str, str], how: str
) -> dict[int, list[int]]:
    """New token's id -> ids of its description, as far as descriptions are to be used."""
    if how == "noise_init":
        return {}
    found: dict[int, list[int]] = {}
    for token, text in descriptions.items():
        place = tokenizer.backend.token_to_id(token)
        words = [i for i in tokenizer.encode(text) if i not in tokenizer.new_ids]
        if place in tokenizer.new_ids and words:
            found[place] = words
    return found


def _start(
    weight: torch.Tensor,
    rows: list[int],
    known: int,
    described: dict[int, list[int]],
    noisy: bool,
    seed: int,
) -> None:
    """Write the start values of `rows`; the first `known` rows are those of trained tokens."""
    import torch

    with torch.no_grad():
        old = weight[:known].float()
        mean = old.mean(0)
        width = int(weight.shape[1])
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn((len(rows), width), generator=generator) / math.sqrt(width)
        for place, row in enumerate(rows):
            words = described.get(row)
            start = mean if words is None else weight[words].float().mean(0)
            if words is None or noisy:
                start = start + noise[place].to(start.device)
            weight[row] = start.to(weight.dtype)


def fit_vocabulary(model: Any, adapter: Path) -> None:
    """Give the embeddings of `model` as many rows as the adapter's have, where it brings more.

    Their values come with the adapter. Raises BadInput as `grow_embeddings` does.
    """
    from engine.models.headers import read_header

    stored = adapter / "adapter_model.safetensors"
    embedding = model.get_input_embeddings()
    if embedding is None or not stored.is_file():
        return
    names = {
        f"{_PREFIX}{name}.{weight}"
        for name, module in model.named_modules()
        if module is embedding or module is model.get_output_embeddings()
        for weight in ("weight", "base_layer.weight")
    }
    header = read_header(stored)
    rows = [header[name].shape[0] for name in names if name in header]
    if rows:
        _resize(model, max(rows), None)


def has_grown(model: Any) -> bool:
    """Whether a model's embeddings have rows that its files don't have."""
    return bool(getattr(model, "finetui_grown", False))


def write_embeddings(model: Any, folder: Path) -> None:
    """Put embeddings that have grown into a saved adapter: its base's files lack their new rows.

    Those that are trained whole (`additional_target`) are in it already.
    """
    if not has_grown(model):
        return
    from peft.utils import ModulesToSaveWrapper
    from safetensors.torch import load_file, save_file

    base = model.get_base_model()
    ends = [base.get_input_embeddings(), base.get_output_embeddings()]
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    for name, module in model.named_modules():
        whole = isinstance(module, ModulesToSaveWrapper)
        if whole or not any(module is end for end in ends):
            continue
        inner = getattr(module, "base_layer", None)
        key = f"{name}.weight" if inner is None else f"{name}.base_layer.weight"
        # A head that shares the embedding's weight is stored too, so that either can be found.
        tensors[key] = (module if inner is None else inner).weight.detach().cpu().clone()
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata={"format": "pt"})
    partial.replace(path)


def _resize(model: Any, rows: int, multiple: int | None) -> int:
    """At least `rows` rows; returns how many there are now."""
    import torch

    embedding = model.get_input_embeddings()
    size = int(embedding.weight.shape[0])
    if rows <= size:
        return size
    if type(embedding) is not torch.nn.Embedding:
        raise BadInput(
            Problem(
                f"The model's embeddings ({type(embedding).__name__}) can't take more tokens: "
                f"{rows:,} are needed, {size:,} are there.",
                "resize_vocab",
                "Add the tokens to the model's folder first, or take a model with plain "
                "embeddings.",
                "resize_vocab",
            )
        )
    # The start values are finetui's own: the mean by transformers takes a covariance of all rows.
    model.resize_token_embeddings(rows, pad_to_multiple_of=multiple, mean_resizing=False)
    return int(model.get_input_embeddings().weight.shape[0])
