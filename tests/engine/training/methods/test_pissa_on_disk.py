"""A PiSSA run's folder: its first values, what loads it, and its plain form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

# Whole runs, each a few times: CI runs them with the longer cases.
pytestmark = pytest.mark.slow

EXACT = 1e-5


def test_the_folder_loads_as_it_was_trained(
    train: Any, comes_back: Any, logits: Any, plain: Any, tmp_path: Path
) -> None:
    import torch
    from peft import PeftModel

    config, _ = train("run", pissa_init=True, pissa_convert=True)
    run = tmp_path / "run"
    found = logits(comes_back(config, run))
    assert (found - logits(plain)).abs().max() > 0.1
    # The plain form, loaded by peft alone onto the unchanged base, is the same model.
    described = json.loads((run / "pissa_converted/adapter_config.json").read_text("utf-8"))
    assert described["r"] == 2 * config.lora_rank
    assert described["lora_alpha"] == 2 * config.alpha
    assert described["init_lora_weights"] is True
    converted = PeftModel.from_pretrained(plain, str(run / "pissa_converted"))
    assert (logits(converted) - found).abs().max() <= 1e-4
    assert (run / "pissa_converted/tokenizer.json").is_file()
    # The folder says that it is PiSSA, and holds the beginning, a LoRA of the run's own rank.
    told = json.loads((run / "adapter_config.json").read_text("utf-8"))
    assert told["init_lora_weights"] == "pissa_niter_16"
    first = json.loads((run / "pissa_init/adapter_config.json").read_text("utf-8"))
    assert (first["r"], first["init_lora_weights"]) == (config.lora_rank, True)
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("variant", [{"use_rslora": True}, {"use_dora": True}])
def test_other_scales_and_lengths_are_converted_too(
    variant: dict[str, Any], train: Any, comes_back: Any, logits: Any, tmp_path: Path
) -> None:
    config, _ = train("run", pissa_init=True, pissa_convert=True, **variant)
    run = tmp_path / "run"
    whole, plain_form = comes_back(config, run), comes_back(config, run / "pissa_converted")
    assert (logits(whole) - logits(plain_form)).abs().max() <= 1e-4


def test_the_first_values_are_on_disk_before_the_first_step(
    make_config: Any, make_session: Any, strong_folder: Path, tmp_path: Path
) -> None:
    from engine.problem import Stopped
    from engine.training import run_training

    run = tmp_path / "run"
    session, listener = make_session(run)

    def stop(event: Any) -> None:
        if type(event).__name__ == "StateChanged" and event.state == "training":
            session.control.stop()

    listener.on = stop
    config = make_config(model_name_or_path=str(strong_folder), pissa_init=True)
    with pytest.raises(Stopped):
        run_training(config, session)
    assert (run / "pissa_init/adapter_model.safetensors").is_file()
    assert not (run / "adapter_model.safetensors").exists()


def test_a_checkpoint_stands_on_its_own(
    train: Any, comes_back: Any, logits: Any, tmp_path: Path
) -> None:
    import shutil

    config, _ = train("run", pissa_init=True, save_strategy="steps", save_steps=3)
    found = logits(comes_back(config, tmp_path / "run"))
    alone = shutil.move(tmp_path / "run/checkpoint-3", tmp_path / "alone")
    assert (logits(comes_back(config, Path(alone))) - found).abs().max() == 0


def test_peft_alone_comes_near(train: Any, comes_back: Any, plain: Any, tmp_path: Path) -> None:
    """Another tool decomposes the base again: with the exact decomposition it finds the same."""
    import torch
    from peft import PeftModel

    config, _ = train("run", pissa_init=True, pissa_iter=-1)
    ours = comes_back(config, tmp_path / "run")
    theirs = PeftModel.from_pretrained(plain, str(tmp_path / "run"))
    path = "base_model.model.model.layers.2.mlp.gate_proj.base_layer"
    difference = ours.get_submodule(path).weight - theirs.get_submodule(path).weight
    assert difference.abs().max() < 1e-4
    assert torch.isfinite(difference).all()


def test_an_adapter_of_another_tool_is_decomposed_again_the_same_way(
    train: Any, comes_back: Any, logits: Any, tmp_path: Path
) -> None:
    import shutil

    rough, _ = train("rough", pissa_init=True, pissa_iter=2)
    exact, _ = train("exact", pissa_init=True, pissa_iter=-1)
    ours = logits(comes_back(exact, tmp_path / "exact"))
    for name in ("rough", "exact"):
        shutil.rmtree(tmp_path / name / "pissa_init")
    twice = [logits(comes_back(rough, tmp_path / "rough")) for _ in range(2)]
    assert (twice[0] - twice[1]).abs().max() == 0
    assert (logits(comes_back(exact, tmp_path / "exact")) - ours).abs().max() < 1e-3


def test_training_goes_on_from_the_adapter(
    train: Any, comes_back: Any, logits: Any, load: Any, tmp_path: Path
) -> None:
    """The second run begins as the first ended, keeps its beginning, and converts right."""
    import torch
    from safetensors.torch import load_file

    config, _ = train("first", pissa_init=True)
    ended = logits(comes_back(config, tmp_path / "first"))
    given = {"adapter_name_or_path": str(tmp_path / "first"), "pissa_init": True}
    model, _ = load(**given)
    assert (logits(model) - ended).abs().max() <= EXACT
    second, _ = train("second", **given, pissa_convert=True)
    run = tmp_path / "second"
    found = logits(comes_back(second, run))
    assert (found - ended).abs().max() > 0.01
    assert (logits(comes_back(second, run / "pissa_converted")) - found).abs().max() <= 1e-4
    starts = [
        load_file(tmp_path / name / "pissa_init/adapter_model.safetensors")
        for name in ("first", "second")
    ]
    assert starts[0].keys() == starts[1].keys()
    assert all(torch.equal(starts[0][key], starts[1][key]) for key in starts[0])


def test_a_new_adapter_on_a_merged_one(
    train: Any, comes_back: Any, logits: Any, tmp_path: Path
) -> None:
    first, _ = train("first", pissa_init=True)
    ended = logits(comes_back(first, tmp_path / "first"))
    given = {"adapter_name_or_path": str(tmp_path / "first"), "create_new_adapter": True}
    second, _ = train("second", **given, pissa_init=True, learning_rate=1e-9)
    both = f"{tmp_path / 'first'},{tmp_path / 'second'}"
    asked = comes_back(second, tmp_path / "second", adapter_name_or_path=both)
    assert (logits(asked) - ended).abs().max() <= 1e-3


def test_a_quantised_base_can_give_nothing_up(train: Any, comes_back: Any, tmp_path: Path) -> None:
    from engine.problem import BadInput

    pytest.importorskip("bitsandbytes")
    config, _ = train("run", pissa_init=True)
    with pytest.raises(BadInput, match="takes its start out of the base"):
        comes_back(config, tmp_path / "run", quantization_bit=4)


def test_half_of_the_first_values_is_told(train: Any, comes_back: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    from engine.problem import BadInput

    config, _ = train("run", pissa_init=True)
    file = tmp_path / "run/pissa_init/adapter_model.safetensors"
    save_file({k: v for k, v in load_file(file).items() if "lora_B" not in k}, file)
    with pytest.raises(BadInput, match="lacks one half"):
        comes_back(config, tmp_path / "run")
