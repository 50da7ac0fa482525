"""What the form is made from: sections, help, presets, values."""

from __future__ import annotations

import pytest

from engine.config import (
    applies,
    apply_preset,
    changed,
    check,
    defaults_for_form,
    empty_means,
    form_base,
    format_value,
    parse_value,
    preset_changes,
    preset_of,
    presets,
    read_flat,
    reference_page,
    sections,
    settings,
    to_flat,
    treatments,
    usual_of,
    with_value,
)
from engine.config.catalogue import SECTIONS
from engine.config.presets import FORM_BASE
from engine.problem import BadInput

SHOWN = [name for name, info in settings().items() if info.setting.level != "hidden"]


def test_the_form_stands_as_pictured() -> None:
    found = {section.name: section for section in sections(defaults_for_form(), "basic")}
    assert list(found) == [
        "Basics",
        "Batch",
        "LoRA",
        "Precision and memory",
        "Quantisation",
        "Saving and logging",
        "Optimiser",
        "Data",
        "Adapters, advanced",
        "Context and kernels",
    ]
    assert [settings()[name].setting.label for name in found["Basics"].rows] == [
        "Stage",
        "Method",
        "Epochs",
        "Learning rate",
        "Scheduler",
        "Warm-up ratio",
    ]
    assert [settings()[name].setting.label for name in found["Batch"].rows] == [
        "Micro-batch",
        "Accumulation",
        "Cutoff length",
    ]
    assert [settings()[name].setting.label for name in found["LoRA"].rows] == [
        "Rank",
        "Alpha",
        "Dropout",
        "Targets",
    ]
    assert [section.name for section in found.values() if not section.folded] == [
        "Basics",
        "Batch",
        "LoRA",
    ]
    assert "identity_name" in found["Data"].rows


def test_only_what_applies_is_shown() -> None:
    full = with_value(defaults_for_form(), "finetuning_type", "full")
    names = {name for section in sections(full, "all") for name in section.rows}
    assert not {
        name for name in names if name.startswith(("lora_", "freeze_trainable", "adapter_"))
    }
    freeze = with_value(full, "finetuning_type", "freeze")
    assert "Freeze" in [section.name for section in sections(freeze)]
    assert not applies(with_value(full, "do_sample", False), "temperature")


def test_all_holds_all_and_nothing_twice() -> None:
    shown = [name for section in sections(defaults_for_form(), "all") for name in section.rows]
    assert len(shown) == len(set(shown))
    basic = [name for section in sections(defaults_for_form()) for name in section.rows]
    assert set(basic) < set(shown)
    assert not {"do_train", "preset", "hf_hub_token"} & set(shown)


@pytest.mark.parametrize("name", sorted(settings()))
def test_each_setting_is_told_in_words(name: str) -> None:
    info = settings()[name]
    meta = info.setting
    assert 2 <= len(meta.label) <= 26
    assert meta.section in SECTIONS
    assert meta.help.endswith(".")
    assert 20 < len(meta.help) < 260
    for other in meta.goes_with:
        assert other in settings()
        assert other != name
    for text in (meta.higher, meta.lower, meta.usual, *meta.usual_for.values()):
        assert text == text.strip()
        assert not text.endswith(".")


@pytest.mark.parametrize("name", SHOWN)
def test_each_shown_number_says_what_is_usual(name: str) -> None:
    info = settings()[name]
    if info.kind in ("int", "float"):
        for method in ("lora", "freeze", "full"):
            config = with_value(defaults_for_form(), "finetuning_type", method)
            assert usual_of(config, name)


def test_usual_follows_the_method() -> None:
    config = defaults_for_form()
    assert usual_of(config, "learning_rate") == "1e-4 … 5e-4"
    full = with_value(config, "finetuning_type", "full")
    assert usual_of(full, "learning_rate") == "1e-5 … 5e-5"


@pytest.mark.parametrize("name", presets)
def test_preset_may_start_and_is_recognised(name: str) -> None:
    config = apply_preset(defaults_for_form(), name)
    assert check(config) == []
    assert preset_changes(config, name) == []
    assert preset_of(config) == name
    # A preset's values are taken as they stand: the reader must agree with them, type for type.
    read = read_flat(to_flat(config)).config
    assert read == config
    assert all(type(getattr(read, key)) is type(value) for key, value in vars(config).items())


def test_a_preset_says_what_it_changes_before_it_does() -> None:
    changes = preset_changes(defaults_for_form(), "full fine-tuning")
    assert ("finetuning_type", "lora", "full") in changes
    assert ("learning_rate", 1e-3, 2e-5) in changes
    assert not [name for name, now, then in changes if now == then]


def test_first_form() -> None:
    config = defaults_for_form()
    assert (config.model_name_or_path, config.dataset, config.do_train) == (
        "demo",
        "identity",
        True,
    )
    assert (config.lora_rank, config.learning_rate, config.num_train_epochs) == (8, 1e-3, 5)
    assert config.preset == "quick try"
    assert set(changed(config)) == {"num_train_epochs", "learning_rate", "cutoff_len"}
    assert changed(form_base()) == []
    assert set(FORM_BASE) <= set(settings())


def test_alpha_is_twice_the_rank_when_empty() -> None:
    config = with_value(defaults_for_form(), "lora_rank", 12)
    assert config.alpha == 24
    assert empty_means(config, "lora_alpha") == "24"
    assert with_value(config, "lora_alpha", 7).alpha == 7


def test_with_value_keeps_the_rest_and_the_original() -> None:
    config = defaults_for_form()
    other = with_value(config, "seed", 7)
    assert (config.seed, other.seed) == (42, 7)
    assert {key for key in other.__dict__ if other.__dict__[key] != config.__dict__[key]} == {
        "seed"
    }
    with pytest.raises(BadInput) as caught:
        with_value(config, "lora_rank", 0)
    assert caught.value.problem.setting == "lora_rank"


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [
        ("learning_rate", "1e-3", 1e-3),
        ("learning_rate", " 0.0005 ", 5e-4),
        ("max_steps", "−1", -1),
        ("max_samples", "1,000", 1000),
        ("max_samples", "", None),
        ("lora_alpha", "none", None),
        ("plot_loss", "[x]", True),
        ("bf16", "off", False),
        ("bf16", "", None),
        ("eval_strategy", "no", "no"),
        ("report_to", "none", "none"),
        ("default_system", "None of this", "None of this"),
        ("default_system", "", None),
        ("identity_name", "none", "none"),
        ("resume_from_checkpoint", "true", True),
        ("lr_scheduler_kwargs", '{"num_cycles": 2}', {"num_cycles": 2}),
    ],
)
def test_typed_value(name: str, typed: str, value: object) -> None:
    assert parse_value(name, typed) == value


@pytest.mark.parametrize(
    ("name", "typed", "word"),
    [
        ("learning_rate", "fast", "a number"),
        ("learning_rate", "", "empty"),
        ("lora_rank", "8.5", "whole number"),
        ("lora_rank", "0", "at least 1"),
        ("top_p", "1.1", "at most 1"),
        ("seed", "4294967296", "at most 4294967295"),
        ("data_seed", "4294967296", "at most 4294967295"),
        ("lr_scheduler_type", "cosin", "expected linear"),
        ("bf16", "perhaps", "true or false"),
    ],
)
def test_typed_value_that_is_wrong_says_what_is_expected(name: str, typed: str, word: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_value(name, typed)
    assert word in caught.value.problem.what
    assert caught.value.problem.setting == name


def test_values_as_the_form_shows_them() -> None:
    assert format_value("learning_rate", 1e-4) == "1e-4"
    assert format_value("bf16", True) == "on"
    assert format_value("bf16", None) == ""
    assert format_value("num_train_epochs", 5.0) == "5"


def test_reference_page_holds_every_key() -> None:
    page = reference_page()
    assert not [key for key in treatments() if f"`{key}`" not in page]
