"""The methods and variants that finetui trains, each by the settings that ask for it.

`test_every_method.py` trains, saves, loads again and asks each; the README's table has its ids.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest

_ADAPTER = {"finetuning_type": "lora"}

# id → the settings on top of a plain run.
CASES: dict[str, dict[str, Any]] = {
    "full": {"finetuning_type": "full"},
    "freeze_last": {"finetuning_type": "freeze", "freeze_trainable_layers": 1},
    "freeze_first": {"finetuning_type": "freeze", "freeze_trainable_layers": -1},
    "freeze_modules": {
        "finetuning_type": "freeze",
        "freeze_trainable_modules": "self_attn",
        "freeze_extra_modules": "embed_tokens",
    },
    "lora": _ADAPTER,
    "lora_whole_modules": {**_ADAPTER, "lora_target": "q_proj", "additional_target": "norm"},
    "rslora": {**_ADAPTER, "use_rslora": True},
    "dora": {**_ADAPTER, "use_dora": True},
    "pissa": {**_ADAPTER, "pissa_init": True},
    "pissa_exact": {**_ADAPTER, "pissa_init": True, "pissa_iter": -1},
    "pissa_convert": {**_ADAPTER, "pissa_init": True, "pissa_convert": True},
    "pissa_dora": {**_ADAPTER, "pissa_init": True, "use_dora": True, "use_rslora": True},
    "loftq": {**_ADAPTER, "loftq_init": True, "quantization_bit": 4},
    "oft": {"finetuning_type": "oft", "oft_block_size": 8},
    "oft_blocks_dropped": {"finetuning_type": "oft", "oft_rank": 4, "module_dropout": 0.3},
    "oft_whole_modules": {
        "finetuning_type": "oft",
        "oft_target": "q_proj,v_proj",
        "additional_target": "norm",
    },
    "llama_pro_freeze": {
        "finetuning_type": "freeze",
        "use_llama_pro": True,
        "freeze_trainable_layers": 1,
    },
    "llama_pro_lora": {**_ADAPTER, "use_llama_pro": True, "freeze_trainable_layers": 3},
    "shift_attn": {**_ADAPTER, "shift_attn": True},
    "shift_attn_full": {"finetuning_type": "full", "shift_attn": True},
}
_NEEDS = {"loftq": "bitsandbytes"}


def parameters(*names: str) -> list[Any]:
    """pytest's parameters of these cases (all where none is named), marked with what they need."""
    return [
        pytest.param(
            name,
            id=name,
            marks=pytest.mark.skipif(
                name in _NEEDS and find_spec(_NEEDS[name]) is None,
                reason=f"needs {_NEEDS.get(name, '')}",
            ),
        )
        for name in (names or CASES)
    ]
