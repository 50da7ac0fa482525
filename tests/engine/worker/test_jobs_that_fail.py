"""Whatever ends a job ends that job alone, and is told."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest

from engine.events import JobFailed
from engine.problem import BadInput, JobFault, Problem
from engine.worker import TrainJob
from tests.engine.worker.watched import job_config


def test_a_crash_ends_the_job_and_not_the_engine(watched):
    def train(job, session, kept):
        if job.config.stage == "sft":
            raise ZeroDivisionError("a bug")
        return {}

    w = watched(train=train)
    crashed = w.engine.submit(TrainJob(job_config()))
    after = w.engine.submit(TrainJob(job_config(stage="dpo")))
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
    run = w.engine.submit(TrainJob(job_config()))
    w.ended(run)
    assert w.states(run)[-1] == "failed" and len(w.of(JobFailed, run)) == 1


def test_bad_input_is_told_with_its_place(watched):
    def train(job, session, kept):
        raise BadInput(Problem("Row 3 has no answer.", where="x.json, row 3", hint="Write one."))

    w = watched(train=train)
    run = w.engine.submit(TrainJob(job_config()))
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
    run = w.engine.submit(TrainJob(job_config()))
    w.ended(run)
    gc.collect()
    assert seen[0]() is None


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
    run = w.engine.submit(TrainJob(job_config()))
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
    first, second = (w.engine.submit(TrainJob(job_config())) for _ in range(2))
    w.ended(second)
    assert calls == [first]
    assert "start it again" in w.of(JobFailed, first)[0].hint
    told = w.of(JobFailed, second)[0]
    assert first in told.what and "start it again" in told.hint


def test_memory_that_is_not_given_back_is_logged(watched, monkeypatch, caplog):
    monkeypatch.setattr("engine.worker.engine.collect", lambda: 1 / 0)
    w = watched(train=lambda job, session, kept: {})
    first, second = (w.engine.submit(TrainJob(job_config())) for _ in range(2))
    w.ended(second)
    assert [w.states(run)[-1] for run in (first, second)] == ["done", "done"]
    assert "ZeroDivisionError" in caplog.text


def test_a_watcher_that_fails_does_not_end_the_run(watched):
    w = watched(train=lambda job, session, kept: {})
    end = w.engine.subscribe(lambda event: 1 / 0)
    run = w.engine.submit(TrainJob(job_config()))
    w.ended(run)
    assert w.states(run)[-1] == "done"
    end()
