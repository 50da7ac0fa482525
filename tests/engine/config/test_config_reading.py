"""Reading flat YAML, JSON and overrides: values, translations, and every problem at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.config import (
    check,
    parse_overrides,
    read_file,
    read_flat,
    read_text,
    write_yaml,
)
from engine.problem import BadInput, BadSettings, Problem

PUBLISHED = """\
### model
model_name_or_path: demo
trust_remote_code: true

### method
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 8
lora_target: all

### dataset
dataset_dir: ../shared/corpora
dataset: identity,alpaca_en_demo
template: smollm2
cutoff_len: 2048
max_samples: 1000
overwrite_cache: true
preprocessing_num_workers: 16
dataloader_num_workers: 4

### output
output_dir: saves/demo/lora/sft
logging_steps: 10
save_steps: 500
plot_loss: true
overwrite_output_dir: true
save_only_model: false
report_to: none  # choices: [none, wandb, tensorboard, swanlab, mlflow]

### train
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
learning_rate: 1.0e-4
num_train_epochs: 3.0
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
ddp_timeout: 180000000
resume_from_checkpoint: null
include_num_input_tokens_seen: true

### eval
val_size: 0.1
per_device_eval_batch_size: 1
eval_strategy: steps
eval_steps: 500
"""


def problems(text: str, is_json: bool = False) -> list[Problem]:
    with pytest.raises(BadSettings) as caught:
        read_text(text, "run.yaml", is_json)
    return caught.value.problems


def test_a_published_file_is_read_as_it_is() -> None:
    read = read_text(PUBLISHED)
    config = read.config
    assert check(config) == []
    assert config.datasets == ("identity", "alpaca_en_demo")
    assert (config.learning_rate, config.warmup_ratio, config.bf16) == (1e-4, 0.1, True)
    assert config.report_to == "none"
    assert config.include_num_input_tokens_seen == "all"
    assert config.resume_from_checkpoint is None
    assert config.passed_on == {"ddp_timeout": 180000000}
    assert read_text(write_yaml(config)).config == config


def test_all_problems_are_told_at_once_each_with_its_line() -> None:
    found = problems(
        "lora_rnak: 3\nlora_rank: 0\nlora_dropout: 1.5\nbf16: maybe\nfp8_backend: msamp\n"
        "deepspeed: z3.json\nuse_kt: true\nddp_timeout: soon\nlora_rank: 4\n"
    )
    assert [problem.where for problem in found] == [
        f"run.yaml:{line}" for line in (9, 1, 3, 4, 5, 6, 7, 8)
    ]
    twice, unknown, dropout, bf16, backend, spread, kt, timeout = found
    assert "lines 2 and 9" in twice.what
    assert "lora_rank" in unknown.hint
    assert dropout.what == "lora_dropout is 1.5: it must be below 1."
    assert bf16.what == 'bf16 is "maybe": expected true or false.'
    assert "no longer kept up" in backend.what
    assert "isn't here yet" in spread.what
    assert "KTransformers" in kt.what
    assert "whole number" in timeout.what


def test_value_out_of_bounds_names_key_value_and_bound() -> None:
    (problem,) = problems("lora_rank: 0")
    assert problem.what == "lora_rank is 0: it must be at least 1."
    assert problem.setting == "lora_rank"


@pytest.mark.parametrize(
    ("text", "line"),
    [("stage: sft\nlora_rank: [1\nseed: 2\n", 3), ("stage: sft\n\tseed: 1\n", 2), ("a: b: c\n", 1)],
)
def test_yaml_syntax_error_names_the_line(text: str, line: int) -> None:
    (problem,) = problems(text)
    assert problem.where == f"run.yaml:{line}"
    assert "YAML" in problem.what


def test_json_syntax_error_names_the_line() -> None:
    (problem,) = problems('{"seed": 1,\n "lora_rank": 8,,\n}', is_json=True)
    assert problem.where == "run.yaml:2"


def test_json_key_twice_names_both_lines() -> None:
    (problem,) = problems('{"seed": 1,\n "lora_rank": 8,\n"seed": 2}', is_json=True)
    assert "lines 1 and 3" in problem.what


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n- b\n", "just words\n"])
def test_a_file_without_settings_is_refused(text: str) -> None:
    (problem,) = problems(text)
    assert "settings" in problem.what


def test_missing_file_folder_and_binary(tmp_path: Path) -> None:
    binary = tmp_path / "x.yaml"
    binary.write_bytes(b"\xff\xfe\x00stage")
    for path, word in (
        (tmp_path / "none.yaml", "no file"),
        (tmp_path, "folder"),
        (binary, "UTF-8"),
    ):
        with pytest.raises(BadInput) as caught:
            read_file(path)
        assert word in caught.value.problem.what
        assert caught.value.problem.where == str(path)


@pytest.mark.parametrize(
    ("written", "key", "value"),
    [
        ("learning_rate: 1e-4", "learning_rate", 1e-4),
        ("learning_rate: '1e-4'", "learning_rate", 1e-4),
        ("num_train_epochs: 3", "num_train_epochs", 3.0),
        ("lora_target: [q_proj, v_proj]", "lora_target", "q_proj,v_proj"),
        ("lora_target:\n  - q_proj\n  - v_proj", "lora_target", "q_proj,v_proj"),
        ("lr_scheduler_kwargs: {min_lr: 1e-6}", "lr_scheduler_kwargs", {"min_lr": 1e-6}),
        ("lr_scheduler_kwargs: '{\"num_cycles\": 3}'", "lr_scheduler_kwargs", {"num_cycles": 3}),
        ("model_revision: 1.0", "model_revision", "1.0"),
        ("run_name: 2024-01-01", "run_name", "2024-01-01"),
        ("run_name: 1e5", "run_name", "1e5"),
        ("eval_strategy: no", "eval_strategy", "no"),
        ("save_strategy: no", "save_strategy", "no"),
        ("bf16:", "bf16", None),
        ("bf16: false", "bf16", False),
        ("fp16: true", "fp16", True),
        ("bf16: null", "bf16", None),
        ("bf16: true", "bf16", True),
        ("resume_from_checkpoint: true", "resume_from_checkpoint", True),
        ("resume_from_checkpoint: a/checkpoint-5", "resume_from_checkpoint", "a/checkpoint-5"),
        ("report_to: [none]", "report_to", "none"),
        ("report_to:", "report_to", None),
        ("report_to: [wandb, tensorboard]", "report_to", "wandb,tensorboard"),
        ("train_on_prompt: yes", "train_on_prompt", True),
        ("include_num_input_tokens_seen: non_padding", "include_num_input_tokens_seen",
         "non_padding"),
    ],
)  # fmt: skip
def test_value_is_read(written: str, key: str, value: Any) -> None:
    result = getattr(read_text(written).config, key)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    "written",
    [
        "lora_rank: 8.5",
        "lora_rank: true",
        "lora_rank: eight",
        "lora_rank: null",
        "learning_rate: .nan",
        "learning_rate: .inf",
        "learning_rate: 0",
        "learning_rate: [1]",
        "warmup_ratio: 1",
        "plot_loss: 3",
        "dataset: {a: b}",
        "dataset: [[a]]",
        "lr_scheduler_type: kosine",
        "lr_scheduler_kwargs: [1]",
        "top_p: 1.5",
        "dataloader_drop_last: [1]",
        "torch_compile: often",
    ],
)
def test_wrong_value_is_one_sentence_with_its_key(written: str) -> None:
    (problem,) = problems(written)
    assert problem.setting == written.split(":")[0]
    assert problem.what.endswith(".")
    assert problem.where == "run.yaml:1"


@pytest.mark.parametrize(
    ("written", "key", "value"),
    [
        ("evaluation_strategy: steps", "eval_strategy", "steps"),
        ("group_by_length: true", "train_sampling_strategy", "group_by_length"),
        ("group_by_length: false", "train_sampling_strategy", "random"),
        ("warmup_steps: 0.1", "warmup_ratio", 0.1),
        ("no_cuda: true", "use_cpu", True),
        ("hub_token: hf_x", "hf_hub_token", "hf_x"),
        ("gradient_checkpointing: false", "disable_gradient_checkpointing", True),
        ("gradient_checkpointing: true", "disable_gradient_checkpointing", False),
        ("flash_attn: off", "flash_attn", "disabled"),
        ("optim: adamw_hf", "optim", "adamw_torch"),
        ("eval_num_beams: 4", "num_beams", 4),
        ("torchdynamo: inductor", "trainer_extra",
         {"torch_compile": True, "torch_compile_backend": "inductor"}),
        ("include_inputs_for_metrics: true", "trainer_extra", {"include_for_metrics": ["inputs"]}),
    ],
)  # fmt: skip
def test_old_name_is_translated_with_a_line(written: str, key: str, value: Any) -> None:
    read = read_text(written)
    assert getattr(read.config, key) == value
    assert read.notes[0].startswith(written.split(":")[0])


@pytest.mark.parametrize(
    "written", ["logging_dir: x", "save_safetensors: true", "disable_tqdm: true", "local_rank: 0"]
)
def test_what_is_not_needed_says_so(written: str) -> None:
    (note,) = read_text(written).notes
    assert "not needed" in note


def test_old_and_new_name_may_agree_but_not_differ() -> None:
    assert read_text("evaluation_strategy: steps\neval_strategy: steps\nval_size: 1\n")
    (problem,) = problems("evaluation_strategy: steps\neval_strategy: epoch\n")
    assert "both set eval_strategy" in problem.what


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("seed: 1\nlearning_rate: 1e-5\nevaluation_strategy: steps\nwarmup_steps: 5\n")
    config = read_file(
        path,
        ["learning_rate=2e-4", "--seed", "7", "--max-samples=3", "--plot_loss", "dataset=a,b",
         "eval_strategy=no", "warmup_ratio=0.2"],
    ).config  # fmt: skip
    assert (config.learning_rate, config.seed, config.max_samples) == (2e-4, 7, 3)
    assert config.plot_loss is True
    assert config.dataset == "a,b"
    assert config.eval_strategy == "no"
    assert config.warmup == 0.2


def test_overrides_that_are_none() -> None:
    with pytest.raises(BadSettings) as caught:
        parse_overrides(["learning_rate", "=3", "seed=1"])
    assert len(caught.value.problems) == 2
    assert parse_overrides(["a=1e-3", "b=[x, y]", "c=", "d=true"]) == {
        "a": 1e-3,
        "b": ["x", "y"],
        "c": None,
        "d": True,
    }


def test_secrets_are_used_and_never_repeated() -> None:
    secret = "hf_very_secret_word"
    config = read_flat({"hf_hub_token": secret}).config
    assert config.hf_hub_token == secret
    assert secret not in repr(config) + str(config) + write_yaml(config)
    for text in (
        f"hub_token: {secret}\nhf_hub_token: other\n",
        f"hf_hub_token: [[{secret}]]",
        f"swanlab_api_key: [[{secret}]]",
        f"swanlab_lark_secret: [[{secret}]]",
        f"ms_hub_token: [[{secret}]]",
        f"hf_tokn: {secret}",
    ):
        assert secret not in " ".join(map(str, problems(text)))


def test_merged_mappings_and_self_reference() -> None:
    text = "base: &b {seed: 3}\n"
    (problem,) = problems(text)
    assert "no setting base" in problem.what
    (problem,) = problems("seed: 1\nlora_target: &x [*x]")
    assert problem.where == "run.yaml:2"
    read = read_text("lr_scheduler_kwargs: &k {num_cycles: 2}\nseed: 3\n")
    assert read.config.lr_scheduler_kwargs == {"num_cycles": 2}


@pytest.mark.parametrize("loss", ["orpo", "simpo"])
def test_a_loss_named_as_a_stage_is_read_as_dpo_with_it(loss: str) -> None:
    read = read_text(f"stage: {loss}\nsimpo_gamma: 1.2")
    assert (read.config.stage, read.config.pref_loss) == ("dpo", loss)
    assert f"stage {loss} is read as stage: dpo, pref_loss: {loss}." in read.notes
    (clash,) = problems(f"stage: {loss}\npref_loss: hinge")
    assert "pref_loss" in clash.what
