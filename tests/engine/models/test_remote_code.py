"""A model's own Python: when it is needed, which files, and that agreeing is for this code only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.models.remote_code import (
    check_own_code,
    code_files,
    is_trusted,
    known_model_types,
    needs_own_code,
    trust,
)
from engine.problem import BadInput

MAPPED = {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.Own"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "own"
    place.mkdir()
    config = {"model_type": "of_its_own", "auto_map": MAPPED}
    (place / "config.json").write_text(json.dumps(config))
    for name in ("configuration_own.py", "modeling_own.py", "parts.py"):
        (place / name).write_text("raise SystemExit('run!')\n")
    return place


def test_code_is_needed_only_where_transformers_can_not_do_without() -> None:
    assert needs_own_code({"model_type": "of_its_own", "auto_map": MAPPED})
    # Many models carry code from before transformers knew them.
    assert not needs_own_code({"model_type": "qwen2", "auto_map": MAPPED})
    assert not needs_own_code({"model_type": "of_its_own"})
    assert not needs_own_code(
        {"model_type": "of_its_own", "auto_map": {"AutoTokenizer": ["tokens.Own", None]}}
    )


def test_known_types_are_transformers_own() -> None:
    from transformers import CONFIG_MAPPING

    assert known_model_types() >= set(CONFIG_MAPPING.keys())
    assert "of_its_own" not in known_model_types()


def test_the_problem_names_model_and_files(folder: Path) -> None:
    with pytest.raises(BadInput) as refused:
        check_own_code(folder, "org/own", trusted=False)
    problem = refused.value.problem
    assert problem.what == (
        "org/own brings its own Python code, which would run on this machine: "
        "configuration_own.py, modeling_own.py."
    )
    assert problem.setting == "trust_remote_code" and problem.where == str(folder)
    check_own_code(folder, "org/own", trusted=True)


def test_code_in_another_repository_is_named_with_it(folder: Path) -> None:
    config = {"model_type": "x", "auto_map": {"AutoConfig": "org/code--configuration_x.XConfig"}}
    (folder / "config.json").write_text(json.dumps(config))
    assert code_files(folder) == ("org/code: configuration_x.py",)
    trust("org/own", folder)
    assert not is_trusted("org/own", folder)


def test_agreeing_is_for_this_model_and_this_code(folder: Path) -> None:
    assert not is_trusted("org/own", folder)
    trust("org/own", folder)
    assert is_trusted("org/own", folder)
    assert not is_trusted("org/other", folder)
    # A file that the named ones may import counts too.
    (folder / "parts.py").write_text("print('changed')\n")
    assert not is_trusted("org/own", folder)


def test_a_folder_without_code_is_never_trusted(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    trust("org/plain", tmp_path)
    assert not is_trusted("org/plain", tmp_path)
