"""Every key that people's files hold has a treatment, and its default is accepted."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from engine.config import read_flat, settings, treatments
from engine.config.later_values import LATER_VALUES
from engine.config.treatment import absent_keys
from engine.problem import BadSettings

KEYS = {
    key: default
    for key, default in (
        line.split("\t")
        for line in (Path(__file__).parent / "published_keys.txt").read_text("utf-8").splitlines()
        if not line.startswith("#")
    )
}
# Where finetui's default differs from the published one on purpose: nothing written means auto.
AUTO = {"bf16", "fp16", "dataset_dir"}


def test_the_list_is_whole() -> None:
    assert len(KEYS) == 402


@pytest.mark.parametrize("key", KEYS)
def test_key_has_a_treatment_in_words(key: str) -> None:
    treatment = treatments()[key]
    assert len(treatment.text) > 10
    assert treatment.text.endswith(".")


@pytest.mark.parametrize("key", [key for key, default in KEYS.items() if default])
def test_default_is_accepted_and_changes_nothing(key: str) -> None:
    read = read_flat({key: yaml.safe_load(KEYS[key])})
    if key not in AUTO:
        assert read.config == read_flat({}).config


def test_no_key_is_treated_twice() -> None:
    absent = set(absent_keys())
    assert not absent & set(settings())
    kinds = {treatment.kind for treatment in treatments().values()}
    assert kinds == {"done", "passed on", "translated", "not here", "not here yet"}


@pytest.mark.parametrize("key", sorted(absent_keys()))
def test_absent_key_says_what_it_is_and_what_to_use(key: str) -> None:
    group, default, yet = absent_keys()[key]
    other = {"bool": not default, "int": 7, "float": 0.123}.get(type(default).__name__, "other")
    with pytest.raises(BadSettings) as caught:
        read_flat({key: other}, "run.yaml")
    (problem,) = caught.value.problems
    assert key in problem.what
    assert group.what in problem.what
    assert problem.hint.startswith("Meanwhile") == yet
    assert problem.where == "run.yaml"


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in LATER_VALUES.items() for value in values]
)
def test_value_that_is_not_here_says_what_does(key: str, value: str) -> None:
    with pytest.raises(BadSettings) as caught:
        read_flat({key: value})
    (problem,) = caught.value.problems
    assert problem.setting == key
    assert value in problem.what
    assert len(problem.what) > 40


def test_value_lists_name_real_settings_and_no_value_that_is_here() -> None:
    for key, values in LATER_VALUES.items():
        assert not set(values) & set(settings()[key].choices)
