"""A frozen model beside the trained one, that reads the same micro-batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.training.forms import Collator


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
