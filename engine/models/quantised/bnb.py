"""bitsandbytes: 4 bits in blocks of 64 (QLoRA, Dettmers et al. 2023) and 8 bits a row (LLM.int8).

All calls of private names of bitsandbytes 0.50 stand here. Two of its ways on a CPU are changed:

- In evaluation mode a 4-bit layer packs its weights anew, with scales rounded to bf16, and from
  then on has no backward pass: training after an evaluation would stand still without a word. In a
  run the layers never do it.
- In evaluation mode an 8-bit layer rounds its inputs to 8 bits too, in training it does not. So a
  reference, which is asked in evaluation mode, would differ from the policy that it equals. Here
  the layers compute the same way in both.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

from engine.models.precision import Precision, torch_dtype

# The loggers that speak once a forward pass, or of a fast path that only CUDA machines miss.
_NOISY = ("bitsandbytes.backends.cpu.ops", "bitsandbytes.autograd._functions")
# The packed form for bf16 processors takes output features 32 at a time.
_PACKED_ROWS = 32


def quiet_bitsandbytes() -> None:
    """Call it before bitsandbytes is imported by anyone: it warns on import."""
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)


def bnb_options(
    config: Any, precision: Precision, device: str, for_training: bool
) -> dict[str, Any]:
    """What `from_pretrained` is told so that it quantises each linear layer as it reads it.

    The head, what shares its weight with the embedding, and a reward model's head are left as
    they are. Layers multiply in the type that the run computes in.
    """
    from transformers import BitsAndBytesConfig

    make: Any = BitsAndBytesConfig
    if config.quantization_bit == 8:
        told = make(load_in_8bit=True)
    else:
        told = make(
            load_in_4bit=True,
            bnb_4bit_quant_type=config.quantization_type,
            bnb_4bit_use_double_quant=bool(config.double_quantization),
            bnb_4bit_compute_dtype=torch_dtype(precision.autocast or precision.weights),
        )
    spread = config.quantization_device_map if not for_training else None
    return {"quantization_config": told, "device_map": spread or {"": device}}


def steady_on_cpu(model: Any, device: str, for_training: bool) -> None:
    """Layers of bitsandbytes on a CPU compute alike in training and in evaluation."""
    if device != "cpu":
        return
    from bitsandbytes.nn import Linear4bit, Linear8bitLt

    for module in model.modules():
        if isinstance(module, Linear4bit):
            packs = not for_training and module.out_features % _PACKED_ROWS == 0
            packs = packs and module.in_features % module.weight.blocksize == 0
            module.support_avx512bf16_for_cpu &= packs and _computes_in_bf16(module)
        elif isinstance(module, Linear8bitLt):
            module.__class__ = _steady_8bit()
            module.train()


def _computes_in_bf16(layer: Any) -> bool:
    import torch

    return bool(layer.compute_dtype == torch.bfloat16)


@cache
def _steady_8bit() -> type:
    from bitsandbytes.nn import Linear8bitLt

    class SteadyLinear8bit(Linear8bitLt):
        """An 8-bit layer that always unpacks its weights, also in evaluation mode."""

        def train(self, mode: bool = True) -> Any:
            return super().train(True)

        def init_8bit_state(self) -> None:
            # An adapter that is attached after a first pass moves the weight anew, without the
            # scales that the pass has put beside it.
            if self.weight.SCB is None and self.state.SCB is not None:
                self.state.CB, self.weight.CB = self.weight.CB, None
            else:
                super().init_8bit_state()

    # accelerate and peft know the layer by this name.
    SteadyLinear8bit.__name__ = Linear8bitLt.__name__
    return SteadyLinear8bit
