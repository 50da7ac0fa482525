"""An export of each variant predicts what base and adapter predict unmerged."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

# Whole runs, each a few times: CI runs them with the longer cases.
pytestmark = pytest.mark.slow

VARIANTS: dict[str, dict[str, Any]] = {
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "pissa": {"pissa_init": True},
    "pissa_rslora": {"pissa_init": True, "use_rslora": True},
    "pissa_dora": {"pissa_init": True, "use_dora": True},
    "oft": {"finetuning_type": "oft", "oft_block_size": 8},
    "oft_whole": {
        "finetuning_type": "oft",
        "oft_target": "q_proj,up_proj",
        "additional_target": "norm,lm_head",
    },
    "llama_pro_lora": {"use_llama_pro": True, "freeze_trainable_layers": 2},
    "llama_pro_freeze": {
        "finetuning_type": "freeze",
        "use_llama_pro": True,
        "freeze_trainable_layers": 2,
    },
    "loftq": {"loftq_init": True, "quantization_bit": 4},
}


def exported(config: Any, run: Path, target: Path, **changes: Any) -> Any:
    """The export of a run, loaded by transformers alone."""
    import torch
    from transformers import AutoModelForCausalLM

    from engine.export import run_export
    from engine.runs.session import JobSession

    adapter = config.finetuning_type in ("lora", "oft")
    named = "adapter_name_or_path" if adapter else "model_name_or_path"
    asked = replace(
        config, do_train=False, export_dir=str(target), infer_dtype="float32",
        quantization_bit=None, **{named: str(run), **changes},
    )  # fmt: skip
    run_export(asked, JobSession("export", None, lambda _: None))
    return AutoModelForCausalLM.from_pretrained(target, dtype=torch.float32).eval()


@pytest.mark.parametrize("name", VARIANTS)
def test_the_export_predicts_the_same(
    name: str, train: Any, comes_back: Any, logits: Any, plain: Any, tmp_path: Path
) -> None:
    if name == "loftq" and find_spec("bitsandbytes") is None:
        pytest.skip("needs bitsandbytes")
    config, _ = train("run", **VARIANTS[name])
    unmerged = logits(comes_back(config, tmp_path / "run", quantization_bit=None))
    merged = exported(config, tmp_path / "run", tmp_path / "out")
    assert (logits(merged) - unmerged).abs().max() < 1e-3
    assert (unmerged - logits(plain)).abs().max() > 1e-2
    told = json.loads((tmp_path / "out/config.json").read_text("utf-8"))
    assert told["num_hidden_layers"] == merged.config.num_hidden_layers
    assert merged.config.num_hidden_layers == (6 if "llama_pro" in name else 4)


def test_pissa_is_merged_weight_by_weight(train: Any, tmp_path: Path) -> None:
    """Without the whole model in memory, and nothing rounded on the way."""
    from engine.export.adapter import read_changes

    train("run", pissa_init=True)
    changes = read_changes(tmp_path / "run")
    pair = changes.added["model.layers.0.mlp.up_proj.weight"]
    assert pair.a.shape == (16, 32) and pair.b.shape == (64, 16)


def test_a_chain_of_variants_is_merged_in_order(
    train: Any, comes_back: Any, logits: Any, tmp_path: Path
) -> None:
    """OFT over PiSSA over LoRA: each was trained on what lies below."""
    first, _ = train("first")
    under = str(tmp_path / "first")
    given = {"adapter_name_or_path": under, "create_new_adapter": True}
    train("second", pissa_init=True, **given)
    both = f"{under},{tmp_path / 'second'}"
    third, _ = train(
        "third", finetuning_type="oft", adapter_name_or_path=both, create_new_adapter=True
    )
    chain = f"{both},{tmp_path / 'third'}"
    unmerged = comes_back(third, tmp_path / "third", adapter_name_or_path=chain)
    merged = exported(third, tmp_path, tmp_path / "out", adapter_name_or_path=chain)
    assert (logits(merged) - logits(unmerged)).abs().max() < 1e-3
    assert first.finetuning_type == "lora"


def test_a_reward_adapter_that_changed_its_base_is_not_shared(train: Any, tmp_path: Path) -> None:
    from engine.models.changed_base import changes_its_base

    train("plain")
    train("pissa", pissa_init=True, pissa_convert=True)
    train("pro", use_llama_pro=True, freeze_trainable_layers=2)
    found = {name: changes_its_base(tmp_path / name) for name in ("plain", "pissa", "pro")}
    assert found == {"plain": "", "pissa": "PiSSA", "pro": "new blocks"}
    assert changes_its_base(tmp_path / "pissa/pissa_converted") == ""
