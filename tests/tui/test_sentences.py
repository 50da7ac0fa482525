"""Each sentence of the catalogue is found again, whatever stands in its places."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tui.locales.gather import catalogue_path
from tui.sentences import PLACE, Sentences, read_messages

MESSAGES = read_messages(catalogue_path("zh_CN", "mo", "engine"))
SENTENCES = Sentences(MESSAGES)
# Names, numbers and paths, as they stand in the places; none is a word of the catalogue.
FILLED = st.sampled_from(
    [
        "7",
        "1,234",
        "0.5",
        "Qwen/Qwen3-0.6B",
        "/data/sets/a.json",
        "lora_q",
        "v2.10-rc",
        "x×y",
        "10²",
    ]
)


def with_values(message: str, values: Sequence[str]) -> str:
    return PLACE.sub(lambda place: values[int(place.group(1))], message)


@given(st.sampled_from(sorted(MESSAGES)), st.lists(FILLED, min_size=8, max_size=8))
@settings(max_examples=600, deadline=None)
def test_every_sentence_comes_back_with_what_it_holds(message: str, values: list[str]) -> None:
    text = with_values(message, values)
    found = SENTENCES.translated(text)
    for number in PLACE.findall(message):
        assert values[int(number)] in found
    if MESSAGES[message] != message:
        assert found != text


def test_every_sentence_is_found_whole() -> None:
    """With plain names in its places a sentence gives its own translation, blanks aside."""
    wrong = []
    for message, translation in MESSAGES.items():
        values = [f"name_{number}.txt" for number in range(9)]
        text, wanted = with_values(message, values), with_values(translation, values)
        found = SENTENCES.translated(text)
        if found.replace(" ", "") != wanted.replace(" ", ""):
            wrong.append((text, found))
    # A few sentences read the same as a part of another one with other words in its places.
    assert len(wrong) <= 12, wrong


def test_the_same_text_is_matched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sentences = Sentences(MESSAGES)
    first = sentences.translated("Row 5: there is no answer.")

    def not_again(text: str) -> tuple[int, str]:
        raise AssertionError(text)

    monkeypatch.setattr(sentences, "_found", not_again)
    assert sentences.translated("Row 5: there is no answer.") == first


def test_what_others_wrote_costs_no_more() -> None:
    """Texts made of a sentence's own words, over and over, are looked through all the same: their
    time is not asserted, but without a bound this test would not end."""
    for message in MESSAGES:
        between = PLACE.split(message)[2:-1:2]
        if len(between) > 2:
            unit = "x".join(between[:-1])
            SENTENCES.translated(PLACE.split(message)[0] + unit * (1500 // len(unit or "1234")))
    for sign in (". A", ": ", "; ", ", ", " and ", "] [", "( "):
        assert isinstance(SENTENCES.translated(sign * 900), str)


def test_a_long_text_is_left_alone() -> None:
    text = "There are no rows to train on. " * 1000
    assert SENTENCES.translated(text) == text
