"""How micro-batches are laid out for a model on a device.

Measured with `tests/benchmarks/training/speed.py` (demo model, LoRA on all linear layers, fp32,
micro-batches of 4 identity rows, two AVX2 cores not quite alone), real tokens a second, and the
median of the paired ratios to TRL's trainer: TRL 121; padded 164 (1.37); end to end with sdpa 159
(1.35), with attention row by row 164 (1.39), with the shared prefix laid down once 211 (1.74).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.models.vision import is_vision_model
from engine.training import attention
from engine.training.collate import EndToEnd, Padded
from engine.training.methods import shifted_attention

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
        chosen = shifted_attention if config.shift_attn else attention
        model.set_attn_implementation(chosen.register())
        return EndToEnd()
    return Padded(pad_id)


def packed_form(form: Collator, model: Any, config: RunConfig, second: Any = None) -> Collator:
    """`form`, or for packed conversations one without padding where attention allows it.

    Rows laid end to end are then kept apart by their `position_ids` (transformers 5.24 makes a
    block-diagonal mask of them, or hands their lengths to flash attention); training passes
    `use_cache=False`, without which they leak. Other models train on padded rows, apart as ever.
    """
    if isinstance(form, EndToEnd) or second is not None or config.neftune_noise_alpha:
        return form
    if config.shift_attn or is_vision_model(model):
        return form
    if not getattr(model, "_supports_attention_backend", False):
        return form  # its masks may be made otherwise
    text = model.config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or ["full_attention"])
    plain = kinds <= {"full_attention", "sliding_attention"}
    used = getattr(model.config, "_attn_implementation", None)
    experts = getattr(text, "num_experts", None) or getattr(text, "num_local_experts", None)
    if plain and not experts and used in ("sdpa", "eager", "flash_attention_2"):
        return EndToEnd(by_rows=False)
    return form
