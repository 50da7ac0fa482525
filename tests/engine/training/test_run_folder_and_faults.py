"""What a run leaves behind, and what it says and leaves when it can't go on."""

from __future__ import annotations

import errno
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from engine.events import (
    CheckpointSaved,
    Evaluated,
    LogLine,
    RunDescribed,
    StateChanged,
    StepLogged,
    StepTick,
)
from engine.problem import BadInput, JobFault
from engine.runs.checkpoints import COMPLETE_MARK, list_checkpoints
from engine.runs.trainer_log import read_trainer_log
from engine.training import run_training
from engine.training.guards import MemoryWatch, is_disk_full, no_room, refused_write

ROOT = Path(__file__).parents[3]


def test_the_folder_and_the_order_of_events(make_config, make_session, tmp_path: Path) -> None:
    run = tmp_path / "run"
    session, listener = make_session(run)
    config = make_config(
        val_size=4,
        eval_strategy="steps",
        eval_steps=2,
        save_steps=2,
        max_steps=4,
        logging_steps=2,
        plot_loss=True,
        compute_accuracy=True,
        hf_hub_token="hf_secretsecretsecret",
    )
    result = run_training(config, session)
    present = {p.name for p in run.iterdir() if not p.name.startswith(".")}
    for weights in run.rglob("*.safetensors"):  # safetensors itself writes for the owner only
        assert weights.stat().st_mode & 0o777 == 0o644
    assert present >= {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "all_results.json",
        "checkpoint-2",
        "checkpoint-4",
        "eval_results.json",
        "events.jsonl",
        "tokenizer.json",
        "train_results.json",
        "trainer_log.jsonl",
        "trainer_state.json",
        "training_args.yaml",
        "training_eval_loss.png",
        "training_loss.png",
    }
    assert not list(run.rglob("training_args.bin"))
    assert not [p for p in run.iterdir() if p.name.startswith(".")]
    for file in run.rglob("*"):
        if file.is_file():
            assert b"hf_secretsecret" not in file.read_bytes(), file
    kinds = [
        type(e).__name__
        for e in listener.of(StepTick, StepLogged, Evaluated, CheckpointSaved, RunDescribed)
    ]
    block = ["StepTick", "StepLogged", "Evaluated", "CheckpointSaved"]
    assert kinds == ["RunDescribed", *block, *block]
    described = listener.of(RunDescribed)[0]
    assert (described.rows, described.eval_rows, described.total_steps) == (18, 4, 4)
    assert described.effective_batch == 4 and described.precision == "fp32"
    steps = listener.of(StepLogged)
    points = read_trainer_log(run)
    assert [p.loss for p in points if p.loss is not None] == [e.loss for e in steps]
    assert all(p.throughput and p.total_tokens and p.grad_norm for p in points if p.loss)
    assert [p.eval_loss for p in points if p.eval_loss] == [e.loss for e in listener.of(Evaluated)]
    states = [e.state for e in listener.of(StateChanged)]
    assert states[0] == "loading" and states.index("training") < states.index("saving")
    results = json.loads((run / "all_results.json").read_text())
    assert results["train_loss"] == pytest.approx(result["train_loss"])
    assert results["eval_loss"] == result["eval_loss"]
    assert results["train_tokens"] == steps[-1].tokens == result["tokens"]


def test_the_adapter_loads_in_plain_peft_and_was_trained(
    make_config, make_session, model_folder: Path, tmp_path: Path
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    run = tmp_path / "run"
    run_training(make_config(max_steps=3), make_session(run)[0])
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model_folder), run)
    changed = [p for n, p in model.named_parameters() if "lora_B" in n and p.abs().sum() > 0]
    assert len(changed) == 3 * 7
    assert all(p.dtype == torch.float32 for p in changed)


def test_an_adapter_is_trained_on_or_merged_under_a_new_one(
    make_config, make_session, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    first = tmp_path / "first"
    run_training(make_config(max_steps=2), make_session(first)[0])
    on = tmp_path / "on"
    config = make_config(max_steps=1, adapter_name_or_path=str(first), learning_rate=1e-12)
    run_training(config, make_session(on)[0])
    before, after = (load_file(r / "adapter_model.safetensors") for r in (first, on))
    assert all((before[key] - after[key]).abs().max() < 1e-9 for key in before)
    new = tmp_path / "new"
    config = make_config(
        max_steps=1,
        adapter_name_or_path=str(first),
        create_new_adapter=True,
        lora_rank=2,
        lora_target="q_proj",
    )
    run_training(config, make_session(new)[0])
    assert len(load_file(new / "adapter_model.safetensors")) == 3 * 2


@pytest.mark.parametrize("method", ["full", "freeze"])
def test_whole_models_are_saved_and_only_the_chosen_weights_move(
    method: str, make_config, make_session, model_folder: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    run = tmp_path / "run"
    config = make_config(
        max_steps=2, finetuning_type=method, freeze_trainable_layers=1, save_strategy="no"
    )
    run_training(config, make_session(run)[0])
    assert not list_checkpoints(run)
    before = dict(AutoModelForCausalLM.from_pretrained(model_folder).named_parameters())
    after = dict(AutoModelForCausalLM.from_pretrained(run).named_parameters())
    moved = {name for name in before if (before[name] != after[name]).any()}
    if method == "full":
        assert moved == set(before)
    else:
        assert moved == {name for name in before if ".layers.2." in name}


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({"lora_target": "q_proj,nothing"}, "lora_target"),
        ({"additional_target": "nothing"}, "additional_target"),
        (
            {"finetuning_type": "freeze", "freeze_trainable_modules": "nothing"},
            "freeze_trainable_modules",
        ),
    ],
)
def test_names_the_model_lacks(
    changes: dict, setting: str, make_config, make_session, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="no module named nothing") as refused:
        run_training(make_config(**changes), make_session(tmp_path / "run")[0])
    assert refused.value.problem.setting == setting


def test_rotation_keeps_the_newest_and_the_best(make_config, make_session, tmp_path: Path) -> None:
    run = tmp_path / "run"
    session, listener = make_session(run)
    config = make_config(
        val_size=4,
        eval_strategy="steps",
        eval_steps=1,
        save_steps=1,
        save_total_limit=2,
        # A run that learns, judged upside down: its best step is an early one on every machine.
        metric_for_best_model="loss",
        greater_is_better=True,
        learning_rate=1e-2,
        max_steps=6,
    )
    run_training(config, session)
    best = max(listener.of(Evaluated), key=lambda e: e.loss).step
    assert best < 5, "the test needs a run that learns"
    found = list_checkpoints(run)
    assert [c.step for c in found] == [best, 5, 6]
    assert [c.step for c in found if c.best] == [best]
    assert all(c.complete and c.size > 0 and c.loss and c.eval_loss for c in found)


def test_a_loss_that_is_not_finite_stops_the_run_before_the_weights_move(
    make_config, make_session, model_folder: Path, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(model_folder, broken)
    tensors = load_file(broken / "model.safetensors")
    tensors["model.norm.weight"][0] = torch.nan
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    run = tmp_path / "run"
    config = make_config(model_name_or_path=str(broken), learning_rate=0.5, save_steps=1)
    with pytest.raises(JobFault) as fault:
        run_training(config, make_session(run)[0])
    problem = fault.value.problem
    assert "loss of step 1 is nan" in problem.what
    assert "learning rate 0.5" in problem.hint
    assert list_checkpoints(run) == []
    assert not list(run.glob("*.safetensors"))


def test_an_infinite_gradient_stops_the_run_with_sound_checkpoints(
    make_config, make_session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from safetensors.torch import load_file

    from engine.training.trainer import SftTrainer

    original = SftTrainer.training_step

    def poisoned(self: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        loss = original(self, model, *args, **kwargs)
        if self.state.global_step == 3:
            next(p for p in model.parameters() if p.grad is not None).grad.fill_(math.inf)
        return loss

    monkeypatch.setattr(SftTrainer, "training_step", poisoned)
    run = tmp_path / "run"
    with pytest.raises(JobFault, match="gradient of step 4") as fault:
        run_training(make_config(save_steps=1), make_session(run)[0])
    assert "Checkpoint 3 is sound" in fault.value.problem.hint
    saved = load_file(run / "checkpoint-3" / "adapter_model.safetensors")
    assert all(torch.isfinite(t).all() for t in saved.values())


def test_memory_below_the_reserve_ends_the_run(make_config, make_session, tmp_path: Path) -> None:
    session, _ = make_session(tmp_path / "run")
    with pytest.raises(JobFault, match="memory is left"):
        run_training(make_config(memory_reserve_gb=1e6, num_train_epochs=200), session)


def test_the_watch_looks_inside_a_forward_pass() -> None:
    import torch

    left = [10]
    layer = torch.nn.Linear(2, 2)
    watch = MemoryWatch(lambda: left[0], reserve=5, interval=0.01)
    watch.start([layer])
    layer(torch.zeros(1, 2))
    left[0] = 1
    watch._thread.join(5)
    with pytest.raises(JobFault):
        layer(torch.zeros(1, 2))
    watch.stop()
    layer(torch.zeros(1, 2))


def test_no_room_for_a_checkpoint(
    make_config, make_session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    session, listener = make_session(run)
    real = shutil.disk_usage

    def usage(path: Any) -> Any:
        figures = real(path)
        full = bool(listener.of(CheckpointSaved))
        return figures._replace(free=1000) if full else figures

    monkeypatch.setattr(shutil, "disk_usage", usage)
    with pytest.raises(JobFault, match="disk is full"):
        run_training(make_config(save_steps=1), session)
    assert [(c.step, c.complete) for c in list_checkpoints(run)] == [(1, True)]
    assert not list(run.glob(".*"))


def test_the_disk_fills_up_while_a_checkpoint_is_written(
    make_config, make_session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    run = tmp_path / "run"
    session, listener = make_session(run)
    real = torch.save

    def save(what: Any, where: Any, *args: Any, **kwargs: Any) -> None:
        if listener.of(CheckpointSaved) and "scheduler" in str(where):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(where))
        real(what, where, *args, **kwargs)

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(JobFault, match="disk is full"):
        run_training(make_config(save_steps=1), session)
    assert [(c.step, c.complete) for c in list_checkpoints(run)] == [(1, True)]
    assert not list(run.glob(".*"))


def test_a_limit_on_the_size_of_files_is_no_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "disk is full" in refused_write(tmp_path, 1 << 60).problem.what
    assert (
        "needs about 20 MB, 3 MB are free" in no_room(tmp_path, 20_000_000, 3_000_000).problem.what
    )
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (1_000_000, 1_000_000))
    problem = refused_write(tmp_path, 1).problem
    assert "larger than 1.0 MB here (ulimit -f)" in problem.what
    assert "disk is full" in refused_write(tmp_path, 1 << 60).problem.what


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs file size limits")
def test_full_disk_errors_of_torch_and_safetensors_are_known(tmp_path: Path) -> None:
    """The real messages of both writers, from a process that may not write more than 64 KiB."""
    script = textwrap.dedent(
        """
        import resource, signal, sys, torch
        from safetensors.torch import save_file
        from engine.training.guards import is_disk_full
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
        tensors = {"a": torch.zeros(100_000)}
        for name, write in (("t.pt", torch.save), ("t.safetensors", save_file)):
            try:
                write(tensors, sys.argv[1] + "/" + name)
            except Exception as error:
                print(is_disk_full(error), type(error).__name__, str(error)[:200])
            else:
                print(False, "written")
        """
    )
    out = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = out.stdout.strip().splitlines()
    assert len(lines) == 2 and all(line.startswith("True") for line in lines), out.stdout


def test_other_errors_are_no_full_disk() -> None:
    assert not is_disk_full(OSError(errno.EACCES, "no"))
    assert not is_disk_full(RuntimeError("shape mismatch"))


def test_half_written_leftovers_are_swept_away(make_config, make_session, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for name in (".checkpoint-3.partial", ".checkpoint-2.removing"):
        (run / name).mkdir(parents=True)
        (run / name / "file").write_text("x")
    run_training(make_config(max_steps=1), make_session(run)[0])
    assert not list(run.glob(".*"))
    assert (run / "checkpoint-1" / COMPLETE_MARK).is_file()


def test_one_gpu_of_several_and_never_data_parallel(
    make_config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from trl import SFTConfig

    from engine.models import choose_precision
    from engine.training.arguments import training_arguments

    chosen: list[Any] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    config = make_config(use_cpu=False)
    precision = choose_precision(config, "cpu")
    arguments = training_arguments(
        SFTConfig, config, tmp_path, precision, "cuda:2", checkpointing=True
    )
    assert arguments.device == torch.device("cuda:2") == chosen[-1]
    assert arguments.n_gpu == 1
    assert arguments.train_batch_size == 2
    assert arguments.activation_checkpointing
    monkeypatch.undo()
    assert not training_arguments(
        SFTConfig, make_config(), tmp_path, precision, "cpu", checkpointing=False
    ).activation_checkpointing


def test_gradient_checkpointing_gives_the_same_losses(
    make_config, make_session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.training import memory_plan

    session, plain = make_session(tmp_path / "plain")
    run_training(make_config(max_steps=3), session)
    # Others hold the memory that the forecast counts on, so checkpointing goes on.
    monkeypatch.setattr(memory_plan, "free_memory", lambda *_: 1000)
    session, recomputed = make_session(tmp_path / "recomputed")
    run_training(make_config(max_steps=3), session)
    assert any("checkpointing is on" in e.text for e in recomputed.of(LogLine))
    assert any("checkpointing is off" in e.text for e in plain.of(LogLine))
    losses = [[e.loss for e in listener.of(StepLogged)] for listener in (plain, recomputed)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
