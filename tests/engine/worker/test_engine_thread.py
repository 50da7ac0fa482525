"""The engine thread, with small jobs in place of the real ones."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine.events import (
    CheckpointSaved,
    JobFailed,
    JobFinished,
    LogLine,
    StateChanged,
    StepLogged,
)
from engine.problem import BadInput, JobFault, Problem, Stopped
from engine.runs import process
from engine.runs.eventlog import read_events
from engine.runs.folder import Replacement
from engine.worker import ChatJob, ChatMessage, Engine, EvaluateJob, TrainJob

REPO = Path(__file__).parents[3]


def _config(**changes):
    values = {
        "model_name_or_path": "demo",
        "finetuning_type": "lora",
        "stage": "sft",
        "output_dir": None,
        "overwrite_output_dir": False,
        "resume_from_checkpoint": None,
        "do_predict": False,
    }
    return SimpleNamespace(**{**values, **changes})


class Watched:
    """An engine whose training is the function of the test, and all it said."""

    def __init__(self, **performers) -> None:
        kinds = {"train": TrainJob, "evaluate": EvaluateJob, "chat": ChatJob}
        self.engine = Engine({kinds[name]: function for name, function in performers.items()})
        self.events = []
        self.engine.subscribe(self.events.append)
        self.engine.start()

    def states(self, run):
        return [e.state for e in self.events if isinstance(e, StateChanged) and e.run == run]

    def of(self, kind, run):
        return [e for e in self.events if isinstance(e, kind) and e.run == run]

    def ended(self, run):
        assert self.engine.wait(run, 30), "the job did not end"


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FINETUI_STATE", str(tmp_path / "state"))


@pytest.fixture
def watched():
    engines = []

    def make(**performers):
        engines.append(Watched(**performers))
        return engines[-1]

    yield make
    for one in engines:
        assert one.engine.shutdown(save=False, deadline=30)


def test_a_job_tells_what_it_does_in_order(watched, tmp_path):
    def train(job, session, kept):
        assert threading.current_thread().name == "finetui-engine"
        assert process.running_pid(session.folder) == os.getpid()
        session.state("training")
        session.say("half way")
        return {"loss": 0.5}

    w = watched(train=train)
    run = w.engine.submit(TrainJob(_config()))
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


def test_a_crash_ends_the_job_and_not_the_engine(watched):
    def train(job, session, kept):
        if job.config.stage == "sft":
            raise ZeroDivisionError("a bug")
        return {}

    w = watched(train=train)
    crashed = w.engine.submit(TrainJob(_config()))
    after = w.engine.submit(TrainJob(_config(stage="dpo")))
    w.ended(after)
    assert w.states(crashed)[-1] == "failed" and w.states(after)[-1] == "done"
    (failed,) = w.of(JobFailed, crashed)
    assert "ZeroDivisionError: a bug" in failed.what and "library.log" in failed.where
    assert "Traceback" in failed.details and not failed.bad_input
    assert "ZeroDivisionError" in Path(failed.where).read_text()


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_whatever_a_library_raises(watched, error):
    def train(job, session, kept):
        raise error

    w = watched(train=train)
    run = w.engine.submit(TrainJob(_config()))
    w.ended(run)
    assert w.states(run)[-1] == "failed" and len(w.of(JobFailed, run)) == 1


def test_bad_input_is_told_with_its_place(watched):
    def train(job, session, kept):
        raise BadInput(Problem("Row 3 has no answer.", where="x.json, row 3", hint="Write one."))

    w = watched(train=train)
    run = w.engine.submit(TrainJob(_config()))
    w.ended(run)
    (failed,) = w.of(JobFailed, run)
    assert (failed.what, failed.where, failed.hint, failed.bad_input) == (
        "Row 3 has no answer.", "x.json, row 3", "Write one.", True,
    )  # fmt: skip


def test_a_failed_job_leaves_nothing_in_memory(watched):
    class Weights:
        pass

    seen = []

    def train(job, session, kept):
        weights = Weights()
        seen.append(weakref.ref(weights))
        raise JobFault(Problem("The loss is not finite."))

    w = watched(train=train)
    run = w.engine.submit(TrainJob(_config()))
    w.ended(run)
    gc.collect()
    assert seen[0]() is None


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
    run = w.engine.submit(TrainJob(_config()))
    assert begun.wait(30)
    assert w.engine.current is not None and w.engine.current.run == run
    w.engine.stop(run)
    w.ended(run)
    assert w.states(run) == ["loading", "training", "saving", "stopped"]
    assert w.of(StateChanged, run)[-1].detail == "checkpoint-7 is saved"
    begun.clear()
    other = w.engine.submit(TrainJob(_config()))
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
    run = w.engine.submit(TrainJob(_config()))
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
    first = w.engine.submit(TrainJob(_config()))
    assert begun.wait(30)
    second = w.engine.submit(TrainJob(_config()))
    third = w.engine.submit(TrainJob(_config()))
    assert [info.run for info in w.engine.queue] == [second, third]
    w.engine.stop(second)
    assert w.states(second) == ["queued", "stopped"]
    assert not list(tmp_path.glob(f"saves/*/*/{second}"))
    go.set()
    w.ended(third)
    assert w.states(first)[-1] == w.states(third)[-1] == "done"
    assert w.states(third)[0] == "queued"


def test_two_jobs_never_train_in_one_folder(watched, tmp_path):
    go = threading.Event()
    w = watched(train=lambda job, session, kept: {"waited": go.wait(30)})
    folder = tmp_path / "run"
    first = w.engine.submit(TrainJob(_config(output_dir=str(folder))))
    again = _config(output_dir=str(folder), resume_from_checkpoint=True)
    second = w.engine.submit(TrainJob(again))
    assert w.engine.works_in(tmp_path / "other" / ".." / "run")
    go.set()
    w.ended(first)
    w.ended(second)
    assert w.states(first)[-1] == "done"
    (failed,) = w.of(JobFailed, second)
    assert failed.bad_input and "at work already" in failed.what
    assert {e.run for e in read_events(folder / "events.jsonl")} == {first}
    assert not w.engine.works_in(folder)


def test_an_earlier_run_is_untouched_by_a_job_that_can_not_begin(watched, tmp_path):
    (tmp_path / "run" / "checkpoint-5").mkdir(parents=True)
    (tmp_path / "run" / "trainer_log.jsonl").write_text("old\n")

    def train(job, session, kept):
        (session.folder / "trainer_log.jsonl").write_text("new\n")
        if job.config.stage == "dpo":
            raise BadInput(Problem("The dataset is missing."))
        if job.config.stage == "rm":
            raise MemoryError
        step = StepLogged(step=1, total_steps=1, loss=1.0, learning_rate=1.0, epoch=1.0)
        session.publish(step)
        return {}

    w = watched(train=train)
    config = _config(output_dir="run")
    refused = w.engine.submit(TrainJob(config))
    w.ended(refused)
    assert w.of(JobFailed, refused)[0].bad_input
    config.overwrite_output_dir = True
    failing = w.engine.submit(TrainJob(SimpleNamespace(**{**vars(config), "stage": "dpo"})))
    w.ended(failing)
    assert w.states(failing)[-1] == "failed"
    assert (tmp_path / "run" / "trainer_log.jsonl").read_text() == "old\n"
    assert (tmp_path / "run" / "checkpoint-5").is_dir()
    # Nor is it offered as what the failed one goes on from, with a smaller micro-batch.
    hungry = {**vars(config), "stage": "rm", "recover_from_oom": "ask"}
    without_memory = w.engine.submit(TrainJob(SimpleNamespace(**hungry)))
    w.ended(without_memory)
    assert w.of(JobFailed, without_memory)[-1].smaller == {}
    replacing = w.engine.submit(TrainJob(config))
    w.ended(replacing)
    assert (tmp_path / "run" / "trainer_log.jsonl").read_text() == "new\n"
    assert not (tmp_path / "run" / "checkpoint-5").exists()


def test_a_run_whose_replacement_was_killed_is_back(watched, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "trainer_log.jsonl").write_text("old\n")
    (folder / "checkpoint-5").mkdir()
    Replacement(folder).set_aside()  # and then the process is killed
    assert not (folder / "checkpoint-5").exists()
    w = watched(train=lambda job, session, kept: {})
    refused = w.engine.submit(TrainJob(_config(output_dir="run")))
    w.ended(refused)
    assert "already holds a run" in w.of(JobFailed, refused)[0].what
    assert (folder / "trainer_log.jsonl").read_text() == "old\n"
    assert (folder / "checkpoint-5").is_dir()


def test_a_score_of_a_run_keeps_that_runs_log(watched, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "trainer_log.jsonl").write_text("{}\n")
    (tmp_path / "run" / "events.jsonl").write_text("")
    w = watched(evaluate=lambda job, session, kept: {"eval_loss": 1.0})
    run = w.engine.submit(EvaluateJob(_config(output_dir="run")))
    w.ended(run)
    assert w.states(run)[-1] == "done"
    assert (tmp_path / "run" / "events.jsonl").read_text() == ""
    assert list(read_events(tmp_path / "run" / "evaluation_events.jsonl"))


def test_a_full_disk_ends_the_run_and_is_told(watched, monkeypatch):
    import errno

    from engine.runs.eventlog import LineFile

    real = LineFile.append

    def full(self, line):
        if "StateChanged" not in line or '"training"' in line or '"failed"' in line:
            raise OSError(errno.ENOSPC, "No space left on device", str(self.path))
        real(self, line)

    def train(job, session, kept):
        session.state("training")
        raise AssertionError("a log line was lost in silence")

    monkeypatch.setattr(LineFile, "append", full)
    w = watched(train=train)
    run = w.engine.submit(TrainJob(_config()))
    w.ended(run)
    (failed,) = w.of(JobFailed, run)
    assert failed.what == "The disk is full." and "events.jsonl" in failed.where
    assert w.states(run)[-1] == "failed"


def test_a_poisoned_gpu_refuses_the_next_job(watched):
    calls = []

    def train(job, session, kept):
        calls.append(session.run)
        raise RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors might …")

    w = watched(train=train)
    first, second = (w.engine.submit(TrainJob(_config())) for _ in range(2))
    w.ended(second)
    assert calls == [first]
    assert "start it again" in w.of(JobFailed, first)[0].hint
    told = w.of(JobFailed, second)[0]
    assert first in told.what and "start it again" in told.hint


def test_memory_that_is_not_given_back_is_logged(watched, monkeypatch, caplog):
    monkeypatch.setattr("engine.worker.engine.collect", lambda: 1 / 0)
    w = watched(train=lambda job, session, kept: {})
    first, second = (w.engine.submit(TrainJob(_config())) for _ in range(2))
    w.ended(second)
    assert [w.states(run)[-1] for run in (first, second)] == ["done", "done"]
    assert "ZeroDivisionError" in caplog.text


def test_a_watcher_that_fails_does_not_end_the_run(watched):
    w = watched(train=lambda job, session, kept: {})
    end = w.engine.subscribe(lambda event: 1 / 0)
    run = w.engine.submit(TrainJob(_config()))
    w.ended(run)
    assert w.states(run)[-1] == "done"
    end()


def test_chat_has_no_folder_and_shutdown_ends_what_runs(watched, tmp_path):
    begun = threading.Event()

    def chat(job, session, kept):
        assert session.folder is None and job.messages[0].content == "hi"
        begun.set()
        while True:
            session.control.check()
            threading.Event().wait(0.005)

    w = watched(chat=chat)
    run = w.engine.submit(ChatJob(_config(), (ChatMessage("user", "hi"),)))
    assert begun.wait(30)
    assert w.engine.shutdown(save=True, deadline=30)
    assert w.states(run) == ["loading", "stopped"]
    late = w.engine.submit(ChatJob(_config(), (ChatMessage("user", "hi"),)))
    assert w.engine.wait(late, 30) and w.states(late)[-1] == "stopped"
    assert not (tmp_path / "saves").exists()


def test_lookups_answer_while_a_job_runs_and_the_newest_of_a_key_wins(watched):
    go, begun, hold = threading.Event(), threading.Event(), threading.Event()

    def train(job, session, kept):
        begun.set()
        assert go.wait(30)
        return {}

    w = watched(train=train)
    run = w.engine.submit(TrainJob(_config()))
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
    run = w.engine.submit(TrainJob(_config()))
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
