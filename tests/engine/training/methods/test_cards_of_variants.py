"""A run's model card says which variant it is, and what other tools need to know."""

from __future__ import annotations

from typing import Any

import pytest

from engine.training.card import model_card


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"use_dora": True, "use_rslora": True}, "variants of LoRA | "),
        ({"finetuning_type": "oft"}, "of 32 features"),
        ({"finetuning_type": "oft", "oft_rank": 4}, "4 a layer"),
        ({"finetuning_type": "oft"}, "library_name: peft"),
        ({"pissa_init": True}, "pissa_converted"),
        ({"use_llama_pro": True}, "block_expansion.json"),
    ],
)
def test_the_card_says_so(changes: dict[str, Any], words: str, make_config: Any) -> None:
    assert words in model_card(make_config(**changes), "run", "base", {"small": 3}, {})
    assert words not in model_card(make_config(), "run", "base", {"small": 3}, {}) or (
        words == "library_name: peft"
    )
