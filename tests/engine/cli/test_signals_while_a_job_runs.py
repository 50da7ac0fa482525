"""Ctrl+C, SIGTERM and a dropped line while a job runs: what is saved, and the exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[3]
# A real engine and the real command loop; only the training itself is a loop of waits.
PROGRAM = """
import sys, time
from types import SimpleNamespace
from engine.cli.display import Lines
from engine.cli.follow import follow
from engine.cli.output import output
from engine.events import CheckpointSaved
from engine.problem import BadInput, JobFault, Problem, Stopped
from engine.worker import Engine, TrainJob

def train(job, session, kept):
    session.state("training")
    print("printed by a library")
    if MODE == "done":
        return {"loss": 0.5}
    if MODE == "fault":
        raise JobFault(Problem("The loss is not finite.", where="step 3", hint="Lower it."))
    if MODE == "input":
        raise BadInput(Problem("Row 3 has no answer.", where="a.json, row 3"))
    session.say("ready for the signal")
    try:
        while True:
            session.control.check()
            time.sleep(0.01)
    except Stopped as stop:
        if MODE == "stuck":
            time.sleep(600)
        session.publish(CheckpointSaved(step=7, path="checkpoint-7", size=1000, seconds=0.1))
        raise

MODE = sys.argv[1]
out = output()
out.divert()
config = SimpleNamespace(model_name_or_path="demo", finetuning_type="lora", stage="sft",
    output_dir=None, overwrite_output_dir=False, resume_from_checkpoint=None)
outcome = follow(TrainJob(config), Lines(out), Engine({TrainJob: train}))
out.flush()
sys.exit(outcome.code)
"""


@pytest.fixture
def start(tmp_path):
    environment = {
        **os.environ, "PYTHONPATH": str(REPO), "FINETUI_STATE": str(tmp_path / "state"),
    }  # fmt: skip
    begun = []

    def begin(mode: str) -> subprocess.Popen[str]:
        begun.append(
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, mode], cwd=tmp_path, env=environment, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
        )  # fmt: skip
        return begun[-1]

    yield begin
    for process in begun:
        if process.poll() is None:
            process.kill()
            process.communicate()


def _ready(process) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if "ready for the signal" in line:
            return
    pytest.fail("the job did not begin")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_one_signal_saves_and_leaves(start, tmp_path, number, code):
    process = start("run")
    _ready(process)
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == code
    assert "checkpoint-7 saved" in said and "stopped: checkpoint-7 is saved" in said
    (folder,) = tmp_path.glob("saves/*/*/*")
    assert not (folder / "finetui.pid").exists()
    assert "printed by a library" in (folder / "library.log").read_text()


def test_the_second_ctrl_c_leaves_at_once(start):
    process = start("stuck")
    _ready(process)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None and "Ctrl+C again" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


def test_a_line_that_drops_while_lines_are_written(start, tmp_path):
    process = start("run")
    _ready(process)
    process.stdout.close()  # nobody reads any more
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=60) == 129
    (events,) = tmp_path.glob("saves/*/*/*/events.jsonl")
    assert '"stopped"' in events.read_text().splitlines()[-1]


@pytest.mark.parametrize(("mode", "code"), [("done", 0), ("fault", 1), ("input", 2)])
def test_how_a_job_ends_is_the_exit_code(start, mode, code):
    process = start(mode)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert "printed by a library" not in said + errors
    if code:
        assert errors.count("error: ") == 1 and "Traceback" not in errors
    else:
        assert errors == "" and said.splitlines()[-1] == "done"
