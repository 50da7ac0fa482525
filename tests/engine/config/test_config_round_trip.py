"""What is written reads back as the same run, whatever the values."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from engine.config import (
    RunConfig,
    SettingInfo,
    format_number,
    format_value,
    parse_value,
    read_flat,
    read_text,
    settings,
    to_flat,
    with_value,
    write_yaml,
)

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=30)
PASSED = st.fixed_dictionaries(
    {},
    optional={
        # 1800 is the trainer's default, which is not kept.
        "ddp_timeout": st.integers(1801, 10**9),
        "torch_compile": st.just(True),
        "include_for_metrics": st.lists(st.sampled_from(["a", "b"]), min_size=1),
        "accelerator_config": st.just({"split_batches": True}),
        "eval_delay": st.floats(0.5, 10),
        "torch_compile_backend": st.sampled_from(["inductor", "eager"]),
    },
)


def values_of(info: SettingInfo) -> st.SearchStrategy[Any]:
    """Every value that the setting may have."""
    low, high = info.bounds
    plain: dict[str, st.SearchStrategy[Any]] = {
        "bool": st.booleans(),
        "int": st.integers(
            int(low) if low is not None else -(10**6), int(high) if high is not None else 10**6
        ),
        "float": st.floats(
            low if low is not None else -1e6,
            high if high is not None else 1e6,
            exclude_min=info.open_bounds[0],
            exclude_max=info.open_bounds[1],
            allow_subnormal=False,
        ),
        "str": TEXT,
        "choice": st.sampled_from(info.choices or ("",)),
        "dict": st.dictionaries(TEXT, st.one_of(st.integers(-99, 99), st.booleans(), TEXT)),
    }
    return st.one_of(st.none(), plain[info.kind]) if info.optional else plain[info.kind]


READABLE = {
    name: info
    for name, info in settings().items()
    if not info.setting.secret and name not in ("warmup_ratio", "warmup_steps")
}
FLAT = st.fixed_dictionaries(
    {}, optional={name: values_of(info) for name, info in READABLE.items()}
)


@hypothesis_settings(deadline=None, max_examples=60)
@given(FLAT, PASSED)
def test_flat_yaml_and_json_read_back(values: dict[str, Any], passed: dict[str, Any]) -> None:
    config = RunConfig(**values, trainer_extra=passed)
    assert read_flat(to_flat(config)).config == config
    assert read_flat(to_flat(config, only_changed=True)).config == config
    written = read_text(write_yaml(config)).config
    assert replace(written, preset=config.preset) == config
    text = json.dumps(to_flat(config))
    assert read_text(text, is_json=True).config == config


@hypothesis_settings(deadline=None, max_examples=300)
@given(st.data())
def test_what_the_form_shows_parses_back(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(settings())))
    info = settings()[name]
    value = data.draw(values_of(info))
    if isinstance(value, str) and value != value.strip():
        value = value.strip()
    shown = format_value(name, value)
    back = parse_value(name, shown)
    # An empty text and nothing look the same on a form.
    assert back == value or (info.optional and value == "" and back is None)
    assert with_value(RunConfig(), name, value) == RunConfig(**{name: value})


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_short_and_exact(value: float) -> None:
    assert float(format_number(value)) == value


def test_numbers_as_people_write_them() -> None:
    shown = {1e-4: "1e-4", 5e-5: "5e-5", 1e-3: "1e-3", 0.1: "0.1", 3.0: "3", 2.5e-5: "2.5e-5"}
    assert {value: format_number(value) for value in shown} == shown


def test_warm_up_survives() -> None:
    for flat in (
        {"warmup_ratio": 0.1},
        {"warmup_steps": 5},
        {"warmup_steps": 5, "warmup_ratio": 0.2},
    ):
        config = read_flat(flat).config
        assert read_text(write_yaml(config)).config == config


def test_a_text_that_looks_like_a_number_stays_a_text() -> None:
    config = RunConfig(lr_scheduler_kwargs={"0E0": 0, "kind": "1e5"}, identity_name="1e-4")
    assert read_text(write_yaml(config)).config == config
