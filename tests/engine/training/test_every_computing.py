"""Every way to compute: trains three steps, is saved, is loaded as chat loads it, and answers.

What needs a GPU is skipped without one. `.pictures/cells.py` writes the results as the README's
table.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from engine.events import JobFailed, LogLine, StepLogged
from engine.training import run_training

SHORT = 32  # the trained length of the tiny model whose rows are longer
ROPE = {"cutoff_len": 128}
NEW = {"add_tokens": "sunny,rainy", "add_special_tokens": "<|think|>"}
GPU = {"use_cpu": False, "bf16": None}
WAYS: dict[str, dict[str, Any]] = {
    "rope-linear": {"rope_scaling": "linear", **ROPE},
    "rope-dynamic": {"rope_scaling": "dynamic", **ROPE},
    "rope-yarn": {"rope_scaling": "yarn", **ROPE},
    "rope-llama3": {"rope_scaling": "llama3", **ROPE},
    "sdpa": {"flash_attn": "sdpa"},
    "eager": {"flash_attn": "disabled"},
    "upcast_layernorm": {"upcast_layernorm": True, "bf16": False, "pure_bf16": True},
    "upcast_lmhead_output": {"upcast_lmhead_output": True, "bf16": False, "pure_bf16": True},
    "train_from_scratch": {"train_from_scratch": True, "finetuning_type": "full"},
    "new_tokens": {**NEW, "additional_target": "embed_tokens,lm_head"},
    "new_tokens-untrained": NEW,
    "new_tokens-full": {**NEW, "finetuning_type": "full"},
    "resize_vocab": {"resize_vocab": True},
    "split_special_tokens": {"split_special_tokens": True},
    "moe_aux_loss": {"moe_aux_loss_coef": 0.5, "lora_dropout": 0.0},
    "print_param_status": {"print_param_status": True},
    "fa2": {"flash_attn": "fa2", **GPU},
    "fa3": {"flash_attn": "fa3", **GPU},
    "liger": {"enable_liger_kernel": True, **GPU},
    "liger-fa2": {"enable_liger_kernel": True, "flash_attn": "fa2", **GPU},
    "use_unsloth_gc": {"use_unsloth_gc": True, **GPU},
    "fp8": {"fp8": True, **GPU},
}
PACKAGES = {"fa2": "flash_attn", "fa3": "flash_attn_interface", "liger": "liger_kernel"}
PACKAGES |= {"liger-fa2": "flash_attn", "fp8": "torchao"}
CAPABILITY = {"fa2": (8, 0), "liger-fa2": (8, 0), "fa3": (9, 0), "fp8": (8, 9)}


@pytest.fixture(scope="session")
def short_llama(tmp_path_factory: pytest.TempPathFactory, save_llama: Callable[..., Path]) -> Path:
    """A model that was trained on far shorter rows than the set's."""
    return save_llama(
        tmp_path_factory.mktemp("short"),
        seed=0,
        initializer_range=0.02,
        max_position_embeddings=SHORT,
    )


@pytest.fixture(scope="session")
def tiny_mixture(
    tmp_path_factory: pytest.TempPathFactory, save_tokenizer: Callable[[Path], Any]
) -> Path:
    """A mixture of four experts."""
    import torch
    from transformers import MixtralConfig, MixtralForCausalLM

    folder = tmp_path_factory.mktemp("mixture")
    tokenizer = save_tokenizer(folder)
    torch.manual_seed(0)
    config = MixtralConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
        max_position_embeddings=256,
        sliding_window=None,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    MixtralForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def base_of(model_folder: Path, short_llama: Path, tiny_mixture: Path) -> Callable[[str], Path]:
    def get(way: str) -> Path:
        if way.startswith("rope"):
            return short_llama
        return tiny_mixture if way.startswith("moe") else model_folder

    return get


def needs(way: str) -> None:
    """Skip what this machine can't run."""
    import torch

    if WAYS[way].get("use_cpu", True):
        return
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    if torch.cuda.get_device_capability() < CAPABILITY.get(way, (0, 0)):
        pytest.skip(f"needs a GPU of capability {CAPABILITY[way]}")
    package = PACKAGES.get(way)
    if package and find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


@pytest.mark.parametrize("way", list(WAYS))
def test_trains_saves_and_comes_back(
    way: str,
    base_of: Callable[[str], Path],
    make_config: Callable[..., Any],
    make_session: Callable[..., Any],
    tmp_path: Path,
) -> None:
    import torch

    from engine.models.inference import load_for_inference

    needs(way)
    run = tmp_path / "run"
    config = make_config(
        model_name_or_path=str(base_of(way)),
        max_steps=3,
        logging_steps=1,
        save_strategy="no",
        **WAYS[way],
    )
    session, listener = make_session(run)
    run_training(config, session)
    losses = [event.loss for event in listener.of(StepLogged)]
    assert len(losses) == 3 and all(math.isfinite(loss) for loss in losses)
    assert not listener.of(JobFailed)
    assert any(line.text.startswith("Attention: ") for line in listener.of(LogLine))

    # Asked for without the settings of the run, as a person does who only names the adapter.
    lora = config.finetuning_type == "lora"
    asked = make_config(
        model_name_or_path=str(base_of(way) if lora else run),
        adapter_name_or_path=str(run) if lora else None,
        do_train=False,
        infer_dtype="float32",
    )
    again, _ = make_session(None)
    loaded = load_for_inference(asked, again)
    ids = loaded.encoder.tokenizer.encode(loaded.encoder.render_prompt([say("say red")]))
    with torch.no_grad():
        answer = loaded.model.generate(
            input_ids=torch.tensor([ids]), max_new_tokens=3, do_sample=False
        )
    assert answer.shape[1] > len(ids)
    if way.startswith("rope"):
        assert loaded.context == 4 * SHORT
    if way.startswith("new_tokens"):
        vocabulary = loaded.encoder.tokenizer.backend.get_vocab(True)
        rows = loaded.model.get_input_embeddings().weight.shape[0]
        assert rows % 64 == 0
        assert rows > max(vocabulary[t] for t in ("sunny", "rainy", "<|think|>")) > 258
    if way == "split_special_tokens":
        assert loaded.encoder.tokenizer.split_special_tokens


def say(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def ran(config: Any, run: Path, make_session: Callable[..., Any]) -> tuple[list[float], list[str]]:
    """The losses and the log lines of a run."""
    session, listener = make_session(run)
    run_training(config, session)
    losses = [event.loss for event in listener.of(StepLogged)]
    return losses, [line.text for line in listener.of(LogLine)]


def test_the_log_says_how_positions_are_scaled_and_the_adapter_holds_it(
    short_llama: Path,
    make_config: Callable[..., Any],
    make_session: Callable[..., Any],
    tmp_path: Path,
) -> None:
    config = make_config(
        model_name_or_path=str(short_llama), max_steps=2, save_steps=1, rope_scaling="yarn", **ROPE
    )
    _, lines = ran(config, tmp_path / "run", make_session)
    assert "RoPE: yarn, factor 4: 128 tokens instead of 32." in lines
    for folder in (tmp_path / "run", tmp_path / "run" / "checkpoint-1"):
        held = json.loads((folder / "rope_scaling.json").read_text("utf-8"))
        assert held["rope_parameters"]["factor"] == 4
        assert held["max_position_embeddings"] == 128


def test_a_cutoff_within_the_context_scales_nothing_and_says_so(
    model_folder: Path,
    make_config: Callable[..., Any],
    make_session: Callable[..., Any],
    tmp_path: Path,
) -> None:
    plain = make_config(max_steps=2, cutoff_len=128)
    scaled = replace(plain, rope_scaling="linear")
    before, _ = ran(plain, tmp_path / "plain", make_session)
    after, lines = ran(scaled, tmp_path / "scaled", make_session)
    assert before == after
    assert any("nothing is scaled" in line for line in lines)
    assert not (tmp_path / "scaled" / "rope_scaling.json").exists()


def test_dynamic_scaling_resumes_to_the_same_losses(
    short_llama: Path,
    make_config: Callable[..., Any],
    make_session: Callable[..., Any],
    tmp_path: Path,
) -> None:
    config = make_config(
        model_name_or_path=str(short_llama),
        max_steps=4,
        save_steps=2,
        rope_scaling="dynamic",
        **ROPE,
    )
    whole, _ = ran(config, tmp_path / "run", make_session)
    again = replace(config, resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    rest, _ = ran(again, tmp_path / "again", make_session)
    assert rest == whole[2:]


def test_the_balancing_loss_is_part_of_the_loss(
    tiny_mixture: Path,
    make_config: Callable[..., Any],
    make_session: Callable[..., Any],
    tmp_path: Path,
) -> None:
    def first(coef: float) -> float:
        config = make_config(
            model_name_or_path=str(tiny_mixture),
            max_steps=1,
            lora_dropout=0.0,
            moe_aux_loss_coef=coef,
            save_strategy="no",
        )
        return ran(config, tmp_path / str(coef), make_session)[0][0]

    off, one, two = first(0), first(1), first(2)
    # Four experts, two of them asked: the balance of an even router is 2, of others more.
    assert one - off >= 1.9
    assert two - off == pytest.approx(2 * (one - off), rel=1e-3)


def test_new_tokens_are_saved_with_the_adapter_and_resumed(
    model_folder: Path,
    make_config: Callable[..., Any],
    make_session: Callable[..., Any],
    tmp_path: Path,
) -> None:
    config = make_config(max_steps=4, save_steps=2, **WAYS["new_tokens"])
    whole, lines = ran(config, tmp_path / "run", make_session)
    assert any(line.startswith("3 new tokens") for line in lines)
    again = replace(config, resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    rest, _ = ran(again, tmp_path / "again", make_session)
    assert rest == whole[2:]


@pytest.mark.parametrize("way", ["new_tokens", "new_tokens-untrained"])
def test_the_reloaded_embeddings_are_those_of_the_run(
    way: str,
    model_folder: Path,
    make_config: Callable[..., Any],
    make_session: Callable[..., Any],
    tmp_path: Path,
) -> None:
    import torch
    from safetensors.torch import load_file

    from engine.models.inference import load_for_inference

    run = tmp_path / "run"
    ran(make_config(max_steps=1, save_strategy="no", **WAYS[way]), run, make_session)
    asked = make_config(adapter_name_or_path=str(run), do_train=False, infer_dtype="float32")
    loaded = load_for_inference(asked, make_session(None)[0])
    stored = load_file(run / "adapter_model.safetensors")
    name = "base_model.model.model.embed_tokens.weight"
    place = loaded.encoder.tokenizer.backend.token_to_id("<|think|>")
    embedding = loaded.model.get_input_embeddings()
    back = embedding(torch.tensor([place]))[0]
    assert torch.equal(back, stored[name][place])
    assert back.abs().sum() > 0


def test_an_export_holds_new_tokens_and_scaled_positions(
    short_llama: Path,
    make_config: Callable[..., Any],
    make_session: Callable[..., Any],
    tmp_path: Path,
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from engine.export import run_export
    from engine.models.inference import load_for_inference

    run, target = tmp_path / "run", tmp_path / "export"
    config = make_config(
        model_name_or_path=str(short_llama),
        max_steps=2,
        save_strategy="no",
        rope_scaling="linear",
        **ROPE,
        **WAYS["new_tokens"],
    )
    ran(config, run, make_session)
    asked = make_config(
        model_name_or_path=str(short_llama),
        adapter_name_or_path=str(run),
        do_train=False,
        infer_dtype="float32",
        export_dir=str(target),
    )
    run_export(asked, make_session(None)[0])
    loaded = load_for_inference(asked, make_session(None)[0])
    whole = AutoModelForCausalLM.from_pretrained(target, dtype=torch.float32)
    assert whole.config.rope_parameters["factor"] == 4
    assert whole.config.max_position_embeddings == 128
    tokenizer = AutoTokenizer.from_pretrained(target)
    ids = tokenizer("say <|think|> sunny " * 8, return_tensors="pt").input_ids
    assert ids.shape[1] > SHORT and ids.max() > 258
    with torch.no_grad():
        assert torch.allclose(whole(ids).logits, loaded.model(ids).logits, atol=1e-4)


def test_every_weight_is_listed(
    model_folder: Path,
    make_config: Callable[..., Any],
    make_session: Callable[..., Any],
    tmp_path: Path,
) -> None:
    config = make_config(max_steps=1, save_strategy="no", print_param_status=True)
    _, lines = ran(config, tmp_path / "run", make_session)
    embedding = "base_model.model.model.embed_tokens.weight: 259 × 32, float32, cpu, frozen"
    assert embedding in lines
    assert any("lora_A" in line and line.endswith("float32, cpu, trained") for line in lines)


def test_from_scratch_begins_elsewhere_than_the_files(
    model_folder: Path,
    make_config: Callable[..., Any],
    make_session: Callable[..., Any],
    tmp_path: Path,
) -> None:
    from safetensors.torch import load_file

    base = make_config(max_steps=1, save_strategy="no", finetuning_type="full", learning_rate=1e-9)
    ran(base, tmp_path / "on", make_session)
    ran(replace(base, train_from_scratch=True), tmp_path / "from", make_session)
    ran(replace(base, train_from_scratch=True), tmp_path / "again", make_session)
    name = "model.layers.0.mlp.up_proj.weight"
    start = load_file(model_folder / "model.safetensors")[name]
    on, scratch, again = (
        load_file(tmp_path / run / "model.safetensors")[name] for run in ("on", "from", "again")
    )
    assert (on - start).abs().max() < 1e-6
    assert (scratch - start).abs().max() > 1e-2
    assert (scratch - again).abs().max() == 0


def test_a_second_model_of_the_same_base_knows_the_new_tokens(
    model_folder: Path,
    tmp_path: Path,
    make_config: Callable[..., Any],
    make_session: Callable[..., Any],
) -> None:
    rows = [
        {"instruction": f"say {i}", "chosen": "<|think|>sunny", "rejected": f"no {i}"}
        for i in range(8)
    ]
    (tmp_path / "pairs.json").write_text(json.dumps(rows), encoding="utf-8")
    (tmp_path / "dataset_info.json").write_text(
        json.dumps(
            {
                "pairs": {
                    "file_name": "pairs.json",
                    "ranking": True,
                    "columns": {
                        "prompt": "instruction",
                        "chosen": "chosen",
                        "rejected": "rejected",
                    },
                }
            }
        ),
        encoding="utf-8",
    )
    config = make_config(
        stage="dpo",
        finetuning_type="full",
        dataset="pairs",
        dataset_dir=str(tmp_path),
        max_steps=1,
        save_strategy="no",
        **NEW,
    )
    losses, _ = ran(config, tmp_path / "run", make_session)
    # At the first step the policy is its reference: its new rows too.
    assert losses[0] == pytest.approx(math.log(2), abs=1e-5)


def test_a_base_is_asked_with_new_tokens_before_any_training(
    model_folder: Path, make_config: Callable[..., Any], make_session: Callable[..., Any]
) -> None:
    import torch

    from engine.models.inference import load_for_inference

    session, listener = make_session(None)
    loaded = load_for_inference(make_config(do_train=False, **NEW), session)
    ids = loaded.encoder.tokenizer.encode("<|think|>sunny")
    assert len(ids) == 2
    with torch.no_grad():
        assert torch.isfinite(loaded.model(torch.tensor([ids])).logits).all()
    assert any("3 new tokens" in line.text for line in listener.of(LogLine))


def test_what_cant_be_computed_is_told_before_any_row_is_read(
    make_config: Callable[..., Any], make_session: Callable[..., Any], tmp_path: Path
) -> None:
    from engine.problem import BadInput

    for change in ({"flash_attn": "fa2"}, {"fp8": True}, {"moe_aux_loss_coef": 0.1}):
        config = make_config(dataset="there is no such set", **change)
        with pytest.raises(BadInput) as caught:
            run_training(config, make_session(tmp_path / "run")[0])
        assert caught.value.problem.setting in change
