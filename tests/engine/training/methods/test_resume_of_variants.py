"""A run of a variant that is stopped and resumed is the unbroken run, bit for bit."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from engine.events import StepLogged
from engine.problem import BadInput, Stopped
from engine.training import run_training
from tests.engine.training.stopping import asked_at

# Whole runs, each a few times: CI runs them with the longer cases.
pytestmark = pytest.mark.slow

VARIANTS: dict[str, dict[str, Any]] = {
    "dora": {"use_dora": True},
    "pissa": {"pissa_init": True, "pissa_convert": True},
    "pissa_pure_bf16": {"pissa_init": True, "pure_bf16": True},
    "oft": {"finetuning_type": "oft", "oft_block_size": 8},
    "oft_dropped": {"finetuning_type": "oft", "oft_block_size": 8, "module_dropout": 0.3},
    "llama_pro_freeze": {
        "finetuning_type": "freeze",
        "use_llama_pro": True,
        "freeze_trainable_layers": 2,
    },
    "llama_pro_lora": {"use_llama_pro": True, "freeze_trainable_layers": 2},
    "shift_attn": {"shift_attn": True},
    "loftq": {"loftq_init": True, "quantization_bit": 4},
}


def weights(run: Path) -> dict[str, bytes]:
    import torch
    from safetensors import safe_open

    found = {}
    for file in [*run.glob("*.safetensors"), *run.glob("*/adapter_model.safetensors")]:
        with safe_open(file, "pt") as opened:
            for key in opened.keys():  # noqa: SIM118
                tensor = opened.get_tensor(key).contiguous()
                name = f"{file.relative_to(run)}:{key}"
                found[name] = tensor.view(torch.uint8).numpy().tobytes()
    return {name: value for name, value in found.items() if not name.startswith("checkpoint-")}


@pytest.mark.parametrize("name", VARIANTS)
def test_resume_is_exact(
    name: str,
    make_config: Any,
    make_session: Any,
    strong_folder: Path,
    tmp_path: Path,
) -> None:
    if name == "loftq":
        pytest.importorskip("bitsandbytes")
    flat = {"model_name_or_path": str(strong_folder), "max_steps": 6, **VARIANTS[name]}

    def run(folder: str, **changes: Any) -> dict[int, float]:
        session, listener = make_session(tmp_path / folder)
        with suppress(Stopped):
            run_training(make_config(**flat, **changes), session)
        return {event.step: event.loss for event in listener.of(StepLogged)}

    expected = run("whole")
    with asked_at(6):  # inside the third step
        losses = run("stopped")
    assert sorted(losses) == [1, 2]
    losses |= run("stopped", resume_from_checkpoint=True)
    assert losses == expected
    got, wanted = weights(tmp_path / "stopped"), weights(tmp_path / "whole")
    assert got.keys() == wanted.keys()
    assert [key for key in wanted if got[key] != wanted[key]] == []


def test_a_checkpoint_of_another_method_is_told(train: Any, tmp_path: Path) -> None:
    train("oft", finetuning_type="oft", save_strategy="steps", save_steps=3)
    checkpoint = str(tmp_path / "oft/checkpoint-3")
    with pytest.raises(BadInput, match="does not fit this model"):
        train("lora", resume_from_checkpoint=checkpoint, max_steps=4)
    with pytest.raises(BadInput, match="does not fit this model"):
        train(
            "other",
            finetuning_type="oft",
            oft_target="q_proj",
            resume_from_checkpoint=checkpoint,
            max_steps=4,
        )
