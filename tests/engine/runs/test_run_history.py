"""The list of runs: our own folders and other tools', alive, ended and killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine.events import (
    Evaluated,
    JobFailed,
    LogLine,
    RunDescribed,
    StateChanged,
    StepLogged,
    to_json,
)
from engine.problem import BadInput
from engine.runs import process
from engine.runs.curves import read_curves
from engine.runs.folder import (
    Replacement,
    checkpoint_steps,
    model_label,
    new_run_folder,
    run_folder,
)
from engine.runs.history import acknowledge, find_run, interrupted_runs, list_runs, read_run
from engine.runs.session import JobSession


def _config(**changes):
    values = {
        "model_name_or_path": "demo",
        "finetuning_type": "lora",
        "stage": "sft",
        "output_dir": None,
        "overwrite_output_dir": False,
        "resume_from_checkpoint": None,
    }
    return SimpleNamespace(**{**values, **changes})


DESCRIBED = RunDescribed(
    model="Tiny", stage="sft", method="lora", rows=91, eval_rows=0, total_steps=20, epochs=5.0,
    trainable_parameters=10, parameters=100, precision="fp32", device="cpu", effective_batch=8,
)  # fmt: skip


def _own(folder, *events):
    folder.mkdir(parents=True, exist_ok=True)
    session = JobSession(folder.name, folder, lambda event: None)
    for event in events:
        session.publish(event)
    session.close()
    return folder


def _step(step: int, loss: float) -> StepLogged:
    return StepLogged(step=step, total_steps=20, loss=loss, learning_rate=1e-4, epoch=0.1)


def test_a_run_folder_is_never_used_twice(tmp_path):
    now = datetime(2025, 11, 24, 14, 2)
    names = [new_run_folder(_config(), now, tmp_path) for _ in range(3)]
    place = tmp_path / "SmolLM2-135M-Instruct" / "lora"
    assert names == [place / n for n in ("sft-1124-1402", "sft-1124-1402-2", "sft-1124-1402-3")]
    assert all(name.is_dir() for name in names)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Qwen/Qwen3-0.6B", "Qwen3-0.6B"),
        ("/models/llama 3/", "llama 3"),
        ("../tiny", "tiny"),
        ("~/.cache/hub/models--org--name-1B/snapshots/abc123", "name-1B"),
    ],
)
def test_short_names_of_models(name, label):
    assert model_label(name) == label


def test_an_output_folder_with_a_run_is_refused_unless_asked(tmp_path):
    (tmp_path / "trainer_log.jsonl").write_text("{}\n")
    place = str(tmp_path)
    with pytest.raises(BadInput, match="already holds a run"):
        run_folder(_config(output_dir=place))
    assert run_folder(_config(output_dir=place, overwrite_output_dir=True)) == tmp_path
    assert run_folder(_config(output_dir=place, resume_from_checkpoint=True)) == tmp_path
    (tmp_path / "checkpoint-4").mkdir()
    assert run_folder(_config(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))) == tmp_path
    with pytest.raises(BadInput, match="no such run"):
        run_folder(_config(resume_from_checkpoint=str(tmp_path / "none" / "checkpoint-4")))
    with pytest.raises(BadInput, match="which run"):
        run_folder(_config(resume_from_checkpoint=True))


def test_a_replaced_run_comes_back_when_the_new_one_makes_no_step(tmp_path):
    (tmp_path / "trainer_log.jsonl").write_text("old\n")
    (tmp_path / "checkpoint-7").mkdir()
    first = Replacement(tmp_path)
    first.set_aside()
    assert checkpoint_steps(tmp_path) == () and not (tmp_path / "trainer_log.jsonl").exists()
    (tmp_path / "trainer_log.jsonl").write_text("new\n")
    first.put_back()
    assert (tmp_path / "trainer_log.jsonl").read_text() == "old\n"
    assert checkpoint_steps(tmp_path) == (7,)
    second = Replacement(tmp_path)
    second.set_aside()
    second.discard()
    second.put_back()
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_half_gone_is_never_put_back(tmp_path, monkeypatch):
    (tmp_path / "checkpoint-7").mkdir()
    replaced = Replacement(tmp_path)
    replaced.set_aside()
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)  # killed while it removes
    replaced.discard()
    (tmp_path / "checkpoint-7").mkdir()
    Replacement(tmp_path).put_back()
    assert not list((tmp_path / "checkpoint-7").iterdir())
    assert [p.name for p in tmp_path.glob(".*")] == [".replaced.removing"]


def test_own_runs_tell_their_state_from_their_events(tmp_path):
    lora = tmp_path / "Tiny" / "lora"
    _own(lora / "done", DESCRIBED, StateChanged(state="training"), _step(20, 0.5),
         Evaluated(step=20, loss=0.7), StateChanged(state="done"))  # fmt: skip
    _own(lora / "failed", DESCRIBED, _step(3, 9.0), JobFailed(what="The disk is full."),
         StateChanged(state="failed", detail="x"))  # fmt: skip
    _own(lora / "stopped", DESCRIBED, _step(4, 1.0),
         StateChanged(state="stopped", detail="checkpoint-4 is saved"))  # fmt: skip
    resumed = _own(lora / "resumed", DESCRIBED, StateChanged(state="stopped"))
    _own(resumed, StateChanged(state="training"), _step(5, 0.9))
    process.claim(resumed)
    runs = {run.name: run for run in list_runs(tmp_path)}
    assert {name: run.state for name, run in runs.items()} == {
        "done": "done", "failed": "failed", "stopped": "stopped", "resumed": "running",
    }  # fmt: skip
    assert runs["failed"].last_note == "The disk is full."
    assert runs["stopped"].last_note == "checkpoint-4 is saved"
    done = runs["done"]
    assert (done.model, done.stage, done.method) == ("Tiny", "sft", "lora")
    assert (done.last_loss, done.step, done.total_steps, done.kind) == (0.5, 20, 20, "train")
    process.release(resumed)
    assert read_run(resumed).state == "interrupted"


def test_a_killed_process_is_told_once(tmp_path):
    folder = _own(tmp_path / "m" / "lora" / "sft-1", StateChanged(state="training"), _step(3, 1.0))
    (folder / "checkpoint-2").mkdir()
    claim = f"""
import os
from pathlib import Path
from engine.runs.process import claim, running_pid
claim(Path({str(folder)!r}))
assert running_pid(Path({str(folder)!r})) == os.getpid()
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    subprocess.run([sys.executable, "-c", claim], check=True, env=environment)
    assert process.running_pid(folder) is None
    (run,) = interrupted_runs(tmp_path)
    assert run.state == "interrupted" and "No complete checkpoint" in run.last_note
    acknowledge(run)
    assert interrupted_runs(tmp_path) == []
    assert read_run(folder).state == "interrupted"
    assert run.last_note in (folder / "events.jsonl").read_text()


def test_a_pid_that_was_given_to_another_process_is_not_ours(tmp_path):
    process.claim(tmp_path)
    lock = process.read_lock(tmp_path)
    assert lock is not None and process.running_pid(tmp_path) == os.getpid()
    earlier = {**asdict(lock), "started": lock.started - 5000}
    (tmp_path / process.LOCK_NAME).write_text(json.dumps(earlier))
    assert process.running_pid(tmp_path) is None
    (tmp_path / process.LOCK_NAME).write_text("garbage")
    assert process.running_pid(tmp_path) is None


def test_a_folder_another_process_works_in_is_refused(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        process.claim(tmp_path)
        lock = process.read_lock(tmp_path)
        started = process._started(other.pid)
        record = {**asdict(lock), "pid": other.pid, "started": started}
        (tmp_path / process.LOCK_NAME).write_text(json.dumps(record))
        with pytest.raises(BadInput, match=str(other.pid)):
            process.claim(tmp_path)
    finally:
        other.communicate(b"\n")


def test_runs_of_other_tools(tmp_path):
    old = time.time() - 86400
    ended = tmp_path / "Qwen3-0.6B" / "lora" / "train_2024"
    ended.mkdir(parents=True)
    lines = [
        {"current_steps": 10, "total_steps": 20, "loss": 1.5, "lr": 1e-4},
        {"current_steps": 10, "total_steps": 20, "eval_loss": 1.25},
        {"current_steps": 20, "total_steps": 20, "eval_loss": 1.5},
        {"current_steps": 20, "total_steps": 20, "epoch": 2.0},
    ]
    (ended / "trainer_log.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    (ended / "adapter_model.safetensors").write_bytes(b"")
    (ended / "training_args.yaml").write_text(
        "model_name_or_path: Qwen/Qwen3-0.6B\nstage: dpo\nfinetuning_type: 'oft'\n"
    )
    broken = tmp_path / "odd"
    (broken / "checkpoint-50").mkdir(parents=True)
    (broken / "trainer_log.jsonl").write_text('{"step": 5, "total_steps": 9, "loss": NaN}\n{"st')
    os.utime(broken / "trainer_log.jsonl", (old, old))
    adapter = tmp_path / "peft" / "only"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')
    (adapter / "adapter_model.safetensors").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no run")
    runs = {run.name: run for run in list_runs(tmp_path)}
    assert set(runs) == {"train_2024", "odd", "only"}
    first = runs["train_2024"]
    assert (first.model, first.stage, first.method) == ("Qwen3-0.6B", "dpo", "oft")
    assert (first.state, first.last_loss, first.best) == ("done", 1.5, 1.25)
    second = runs["odd"]
    assert (second.state, second.step, second.checkpoints) == ("interrupted", 5, (50,))
    assert second.last_loss is not None and second.last_loss != second.last_loss
    assert (runs["only"].model, runs["only"].state) == ("base", "done")
    assert find_run("odd", tmp_path) == second and find_run(str(ended)) == first
    assert find_run("none", tmp_path) is None
    assert list_runs(tmp_path / "absent") == []


def test_long_logs_are_read_from_their_ends(tmp_path):
    folder = tmp_path / "m" / "lora" / "long"
    _own(folder, DESCRIBED, StateChanged(state="training"))
    with (folder / "events.jsonl").open("a") as file:
        for number in range(3000):
            file.write(to_json(LogLine(run="long", seq=number + 3, text="x" * 50)) + "\n")
        file.write(to_json(StateChanged(run="long", seq=3003, state="done")) + "\n")
        file.write('{"kind": "LogLine", "run": "lo')
    assert read_run(folder).state == "done" and read_run(folder).model == "Tiny"
    session = JobSession("long", folder, lambda event: None)
    assert session.publish(LogLine(text="next")).seq == 3004
    session.close()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes are files here only on Unix")
def test_pipes_and_links_are_neither_waited_for_nor_followed_in_circles(tmp_path):
    good = tmp_path / "m" / "lora" / "good"
    _own(good, StateChanged(state="done"))
    (good / "again").symlink_to("..")
    os.mkfifo(good / "trainer_log.jsonl")
    os.mkfifo(good / "trainer_state.json")
    pipe = tmp_path / "m" / "lora" / "pipe"
    pipe.mkdir()
    os.mkfifo(pipe / "events.jsonl")
    lost = tmp_path / "m" / "lora" / "lost"
    lost.mkdir()
    (lost / "events.jsonl").symlink_to(tmp_path / "nowhere")
    assert [run.name for run in list_runs(tmp_path)] == ["good"]
    assert read_curves(good).steps == ()
    assert read_curves(pipe).steps == ()


def test_a_damaged_run_harms_no_other(tmp_path):
    nested = "[" * 100_000
    odd = tmp_path / "m" / "lora" / "odd"
    odd.mkdir(parents=True)
    (odd / "events.jsonl").write_text('{"kind": "StateChanged", "x": ' + nested + "\n")
    (odd / "adapter_config.json").write_text(nested)
    (odd / "trainer_state.json").write_text(nested)
    worse = tmp_path / "m" / "lora" / "worse"
    worse.mkdir()
    history = [1, "x", {"loss": 1.5, "step": 1}, {"loss": "a", "step": "b"}, None]
    (worse / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    (worse / "trainer_log.jsonl").mkdir()
    assert {run.name for run in list_runs(tmp_path)} == {"odd", "worse"}
    assert read_curves(odd).steps == () and read_curves(worse).losses == (1.5,)
