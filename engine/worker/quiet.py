"""Keeps the libraries off the terminal: what they say goes to a log file.

Three layers, as libraries talk in three ways: environment switches read when they are imported,
Python's logging and warnings, and plain writes to the file descriptors 1 and 2 (C code, progress
bars). The descriptors are only taken over by a program that called `divert_output` and kept its
own way to the terminal.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

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
_handler: logging.FileHandler | None = None
_diverted = False


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
    global _handler
    for name, value in _SWITCHES.items():
        os.environ.setdefault(name, value)
    with _lock:
        log_path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(log_path, encoding="utf-8", delay=True)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root = logging.getLogger()
        root.addHandler(handler)
        if _handler is not None:
            root.removeHandler(_handler)
            _handler.close()
        _handler = handler
        logging.captureWarnings(True)
        if _diverted:
            _point_descriptors_at(log_path)
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
    global _diverted
    sys.stdout.flush()
    sys.stderr.flush()
    out, err = os.dup(1), os.dup(2)
    os.set_inheritable(out, False)
    os.set_inheritable(err, False)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    terminal = Terminal(
        os.fdopen(out, "w", 1, encoding=encoding, errors="replace"),
        os.fdopen(err, "w", 1, encoding=encoding, errors="replace"),
    )
    with _lock:
        log_path.parent.mkdir(parents=True, exist_ok=True)
        _point_descriptors_at(log_path)
        _diverted = True
    return terminal


def _point_descriptors_at(path: Path) -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
    finally:
        os.close(descriptor)
