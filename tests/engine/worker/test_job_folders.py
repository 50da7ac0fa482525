"""A job's folder: whose it is, what an earlier run keeps, and what is told without one."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine.config import RunConfig
from engine.events import JobFailed, StepLogged
from engine.problem import BadInput, Problem
from engine.runs import process
from engine.runs.eventlog import read_events
from engine.runs.folder import Replacement
from engine.worker import EvaluateJob, TrainJob
from engine.worker.places import folder_of
from tests.engine.worker.watched import job_config


def test_a_folder_that_can_not_be_made_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    for place, why in (("file/run", "Not a directory"), ("a" * 300, "File name too long")):
        with pytest.raises(BadInput) as caught:
            folder_of(TrainJob(RunConfig(output_dir=str(tmp_path / place))))
        assert why in caught.value.problem.what
        assert caught.value.problem.setting == "output_dir"
        assert caught.value.problem.where == str(tmp_path / place)


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.EROFS, BadInput), (errno.EACCES, BadInput), (errno.ENOSPC, OSError)]
)
def test_a_folder_that_can_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    def claim(folder: Path) -> None:
        raise OSError(number, os.strerror(number), str(folder / process.LOCK_NAME))

    monkeypatch.setattr(process, "claim", claim)
    with pytest.raises(kind, match=os.strerror(number)):
        folder_of(TrainJob(RunConfig(output_dir=str(tmp_path / "run"))))


def test_two_jobs_never_train_in_one_folder(watched, tmp_path):
    go = threading.Event()
    w = watched(train=lambda job, session, kept: {"waited": go.wait(30)})
    folder = tmp_path / "run"
    first = w.engine.submit(TrainJob(job_config(output_dir=str(folder))))
    again = job_config(output_dir=str(folder), resume_from_checkpoint=True)
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
    config = job_config(output_dir="run")
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
    refused = w.engine.submit(TrainJob(job_config(output_dir="run")))
    w.ended(refused)
    assert "already holds a run" in w.of(JobFailed, refused)[0].what
    assert (folder / "trainer_log.jsonl").read_text() == "old\n"
    assert (folder / "checkpoint-5").is_dir()


def test_a_score_of_a_run_keeps_that_runs_log(watched, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "trainer_log.jsonl").write_text("{}\n")
    (tmp_path / "run" / "events.jsonl").write_text("")
    w = watched(evaluate=lambda job, session, kept: {"eval_loss": 1.0})
    run = w.engine.submit(EvaluateJob(job_config(output_dir="run")))
    w.ended(run)
    assert w.states(run)[-1] == "done"
    assert (tmp_path / "run" / "events.jsonl").read_text() == ""
    assert list(read_events(tmp_path / "run" / "evaluation_events.jsonl"))
