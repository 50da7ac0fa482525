"""Answers sampled from a model, a batch of prompts at a time; stopped between any two tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from engine.models.inference import end_ids, interruptible

if TYPE_CHECKING:
    from engine.training.parts import Parts


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn. `end_ids` end an answer and belong to it; `top_k` 0 is no limit."""

    temperature: float
    top_p: float
    top_k: int
    max_new_tokens: int
    end_ids: tuple[int, ...]
    pad_id: int

    @classmethod
    def of(cls, parts: Parts) -> Sampling:
        """As the run's settings say; answers are sampled whatever `do_sample` says."""
        config = parts.config
        return cls(
            config.temperature,
            config.top_p,
            config.top_k,
            config.max_new_tokens,
            end_ids(parts.encoder.eos_ids, parts.model),
            parts.tokenizer.pad_token_id or 0,
        )

    def config(self) -> Any:
        """transformers' description, with every rule of choice set: none is the model's own."""
        make: Any = GenerationConfig
        return make(
            do_sample=True,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            num_beams=1,
            repetition_penalty=1.0,
            max_new_tokens=self.max_new_tokens,
            use_cache=True,
            eos_token_id=list(self.end_ids),
            pad_token_id=self.pad_id,
        )


class _Ask(StoppingCriteria):
    """Asks between two tokens; what it asks may raise, which ends the sampling."""

    def __init__(self, check: Callable[[], object]) -> None:
        self._check = check

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        self._check()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


@torch.no_grad()
def sample(
    model: Any,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    check: Callable[[], object] = lambda: None,
) -> list[list[int]]:
    """An answer for each prompt, its end token included, of 1 to `max_new_tokens` tokens.

    Prompts are padded on the left. Draws from torch's own generator. `check` is asked before each
    token, and before each layer of a long prompt, and may raise. The model is left in evaluation
    mode; autocast is the caller's.
    """
    model.eval()
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), longest), sampling.pad_id)
    mask = torch.zeros_like(ids)
    for line, prompt in enumerate(prompts):
        ids[line, longest - len(prompt) :] = torch.tensor(list(prompt))
        mask[line, longest - len(prompt) :] = 1
    with interruptible(model, check):
        whole = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            generation_config=sampling.config(),
            stopping_criteria=StoppingCriteriaList([_Ask(check)]),
        )
    return [_cut(row, sampling.end_ids) for row in whole[:, longest:].tolist()]


def _cut(row: list[int], ends: tuple[int, ...]) -> list[int]:
    """The tokens up to the first that ends an answer."""
    for place, token in enumerate(row):
        if token in ends:
            return row[: place + 1]
    return row
