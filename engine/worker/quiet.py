"""Keeps the libraries off the terminal: what they say goes to a log file.

Three layers, as libraries talk in three ways: environment switches read when they are imported,
Python's logging and warnings, and plain writes to the file descriptors 1 and 2 (C code, progress
bars). A program that keeps a way of its own to the terminal points them at `program_log()` (as
`divert_output` does): from then on they follow the log.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from engine.paths import program_log

LIBRARY_LOG = "library.log"
_SWITCHES = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_VERBOSITY": "warning",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "DATASETS_VERBOSITY": "warning",
    "TOKENIZERS_PARALLELISM": "false",
    "BITSANDBYTES_NOWELCOME": "1",
    "TRL_EXPERIMENTAL_SILENCE": "1",
    "WANDB_SILENT": "true",
}
# Loggers that bring their own handler to stderr and don't pass records on.
_LOUD = ("transformers", "datasets", "huggingface_hub", "trl", "peft", "accelerate", "torch")

_lock = threading.Lock()
_handler: logging.Handler | None = None
_path: Path | None = None


class _Patient(io.TextIOWrapper):
    """A stream to a person who may go away (a dropped line, a pipe's reader): the job goes on."""

    def __init__(self, descriptor: int, encoding: str) -> None:
        raw = os.fdopen(descriptor, "wb")
        super().__init__(raw, encoding=encoding, errors="replace", line_buffering=True)

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError:
            self._let_go()
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            self._let_go()

    def _let_go(self) -> None:
        """What is still held back, and all that follows, goes nowhere."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


@dataclass(frozen=True)
class Terminal:
    """The terminal as it was before the descriptors were taken over."""

    out: TextIO
    err: TextIO


def quiet_libraries(log_path: Path) -> None:
    """Send the libraries' logging and warnings to `log_path`. Call before they are imported.

    Called again it moves the same stream to another file. Switches that the person set in the
    environment are left as they are.
    """
    global _handler, _path
    for name, value in _SWITCHES.items():
        os.environ.setdefault(name, value)
    with _lock:
        _make_folder(log_path)
        handler: logging.Handler = logging.FileHandler(log_path, encoding="utf-8", delay=True)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root = logging.getLogger()
        root.addHandler(handler)
        if _handler is not None:
            root.removeHandler(_handler)
            _handler.close()
        _handler = handler
        logging.captureWarnings(True)
        _follow(_path or program_log(), log_path)
        _path = log_path
    tame_loggers()


def tame_loggers() -> None:
    """Take the libraries' own stderr handlers off, now that they are imported."""
    for name in _LOUD:
        logger = logging.root.manager.loggerDict.get(name)
        if not isinstance(logger, logging.Logger):
            continue
        for handler in list(logger.handlers):
            # Their handlers to the terminal only: a file handler is somebody's wish.
            if type(handler) is logging.StreamHandler:
                logger.removeHandler(handler)
        logger.propagate = True


@contextmanager
def library_log(folder: Path | None, otherwise: Path) -> Iterator[Path]:
    """While the block runs, libraries write to `folder/library.log`; then to `otherwise` again."""
    path = folder / LIBRARY_LOG if folder is not None else otherwise
    quiet_libraries(path)
    try:
        yield path
    finally:
        if path != otherwise:
            quiet_libraries(otherwise)


def divert_output(log_path: Path) -> Terminal:
    """Point the descriptors 1 and 2 at `log_path`; returns the way to the real terminal.

    `sys.stdout` and `sys.stderr` still write to 1 and 2, so anything that prints lands in the log.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    out, err = os.dup(1), os.dup(2)
    os.set_inheritable(out, False)
    os.set_inheritable(err, False)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    terminal = Terminal(
        _Patient(out, encoding),
        _Patient(err, encoding),
    )
    with _lock:
        _make_folder(log_path)
        _point_at(log_path, (1, 2))
    return terminal


def _follow(old: Path, new: Path) -> None:
    """Descriptors that lead to the old log are ours, whoever pointed them there: move them."""
    try:
        target = old.stat()
    except OSError:
        return
    ours = [fd for fd in (1, 2) if _leads_to(fd, target)]
    if ours:
        _point_at(new, ours)


def _leads_to(descriptor: int, target: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), target)
    except OSError:
        return False


def _point_at(path: Path, descriptors: Iterable[int]) -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError, ValueError):
                stream.flush()
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    try:
        log = os.open(path, flags, 0o644)
    except OSError:
        # A home that can't be written to: what libraries print is lost, the terminal stays whole.
        log = os.open(os.devnull, os.O_WRONLY)
    try:
        for descriptor in descriptors:
            os.dup2(log, descriptor)
    finally:
        os.close(log)


def _make_folder(log_path: Path) -> None:
    with suppress(OSError):
        log_path.parent.mkdir(parents=True, exist_ok=True)
