"""A reward function in a file of the user's own: it works, and every fault has its place."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.problem import BadInput, JobFault, Problem
from engine.training.rewards import Answers, reward_functions

ANSWERS = Answers(["p", "q"], ["one", "three"], ["1", ""], [1, 2])


def rewards(names: str) -> Any:
    rest = {"reward_weights": None, "reward_pattern": None, "reward_length": 5}
    return reward_functions(SimpleNamespace(reward_funcs=names, reward_model=None, **rest))


def write(folder: Path, text: str, name: str = "own.py") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_it_gets_three_lists_and_gives_numbers(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "def reward(completions, prompts, answers):\n"
        "    assert (prompts, answers) == (['p', 'q'], ['1', ''])\n"
        "    return [len(text) for text in completions]\n"
        "def other(a, b, c):\n"
        "    return tuple(x == 'one' for x in a)\n",
    )
    plain, named, other, length = rewards(f"{file}, {file}:reward, {file}:other, length")
    assert plain.name == "reward" and named.name == "own.reward" and other.name == "other"
    assert plain.score(ANSWERS) == [3.0, 5.0]
    assert other.score(ANSWERS) == [1.0, 0.0]
    assert length.name == "length"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["own.py"]  # nothing beside it


def test_arrays_and_what_lies_beside_the_file_can_be_used(tmp_path: Path) -> None:
    write(tmp_path, "BONUS = 2\n", "beside_it.py")
    file = write(
        tmp_path,
        "import numpy\nfrom beside_it import BONUS\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Row:\n    x: int\n"
        "def score(completions, **rest):\n"
        "    return numpy.array([Row(BONUS).x + len(c) for c in completions])\n",
    )
    (reward,) = rewards(str(file))
    assert reward.name == "score" and reward.score(ANSWERS) == [5.0, 7.0]


@pytest.mark.parametrize(
    ("text", "ask", "said", "line"),
    [
        (None, "", "There is no file", None),
        ("x = (\n", "", "not valid Python", 1),
        ("import os\n\nraise ValueError('no')\n", "", "raised ValueError: no", 3),
        ("import sys\nsys.exit(3)\n", "", "raised SystemExit: 3", 2),
        ("import not_there_at_all\n", "", "No module named", 1),
        ("def a(completions, prompts, answers): ...\n", ":b", "has no function b", None),
        ("x = 1\n", "", "defines 0 functions", None),
        ("def a(c, p, r): ...\ndef b(c, p, r): ...\n", "", "none of them called reward", None),
        ("\ndef reward(x): ...\n", "", "does not take (completions, prompts, answers)", 2),
        ("async def reward(completions, prompts, answers): ...\n", "", "async", 1),
        ("class Reward: ...\n", ":Reward", "no plain function", None),
        ("x = 3\n", ":x", "has no function x", None),
    ],
)
def test_a_file_that_cannot_be_used(
    tmp_path: Path, text: str | None, ask: str, said: str, line: int | None
) -> None:
    file = tmp_path / "own.py" if text is None else write(tmp_path, text)
    with pytest.raises(BadInput) as caught:
        rewards(f"{file}{ask}")
    problem = caught.value.problem
    assert said in problem.what and problem.setting == "reward_funcs"
    assert str(file) in problem.where and problem.hint
    if line is not None:
        assert problem.where.endswith(f"line {line}")


@pytest.mark.parametrize(
    ("body", "said", "line"),
    [
        ("x = {}\n    return [x[c] for c in completions]", "raised KeyError: 'one'", 3),
        ("return [1.0]", "returned 1 numbers for 2 answers", 1),
        ("return 'ab'", "returned str, not a list", 1),
        ("return None", "returned NoneType, not a list", 1),
        ("return ['1', 2]", "returned '1' for answer 1", 1),
        ("return [1, None]", "returned None for answer 2", 1),
        ("return [1, float('nan')]", "returned nan for answer 2", 1),
        ("import sys\n    sys.exit()", "raised SystemExit", 3),
        ("return helper(completions)\ndef helper(c):\n    raise OSError('gone')", "gone", 4),
    ],
)
def test_a_function_that_fails_names_its_line(
    tmp_path: Path, body: str, said: str, line: int
) -> None:
    file = write(tmp_path, f"def reward(completions, prompts, answers):\n    {body}\n")
    (reward,) = rewards(f"{file}:reward")
    with pytest.raises(JobFault) as caught:
        reward.score(ANSWERS)
    problem: Problem = caught.value.problem
    assert said in problem.what and problem.where == f"{file}, line {line}"
    assert "Traceback" not in str(problem) and "\n" not in problem.what
