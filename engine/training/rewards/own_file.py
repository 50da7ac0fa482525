"""A reward function in a Python file of the user's own.

The file runs in this process, with everything the user may do: it is read only because
`reward_funcs` names it, never because it lies somewhere.
"""

from __future__ import annotations

import inspect
import math
import numbers
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any

from engine.problem import BadInput, JobFault, Problem

if TYPE_CHECKING:
    from engine.training.rewards.functions import Answers

DEFAULT_NAME = "reward"
_SHAPE = "def reward(completions, prompts, answers): return [0.0 for text in completions]"


class OwnReward:
    """`function` of `file`, called with three lists of texts; what it returns is checked."""

    def __init__(self, file: Path, function: Callable[..., Any], by_place: bool) -> None:
        self.name = function.__name__
        self.file = file
        self._function = function
        self._by_place = by_place
        code = getattr(inspect.unwrap(function), "__code__", None)
        self._line = code.co_firstlineno if code is not None else 1

    def __call__(self, answers: Answers) -> list[float]:
        """One finite number an answer. Raises JobFault for all else."""
        texts, prompts, known = list(answers.texts), list(answers.prompts), list(answers.references)
        try:
            if self._by_place:
                found = self._function(texts, prompts, known)
            else:
                found = self._function(completions=texts, prompts=prompts, answers=known)
            values = _as_list(found)
        except (Exception, SystemExit) as error:
            line = _line_in(self.file, error.__traceback__) or self._line
            raise self._fault(f"raised {_said(error)}", line) from error
        if values is None:
            raise self._fault(f"returned {type(found).__name__}, not a list of numbers")
        if len(values) != len(texts):
            raise self._fault(f"returned {len(values)} numbers for {len(texts)} answers")
        return [self._number(value, place) for place, value in enumerate(values, 1)]

    def _number(self, value: Any, place: int) -> float:
        # A number of numpy, or a tensor with one element, is one too.
        plain = value.item() if callable(getattr(value, "item", None)) else value
        if not isinstance(plain, numbers.Real) or not math.isfinite(plain):
            raise self._fault(f"returned {plain!r:.60} for answer {place}, not a finite number")
        return float(plain)

    def _fault(self, what: str, line: int | None = None) -> JobFault:
        return JobFault(
            Problem(
                f"The reward function {self.name} {what}.",
                where=f"{self.file}, line {line or self._line}",
                hint="Mend the file, then start the run again or resume it. It has to return one "
                "number for each answer.",
                setting="reward_funcs",
            )
        )


def load_function(asked: str) -> OwnReward:
    """The function that `PATH.py` or `PATH.py:function` names; runs the file.

    Without a name it is the one called `reward`, or the only public function that the file
    defines. Raises BadInput for a file that is not there or does not run, and for a function that
    is not there or can't take (completions, prompts, answers).
    """
    path, name = _parts(asked)
    if not path.is_file():
        raise _refusal(f"There is no file {path}.", asked, "Mend the path in reward_funcs.")
    return _own(path, _pick(path, _run_file(path), name))


def _parts(asked: str) -> tuple[Path, str]:
    head, found, tail = asked.rpartition(".py:")
    path, name = (head + ".py", tail.strip()) if found else (asked, "")
    return Path(path.strip()).expanduser().absolute(), name


def _run_file(path: Path) -> ModuleType:
    """Execute the file as a module of its own; nothing is written beside it."""
    module = ModuleType(f"reward_file_{path.stem}")
    module.__file__ = str(path)
    try:
        code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        line = f"{path}, line {error.lineno}" if error.lineno else str(path)
        raise _refusal(f"{path.name} is not valid Python: {error.msg}.", line) from error
    except (OSError, ValueError) as error:
        raise _refusal(f"{path.name} can't be read: {error}.", str(path)) from error
    sys.modules[module.__name__] = module  # dataclasses look their module up
    sys.path.insert(0, str(path.parent))  # for what the file imports from beside it
    try:
        exec(code, module.__dict__)
    except (Exception, SystemExit) as error:
        place = _line_in(path, error.__traceback__)
        where = f"{path}, line {place}" if place else str(path)
        raise _refusal(f"{path.name} raised {_said(error)}.", where) from error
    finally:
        sys.path.remove(str(path.parent))
    return module


def _pick(path: Path, module: ModuleType, name: str) -> Any:
    own = {
        key: value
        for key, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and key[0] != "_"
    }
    if name:
        found = getattr(module, name, None)
        if not callable(found):
            there = f"It defines {', '.join(own)}." if own else "It defines no function."
            raise _refusal(f"{path.name} has no function {name}.", str(path), there)
        return found
    if DEFAULT_NAME in own:
        return own[DEFAULT_NAME]
    if len(own) == 1:
        return next(iter(own.values()))
    what = f"{path.name} defines {len(own)} functions, none of them called {DEFAULT_NAME}."
    hint = f"Write {path.name}:NAME, one of {', '.join(own)}." if own else f"Write {_SHAPE}."
    raise _refusal(what, str(path), hint)


def _own(path: Path, function: Any) -> OwnReward:
    line = getattr(getattr(function, "__code__", None), "co_firstlineno", 1)
    where = f"{path}, line {line}"
    label = getattr(function, "__name__", None)
    if not label or inspect.isclass(function):
        raise _refusal("The reward function is no plain function.", where, f"Write {_SHAPE}.")
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise _refusal(
            f"The reward function {label} is not a plain function: it is async or yields.",
            where,
            f"Write {_SHAPE}.",
        )
    try:
        inspect.signature(function).bind(completions=[], prompts=[], answers=[])
        return OwnReward(path, function, by_place=False)
    except TypeError:
        pass
    try:
        inspect.signature(function).bind([], [], [])
    except TypeError as error:
        raise _refusal(
            f"The reward function {label} does not take (completions, prompts, answers): {error}.",
            where,
            f"Write {_SHAPE}.",
        ) from error
    return OwnReward(path, function, by_place=True)


def _as_list(found: Any) -> list[Any] | None:
    """A list, tuple, array or tensor as a list; None for what is none of these."""
    if callable(getattr(found, "tolist", None)):
        found = found.tolist()
    return list(found) if isinstance(found, (list, tuple)) else None


def _line_in(path: Path, trace: TracebackType | None) -> int | None:
    """The innermost line of the file itself that an error passed through."""
    lines = [f.lineno for f in traceback.extract_tb(trace) if f.filename == str(path)]
    return lines[-1] if lines else None


def _said(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return type(error).__name__ + (f": {text[0][:200].rstrip('.')}" if text else "")


def _refusal(what: str, where: str, hint: str = "Mend the file.") -> BadInput:
    return BadInput(Problem(what, where=where, hint=hint, setting="reward_funcs"))
