"""The exported folder in plain transformers equals base plus adapter, whatever the adapter."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from engine.events import LogLine
from engine.problem import BadInput


def logits(model: Any) -> Any:
    import torch

    torch.manual_seed(0)
    ids = torch.randint(3, 250, (2, 24))
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits.float()


def plain(folder: Path, dtype: str = "float32") -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    model, told = AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, dtype), output_loading_info=True
    )
    assert not told["missing_keys"] and not told["unexpected_keys"]
    return model


def with_adapters(base: Path, *adapters: Path) -> Any:
    from peft import PeftModel

    model = plain(base)
    for adapter in adapters[:-1]:
        model = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    return PeftModel.from_pretrained(model, str(adapters[-1]))


def stored(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    found: dict[str, Any] = {}
    for file in folder.glob("*.safetensors"):
        found |= load_file(file)
    return found


def export(config: Any, session: Any) -> tuple[dict[str, Any], Path]:
    from engine.export import run_export

    result = run_export(config, session)
    return result, Path(result["folder"])


ADAPTERS = {
    "all linear": {},
    "rslora": {"use_rslora": True},
    "patterns": {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 3, "1.mlp.up_proj": 9}},
    "head": {"target_modules": ["q_proj", "lm_head"]},
    "embedding": {"target_modules": ["q_proj", "embed_tokens"]},
    "both": {"target_modules": ["v_proj", "lm_head", "embed_tokens"]},
    "whole head": {"modules_to_save": ["lm_head"]},
    "whole embedding": {"modules_to_save": ["embed_tokens"]},
    "whole norm": {"modules_to_save": ["norm"]},
    "dora": {"use_dora": True},
    "pissa": {"init_lora_weights": "pissa"},
}


@pytest.mark.parametrize("kind", ADAPTERS)
@pytest.mark.parametrize("base", ["tied", "apart"])
def test_the_export_equals_base_plus_adapter(
    kind: str,
    base: str,
    request: pytest.FixtureRequest,
    make_adapter: Any,
    make_config: Any,
    make_session: Any,
) -> None:
    folder: Path = request.getfixturevalue(base)
    adapter = make_adapter(folder, **ADAPTERS[kind])
    session, heard = make_session()
    result, out = export(make_config(folder, adapter), session)
    mine = logits(plain(out))
    theirs = logits(with_adapters(folder, adapter))
    assert (mine - theirs).abs().max() <= 1e-3
    assert (mine - logits(plain(folder))).abs().max() > 0.01
    by_peft = any("merged by peft" in line.text for line in heard.of(LogLine))
    assert by_peft == (kind in ("dora", "pissa"))
    assert result["dtype"] == "float32" and result["shards"] == 1
    assert result["size"] == (out / "model.safetensors").stat().st_size


def test_fp32_weights_equal_pefts_merge_bit_for_bit(
    apart: Path, make_adapter: Any, make_config: Any, make_session: Any
) -> None:
    import torch

    adapter = make_adapter(apart)
    _, out = export(make_config(apart, adapter), make_session()[0])
    theirs = with_adapters(apart, adapter).merge_and_unload().state_dict()
    mine = stored(out)
    assert set(mine) == set(theirs)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_a_bf16_base_gets_the_fp32_sum_rounded_once(
    in_bf16: Path, make_adapter: Any, make_config: Any, make_session: Any
) -> None:
    import torch

    adapter = make_adapter(in_bf16)
    result, out = export(make_config(in_bf16, adapter), make_session()[0])
    exact = with_adapters(in_bf16, adapter).merge_and_unload().state_dict()
    mine = stored(out)
    assert result["dtype"] == "bfloat16"
    assert all(tensor.dtype == torch.bfloat16 for tensor in mine.values())
    assert all(torch.equal(mine[name], exact[name].bfloat16()) for name in mine)
    # A model that is loaded in the export's own type is in bf16.
    assert json.loads((out / "config.json").read_text())["dtype"] == "bfloat16"
    difference = (logits(plain(out)) - logits(with_adapters(in_bf16, adapter))).abs().mean()
    assert difference <= 0.1


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_written_dtype_holds(
    in_bf16: Path, make_adapter: Any, make_config: Any, make_session: Any, dtype: str
) -> None:
    import torch

    adapter = make_adapter(in_bf16)
    config = make_config(in_bf16, adapter, infer_dtype=dtype)
    result, out = export(config, make_session()[0])
    exact = with_adapters(in_bf16, adapter).merge_and_unload().state_dict()
    kind = getattr(torch, dtype)
    assert all(torch.equal(t, exact[name].to(kind)) for name, t in stored(out).items())
    assert result["dtype"] == dtype == json.loads((out / "config.json").read_text())["dtype"]


def test_numbers_that_float16_cannot_hold_are_told(
    tmp_path: Path, apart: Path, make_config: Any, make_session: Any
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "large"
    shutil.copytree(apart, folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"] = torch.full_like(tensors["model.norm.weight"], 1e5)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput, match=r"model\.norm\.weight holds numbers that float16"):
        export(make_config(folder, infer_dtype="float16"), make_session()[0])
    assert not list((tmp_path / "out").iterdir())


def test_several_adapters_are_merged_one_after_the_other(
    apart: Path, make_adapter: Any, make_config: Any, make_session: Any
) -> None:
    one, two = make_adapter(apart, "one", seed=1), make_adapter(apart, "two", seed=2, r=2)
    _, out = export(make_config(apart, one, two), make_session()[0])
    difference = logits(plain(out)) - logits(with_adapters(apart, one, two))
    assert difference.abs().max() <= 1e-3


def test_a_transposed_weight_is_added_to_the_right_way_round(
    tmp_path: Path, save_tokenizer: Any, make_adapter: Any, make_config: Any, make_session: Any
) -> None:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path / "gpt2"
    save_tokenizer(folder)
    torch.manual_seed(0)
    GPT2LMHeadModel(
        GPT2Config(vocab_size=260, n_embd=32, n_layer=2, n_head=2, n_positions=64)
    ).save_pretrained(folder)
    adapter = make_adapter(folder, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True)
    session, heard = make_session()
    _, out = export(make_config(folder, adapter), session)
    difference = logits(plain(out)) - logits(with_adapters(folder, adapter))
    assert difference.abs().max() <= 1e-3
    assert not any("merged by peft" in line.text for line in heard.of(LogLine))


def test_a_whole_checkpoint_is_copied_in_its_own_type_or_cast(
    apart: Path, tmp_path: Path, make_config: Any, make_session: Any
) -> None:
    import torch

    trained = tmp_path / "checkpoint-4"
    shutil.copytree(apart, trained)
    (trained / "optimizer.pt").write_bytes(b"x" * 100)
    (trained / "trainer_state.json").write_text("{}")
    config = make_config(trained, finetuning_type="full")
    result, out = export(config, make_session()[0])
    before, after = stored(trained), stored(out)
    assert result["dtype"] == "float32"
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not (out / "optimizer.pt").exists() and not (out / "trainer_state.json").exists()
    config = make_config(
        trained, infer_dtype="bfloat16", export_dir=str(tmp_path / "half"), finetuning_type="full"
    )
    _, half = export(config, make_session()[0])
    assert all(torch.equal(before[name].bfloat16(), t) for name, t in stored(half).items())
    with_adapter_key = make_config(apart, trained, export_dir=str(tmp_path / "third"))
    _, third = export(with_adapter_key, make_session()[0])
    assert (logits(plain(third)) - logits(plain(trained))).abs().max() == 0


def test_an_adapter_of_another_base_is_told(
    apart: Path, tmp_path: Path, make_adapter: Any, make_config: Any, make_session: Any
) -> None:
    from safetensors.torch import load_file, save_file

    adapter = make_adapter(apart)
    file = adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if "lora_B" in name)
    tensors[name] = tensors[name][:-1].contiguous()
    save_file(tensors, file)
    with pytest.raises(BadInput, match="does not fit"):
        export(make_config(apart, adapter), make_session()[0])
    del tensors[name]
    save_file(tensors, file)
    with pytest.raises(BadInput, match="incomplete"):
        export(make_config(apart, adapter), make_session()[0])


def test_a_quantised_base_is_refused(
    apart: Path, tmp_path: Path, make_adapter: Any, make_config: Any, make_session: Any
) -> None:
    adapter = make_adapter(apart)
    folder = tmp_path / "quantised"
    shutil.copytree(apart, folder)
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadInput, match="quantised"):
        export(make_config(folder, adapter), make_session()[0])
