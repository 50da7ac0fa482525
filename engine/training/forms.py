"""How micro-batches are laid out for a model on a device: measured, see the numbers below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.training import attention
from engine.training.collate import EndToEnd, Padded

if TYPE_CHECKING:
    from engine.config import RunConfig

Collator = Padded | EndToEnd


def choose_form(model: Any, config: RunConfig, device: str, longest: int, pad_id: int) -> Collator:
    """The collator for a run, and the attention that goes with it set on `model`.

    On a CPU rows are laid end to end where the model allows it: `tests/benchmarks/training/speed`
    compares the forms. NEFTune scales its noise by the length of a row, which end to end would be
    that of the whole micro-batch, so it trains padded. So does everything on a GPU.
    """
    wanted = device == "cpu" and config.flash_attn != "disabled"
    if wanted and not config.neftune_noise_alpha and attention.fits(model, longest):
        model.set_attn_implementation(attention.register())
        return EndToEnd()
    return Padded(pad_id)
