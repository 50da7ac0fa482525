"""Rows that are nearly the same, within a set and between training and validation.

MinHash signatures (Broder, 1997) of three-word shingles find the candidates through banded
locality-sensitive hashing (rensa); whether two rows are alike is then counted, not estimated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from engine.datasets.checks.texts import answer_of, messages_of, question_of
from engine.datasets.example import Example
from engine.datasets.rows import RowIndex

if TYPE_CHECKING:
    from engine.config import RunConfig

THRESHOLD = 0.8
_SIGNATURE, _BANDS = 128, 32
_BLOCK = 512
_COMPARED = 8  # of the candidates of a row: groups are led by their first row, so few are needed
_CHINESE = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORDS = re.compile(f"[{_CHINESE}]|[^\\W_{_CHINESE}]+")
_LONGEST = 200_000  # characters of a row that are compared

Progress = Callable[[str, float, float, str], None]
Numbered = tuple[str, int]


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


class _Groups:
    """Rows by likeness; each group is known by its first row."""

    def __init__(self, read: Callable[[Numbered], str]) -> None:
        from rensa import RMinHashLSH

        self._index = RMinHashLSH(THRESHOLD, _SIGNATURE, _BANDS)
        self._keys: list[Numbered] = []
        # The shingles of leaders are made anew when asked for: signatures are all that is kept.
        self._shingles = lru_cache(maxsize=256)(lambda key: frozenset(shingles(read(key))))

    def add(self, block: list[tuple[Numbered, str]], keep: bool) -> Iterator[tuple[Numbered, Any]]:
        """For each row of a block, the earlier row it is like and how much, or None."""
        from rensa import RMinHash

        sets = [shingles(text) for _, text in block]
        signatures = RMinHash.from_token_sets(
            [list(one) for one in sets], num_perm=_SIGNATURE, seed=42
        )
        for (key, _), mine, signature in zip(block, sets, signatures, strict=True):
            found = self._like(mine, signature) if mine else None
            if found is None and mine and keep:
                self._index.insert(len(self._keys), signature)
                self._keys.append(key)
            yield key, found

    def _like(self, mine: set[str], signature: Any) -> tuple[Numbered, float] | None:
        best: tuple[Numbered, float] | None = None
        for place in sorted(self._index.query(signature))[:_COMPARED]:
            key = self._keys[place]
            other = self._shingles(key)
            both = len(mine & other)
            likeness = both / (len(mine) + len(other) - both)
            if likeness >= THRESHOLD and (best is None or likeness > best[1]):
                best = key, likeness
        return best


def near_duplicates(
    rows: RowIndex,
    progress: Progress | None = None,
    check_stop: Callable[[], None] | None = None,
    limit: int | None = None,
) -> list[Alike]:
    """Rows that have 80 % of their three-word runs in common with an earlier row, or more.

    Rows equal to the letter are among them. Reads every row once, and tokenises none.
    """
    total = len(rows) if limit is None else min(limit, len(rows))
    groups = _Groups(lambda key: _text(rows.example(key[1] - 1)))
    alike = []
    numbered = ((rows.name, number) for number in range(1, total + 1))
    read = ((key, _text(rows.example(key[1] - 1))) for key in numbered)
    for done, block in _blocks(read):
        _tell(progress, check_stop, f"Comparing {rows.name}", done, total)
        for (name, row), found in groups.add(block, True):
            if found is not None:
                (other_name, other), likeness = found
                alike.append(Alike(name, row, other_name, other, likeness))
    _tell(progress, None, f"Comparing {rows.name}", total, total)
    return alike


def run_leaks(
    config: RunConfig,
    most: int,
    progress: Progress | None = None,
    check_stop: Callable[[], None] | None = None,
) -> list[Alike]:
    """The leakage between the training and the validation rows of a run, `most` rows of each set.

    Empty where it validates on nothing. Raises BadInput for sets that can't be read.
    """
    from engine.datasets.preparation import select, set_names, split

    held_sets = set_names(config.eval_dataset)
    if not config.val_size and not held_sets:
        return []
    config = replace(config, max_samples=min(config.max_samples or most, most))
    examples = select(config, set_names(config.dataset), check_stop=check_stop).examples
    if held_sets:
        held = select(config, held_sets, check_stop=check_stop).examples
    else:
        kept, out = split(len(examples), config.val_size, config.seed)
        held = [examples[i] for i in out]
        examples = [examples[i] for i in kept]
    return leakage(examples, held, progress, check_stop)


def leakage(
    train: Iterable[tuple[str, Example]],
    held_out: Iterable[tuple[str, Example]],
    progress: Progress | None = None,
    check_stop: Callable[[], None] | None = None,
) -> list[Alike]:
    """Validation rows that the model is trained on: the same or nearly so, or the same question.

    Both are (set, example) pairs, as `preparation.select` gives them.
    """
    known = list(train)
    asked: dict[str, Numbered] = {}
    texts = {(name, one.source_row): one for name, one in known}
    groups = _Groups(lambda key: _text(texts[key]))
    for done, block in _blocks(((name, one.source_row), _text(one)) for name, one in known):
        _tell(progress, check_stop, "Comparing training rows", done, len(known))
        for _ in groups.add(block, True):
            pass
    for name, one in known:
        if one.kind != "text":
            asked.setdefault(_plain(question_of(one)), (name, one.source_row))
    out = list(held_out)
    by_key = {(name, one.source_row): one for name, one in out}
    alike = []
    for done, block in _blocks(((name, one.source_row), _text(one)) for name, one in out):
        _tell(progress, check_stop, "Comparing validation rows", done, len(out))
        for key, found in groups.add(block, False):
            if found is not None:
                other, likeness = found
                alike.append(Alike(key[0], key[1], other[0], other[1], likeness))
                continue
            example = by_key[key]
            same = asked.get(_plain(question_of(example))) if example.kind != "text" else None
            if same is not None:
                alike.append(Alike(key[0], key[1], same[0], same[1], 1.0, question=True))
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


def _blocks(
    rows: Iterable[tuple[Numbered, str]],
) -> Iterator[tuple[int, list[tuple[Numbered, str]]]]:
    """Blocks of rows, each with how many came before it."""
    block: list[tuple[Numbered, str]] = []
    done = 0
    for row in rows:
        block.append(row)
        if len(block) == _BLOCK:
            yield done, block
            done += len(block)
            block = []
    if block:
        yield done, block


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
