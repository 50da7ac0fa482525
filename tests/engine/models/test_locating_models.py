"""Names turned into folders, and every way in which a folder is no model."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.models import hub
from engine.models.demo import DEMO_NAME
from engine.models.headers import read_header
from engine.models.locate import forget, known_models, remember, remembered, resolve, short_name
from engine.problem import BadInput, Problem


@pytest.fixture
def model(tiny_llama: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    shutil.copytree(tiny_llama, folder)
    return folder


def problem_of(name: str | Path, **keywords: Any) -> Problem:
    with pytest.raises(BadInput) as told:
        resolve(str(name), **keywords)
    return told.value.problem


def test_a_local_folder(model: Path) -> None:
    found = resolve(str(model))
    assert (found.path, found.name, found.source) == (model, "copy", "local")


def test_a_missing_folder(tmp_path: Path) -> None:
    problem = problem_of(tmp_path / "nowhere")
    assert "no such model folder" in problem.what
    assert problem.where == str(tmp_path / "nowhere")
    assert problem.setting == "model_name_or_path"


def test_without_config(model: Path) -> None:
    (model / "config.json").unlink()
    assert "config.json" in problem_of(model).what


def test_the_folder_above_names_the_one_below(model: Path) -> None:
    assert str(model) in problem_of(model.parent).hint


def test_malformed_config_names_the_line(model: Path) -> None:
    (model / "config.json").write_text('{\n  "model_type": "llama",\n  oops\n}')
    assert problem_of(model).where.endswith("config.json:3")


def test_without_weights(model: Path) -> None:
    (model / "model.safetensors").unlink()
    assert "no weights" in problem_of(model).what


def test_pickled_weights_are_refused_with_a_way_out(model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    problem = problem_of(model)
    assert "pickle" in problem.what
    assert problem.where.endswith("pytorch_model.bin")
    assert "save_pretrained" in problem.hint


def test_a_gguf_is_named(model: Path) -> None:
    (model / "model.safetensors").rename(model / "model.gguf")
    assert "GGUF" in problem_of(model).what
    assert "GGUF" in problem_of(model / "model.gguf").what


def test_missing_shards_are_named(model: Path) -> None:
    (model / "model.safetensors").rename(model / "model-00001-of-00002.safetensors")
    index = {
        "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002.safetensors"}
    }
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    problem = problem_of(model)
    assert "1 of 2" in problem.what
    assert "model-00002.safetensors" in problem.what


def test_without_tokenizer(model: Path) -> None:
    (model / "tokenizer.json").unlink()
    assert "tokenizer" in problem_of(model).what


@pytest.mark.parametrize("keep", [4, 100, 5000])
def test_weights_cut_short(model: Path, keep: int) -> None:
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    problem = problem_of(model)
    assert "damaged" in problem.what
    assert problem.where == str(file)


def test_a_header_that_is_no_json(model: Path) -> None:
    (model / "model.safetensors").write_bytes(struct.pack("<Q", 4) + b"nope")
    assert "damaged" in problem_of(model).what


def test_headers_equal_the_librarys(model: Path) -> None:
    from safetensors import safe_open

    ours = read_header(model / "model.safetensors")
    with safe_open(str(model / "model.safetensors"), "pt") as theirs:
        assert set(theirs.keys()) == set(ours)
        for name, info in ours.items():
            assert list(info.shape) == theirs.get_slice(name).get_shape()
            assert info.dtype == theirs.get_slice(name).get_dtype()


def test_an_adapter_is_no_model_and_names_its_base(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')
    problem = problem_of(tmp_path)
    assert "adapter" in problem.what
    assert "org/base" in problem.what
    assert "adapter_name_or_path" in problem.hint


def cached(model: Path, hub_folder: Path, name: str = "models--org--tiny") -> Path:
    snapshot = hub_folder / name / "snapshots" / "abc123"
    shutil.copytree(model, snapshot)
    (hub_folder / name / "refs").mkdir()
    (hub_folder / name / "refs" / "main").write_text("abc123")
    return snapshot


def test_the_hub_cache_is_used_without_a_network(model: Path, tmp_path: Path) -> None:
    snapshot = cached(model, tmp_path / "hub")
    found = resolve("org/tiny")
    assert (found.path, found.name, found.source) == (snapshot, "tiny", "cache")
    assert short_name(snapshot) == "tiny"
    assert "org/tiny" in [entry.id for entry in known_models()]


def test_cache_dir_of_the_settings_is_used(model: Path, tmp_path: Path) -> None:
    snapshot = cached(model, tmp_path / "elsewhere")
    config = SimpleNamespace(cache_dir=str(tmp_path / "elsewhere"), model_revision="main")
    assert resolve("org/tiny", config).path == snapshot


def test_a_half_downloaded_model_is_not_in_the_cache(model: Path, tmp_path: Path) -> None:
    snapshot = cached(model, tmp_path / "hub")
    (snapshot / "model.safetensors").unlink()
    assert "not on this machine" in problem_of("org/tiny").what
    assert [entry.id for entry in known_models()] == ["demo"]


def test_the_hubs_own_errors_become_sentences() -> None:
    from huggingface_hub import errors

    for kind, word in (
        (errors.GatedRepoError, "gated"),
        (errors.RepositoryNotFoundError, "no model org/x"),
        (errors.RevisionNotFoundError, "no revision v9"),
    ):
        told = hub._told(kind.__new__(kind), "org/x", "v9", ["demo"])
        assert word in told.problem.what
        assert isinstance(told, BadInput)
    full = hub._told(OSError(28, "No space left on device"), "org/x", "main", [])
    assert "disk is full" in full.problem.what


def test_known_models_lists_local_folders_and_typed_names(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(model, tmp_path / "models" / "mine")
    (tmp_path / "models" / "junk").mkdir()
    remember("org/typed")
    remember(str(model))
    remember("org/typed")
    assert remembered() == ["org/typed", str(model)]
    entries = {entry.id: entry for entry in known_models()}
    assert next(iter(entries)) == "demo"
    assert entries["demo"].name == DEMO_NAME
    assert entries["models/mine"].source == "local"
    assert entries[str(model)].ready
    assert not entries["org/typed"].ready
    forget("org/typed")
    assert remembered() == [str(model)]


def test_a_damaged_memory_of_typed_names_is_empty(tmp_path: Path) -> None:
    remember("org/typed")
    (tmp_path / "state" / "models.json").write_text("{half")
    assert remembered() == []


def test_importing_models_brings_no_heavy_library() -> None:
    code = (
        "import sys, engine.models; engine.models.known_models(); engine.models.demo_card();"
        "names = ('torch','transformers','peft','numpy','huggingface_hub','datasets','pynvml');"
        "print([n for n in names if n in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
