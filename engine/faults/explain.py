"""The rules in order: the first that knows an error, or what caused it, explains it."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from engine.faults import device, files
from engine.faults import libraries as library
from engine.faults.chain import chain, first_line
from engine.problem import BadInput, FinetuiError, Problem


def explain(error: BaseException, log: Path | None = None) -> Problem:
    """What a person is told about `error`. `log` is where the full traceback can be read."""
    for link in chain(error):
        if isinstance(link, FinetuiError):
            return link.problem
        for rule in _RULES:
            problem = rule(link)
            if problem is not None:
                return problem
    return _unexpected(error, log)


def is_bad_input(error: BaseException) -> bool:
    """Whether the input is at fault (exit code 2) and not the job (1)."""
    return isinstance(error, BadInput)


def forget_frames(error: BaseException) -> None:
    """Clear the local variables an exception holds on to: among them the model, gigabytes."""
    for link in chain(error):
        traceback.clear_frames(link.__traceback__)
        link.__traceback__ = None


def _unexpected(error: BaseException, log: Path | None) -> Problem:
    text = first_line(error)
    name = type(error).__name__
    return Problem(
        f"finetui did not expect this error: {name}{': ' + text if text else ''}",
        where=str(log) if log else _own_place(error.__traceback__),
        hint="The full traceback is in that log." if log else "--debug shows the traceback.",
    )


def _own_place(trace: TracebackType | None) -> str:
    frames = traceback.extract_tb(trace)
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else ""


_RULES: tuple[Callable[[BaseException], Problem | None], ...] = (
    device.gpu_memory,
    device.cpu_memory,
    device.broken_device,
    device.not_finite,
    device.loader_died,
    files.disk_full,
    files.bad_weights,
    files.bad_text,
    library.hub,
    files.os_error,
    files.wrong_shape,
    library.libraries,
)
