"""`finetui models …` as a person types it: found by name, fetched, explained, put elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def run(tmp_path: Path):
    """Runs `finetui models …` in a process of its own; the hubs are the test's."""

    def run(*words: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        root = Path(__file__).parents[4]
        env = os.environ | {
            "PYTHONPATH": str(root),
            "FINETUI_CACHE": str(tmp_path / "cache"),
            "FINETUI_CONFIG": str(tmp_path / "config"),
        }
        done = subprocess.run(
            [sys.executable, "-m", "tui", "models", *words],
            cwd=tmp_path, env=env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode == 0) == ok, done.stdout + done.stderr
        return done

    return run


def test_models_are_found_by_words(run) -> None:
    out = run("list", "llama-3.2-1b", "chat").stdout
    assert "meta-llama/Llama-3.2-1B-Instruct" in out and "llama3" in out
    assert len(out.splitlines()) == 2
    out = run("list", "--hub", "modelscope", "llama-3.2-1b-instruct").stdout
    assert "LLM-Research/Llama-3.2-1B-Instruct" in out
    assert "No model holds these words." in run("list", "nothing-like-it", ok=False).stderr
    assert "no hub other" in run("list", "--hub", "other", ok=False).stderr


def test_a_model_is_fetched_shown_and_explained(run, stand_in) -> None:
    done = run("get", "org/tiny")
    folder = Path(done.stdout.strip())
    assert (folder / "model.safetensors").read_bytes() == stand_in.weights
    assert "licence: apache-2.0" in done.stderr
    assert "file 1 of" in done.stderr and "model.safetensors" in done.stderr
    shown = run("show", "org/tiny").stdout
    assert "licence         apache-2.0" in shown and "--config explains" in shown
    assert "hidden_size" not in shown
    explained = run("show", "org/tiny", "--config").stdout
    assert "num_key_value_heads = 2: Each set of keys and values is shared" in explained


def test_a_model_of_the_catalogue_is_shown_before_it_is_here(run) -> None:
    shown = run("show", "Qwen3-VL-4B-Thinking").stdout
    assert "chat, thinks" in shown and "text, image, video" in shown
    assert "llamafactory 0.9.5" in shown
    assert "not on this machine" in run("show", "Qwen3-VL-4B-Thinking", "--config", ok=False).stderr


def test_a_folder_is_remembered_under_a_models_name(run, tiny_llama, tmp_path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(tiny_llama, folder)
    run("place", "SmolLM2-135M", str(folder))
    assert run("path", "HuggingFaceTB/SmolLM2-135M").stdout.strip() == str(folder)
    row = run("list", "smollm2-135m", "base").stdout.splitlines()[1]
    assert row.endswith("yes")
    run("place", "SmolLM2-135M")
    assert run("list", "smollm2-135m", "base").stdout.splitlines()[1].endswith("no")
    assert "no such model folder" in run("place", "SmolLM2-135M", "nowhere", ok=False).stderr
