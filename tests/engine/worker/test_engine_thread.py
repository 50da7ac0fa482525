"""The engine thread, with small jobs in place of the real ones."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from engine.events import (
    CheckpointSaved,
    JobFinished,
    LogLine,
    StateChanged,
)
from engine.problem import Stopped
from engine.runs import process
from engine.runs.eventlog import read_events
from engine.worker import ChatJob, ChatMessage, TrainJob
from tests.engine.worker.watched import job_config

REPO = Path(__file__).parents[3]


def test_a_job_tells_what_it_does_in_order(watched, tmp_path):
    def train(job, session, kept):
        assert threading.current_thread().name == "finetui-engine"
        assert process.running_pid(session.folder) == os.getpid()
        session.state("training")
        session.say("half way")
        return {"loss": 0.5}

    w = watched(train=train)
    run = w.engine.submit(TrainJob(job_config()))
    w.ended(run)
    assert w.states(run) == ["loading", "training", "done"]
    assert w.of(JobFinished, run)[0].result == {"loss": 0.5}
    (folder,) = (tmp_path / "saves/SmolLM2-135M-Instruct/lora").iterdir()
    assert folder.name == run
    logged = list(read_events(folder / "events.jsonl"))
    assert logged == [e for e in w.events if e.run == run]
    assert [e.seq for e in logged] == list(range(1, len(logged) + 1))
    assert isinstance(logged[-1], StateChanged) and logged[-1].state == "done"
    assert not (folder / process.LOCK_NAME).exists()
    assert w.engine.current is None and w.engine.idle


def test_stop_between_micro_batches(watched):
    begun = threading.Event()

    def train(job, session, kept):
        session.state("training")
        begun.set()
        try:
            while True:
                session.control.check()
                threading.Event().wait(0.005)
        except Stopped as stop:
            if stop.save:
                session.state("saving")
                session.publish(CheckpointSaved(step=7, path="checkpoint-7", size=1, seconds=0.1))
            raise

    w = watched(train=train)
    run = w.engine.submit(TrainJob(job_config()))
    assert begun.wait(30)
    assert w.engine.current is not None and w.engine.current.run == run
    w.engine.stop(run)
    w.ended(run)
    assert w.states(run) == ["loading", "training", "saving", "stopped"]
    assert w.of(StateChanged, run)[-1].detail == "checkpoint-7 is saved"
    begun.clear()
    other = w.engine.submit(TrainJob(job_config()))
    assert begun.wait(30)
    w.engine.stop(other, save=False)
    w.ended(other)
    assert w.states(other) == ["loading", "training", "stopped"]
    assert w.of(StateChanged, other)[-1].detail == "without saving"


def test_pause_and_go_on(watched):
    begun, paused, turns = threading.Event(), threading.Event(), []

    def train(job, session, kept):
        session.state("training")
        begun.set()
        while len(turns) < 3:
            if paused.is_set():
                turns.append(session.check())
            else:
                threading.Event().wait(0.005)
        return {}

    w = watched(train=train)
    run = w.engine.submit(TrainJob(job_config()))
    assert begun.wait(30)
    said = threading.Event()
    w.engine.subscribe(lambda e: said.set() if getattr(e, "state", "") == "paused" else None)
    w.engine.pause(run)
    paused.set()
    assert said.wait(30)
    assert w.engine.current.state == "paused" and turns == []
    w.engine.go_on(run)
    w.ended(run)
    assert w.states(run) == ["loading", "training", "paused", "training", "done"]


def test_one_at_a_time_and_a_queued_job_can_go(watched, tmp_path):
    go, begun, running = threading.Event(), threading.Event(), []

    def train(job, session, kept):
        running.append(session.run)
        assert len(running) == 1
        begun.set()
        assert go.wait(30)
        running.remove(session.run)
        return {}

    w = watched(train=train)
    first = w.engine.submit(TrainJob(job_config()))
    assert begun.wait(30)
    second = w.engine.submit(TrainJob(job_config()))
    third = w.engine.submit(TrainJob(job_config()))
    assert [info.run for info in w.engine.queue] == [second, third]
    w.engine.stop(second)
    assert w.states(second) == ["queued", "stopped"]
    assert not list(tmp_path.glob(f"saves/*/*/{second}"))
    go.set()
    w.ended(third)
    assert w.states(first)[-1] == w.states(third)[-1] == "done"
    assert w.states(third)[0] == "queued"


def test_chat_has_no_folder_and_shutdown_ends_what_runs(watched, tmp_path):
    begun = threading.Event()

    def chat(job, session, kept):
        assert session.folder is None and job.messages[0].content == "hi"
        begun.set()
        while True:
            session.control.check()
            threading.Event().wait(0.005)

    w = watched(chat=chat)
    run = w.engine.submit(ChatJob(job_config(), (ChatMessage("user", "hi"),)))
    assert begun.wait(30)
    assert w.engine.shutdown(save=True, deadline=30)
    assert w.states(run) == ["loading", "stopped"]
    late = w.engine.submit(ChatJob(job_config(), (ChatMessage("user", "hi"),)))
    assert w.engine.wait(late, 30) and w.states(late)[-1] == "stopped"
    assert not (tmp_path / "saves").exists()


def test_lookups_answer_while_a_job_runs_and_the_newest_of_a_key_wins(watched):
    go, begun, hold = threading.Event(), threading.Event(), threading.Event()

    def train(job, session, kept):
        begun.set()
        assert go.wait(30)
        return {}

    w = watched(train=train)
    run = w.engine.submit(TrainJob(job_config()))
    assert begun.wait(30)
    assert w.engine.lookup(pow, 2, 5).result(30) == 32
    with pytest.raises(ZeroDivisionError):
        w.engine.lookup(divmod, 1, 0).result(30)
    first = w.engine.lookup(hold.wait, 30)
    old = w.engine.lookup(pow, 2, 2, key="row")
    other = w.engine.lookup(pow, 3, 2, key="card")
    new = w.engine.lookup(pow, 4, 2, key="row")
    hold.set()
    assert first.result(30) and new.result(30) == 16 and other.result(30) == 9
    assert old.cancelled()
    go.set()
    w.ended(run)


def test_library_output_goes_to_the_runs_log(watched, tmp_path):
    def train(job, session, kept):
        import logging

        logging.getLogger("transformers.modeling").warning("a weight is new")
        return {}

    w = watched(train=train)
    run = w.engine.submit(TrainJob(job_config()))
    w.ended(run)
    (log,) = tmp_path.glob(f"saves/*/*/{run}/library.log")
    assert "a weight is new" in log.read_text()


def test_unlogged_events_and_the_log_agree(tmp_path):
    from engine.events import StepTick
    from engine.runs.session import JobSession

    heard = []
    session = JobSession("r", tmp_path, heard.append)
    session.publish(LogLine(text="a"))
    session.publish(StepTick(step=1, total_steps=2))
    session.publish(LogLine(text="b"))
    session.close()
    assert [e.seq for e in heard] == [1, 1, 2]
    assert [e.seq for e in read_events(tmp_path / "events.jsonl")] == [1, 2]
    assert replace(heard[0], text="b", seq=2, time=heard[2].time) == heard[2]


def test_importing_the_worker_brings_no_torch_in():
    code = (
        "import sys, engine.worker, engine.faults, engine.runs; "
        "heavy = {'torch','transformers','trl','peft','datasets','accelerate','numpy','pandas',"
        "'matplotlib','textual','rich','typer'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(REPO)}
    )


@pytest.mark.usefixtures("own_folder")
def test_descriptors_are_kept_off_the_terminal(tmp_path):
    code = f"""
import os, sys, warnings
from pathlib import Path
from engine.worker.quiet import divert_output, library_log
from engine.paths import program_log
terminal = divert_output(program_log())
print("printed by a library")
os.system("echo from C >&2")
with library_log(Path({str(tmp_path)!r}), program_log()):
    os.system("echo in the run")
    warnings.warn("soon gone")
os.system("echo after the run")
terminal.out.write("for the person\\n")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(REPO)},
    )
    assert (done.stdout, done.stderr) == ("for the person\n", "")
    program = (tmp_path / "state" / "finetui.log").read_text()
    assert {"printed by a library", "from C", "after the run"} <= set(program.splitlines())
    in_the_run = (tmp_path / "library.log").read_text()
    assert in_the_run.startswith("in the run\n") and "UserWarning: soon gone" in in_the_run
