"""What went wrong, said once: a sentence, a place, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One fault, in words a person can act on.

    `what` is a full sentence. `where` names the file (and line), row or setting. `hint` says what
    to try next. `setting` is the flat key the form should mark, where there is one.
    """

    what: str
    where: str = ""
    hint: str = ""
    setting: str = ""

    def __str__(self) -> str:
        place = f" [{self.where}]" if self.where else ""
        hint = f" {self.hint}" if self.hint else ""
        return f"{self.what}{place}{hint}"


class FinetuiError(Exception):
    """A fault that is told to a person as a `Problem`; never a bug in finetui."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class BadInput(FinetuiError):
    """The input can't be used: a file, a row, a setting (exit code 2)."""


class BadSettings(BadInput):
    """Several settings are wrong at once; `problems` holds all of them, the first one leads."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems[0])
        self.problems = problems


class JobFault(FinetuiError):
    """The job began and could not go on: out of memory, NaN, a full disk (exit code 1)."""


class Stopped(Exception):
    """The person asked the job to stop; `save` tells whether a checkpoint is wanted."""

    def __init__(self, save: bool = True) -> None:
        super().__init__("stopped")
        self.save = save
