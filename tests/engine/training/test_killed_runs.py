"""kill -9 at a random moment never leaves a run folder that resume can't use."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from engine.events import StepLogged
from engine.runs.checkpoints import list_checkpoints, newest_complete
from engine.training import run_training

ROOT = Path(__file__).parents[3]
SCRIPT = """
import sys
from pathlib import Path
from engine.config import read_file
from engine.runs.session import JobSession
from engine.training import run_training
folder = Path(sys.argv[2])
config = read_file(Path(sys.argv[1])).config
tell = lambda event: print(type(event).__name__, flush=True)
run_training(config, JobSession("killed", folder, tell))
"""


@pytest.mark.slow
def test_kill_at_random_moments(make_config, make_session, tmp_path: Path) -> None:
    from engine.config import write_yaml

    kills = int(os.environ.get("FINETUI_KILLS", "6"))
    run = tmp_path / "run"
    config = make_config(
        num_train_epochs=40, save_steps=1, save_total_limit=2, resume_from_checkpoint=True
    )
    file = tmp_path / "run.yaml"
    file.write_text(write_yaml(config), encoding="utf-8")
    chance = random.Random(7)
    reached = 0
    for _ in range(kills):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(file), str(run)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("StepLogged"):
                break
        # From here on most of the time is spent writing checkpoints.
        time.sleep(chance.random() * 2.0)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert all(c.complete for c in list_checkpoints(run))
        newest = newest_complete(run)
        assert newest is not None and newest.step >= reached
        reached = newest.step
    session, listener = make_session(run)
    run_training(replace(config, max_steps=reached + 2), session)
    assert [e.step for e in listener.of(StepLogged)] == [reached + 1, reached + 2]
