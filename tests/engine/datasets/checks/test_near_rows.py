"""Nearly equal rows and leakage, against a count of all pairs."""

from __future__ import annotations

import random
from itertools import combinations
from pathlib import Path
from typing import Any

from engine.datasets import Example, Message, open_rows
from engine.datasets.checks import leakage, near_duplicates
from engine.datasets.checks.near import THRESHOLD, shingles

WORDS = [f"{a}{b}" for a in ("ba", "ce", "di", "fo", "gu") for b in ("lor", "min", "tas", "ven")]


def talk(row: int, question: str, answer: str) -> Example:
    return Example("conversation", row, (Message("user", question), Message("assistant", answer)))


def sentences(count: int, seed: int) -> list[str]:
    source = random.Random(seed)
    made: list[str] = []
    for _ in range(count):
        if made and source.random() < 0.3:
            words = source.choice(made).split()
            for _ in range(source.randint(0, 3)):
                words[source.randrange(len(words))] = source.choice(WORDS)
        else:
            words = [source.choice(WORDS) for _ in range(60)]
        made.append(" ".join(words))
    return made


def test_near_rows_are_those_that_a_count_of_all_pairs_finds(make_set: Any) -> None:
    texts = sentences(400, 3)
    content = [{"instruction": "Go on.", "output": text} for text in texts]
    found = {one.row: one for one in near_duplicates(open_rows("mine", make_set(content)))}
    sets = [shingles(f"Go on.\n{text}") for text in texts]
    alike: dict[int, set[int]] = {}
    for first, second in combinations(range(400), 2):
        if len(sets[first] & sets[second]) / len(sets[first] | sets[second]) >= THRESHOLD:
            alike.setdefault(second + 1, set()).add(first + 1)
    assert len(alike) > 50
    for row, one in found.items():
        assert one.other in alike[row] and one.likeness >= THRESHOLD
    # A row may be like one that itself was found, and then its group's first row is what counts.
    led = {row for row, others in alike.items() if others - found.keys()}
    assert len(led - found.keys()) <= len(led) // 100


def test_letters_and_signs_do_not_matter_and_chinese_has_words(make_set: Any) -> None:
    content = [
        {"instruction": "What is light?", "output": "Light is a wave, and a particle."},
        {"instruction": "你是谁？", "output": "我是由光明团队开发的一个人工智能助手。"},
        {"instruction": "WHAT is light", "output": "light is a wave and a particle"},
        {"instruction": "你是谁", "output": "我是由光明团队开发的一个人工智能助手！"},
        {"instruction": "What is sound?", "output": "Something else entirely, in other words."},
    ]
    found = near_duplicates(open_rows("mine", make_set(content)))
    assert [(one.row, one.other, one.likeness) for one in found] == [(3, 1, 1.0), (4, 2, 1.0)]


def test_leakage_names_both_rows() -> None:
    train = [
        ("ours", talk(n, f"question {n} of many", text)) for n, text in enumerate(sentences(50, 5))
    ]
    held = [
        ("theirs", talk(1, *(m.content for m in train[7][1].messages))),
        ("theirs", talk(2, "question 9 of MANY!", "An answer of its own.")),
        ("theirs", talk(3, "Something new", "and nothing like it")),
    ]
    found = leakage(train, held)
    assert [(one.row, one.other_dataset, one.question) for one in found] == [
        (1, "ours", False), (2, "ours", True)]  # fmt: skip
    assert found[0].likeness == 1.0 and found[1].other == 9


def test_texts_and_empty_rows_are_compared_too(tmp_path: Path, make_set: Any) -> None:
    text = " ".join(sentences(1, 1))
    rows = open_rows("mine", make_set(f"{text}\n...\n{text}\n...\n", "mine.txt"))
    assert [(one.row, one.other) for one in near_duplicates(rows)] == [(3, 1)]
