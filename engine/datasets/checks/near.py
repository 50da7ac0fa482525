"""Rows that are nearly the same, within a set and between training and validation.

MinHash signatures (Broder, 1997) of three-word shingles find the candidates (`bands`); whether two
rows are alike is then counted, not estimated.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from engine.datasets.checks.bands import THRESHOLD, Bands
from engine.datasets.checks.texts import answer_of, messages_of, question_of
from engine.datasets.example import Example
from engine.datasets.rows import RowIndex

__all__ = ["THRESHOLD", "Alike", "leakage", "near_duplicates", "shingles"]
_BLOCK = 512
_CHINESE = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORDS = re.compile(f"[{_CHINESE}]|[^\\W_{_CHINESE}]+")
_LONGEST = 200_000  # characters of a row that are compared

Progress = Callable[[str, float, float, str], None]


@dataclass(frozen=True, slots=True)
class Alike:
    """Row `row` of `dataset` is like the earlier row `other` of `other_dataset` (both from 1).

    `likeness` is the share of three-word runs that both have (Jaccard), 1 where the words are the
    same. `question` tells that only the question is the same.
    """

    dataset: str
    row: int
    other_dataset: str
    other: int
    likeness: float
    question: bool = False


def shingles(text: str) -> set[str]:
    """Runs of three words, lower case; a Chinese, Japanese or Korean sign counts as a word."""
    words = _WORDS.findall(text[:_LONGEST].lower())
    if len(words) < 3:
        return {" ".join(words)} if words else set()
    return {" ".join(run) for run in zip(words, words[1:], words[2:], strict=False)}


def near_duplicates(
    rows: RowIndex,
    progress: Progress | None = None,
    check_stop: Callable[[], None] | None = None,
    limit: int | None = None,
) -> list[Alike]:
    """Rows that have 80 % of their three-word runs in common with an earlier row, or more.

    Rows equal to the letter are among them. Reads every row once and those that may be alike once
    more, and tokenises none. Takes about 150 bytes a row.
    """
    total = len(rows) if limit is None else min(limit, len(rows))
    bands = Bands(total)
    name = rows.name

    def text(place: int) -> str:
        return _text(rows.example(place))

    for done, block in _blocks(map(text, range(total))):
        _tell(progress, check_stop, f"Comparing {name}", done, total)
        bands.add([shingles(one) for one in block])
    alike = []
    for place, other, likeness in bands.alike(lambda place: shingles(text(place)), check_stop):
        alike.append(Alike(name, place + 1, name, other + 1, likeness))
    _tell(progress, None, f"Comparing {name}", total, total)
    return alike


def leakage(
    train: Sequence[tuple[str, Example]],
    held_out: Sequence[tuple[str, Example]],
    progress: Progress | None = None,
    check_stop: Callable[[], None] | None = None,
) -> list[Alike]:
    """Validation rows that the model is trained on: the same or nearly so, or the same question.

    Both are (set, example) pairs, as `preparation.select` gives them; they may be read anew
    whenever they are asked for.
    """
    known = len(train)
    bands = Bands(known + len(held_out))
    asked: dict[int, int] = {}
    for start in range(0, len(held_out), _BLOCK):
        _tell(progress, check_stop, "Comparing validation rows", start, len(held_out))
        stop = min(start + _BLOCK, len(held_out))
        asked.update(dict.fromkeys(map(_asks, (held_out[n][1] for n in range(start, stop))), -1))
    for start in range(0, known, _BLOCK):
        _tell(progress, check_stop, "Comparing training rows", start, known)
        block = [train[place][1] for place in range(start, min(start + _BLOCK, known))]
        bands.add([shingles(_text(one)) for one in block])
        for place, one in enumerate(block, start):
            question = _asks(one)
            if question and asked.get(question, 0) < 0:
                asked[question] = place

    def example(place: int) -> Example:
        return train[place][1] if place < known else held_out[place - known][1]

    for _, texts in _blocks(_text(held_out[place][1]) for place in range(len(held_out))):
        bands.add([shingles(one) for one in texts])
    found = bands.alike(lambda place: shingles(_text(example(place))), check_stop, known)
    near = {place - known: (other, likeness) for place, other, likeness in found}
    alike = []
    for place in range(len(held_out)):
        other, likeness = near.get(place, (-1, 1.0))
        question = other < 0
        if question:
            other = asked[_asks(held_out[place][1])]
        if other >= 0:
            (name, mine), (other_name, like) = held_out[place], train[other]
            rows = mine.source_row, like.source_row
            alike.append(Alike(name, rows[0], other_name, rows[1], likeness, question))
    _tell(progress, None, "Comparing validation rows", len(held_out), len(held_out))
    return alike


def _text(row: object) -> str:
    """What two rows are compared by: their turns and answers; a system text is common to many."""
    if not isinstance(row, Example):
        return ""
    if row.kind == "text":
        return answer_of(row)
    return "\n".join(message.content for message in messages_of(row))


def _plain(text: str) -> str:
    return " ".join(_WORDS.findall(text.lower()))


def _asks(example: Example) -> int:
    """64 bits of what a row asks, letters and signs aside; 0 for one that asks nothing."""
    question = "" if example.kind == "text" else _plain(question_of(example))
    if not question:
        return 0
    digest = hashlib.blake2b(question.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1


def _blocks(texts: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Blocks of texts, each with how many came before it."""
    source = iter(texts)
    done = 0
    while block := list(islice(source, _BLOCK)):
        yield done, block
        done += len(block)


def _tell(
    progress: Progress | None,
    check_stop: Callable[[], None] | None,
    activity: str,
    done: int,
    total: int,
) -> None:
    if check_stop:
        check_stop()
    if progress:
        progress(activity, done, total, "rows")
