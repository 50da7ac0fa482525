"""Every tracker gets a run's curves for real; a broken one costs a note and no step."""

from __future__ import annotations

import glob
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.events import LogLine
from engine.training import run_training

SECRET = "not-to-be-written-anywhere-1234567890ab"


def train(
    make_config: Callable[..., Any], make_session: Callable[..., Any], folder: Path, **changes: Any
) -> Any:
    flat = {"max_steps": 3, "lora_dropout": 0.0, "run_name": "three steps", **changes}
    session, listener = make_session(folder)
    run_training(make_config(**flat), session)
    return listener


def losses(folder: Path) -> dict[int, float]:
    lines = (folder / "trainer_log.jsonl").read_text("utf-8").splitlines()
    return {line["current_steps"]: line["loss"] for line in map(json.loads, lines)}


def notes(listener: Any) -> list[str]:
    return [event.text for event in listener.of(LogLine) if event.text.startswith("The tracker")]


def assert_nowhere(folder: Path, secret: str) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            assert secret.encode() not in file.read_bytes(), file


def read_board(folder: Path) -> dict[str, dict[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(folder / "runs"))
    board.Reload()
    return {
        tag: {point.step: point.value for point in board.Scalars(tag)}
        for tag in board.Tags()["scalars"]
    }


def test_tensorboard_has_the_curves_and_a_resume_goes_on_with_them(
    make_config: Callable[..., Any], make_session: Callable[..., Any], tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    run = tmp_path / "run"
    made = {"report_to": "tensorboard", "save_steps": 2, "hf_hub_token": SECRET}
    listener = train(make_config, make_session, run, **made)
    assert notes(listener) == []
    curves = read_board(run)
    assert curves["train/loss"] == pytest.approx(losses(run))
    assert {"train/learning_rate", "train/grad_norm"} <= set(curves)
    again = {**made, "max_steps": 4, "resume_from_checkpoint": str(run / "checkpoint-2")}
    train(make_config, make_session, run, **again)
    curves = read_board(run)
    # Step 3 was computed twice; the second one counts.
    assert sorted(curves["train/loss"]) == [1, 2, 3, 4]
    assert_nowhere(run, SECRET)


def test_mlflow_has_the_curves_in_a_local_store(
    make_config: Callable[..., Any],
    make_session: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mlflow = pytest.importorskip("mlflow")
    store = (tmp_path / "store").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    run = tmp_path / "run"
    made = {"report_to": "mlflow", "project": "trials", "save_steps": 2, "hf_hub_token": SECRET}
    listener = train(make_config, make_session, run, **made)
    assert notes(listener) == []
    client = mlflow.MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name("trials").experiment_id
    (kept,) = client.search_runs([experiment])
    assert kept.info.run_name == "three steps"
    assert kept.info.status == "FINISHED"
    assert kept.data.params["learning_rate"] == "0.01"
    points = {p.step: p.value for p in client.get_metric_history(kept.info.run_id, "train/loss")}
    assert points == pytest.approx(losses(run))
    train(
        make_config,
        make_session,
        run,
        **{**made, "max_steps": 4, "resume_from_checkpoint": str(run / "checkpoint-2")},
    )
    (kept,) = client.search_runs([experiment])
    history = client.get_metric_history(kept.info.run_id, "train/loss")
    assert {p.step for p in history} == {1, 2, 3, 4}
    assert_nowhere(tmp_path, SECRET)


def leveldb_records(data: bytes) -> Iterator[bytes]:
    """The records of a LevelDB log, which wandb writes behind a head of 7 bytes (the first block
    is that much shorter): blocks of 32 KB, each part with a checksum, its length and its kind."""
    place, block, parts = 0, 32768, b""
    while place + 7 <= len(data):
        left = block - (place + 7) % block
        if left < 7:
            place += left
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def test_wandb_keeps_an_offline_run(
    make_config: Callable[..., Any],
    make_session: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    run = tmp_path / "run"
    listener = train(
        make_config, make_session, run, report_to="wandb", project="trials", hf_hub_token=SECRET
    )
    assert notes(listener) == []
    (written,) = glob.glob(str(run / "wandb" / "offline-run-*" / "*.wandb"))
    found: dict[int, float] = {}
    projects = set()
    for data in leveldb_records(Path(written).read_bytes()[7:]):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.HasField("run"):
            projects.add(record.run.project)
        if record.HasField("history"):
            items = {"/".join(i.nested_key) or i.key: i.value_json for i in record.history.item}
            if "train/loss" in items:
                found[int(items["train/global_step"])] = float(items["train/loss"])
    assert projects == {"trials"}
    assert found == pytest.approx(losses(run))
    assert_nowhere(tmp_path, SECRET)


def test_swanlab_keeps_a_local_run(
    make_config: Callable[..., Any],
    make_session: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("swanlab")
    monkeypatch.setenv("SWANLAB_SAVE_DIR", str(tmp_path / "swanlab-home"))
    run = tmp_path / "run"
    listener = train(
        make_config,
        make_session,
        run,
        use_swanlab=True,
        swanlab_mode="local",
        swanlab_project="trials",
        swanlab_api_key=SECRET,
    )
    assert notes(listener) == []
    files = [file for file in (run / "swanlog").rglob("*") if file.is_file()]
    written = b"".join(file.read_bytes() for file in files)
    assert b"train/loss" in written
    assert_nowhere(tmp_path, SECRET)


def test_trackio_keeps_a_local_run(
    make_config: Callable[..., Any],
    make_session: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("trackio")
    # Its folder is settled when it is imported.
    import trackio
    from trackio import sqlite_storage, utils

    for module in (trackio, sqlite_storage, utils):
        if hasattr(module, "TRACKIO_DIR"):
            monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path / "trackio")
    (tmp_path / "trackio").mkdir()
    run = tmp_path / "run"
    listener = train(make_config, make_session, run, report_to="trackio", project="trials")
    assert notes(listener) == []
    lines = sqlite_storage.SQLiteStorage.get_logs("trials", "three steps")
    points = {p["train/global_step"]: p["train/loss"] for p in lines if "train/loss" in p}
    assert points == pytest.approx(losses(run))


def test_ppo_reports_to_any_tracker(
    make_config: Callable[..., Any],
    make_session: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mlflow = pytest.importorskip("mlflow")
    store = (tmp_path / "store").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    ppo = {"stage": "ppo", "reward_funcs": "length", "max_new_tokens": 4, "ppo_epochs": 1}
    run = tmp_path / "run"
    train(make_config, make_session, run, report_to="mlflow", project="ppo", max_steps=1, **ppo)
    client = mlflow.MlflowClient(tracking_uri=store)
    (kept,) = client.search_runs([client.get_experiment_by_name("ppo").experiment_id])
    assert kept.data.metrics["train/loss"] == pytest.approx(losses(run)[1])
    assert "train/reward" in kept.data.metrics


class Broken:
    """A service that fails at one of its calls, with a key in its words."""

    def __init__(self, at: str) -> None:
        self.at = at
        self.calls: list[str] = []

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name == self.at:
            raise ConnectionError(f"no way to the server with key {SECRET}")

    def begin(self, run: Any) -> str | None:
        self._call("begin")
        return "id"

    def log(self, step: int, values: Any) -> None:
        self._call("log")

    def end(self, well: bool) -> None:
        self._call("end")


@pytest.mark.parametrize("at", ["begin", "log", "end"])
def test_a_tracker_that_fails_is_told_once_and_the_run_goes_on(
    at: str,
    make_config: Callable[..., Any],
    make_session: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from engine.training import tracker_services

    broken = Broken(at)
    monkeypatch.setitem(tracker_services.SERVICES, "swanlab", lambda: broken)
    run = tmp_path / "run"
    changes = {"report_to": "swanlab", "swanlab_api_key": SECRET}
    listener = train(make_config, make_session, run, **changes)
    assert len(losses(run)) == 3
    (note,) = notes(listener)
    assert "no way to the server with key <swanlab_api_key>" in note
    assert broken.calls[-1] == at
    assert_nowhere(run, SECRET)


def test_a_tracker_that_hangs_holds_the_end_up_only_so_long(
    make_config: Callable[..., Any],
    make_session: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from engine.training import tracker_services, trackers

    free = threading.Event()

    class Hanging(Broken):
        def log(self, step: int, values: Any) -> None:
            free.wait()

    monkeypatch.setattr(trackers, "_PATIENCE", 0.2)
    monkeypatch.setitem(tracker_services.SERVICES, "swanlab", lambda: Hanging("nowhere"))
    run = tmp_path / "run"
    listener = train(make_config, make_session, run, report_to="swanlab")
    free.set()
    assert len(losses(run)) == 3
    (note,) = notes(listener)
    assert "did not take everything" in note


def test_a_stopped_run_is_no_failed_one_and_a_failed_one_is(
    make_config: Callable[..., Any],
    make_session: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from engine.events import StepLogged
    from engine.problem import JobFault, Stopped
    from engine.training import guards, tracker_services

    ends: list[bool] = []

    class Ending(Broken):
        def end(self, well: bool) -> None:
            ends.append(well)

    monkeypatch.setitem(tracker_services.SERVICES, "swanlab", lambda: Ending("nowhere"))
    config = make_config(report_to="swanlab")
    session, listener = make_session(tmp_path / "stopped")
    listener.on = lambda event: session.control.stop() if isinstance(event, StepLogged) else None
    with pytest.raises(Stopped):
        run_training(config, session)
    session, _ = make_session(tmp_path / "failed")
    monkeypatch.setattr(guards.MemoryWatch, "check", _low)
    with pytest.raises(JobFault):
        run_training(config, session)
    assert ends == [True, False]


def _low(self: Any) -> None:
    from engine.faults.device import LowMemory
    from engine.problem import Problem

    raise LowMemory(Problem("Memory is low."))


def test_curves_have_the_names_that_transformers_gives_them() -> None:
    from transformers.integrations.integration_utils import rewrite_logs

    from engine.training.trackers import curve_names

    logs = {"loss": 2.0, "eval_loss": 3.0, "rewards/margins": 0.5, "epoch": 1.0}
    assert curve_names(logs) == rewrite_logs(logs)
    assert curve_names({"train_runtime": 5.0, "text": "no number", "on": True}) == {}
