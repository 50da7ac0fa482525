"""Choosing a stage brings its first values and set, and never what a person chose."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from engine.config import (
    RunConfig,
    applies,
    apply_preset,
    apply_stage,
    changed,
    check,
    defaults_for_form,
    form_base,
    preset_of,
    presets,
    read_flat,
    sections,
    settings,
    stage_dataset,
    stage_values,
    to_flat,
    usual_of,
    with_value,
)

STAGES = settings()["stage"].choices
# What a person has to name before such a run may start: nothing else can know it.
NAMED = {
    "ppo": {"reward_model": "saves/rm", "reward_model_type": "full"},
    "grpo": {"reward_funcs": "contains"},
    "rloo": {"reward_funcs": "contains"},
    "distill": {"teacher_model": "demo"},
}


def rows(config: RunConfig, level: str = "basic") -> list[str]:
    return [name for section in sections(config, level) for name in section.rows]  # type: ignore[arg-type]


def test_the_stages_are_the_nine() -> None:
    assert STAGES == ("pt", "sft", "rm", "ppo", "dpo", "kto", "grpo", "rloo", "distill")


@pytest.mark.parametrize("method", ["lora", "freeze", "full"])
@pytest.mark.parametrize("stage", STAGES)
def test_first_values_are_settings_and_may_start(stage: str, method: str) -> None:
    values = stage_values(stage, method)
    assert set(values) <= set(settings())
    base = form_base(stage, method)
    assert check(replace(base, **NAMED.get(stage, {}))) == []
    # Values are taken as they stand: the reader must agree with them, type for type.
    read = read_flat(to_flat(base)).config
    assert read == base
    assert all(type(getattr(read, key)) is type(value) for key, value in vars(base).items())
    written = replace(base, distill_on="samples") if stage == "distill" else base
    for name in values:
        assert applies(written, name), f"{name} means nothing in {stage}"


@pytest.mark.parametrize("stage", STAGES)
def test_the_stages_set_is_bundled_and_fits(stage: str) -> None:
    from engine.datasets import fits, read_registry

    folder = Path(__file__).parents[3] / "data"
    assert stage_dataset(stage) in json.loads((folder / "dataset_info.json").read_text("utf-8"))
    info = read_registry(folder).infos[stage_dataset(stage)]
    assert fits(info, stage) is None


@pytest.mark.parametrize("stage", STAGES)
def test_nothing_is_changed_after_a_stage_was_chosen(stage: str) -> None:
    chosen = apply_stage(form_base(), stage)
    assert chosen == form_base(stage)
    assert changed(chosen) == []
    assert chosen.dataset == stage_dataset(stage)


def test_switching_to_dpo_lowers_the_rate() -> None:
    dpo = apply_stage(defaults_for_form(), "dpo")
    assert (dpo.stage, dpo.dataset) == ("dpo", "preference")
    assert (dpo.learning_rate, dpo.num_train_epochs) == (5e-5, 3.0)
    # The preset's other values stay, and so does its name.
    assert dpo.cutoff_len == 512
    assert preset_of(dpo) == "quick try"
    full = apply_stage(with_value(form_base(), "finetuning_type", "full"), "dpo")
    assert full.learning_rate == 5e-6


def test_what_a_person_chose_stays() -> None:
    mine = replace(form_base(), learning_rate=3e-4, dataset="mine", temperature=0.5)
    grpo = apply_stage(mine, "grpo")
    assert (grpo.learning_rate, grpo.dataset, grpo.temperature) == (3e-4, "mine", 0.5)
    assert (grpo.top_p, grpo.top_k, grpo.num_generations) == (1.0, 0, 4)
    assert {"learning_rate", "temperature"} <= set(changed(grpo))
    assert "top_p" not in changed(grpo)


@pytest.mark.parametrize("start", [form_base(), defaults_for_form()], ids=["base", "first form"])
def test_going_through_all_stages_and_back_gives_the_same_run(start: RunConfig) -> None:
    config = start
    for stage in (*STAGES, "sft"):
        config = apply_stage(config, stage)
    assert config == start
    assert apply_stage(start, "sft") == start


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", presets)
def test_a_preset_leaves_the_stages_own_values(name: str, stage: str) -> None:
    config = apply_preset(form_base(stage), name)
    own = stage_values(stage, config.finetuning_type)
    assert {key: getattr(config, key) for key in own} == own
    assert preset_of(config) == name
    assert check(replace(config, **NAMED.get(stage, {}))) == []


def test_a_newcomer_sees_what_the_stage_needs_and_no_more() -> None:
    dpo = form_base("dpo")
    assert {"pref_loss", "pref_beta"} <= set(rows(dpo))
    assert not {"simpo_gamma", "kto_chosen_weight", "ppo_target"} & set(rows(dpo, "all"))
    assert "simpo_gamma" in rows(with_value(dpo, "pref_loss", "simpo"))
    assert "ref_model" not in rows(with_value(dpo, "pref_loss", "simpo"), "all")
    assert "dpo_label_smoothing" in rows(with_value(dpo, "pref_loss", "robust"))
    assert {"kto_chosen_weight", "pref_beta"} <= set(rows(form_base("kto")))
    assert {"reward_model", "ppo_target"} <= set(rows(form_base("ppo")))
    assert "reward_model_type" not in rows(form_base("ppo"), "all")
    grpo = form_base("grpo")
    assert {"num_generations", "reward_funcs"} <= set(rows(grpo))
    assert "temperature" in rows(grpo, "all")
    assert "reward_pattern" in rows(with_value(grpo, "reward_funcs", "contains,regex"))
    assert {"teacher_model", "distill_on"} <= set(rows(form_base("distill")))
    assert "packing" in rows(form_base("pt"), "all")
    foreign = {"pref_beta", "reward_model", "teacher_model", "num_generations"}
    assert not foreign & set(rows(form_base(), "all"))
    assert "use_dft_loss" in rows(form_base(), "all")
    assert not {"train_on_prompt", "use_dft_loss", "compute_accuracy"} & set(rows(dpo, "all"))


def test_a_reference_can_be_named_where_one_is_compared_with() -> None:
    def named(stage: str, **values: object) -> bool:
        return applies(replace(form_base(stage), **values), "ref_model")  # type: ignore[arg-type]

    assert {stage for stage in STAGES if named(stage)} == {"dpo", "kto", "ppo", "rloo"}
    assert named("grpo", kl_beta=0.01)
    assert not named("rloo", kl_beta=0.0)
    assert named("sft", use_asft_loss=True)
    assert not named("dpo", pref_loss="orpo")
    assert applies(replace(form_base("kto"), ref_model="x"), "ref_model_adapters")


def test_what_has_no_effect_is_out_of_sight_unless_it_is_set() -> None:
    ppo = form_base("ppo")
    names = {"lora_dropout", "neftune_noise_alpha", "label_smoothing_factor"}
    assert not names & set(rows(ppo, "all"))
    values = {"lora_dropout": 0.1, "neftune_noise_alpha": 5.0, "label_smoothing_factor": 0.1}
    assert names <= set(rows(replace(ppo, **values), "all"))
    assert names <= set(rows(form_base(), "all"))


def test_what_a_rule_refuses_stays_in_sight() -> None:
    for name in ("train_on_prompt", "mask_history", "use_dft_loss", "compute_accuracy", "packing"):
        config = with_value(form_base("dpo"), name, True)
        assert name in rows(config, "all")
        assert [problem.setting for problem in check(config)] == [name]
    hinge = replace(form_base("dpo"), pref_loss="hinge", dpo_label_smoothing=0.1)
    assert "dpo_label_smoothing" in rows(hinge)


def test_usual_follows_the_stage() -> None:
    assert usual_of(form_base("dpo"), "learning_rate").startswith("5e-6 … 5e-5")
    assert usual_of(form_base("grpo"), "top_k") == "0"
    assert usual_of(form_base(), "top_k") == "20 … 50"
