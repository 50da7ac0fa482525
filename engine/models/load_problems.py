"""What is said where transformers can't load a model's files."""

from __future__ import annotations

from pathlib import Path

from engine.problem import Problem


def model_problem(error: BaseException, folder: Path) -> Problem:
    """What is said where transformers can't load the model in `folder`."""
    return Problem(
        f"The model can't be loaded: {first_line(error)}",
        str(folder),
        code_hint(error) or "Look whether this version of transformers knows its architecture.",
        "model_name_or_path",
    )


def code_hint(error: BaseException) -> str:
    """What to do about code of a model's own, where that is the reason; else empty."""
    if "trust_remote_code" in str(error):
        return "The model brings code of its own: read it, then set trust_remote_code: true."
    return ""


def first_line(error: BaseException) -> str:
    """An error as one sentence: its first line, or its kind."""
    text = str(error).strip()
    line = text.splitlines()[0] if text else type(error).__name__
    return line[:300] + ("" if line.endswith((".", "!", "?")) else ".")
