"""A frozen model beside the trained one: found, loaded, and laid out for as the trained one is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from engine.problem import BadInput

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.models.locate import ModelFolder
    from engine.training.forms import Collator
    from engine.training.parts import Parts


def choose_form_for_both(
    model: Any, second: Any, config: RunConfig, device: str, longest: int, pad_id: int
) -> Collator:
    """The collator of a run whose batches `second` reads too, and both models' attention set.

    `second` is None where it is the same model with its adapter switched off.
    """
    from engine.training import attention
    from engine.training.collate import EndToEnd, Padded
    from engine.training.forms import choose_form

    form = choose_form(model, config, device, longest, pad_id)
    if second is None or not isinstance(form, EndToEnd):
        return form
    if not attention.fits(second, longest):
        return Padded(pad_id)
    second.set_attn_implementation(attention.register())
    return form


def find_second(parts: Parts, name: str) -> ModelFolder:
    """The folder of a model beside the trained one, fetched where need be. Raises BadInput."""
    from engine.models import resolve

    return resolve(
        name,
        replace(parts.config, model_revision="main"),  # the revision in the settings is the run's
        progress=parts.session.progress,
        check_stop=parts.session.control.check,
    )


def load_frozen(
    parts: Parts,
    path: Path,
    head: Literal["language", "score"] = "language",
    bits: int | None = None,
) -> Any:
    """A model in the type that the run computes in, in evaluation mode, nothing trainable.

    With `bits` (8 or 4) its linear layers are held in so many, by bitsandbytes.
    """
    from engine.config.vocabulary import adds_tokens
    from engine.models import load_model
    from engine.models.vocabulary import grow_embeddings

    precision = parts.precision
    held = replace(precision, weights=precision.autocast or precision.weights)
    config = replace(
        parts.config,
        quantization_bit=bits,
        quantization_method="bnb",
        # What the run itself may start from at random, a second model holds trained.
        train_from_scratch=False,
    )
    model: Any = load_model(path, config, held, parts.device, for_training=True, head=head)
    grows = config.resize_vocab or adds_tokens(config)
    if grows and path.resolve() == parts.model_folder.path.resolve():
        grow_embeddings(model, parts.encoder.tokenizer, config)
    return model.requires_grad_(False)


def merged(model: Any, bits: int | None) -> Any:
    """A frozen model with its adapter in its weights; on few bits it stays beside them."""
    return (model if bits else model.merge_and_unload()).requires_grad_(False)


@contextmanager
def blamed_on(setting: str) -> Iterator[None]:
    """Faults of a model's name tell the setting that it stood in, the innermost one."""
    try:
        yield
    except BadInput as fault:
        if fault.problem.setting.startswith(setting):
            raise
        raise BadInput(replace(fault.problem, setting=setting)) from fault
