"""Reward functions by name: what each gives, over invented answers too, and what is refused."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.problem import BadInput, JobFault
from engine.training.rewards import REWARD_FUNCTIONS, Answers, reward_functions
from engine.training.rewards.matching import as_number, final_answer, is_right, last_boxed

TEXT = st.text(max_size=60)
WORD = st.text(st.characters(categories=["Lu", "Ll"]), min_size=1, max_size=12)


def settings_of(names: str, **more: Any) -> Any:
    rest = {
        "reward_funcs": names,
        "reward_weights": None,
        "reward_pattern": None,
        "reward_length": 50,
        "reward_model": None,
    }
    return SimpleNamespace(**rest | more)


def score(name: str, text: str, reference: str = "", tokens: int = 0, **more: Any) -> float:
    (reward,) = reward_functions(settings_of(name, **more))
    (found,) = reward.score(Answers(["p"], [text], [reference], [tokens]))
    return found


def test_every_function_has_one_sentence_and_can_be_made() -> None:
    for name, sentence in REWARD_FUNCTIONS.items():
        assert sentence.endswith(".") and "\n" not in sentence
        (reward,) = reward_functions(settings_of(name, reward_pattern="a"))
        assert reward.name == name and reward.weight == 1.0


@pytest.mark.parametrize(
    ("text", "reference", "right"),
    [
        (" Paris\n", "paris", True),
        ("Paris, France", "paris", False),
        ("So it is 18.", "18", True),
        ("It is 17, not 18, so 17", "18", False),
        ("18 apples and then 3", "18", False),
        ("the total is $1,234.50", "1234.5", True),
        ("答案是18。", "18", True),
        ("we get \\boxed{18} after 3 tries", "18", True),
        ("we get \\boxed{18} no, \\boxed{19}", "18", False),
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}", True),
        ("\\boxed{18\\text{ cm}}", "18", True),
        ("between 3-5", "5", True),
        ("it falls by −5", "-5", True),
        ("1e3", "1000", True),
        ("3 + 4 = 7", "2 * 3.5 is 7\n#### 7", True),
        ("the answer: 7", "so \\boxed{7}", True),
        ("<think>maybe 5</think>\n6", "5", False),
        ("<think>maybe 5</think>\n6", "6", True),
        ("version x5", "5", False),
        ("", "5", False),
        ("1e99999999999999999999", "5", False),
    ],
)
def test_exact_match(text: str, reference: str, right: bool) -> None:
    assert is_right(text, reference) is right
    assert score("exact_match", text, reference) == float(right)


@given(WORD, st.sampled_from(["", " ", "\n", "\t "]))
def test_an_answer_that_is_the_reference_is_right_in_any_case(word: str, space: str) -> None:
    for form in (word, word.casefold()):
        assert score("exact_match", space + form + space, word) == 1.0
        assert score("contains", "x " + form + " y", word) == 1.0


@given(st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9))
def test_the_last_number_decides(first: int, last: int) -> None:
    assert score("exact_match", f"not {first} but {last:,}.", str(last)) == 1.0
    assert score("exact_match", f"not {last} but {first}", str(last)) == float(first == last)
    assert as_number(f"{last:,}") == last


@given(TEXT, TEXT)
def test_every_function_gives_a_share_of_one(text: str, reference: str) -> None:
    for name in ("exact_match", "contains", "json_valid"):
        found = score(name, text, reference)
        assert found in (0.0, 1.0) or (math.isnan(found) and not reference.strip())


@given(st.recursive(st.none() | st.booleans() | st.integers() | TEXT, st.lists, max_leaves=8))
def test_json_is_known_and_half_of_it_is_not(value: Any) -> None:
    text = json.dumps(value)
    assert score("json_valid", f" {text}\n") == 1.0
    if isinstance(value, (str, list)):
        assert score("json_valid", text[:-1]) == 0.0


@pytest.mark.parametrize("text", ["NaN", '{"a": Infinity}', "[" * 100_000, "", "{'a': 1}"])
def test_what_is_no_json(text: str) -> None:
    assert score("json_valid", text) == 0.0


@given(st.integers(1, 500), st.integers(0, 2000))
def test_length_is_a_tent(wanted: int, tokens: int) -> None:
    found = score("length", "", tokens=tokens, reward_length=wanted)
    assert 0.0 <= found <= 1.0
    assert (found == 1.0) == (tokens == wanted)
    assert (found == 0.0) == (tokens == 0 or tokens >= 2 * wanted)
    mirrored = 2 * wanted - tokens
    if mirrored >= 0:
        assert found == pytest.approx(score("length", "", tokens=mirrored, reward_length=wanted))


@given(WORD, TEXT, TEXT)
def test_a_pattern_is_found_anywhere(word: str, before: str, after: str) -> None:
    text = before + word + after
    assert score("regex", text, reward_pattern=word) == 1.0
    assert score("regex", text, reward_pattern=r"\Z(?<!.)never") == 0.0


def test_a_pattern_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.training.rewards.functions._PATTERN_SECONDS", 0.05)
    with pytest.raises(JobFault, match="on one answer"):
        score("regex", "a" * 60 + "b", reward_pattern=r"^(a|aa)+$")


@given(TEXT)
def test_boxes_are_found_or_not_without_harm(text: str) -> None:
    held = last_boxed("\\boxed{" + text)
    assert held is None or held in text
    assert final_answer(f"<think>{text}</think> x ") == "x"


@pytest.mark.parametrize(
    ("names", "more", "said", "setting"),
    [
        ("exactmatch", {}, "no reward function named exactmatch", "reward_funcs"),
        ("length, length", {}, "names length twice", "reward_funcs"),
        ("regex", {}, "needs a pattern", "reward_pattern"),
        ("regex", {"reward_pattern": "("}, "no regular expression", "reward_pattern"),
        ("length", {"reward_length": 0}, "reward_length is 0", "reward_length"),
        ("length", {"reward_weights": "1, 2"}, "2 numbers for 1 rewards", "reward_weights"),
        ("length", {"reward_weights": "x"}, "x, which is not a number", "reward_weights"),
        ("length", {"reward_weights": "nan"}, "nan, which is not a number", "reward_weights"),
    ],
)
def test_what_is_refused(names: str, more: dict[str, Any], said: str, setting: str) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        reward_functions(settings_of(names, **more))
    assert caught.value.problem.setting == setting
    assert caught.value.problem.hint


def test_weights_go_to_the_functions_in_order_and_the_model_comes_last() -> None:
    asked = settings_of("length, json_valid", reward_weights="2, 0.5, 1", reward_model="m")
    assert [(r.name, r.weight) for r in reward_functions(asked)] == [
        ("length", 2.0),
        ("json_valid", 0.5),
    ]
    assert reward_functions(settings_of("")) == []


@settings(max_examples=30)
@given(st.lists(st.tuples(TEXT, TEXT, st.integers(0, 99)), max_size=5))
def test_one_number_an_answer_in_their_order(rows: list[tuple[str, str, int]]) -> None:
    texts, known, tokens = [list(part) for part in zip(*rows, strict=True)] or [[], [], []]
    answers = Answers([""] * len(rows), texts, known, tokens)
    for reward in reward_functions(settings_of(", ".join(REWARD_FUNCTIONS), reward_pattern="a")):
        found = reward.score(answers)
        alone = [
            reward.score(Answers([""], [t], [k], [n]))[0]
            for t, k, n in zip(texts, known, tokens, strict=True)
        ]
        assert [str(x) for x in found] == [str(x) for x in alone]


def test_the_settings_know_the_same_functions() -> None:
    from engine.config import reward as settings_of_rewards

    assert tuple(REWARD_FUNCTIONS) == settings_of_rewards.REWARD_FUNCTIONS
