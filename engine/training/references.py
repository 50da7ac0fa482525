"""The reference model of a preference stage: the policy as it was before training.

| policy | reference | memory beside the policy |
| --- | --- | --- |
| a new LoRA adapter | the base, the adapter switched off | none |
| an adapter that is trained on | its values at the start, put in its place | the adapter |
| freeze | the trained blocks' values at the start, put in their place | those blocks |
| full | a second, frozen model | the model, in the type it computes in |
| any, `ref_model` named | that model, `ref_model_adapters` merged in | it; none for its own base |

TRL would copy the adapter under the name `ref` whenever it is given a PeftModel, also a new one,
and would save that copy with each checkpoint; `NoModel` is given to it instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from engine.problem import BadInput, Problem
from engine.training.second_model import blamed_on, find_second, load_frozen, merged

if TYPE_CHECKING:
    from engine.training.parts import Parts


@dataclass(frozen=True)
class Reference:
    """Where reference log-probabilities come from.

    `model` is a model of its own, or None; `start` holds the trained weights of the beginning by
    name, or None. With neither, it is the policy with its adapter switched off.
    """

    model: Any = None
    start: dict[str, torch.Tensor] | None = None

    @contextmanager
    def of(self, policy: Any) -> Iterator[Any]:
        """The reference as a model to call: in evaluation mode (neither dropout nor NEFTune's
        noise nor checkpointing), without gradients. The policy is as before afterwards."""
        with torch.no_grad():
            if self.model is not None:
                yield self.model
                return
            was_training = policy.training
            policy.eval()
            try:
                with policy.disable_adapter() if self.start is None else self._started(policy):
                    yield policy
            finally:
                policy.train(was_training)

    @contextmanager
    def _started(self, policy: Any) -> Iterator[None]:
        start = self.start or {}
        weights = dict(policy.named_parameters())
        now = {name: weights[name].data for name in start}
        try:
            for name, values in start.items():
                weights[name].data = values
            yield
        finally:
            for name, values in now.items():
                weights[name].data = values

    def for_trl(self, policy: Any) -> Any:
        """What to hand to a trainer of TRL as `ref_model`: the model, or nothing in its form."""
        return NoModel(policy.config) if self.model is None else self.model


class NoModel(torch.nn.Module):
    """Stands where TRL would otherwise load or copy a reference itself; never called."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config


def load_reference(parts: Parts) -> Reference:
    """The reference model that a run's settings ask for.

    Call it before a checkpoint's weights are loaded: what is trained then is the beginning. Raises
    BadInput for a `ref_model` that can't be loaded, or reads text differently.
    """
    from peft import PeftModel

    config = parts.config
    if config.ref_model:
        return _named(parts, config.ref_model)
    if config.finetuning_type == "full":
        # Not its values at the start: they are held in fp32 where the run computes in 16 bits.
        return Reference(model=load_frozen(parts, parts.model_folder.path))
    trained_on = bool(config.adapters) and not config.create_new_adapter
    if isinstance(parts.model, PeftModel) and not trained_on:
        return Reference()
    trained = {n: p for n, p in parts.model.named_parameters() if p.requires_grad}
    return Reference(start={name: p.detach().clone() for name, p in trained.items()})


def _named(parts: Parts, name: str) -> Reference:
    """The model of `ref_model`; no second one where it is the base under the run's adapter."""
    from engine.models import adapter_folders, attach_adapters, check_adapter

    config = parts.config
    with blamed_on("ref_model"):
        path = find_second(parts, name).path
        _check_same_tokens(parts, path)
        if not config.ref_model_adapters and is_bare_base(parts, path):
            return Reference()
        bits = config.ref_model_quantization_bit
        model = load_frozen(parts, path, bits=bits)
    if not config.ref_model_adapters:
        return Reference(model=model)
    with blamed_on("ref_model_adapters"):
        folders = adapter_folders(config.ref_model_adapters)
        for folder in folders:
            check_adapter(folder)
        model = attach_adapters(model, folders, parts.precision, trainable=False)
        return Reference(model=merged(model, bits))


def is_bare_base(parts: Parts, path: Path) -> bool:
    """Whether `path` is the run's base, and nothing was merged into it under the adapter."""
    from peft import PeftModel

    merged = len(parts.config.adapters) - (not parts.config.create_new_adapter)
    same = path.resolve() == parts.model_folder.path.resolve()
    return isinstance(parts.model, PeftModel) and same and merged <= 0


def _check_same_tokens(parts: Parts, path: Path) -> None:
    from engine.models import load_tokenizer

    theirs = load_tokenizer(path, bool(parts.config.trust_remote_code))
    if theirs.get_vocab() != parts.tokenizer.get_vocab():
        raise BadInput(
            Problem(
                "The reference model has another vocabulary than the model, so their "
                "log-probabilities can't be compared.",
                where=str(path),
                hint="Take a model of the same family, or leave ref_model empty.",
                setting="ref_model",
            )
        )
