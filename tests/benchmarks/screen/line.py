"""The program at the end of a pseudo-terminal, read by pyte: what the measurements here share."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyte

REPOSITORY = Path(__file__).resolve().parents[3]
COLUMNS, LINES = 120, 40
# pyte reads CSI with "<", "=" and ">" as text.
_NOT_FOR_PYTE = re.compile(rb"\x1b\[[<>=][0-9;]*[a-zA-Z]")


class Line:
    """One start of the screen in a folder of its own.

    Attributes:
        started: `time.perf_counter()` just before the process was made.
        bytes: How many bytes came from it so far.
        last: `time.perf_counter()` when the last of them came.
    """

    def __init__(
        self,
        folder: Path,
        form: dict[str, Any] | None = None,
        *options: str,
        columns: int = COLUMNS,
        lines: int = LINES,
        **environ: str,
    ) -> None:
        self.folder = folder
        state = folder / "state"
        state.mkdir(parents=True, exist_ok=True)
        if form is not None:
            (state / "screen.json").write_text(json.dumps({"form": form}), encoding="utf-8")
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self.bytes = 0
        self.last = 0.0
        self.drawing = True
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tui", *options],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=folder,
            env=_environ(folder) | environ,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        """End it at once: what it would save is not waited for."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self._master)

    def read(self, seconds: float) -> bool:
        """Take in what comes within a time; False if nothing did."""
        if not select.select([self._master], [], [], max(0.0, seconds))[0]:
            return False
        try:
            data = os.read(self._master, 1 << 16)
        except OSError:
            data = b""
        if not data:
            raise RuntimeError(f"the screen ended:\n{self.text()}")
        self.last = time.perf_counter()
        self.bytes += len(data)
        if self.drawing:
            self._stream.feed(_NOT_FOR_PYTE.sub(b"", data))
        return True

    def read_for(self, seconds: float) -> None:
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            self.read(left)

    def wait_for(self, holds: str | Callable[[], bool], seconds: float = 300.0) -> float:
        """Read until a text stands on the screen, or something holds; the time it came."""
        true = (lambda: holds in self.text()) if isinstance(holds, str) else holds
        end = time.perf_counter() + seconds
        while not true():
            if time.perf_counter() > end:
                raise TimeoutError(f"never: {holds}\n{self.text()}")
            self.read(0.05)
        return self.last

    def open(self) -> float:
        """Wait for the first full frame; seconds since the start of the process."""
        return self.wait_for(self.is_full) - self.started

    def is_full(self) -> bool:
        """Top line, rail, what the view tells, and the bottom line, drawn last, are all there."""
        rows = self.screen.display
        return (
            rows[0].startswith(" finetui")
            and "commands" in rows[-1]
            and "4 Runs" in "".join(rows)
            and "Press t" in "".join(rows)
        )

    def press(self, keys: str) -> float:
        """Type; returns when."""
        now = time.perf_counter()
        os.write(self._master, keys.encode())
        return now

    def text(self) -> str:
        return "\n".join(self.screen.display)


# Not handed on: what changes the screen, and what has Python compile every module at each start.
_LEFT_OUT = ("NO_COLOR", "COLUMNS", "LINES", "LC_ALL", "TMUX", "PYTHONDONTWRITEBYTECODE")


def _environ(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _LEFT_OUT}
    return kept | {
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(REPOSITORY),
        "FINETUI_STATE": str(folder / "state"),
        "FINETUI_CONFIG": str(folder / "config"),
        "HF_HUB_OFFLINE": "1",
    }


def headless(folder: Path, form: dict[str, Any]) -> None:
    """The same run by the command, its output thrown away."""
    if code := start_headless(folder, form).wait():
        raise RuntimeError(f"the run by the command ended with {code}")


def start_headless(folder: Path, form: dict[str, Any]) -> subprocess.Popen[bytes]:
    """Start that run, in a process group of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "run.json"
    file.write_text(json.dumps(form | {"do_train": True}), encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "-m", "tui", "train", str(file)],
        cwd=folder,
        env=_environ(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def form(model: str, **settings: Any) -> dict[str, Any]:
    """The first-start run (quick try) with some settings changed."""
    return {
        "stage": "sft",
        "model_name_or_path": model,
        "dataset": "identity",
        "finetuning_type": "lora",
        "lora_rank": 8,
        "learning_rate": 1e-3,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "cutoff_len": 512,
        "logging_steps": 1,
        "save_steps": 1_000_000,
        "num_train_epochs": 1000,
        **settings,
    }


def scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="finetui-measure-")


def percentile(values: list[float], part: float) -> float:
    """Nearest-rank percentile."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]
