"""What an exception tells of itself without importing the library that raised it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error, then what caused it, outermost first."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def names_of(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def first_line(error: BaseException, limit: int = 300) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else ""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def errno_of(error: BaseException) -> int | None:
    number = getattr(error, "errno", None)
    if isinstance(number, int):
        return number
    match = re.search(r"\(os error (\d+)\)", str(error))  # errors of libraries written in Rust
    return int(match.group(1)) if match else None


def path_of(error: BaseException, *suffixes: str) -> str:
    """The file an error is about: its own, or the innermost local variable that names one."""
    for attribute in ("filename", "filename2"):
        name = getattr(error, attribute, None)
        if isinstance(name, (str, bytes, Path)) and name:
            return name.decode(errors="replace") if isinstance(name, bytes) else str(name)
    found = ""
    for frame in frames(error.__traceback__):
        for value in list(frame.f_locals.values()):
            if isinstance(value, (str, Path)) and str(value).endswith(suffixes or ("/",)):
                text = str(value)
                if "\n" not in text and len(text) < 4096 and Path(text).exists():
                    found = text
    return found


def frames(trace: TracebackType | None) -> Iterator[FrameType]:
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next
