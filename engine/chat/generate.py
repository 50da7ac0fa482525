"""Ids one after the other: transformers' rules of choice in a loop that can stop at any moment."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from engine.chat.prefix import KeptPrefix

# Prompt tokens put through the model at once. Bounds the memory of a long prompt; on a CPU also
# the time that one layer takes, and so the wait for a stop.
_AT_ONCE = {"cpu": 256}
_AT_ONCE_ON_A_GPU = 2048


def processors(choice: Any) -> Any:
    """transformers' processors for a GenerationConfig, in the order that `generate` applies them
    (`GenerationMixin._get_logits_processor`, 5.24)."""
    from transformers import (
        LogitsProcessorList,
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    chosen = LogitsProcessorList()
    if choice.repetition_penalty not in (None, 1.0):
        chosen.append(RepetitionPenaltyLogitsProcessor(choice.repetition_penalty))
    if not choice.do_sample:
        return chosen
    if choice.temperature not in (None, 1.0):
        chosen.append(TemperatureLogitsWarper(choice.temperature))
    if choice.top_k:
        chosen.append(TopKLogitsWarper(choice.top_k))
    if choice.top_p is not None and choice.top_p < 1.0:
        chosen.append(TopPLogitsWarper(choice.top_p))
    return chosen


def next_ids(
    model: Any,
    prompt: list[int],
    choice: Any,
    kept: KeptPrefix | None,
    random: Any,
    check: Callable[[], object],
) -> Iterator[int]:
    """Yield the answer's ids, an end id included, at most `choice.max_new_tokens`.

    `kept` holds the cache between turns; None computes everything anew for each token. `random`
    is the torch.Generator that tokens are drawn with. `check` is asked before each token and may
    raise.
    """
    rules = processors(choice)
    ends = frozenset(choice.eos_token_id)
    takes = _parameters(model)
    # Before transformers 5.24, and in models that bring their own code, the cache had this name.
    name = "cache" if "cache" in takes else "past_key_values"
    options: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
    at_once = _AT_ONCE.get(model.device.type, _AT_ONCE_ON_A_GPU)
    ids = list(prompt)
    cache, unread = kept.take(ids) if kept is not None else (None, ids)
    options |= {name: cache, "use_cache": kept is not None}
    for _ in range(choice.max_new_tokens):
        check()
        if kept is None:
            logits = _logits(model, ids, options)
        else:
            for start in range(0, len(unread), at_once):
                piece = unread[start : start + at_once]
                logits = _logits(model, piece, options)
                kept.read(piece)
        token = _choose(logits, ids, rules, choice.do_sample, random)
        yield token
        if token in ends:
            return
        ids.append(token)
        unread = [token]


def _logits(model: Any, ids: list[int], options: dict[str, Any]) -> Any:
    """The logits (1, vocabulary) of the token after `ids`, which follow what the cache holds."""
    import torch

    with torch.inference_mode():
        out = model(input_ids=torch.tensor([ids], device=model.device), **options)
    return out.logits[:, -1]


def _choose(logits: Any, ids: list[int], rules: Any, sample: bool, random: Any) -> int:
    import torch

    # Not across a `yield`: inference mode would reach whoever takes the ids.
    with torch.inference_mode():
        scores = logits.to(torch.float32)
        if rules:
            scores = rules(torch.tensor([ids], device=scores.device), scores)
        if sample:
            return int(torch.multinomial(torch.softmax(scores, -1), 1, generator=random))
        return int(scores.argmax(-1))


def _parameters(model: Any) -> frozenset[str]:
    """The names that the model's forward pass takes (an adapter's wrapper hands all on)."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return frozenset(inspect.signature(inner.forward).parameters)
