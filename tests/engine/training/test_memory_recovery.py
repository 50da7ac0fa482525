"""A run whose memory runs out goes on with a smaller micro-batch, over the same rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.config import read_flat
from engine.events import JobFailed, JobFinished, LogLine, RunDescribed
from engine.faults import is_out_of_memory
from engine.worker import Engine, TrainJob
from engine.worker.recovery import changed, command, smaller_batch

# Whole runs, each a few times: CI runs them with the longer cases.
pytestmark = pytest.mark.slow

GPU_WORDS = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB of "
    "which 1.06 GiB is free."
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FINETUI_STATE", str(tmp_path / "state"))
    return tmp_path


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine()
    made.start()
    yield made
    made.shutdown(save=False, deadline=30)


@pytest.fixture
def settings_of(make_config: Callable[..., Any]) -> Callable[..., Any]:
    def make(folder: Path, **changes: Any) -> Any:
        values = {
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 1,
            "lora_dropout": 0.0,
            "max_steps": 5,
            "num_train_epochs": 1,
            "save_steps": 2,
            "output_dir": str(folder),
        }
        return make_config(**{**values, **changes})

    return make


def real_fault(kind: str) -> BaseException:
    import torch

    from engine.faults.device import LowMemory
    from engine.problem import Problem

    if kind == "gpu":
        return torch.OutOfMemoryError(GPU_WORDS)
    if kind == "machine":
        return MemoryError()
    return LowMemory(Problem("Only 0.10 GiB of memory is left.", where="memory"))


@pytest.fixture
def too_small(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """`too_small(kind, most, after)`: a hook of the model's forward pass raises a real fault of
    memory for micro-batches of more than `most` rows, once `after` of them went through. Returns
    the rows of every micro-batch that was computed."""

    def install(kind: str, most: int, after: int = 0) -> list[int]:
        from engine.training import stages

        build = stages.build_trainer
        seen: list[int] = []

        def built(parts: Any) -> Any:
            def hook(_: Any, __: Any, inputs: dict[str, Any]) -> None:
                rows = len(inputs["rows_gather"])
                if rows > most and len(seen) >= after:
                    raise real_fault(kind)
                seen.append(rows)

            parts.model.register_forward_pre_hook(hook, with_kwargs=True)
            return build(parts)

        monkeypatch.setattr(stages, "build_trainer", built)
        return seen

    return install


def run(engine: Engine, config: Any) -> list[Any]:
    events: list[Any] = []
    end = engine.subscribe(events.append)
    name = engine.submit(TrainJob(config))
    assert engine.wait(name, 120)
    end()
    return events


def losses(folder: Path) -> dict[int, float]:
    lines = (folder / "trainer_log.jsonl").read_text("utf-8").splitlines()
    return {line["current_steps"]: line["loss"] for line in map(json.loads, lines)}


@pytest.mark.parametrize("kind", ["gpu", "machine", "guard"])
def test_auto_goes_on_by_itself_over_the_same_rows(
    kind: str,
    engine: Engine,
    home: Path,
    settings_of: Callable[..., Any],
    too_small: Callable[..., list[int]],
) -> None:
    whole = home / "whole"
    run(engine, settings_of(whole))
    seen = too_small(kind, most=2, after=3)
    broken = home / "broken"
    events = run(engine, settings_of(broken, recover_from_oom="auto"))
    assert [e for e in events if isinstance(e, JobFailed)] == []
    assert any(isinstance(e, JobFinished) for e in events)
    (warning,) = [e.text for e in events if isinstance(e, LogLine) and e.level == "warning"]
    assert "micro-batch 2, accumulation 2" in warning
    described = [e.effective_batch for e in events if isinstance(e, RunDescribed)]
    assert described == [4, 4]
    assert any("Going on from step 2" in e.text for e in events if isinstance(e, LogLine))
    # Three of four rows, then from the checkpoint of step 2 on two by two.
    assert seen == [4, 4, 4, 2, 2, 2, 2, 2, 2]
    # The same rows an update, in the same order.
    assert losses(broken) == pytest.approx(losses(whole), rel=1e-4)


def test_it_halves_until_it_fits_and_then_gives_up(
    engine: Engine,
    home: Path,
    settings_of: Callable[..., Any],
    too_small: Callable[..., list[int]],
) -> None:
    seen = too_small("machine", most=1)
    events = run(engine, settings_of(home / "halved", recover_from_oom="auto"))
    assert any(isinstance(e, JobFinished) for e in events)
    assert set(seen) == {1}
    too_small("machine", most=0)
    events = run(engine, settings_of(home / "never", recover_from_oom="auto"))
    (failed,) = [e for e in events if isinstance(e, JobFailed)]
    assert "ran out of memory" in failed.what
    tries = [e for e in events if isinstance(e, LogLine) and e.level == "warning"]
    assert len(tries) == 2  # 4, 2, 1: log2 of the micro-batch


def test_asking_tells_the_settings_and_the_command_that_goes_on(
    engine: Engine,
    home: Path,
    settings_of: Callable[..., Any],
    too_small: Callable[..., list[int]],
) -> None:
    whole = home / "whole"
    run(engine, settings_of(whole))
    too_small("gpu", most=2, after=3)
    folder = home / "asked"
    config = settings_of(folder)
    (failed,) = [e for e in run(engine, config) if isinstance(e, JobFailed)]
    assert failed.what.startswith("The GPU ran out of memory")
    assert failed.smaller == {
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "output_dir": str(folder),
        "resume_from_checkpoint": True,
        "overwrite_output_dir": False,
    }
    assert f"finetui train {folder}/training_args.yaml" in failed.hint
    assert "per_device_train_batch_size=2 gradient_accumulation_steps=2" in failed.hint
    # What the screen does with the answer, and what the command reads.
    events = run(engine, changed(config, failed.smaller))
    assert any(isinstance(e, JobFinished) for e in events)
    assert losses(folder) == pytest.approx(losses(whole), rel=1e-4)


def test_never_and_other_faults_offer_nothing(
    engine: Engine,
    home: Path,
    settings_of: Callable[..., Any],
    too_small: Callable[..., list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    too_small("machine", most=2)
    events = run(engine, settings_of(home / "never", recover_from_oom="never"))
    (failed,) = [e for e in events if isinstance(e, JobFailed)]
    assert failed.smaller == {} and "Halve per_device_train_batch_size" in failed.hint
    monkeypatch.undo()
    monkeypatch.chdir(home)
    wrong = settings_of(home / "wrong", dataset="nowhere", recover_from_oom="auto")
    (failed,) = [e for e in run(engine, wrong) if isinstance(e, JobFailed)]
    assert failed.smaller == {}


def test_the_next_smaller_micro_batch() -> None:
    def told(batch: int, pile: int = 1, **more: Any) -> tuple[int, int] | None:
        flat = {"model_name_or_path": "demo", "dataset": "identity", "do_train": True, **more}
        flat |= {"per_device_train_batch_size": batch, "gradient_accumulation_steps": pile}
        found = smaller_batch(read_flat(flat).config, Path("run"))
        if not found:
            return None
        return found["per_device_train_batch_size"], found["gradient_accumulation_steps"]

    assert told(8, 2) == (4, 4)
    assert told(6) == (3, 2)
    assert told(9, 2) == (3, 6)
    assert told(7) == (1, 7)
    assert told(1, 8) is None


def test_the_command_is_one_that_a_shell_reads(tmp_path: Path) -> None:
    import shlex

    folder = tmp_path / "a run"
    changes = {"output_dir": str(folder), "resume_from_checkpoint": True}
    words = shlex.split(command(folder, changes))
    assert words[:3] == ["finetui", "train", str(folder / "training_args.yaml")]
    assert words[3:] == [f"output_dir={folder}", "resume_from_checkpoint=true"]


@pytest.mark.parametrize("kind", ["gpu", "machine", "guard"])
def test_out_of_memory_is_known_by_its_class(kind: str) -> None:
    assert is_out_of_memory(real_fault(kind))
    assert not is_out_of_memory(ValueError("shape mismatch"))
