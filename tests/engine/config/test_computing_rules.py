"""The rules of longer contexts, kernels, number formats and new tokens, each by its number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.config import check, read_flat, remarks
from engine.config import computing as computing_module
from engine.config.check import CHAT_RULES, RULES
from engine.config.computing import RULES as COMPUTING
from engine.config.vocabulary import RULES as VOCABULARY
from engine.config.vocabulary import new_tokens
from engine.problem import BadInput, BadSettings

GOOD: dict[str, Any] = {
    "model_name_or_path": "demo",
    "dataset": "identity",
    "do_train": True,
    "stage": "sft",
    "finetuning_type": "lora",
}
FULL = {"finetuning_type": "full"}
BREAKS: list[tuple[str, dict[str, Any], str]] = [
    ("o40", {"use_cpu": True, "fp8": True}, "fp8"),
    ("o40", {"device": "cpu", "flash_attn": "fa2"}, "flash_attn"),
    ("o40", {"device": "cpu", "enable_liger_kernel": True}, "enable_liger_kernel"),
    ("o40", {"device": "cpu", "use_unsloth_gc": True}, "use_unsloth_gc"),
    ("o41", {"flash_attn": "fa3", "bf16": False}, "flash_attn"),
    (
        "o42",
        {"enable_liger_kernel": True, "liger_kernel_config": {"fused_linear_cross_entropy": True}},
        "liger_kernel_config",
    ),
    ("o43", {"fp8": True, "fp16": True}, "fp8"),
    ("o43", {"fp8": True, "bf16": False}, "fp8"),
    ("o44", {"train_from_scratch": True}, "train_from_scratch"),
    ("o44", {**FULL, "train_from_scratch": True, "use_asft_loss": True}, "train_from_scratch"),
    (
        "o44",
        {**FULL, "train_from_scratch": True, "stage": "dpo", "dataset": "preference"},
        "train_from_scratch",
    ),
    ("o45", {**FULL, "upcast_layernorm": True, "pure_bf16": True}, "upcast_layernorm"),
    ("o46", {"moe_aux_loss_coef": 0.1, "stage": "rm"}, "moe_aux_loss_coef"),
    (
        "o47",
        {"use_unsloth_gc": True, "disable_gradient_checkpointing": True},
        "use_unsloth_gc",
    ),
    ("17", {"quantization_bit": 4, "add_tokens": "a"}, "add_tokens"),
    (
        "17",
        {"quantization_bit": 4, "add_special_tokens": "<a>"},
        "add_special_tokens",
    ),
    ("17", {"quantization_bit": 4, "resize_vocab": True}, "resize_vocab"),
    ("30", {"quantization_bit": 4, "fp8": True}, "quantization_bit"),
    ("o48", {"new_special_tokens_config": "/nowhere.yaml"}, "new_special_tokens_config"),
    ("27", {"pure_bf16": True, "fp16": True}, "pure_bf16"),
]


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """`packages(there)`: every optional package is there, or none is."""

    def set_all(there: bool) -> None:
        monkeypatch.setattr(computing_module, "find_spec", lambda _: object() if there else None)

    set_all(True)
    return set_all


@pytest.mark.parametrize(("number", "change", "setting"), BREAKS)
def test_rule_is_told_in_a_sentence(
    number: str, change: dict[str, Any], setting: str, packages: Callable[[bool], None]
) -> None:
    config = read_flat({**GOOD, **change}).config
    broken = [rule(config) for name, rule in RULES if name == number]
    (problem,) = [problem for problem in broken if problem is not None]
    assert problem.setting == setting
    assert problem.what.endswith(".") and problem.hint.endswith(".")
    assert problem in check(config)


def test_every_rule_of_these_groups_is_broken_here() -> None:
    own = {name for name, _ in (*COMPUTING, *VOCABULARY)}
    assert own - {"32"} <= {number for number, _, _ in BREAKS}


@pytest.mark.parametrize(
    ("change", "package"),
    [
        ({"flash_attn": "fa2"}, "flash_attn"),
        ({"flash_attn": "fa3"}, "flash_attn_interface"),
        ({"enable_liger_kernel": True}, "liger-kernel"),
        ({"fp8": True}, "torchao"),
    ],
)
def test_rule_32_names_the_package_and_how_to_install_it(
    change: dict[str, Any], package: str, packages: Callable[[bool], None]
) -> None:
    config = read_flat({**GOOD, **change}).config
    assert check(config) == []
    packages(False)
    (problem,) = check(config)
    assert f"needs the package {package}, which is not installed" in problem.what
    assert "install" in problem.hint.lower()
    assert problem.setting in change


@pytest.mark.parametrize(
    "change",
    [
        {"rope_scaling": "yarn", "cutoff_len": 65536},
        {"upcast_layernorm": True, "pure_bf16": True},
        {"upcast_layernorm": True, **FULL},
        {"train_from_scratch": True, **FULL},
        {"train_from_scratch": True, "stage": "pt", "dataset": "texts", **FULL},
        {"moe_aux_loss_coef": 0, "stage": "dpo", "dataset": "preference"},
        {"enable_liger_kernel": True, "flash_attn": "fa2", "use_unsloth_gc": True, "fp8": True},
        {"liger_kernel_config": {"rope": False}},
        {"use_liger_kernel": True},
        {"device": "cpu", "enable_liger_kernel": True, "do_train": False},
        {"add_tokens": "a,b", "additional_target": "embed_tokens,lm_head"},
    ],
)
def test_rules_allow(change: dict[str, Any], packages: Callable[[bool], None]) -> None:
    assert check(read_flat({**GOOD, **change}).config) == []


def test_chat_is_told_of_the_attention_only(packages: Callable[[bool], None]) -> None:
    settings = {**GOOD, "do_train": False, "device": "cpu", "flash_attn": "fa2", "fp8": True}
    found = [problem.setting for problem in check(read_flat(settings).config, "chat")]
    assert found == ["flash_attn"]
    assert {"o40", "32"} <= {name for name, _ in CHAT_RULES}


@pytest.mark.parametrize(
    ("number", "change", "setting"),
    [
        ("w1", {"resize_vocab": True}, "additional_target"),
        ("w1", {"add_tokens": "a"}, "additional_target"),
        ("w2", {"bf16": False}, "bf16"),
        ("w4", {"init_special_tokens": "desc_init"}, "init_special_tokens"),
        ("dynamic", {"rope_scaling": "dynamic"}, "rope_scaling"),
        ("split", {"split_special_tokens": True}, "split_special_tokens"),
    ],
)
def test_remarks_are_told(number: str, change: dict[str, Any], setting: str) -> None:
    assert remarks(read_flat(GOOD).config) == []
    (problem,) = remarks(read_flat({**GOOD, **change}).config)
    assert problem.setting == setting
    assert problem.what.endswith(".") and problem.hint.endswith(".")


@pytest.mark.parametrize(
    "change",
    [
        {"resize_vocab": True, "additional_target": "embed_tokens,lm_head"},
        {"resize_vocab": True, **FULL},
        {"bf16": False, "use_cpu": True},
        {"split_special_tokens": True, "stage": "pt"},
    ],
)
def test_remarks_are_left_out_where_they_mean_nothing(change: dict[str, Any]) -> None:
    assert remarks(read_flat({**GOOD, **change}).config) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        # Rules 21, 26, 45: whatever unsloth was combined with.
        ({"use_unsloth": True}, "use_unsloth_gc"),
        ({"offload_folder": "/tmp/x"}, "quantization_bit"),
        # w3: it would need several GPUs, whether fp8 is on or not.
        ({"fp8_enable_fsdp_float8_all_gather": True}, "device: cuda:1"),
        ({"fp8_backend": "msamp"}, "torchao"),
        ({"fp8_backend": "te"}, "torchao"),
    ],
)
def test_what_is_not_here_names_what_is(change: dict[str, Any], words: str) -> None:
    with pytest.raises(BadSettings) as caught:
        read_flat(change)
    (problem,) = caught.value.problems
    assert words in problem.what + problem.hint


def test_subfolders_of_adapters() -> None:
    config = read_flat({"adapter_name_or_path": "a/,b", "adapter_folder": "inner"}).config
    assert config.adapters == ("a/inner", "b/inner")
    assert read_flat({"adapter_name_or_path": "a,b"}).config.adapters == ("a", "b")


def test_new_tokens_are_read_from_settings_and_file(tmp_path: Path) -> None:
    path = tmp_path / "tokens.yaml"
    path.write_text('"<a>": first\n"<b>": second\n', encoding="utf-8")
    config = read_flat({"add_tokens": "x, y,x", "add_special_tokens": "<c>"}).config
    found = new_tokens(config)
    assert (found.plain, found.special) == (("x", "y"), ("<c>",))
    config = read_flat({"add_special_tokens": "<c>", "new_special_tokens_config": str(path)}).config
    found = new_tokens(config)
    assert found.special == ("<a>", "<b>")  # the file wins
    assert found.descriptions == {"<a>": "first", "<b>": "second"}


@pytest.mark.parametrize("text", ["", "- a\n", '"<a>": 3\n', "a: [\n"])
def test_a_file_of_tokens_that_says_nothing(text: str, tmp_path: Path) -> None:
    path = tmp_path / "tokens.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        new_tokens(read_flat({"new_special_tokens_config": str(path)}).config)
    assert caught.value.problem.setting == "new_special_tokens_config"
