"""The quick part of the check: every row read, written with the template, and tokenised."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from engine.datasets.checks import words
from engine.datasets.checks.columns import column_findings
from engine.datasets.checks.facts import DataCheck, Finding, Level
from engine.datasets.checks.lengths import (
    PERCENTS,
    cutoff_advice,
    histogram,
    packing_advice,
    percentile,
)
from engine.datasets.checks.repeated import repeated_findings
from engine.datasets.checks.seen import SeenRows
from engine.datasets.checks.texts import TextScan, answer_of
from engine.datasets.dataset_info import DatasetInfo
from engine.datasets.encode import Encoder
from engine.datasets.encoded import Encoded
from engine.datasets.example import Example, RowProblem
from engine.datasets.fill import has_placeholders
from engine.datasets.formats.fields import RowFault
from engine.datasets.local import idle_parts
from engine.datasets.media.looks import look_at
from engine.datasets.media_rows import check_placeholders
from engine.datasets.parallel import Block, EncodeBlocks, ProgressCall, encoding, encoding_blocks
from engine.datasets.preparation import BLOCK
from engine.datasets.preparation_words import NOTHING_TRAINED, PLACEHOLDERS
from engine.datasets.rows import RowIndex
from engine.datasets.stage_rows import EncodedParts, form_of
from engine.datasets.thoughts import thoughts_in

if TYPE_CHECKING:
    from engine.config import RunConfig

_SHOWN = 20
_CONTENT = tuple(field.name for field in fields(Example) if field.name != "source_row")
_KEPT_ROWS = 1000
SAME_PAIR = "its better and its worse answer are the same"
MASKED = "the template leaves nothing of its answer to train on"
# The stage that a shape of rows is for, where nobody says another.
_STAGE = {"preference": "dpo", "feedback": "kto", "text": "pt"}


def stage_for(info: DatasetInfo) -> str:
    """The stage that a set's rows are for."""
    return _STAGE.get(info.shape, "sft")


class _Found:
    """How many rows have a fault, the first of them, and what was met there."""

    def __init__(self) -> None:
        self.count = 0
        self.rows: list[int] = []
        self.met: Counter[str] = Counter()

    def add(self, row: int, met: str = "") -> None:
        self.count += 1
        if len(self.rows) < _KEPT_ROWS:
            self.rows.append(row)
        if met and (met in self.met or len(self.met) < 50):
            self.met[met] += 1


def check_dataset(
    rows: RowIndex,
    encoder: Encoder | None,
    check_stop: Callable[[], None] | None = None,
    limit: int | None = None,
    stage: str | None = None,
    progress: ProgressCall | None = None,
    batch: int = 2,
    config: RunConfig | None = None,
    seen: SeenRows | None = None,
) -> DataCheck:
    """Go through the first `limit` rows (None: all). `check_stop` is asked between blocks.

    `duplicates` are the numbers (from 1) of rows equal to an earlier one. `stage` is what the rows
    are for (None: what their shape is for), `batch` the rows of a batch, for the advice on packing.
    Without an `encoder` rows are read and not tokenised: there are no lengths then. With the
    `config` that the encoder was made with, many rows become tokens in several processes, and
    `seen` takes in what they became.
    """
    total = len(rows) if limit is None else min(limit, len(rows))
    check = _Check(rows, encoder, stage or stage_for(rows.info), seen)
    if encoder is None or config is None:
        return check.run(total, check_stop, progress, batch)
    with encoding_blocks(config, encoder, form_of(check.stage), total) as encode:
        return check.run(total, check_stop, progress, batch, encode)


class _Check:
    def __init__(
        self, rows: RowIndex, encoder: Encoder | None, stage: str, seen: SeenRows | None
    ) -> None:
        self.rows = rows
        self.encoder = encoder
        self.stage = stage
        self.seen = seen
        self.scan = TextScan(encoder.tokenizer.special_texts if encoder is not None else ())
        self.readable = 0
        self.problems: list[RowProblem] = []
        self.reasons: dict[str, tuple[int, int]] = {}
        self.unusable = 0
        self.lengths = array("I")
        self.hashes, self.numbers = array("q"), array("I")
        self.answers, self.answer_rows = array("q"), array("I")
        self.found: dict[str, _Found] = {}
        self.tokens_lost = self.trained = 0
        self.empty = self.unfilled = self.tools = self.talks = 0
        self.thoughts = 0.0
        self.labels: set[bool] = set()

    def run(
        self,
        checked: int,
        check_stop: Callable[[], None] | None,
        progress: ProgressCall | None,
        batch: int,
        encode: EncodeBlocks | None = None,
    ) -> DataCheck:
        if encode is None and self.encoder is not None:
            here = encoding(self.encoder, form_of(self.stage), self.stage)

            def encode(blocks: Iterable[Sequence[Example]]) -> Iterator[Block]:
                return map(here, blocks)

        # What was read and is not tokens yet: as many blocks as processes are busy with.
        waiting: deque[tuple[list[Example | RowProblem], array[int]]] = deque()

        def read() -> Iterator[list[Example]]:
            for start in range(0, checked, BLOCK):
                if check_stop:
                    check_stop()
                if progress:
                    progress(f"Checking {self.rows.name}", start, checked, "rows")
                stop = min(start + BLOCK, checked)
                block = [self.rows.example(place) for place in range(start, stop)]
                good = [row for row in block if isinstance(row, Example)]
                waiting.append((block, self._texts(good)))
                yield good

        nothing: Iterator[Block] = (() for _ in read())
        for encoded in nothing if encode is None else encode(read()):
            block, contents = waiting.popleft()
            for row in block:
                if isinstance(row, RowProblem):
                    self.empty += _no_answer(row)
                    self._bad(row)
            good = [row for row in block if isinstance(row, Example)]
            if self.encoder is None:
                self._unencoded(good)
            else:
                self._encoded(good, encoded, contents)
        if progress:
            progress(f"Checking {self.rows.name}", checked, checked, "rows")
        return self._result(checked, batch)

    def _texts(self, good: Sequence[Example]) -> array[int]:
        """Look through the texts of rows; gives the hashes of what they hold."""
        talks = [example for example in good if example.kind != "text"]
        self.talks += len(talks)
        self.thoughts += thoughts_in(talks) * len(talks)
        contents = array("q", map(content_of, good))
        self.hashes.extend(contents)
        for example in good:
            self._text(example)
        return contents

    def _unencoded(self, good: Sequence[Example]) -> None:
        for example in good:
            reason = self._media_fault(example)
            if not reason and example.chosen is not None and example.chosen == example.rejected:
                reason = SAME_PAIR
            if reason:
                self._bad(RowProblem(self.rows.name, example.source_row, reason))
            else:
                self.readable += 1

    def _encoded(self, good: Sequence[Example], block: Block, contents: array[int]) -> None:
        for example, encoded, content in zip(good, block, contents, strict=True):
            if self.seen is not None:
                self.seen.add(example, content, encoded)
            if isinstance(encoded, RowProblem):
                if "drops or alters" in encoded.reason:
                    self._at("masked").add(example.source_row)
                reason = self._media_fault(example) or encoded.reason
                self._bad(RowProblem(self.rows.name, example.source_row, reason))
            elif isinstance(encoded, Encoded) and not any(encoded.trained):
                reason = NOTHING_TRAINED if encoded.cut else MASKED
                if reason is MASKED:
                    self._at("masked").add(example.source_row)
                self._bad(RowProblem(self.rows.name, example.source_row, reason))
            else:
                self.readable += 1
                self._usable(example, encoded)

    def _media_fault(self, example: Example) -> str:
        """What is wrong with the row's media themselves, where the model reads none."""
        if not example.media or (self.encoder is not None and self.encoder.media is not None):
            return ""
        try:
            check_placeholders(example)
            for medium in example.media:
                look_at(self.rows.info.folder, medium)
        except RowFault as fault:
            return str(fault)
        return ""

    def _usable(self, example: Example, row: Encoded | EncodedParts) -> None:
        if isinstance(row, Encoded):
            size = len(row.ids)
            self.trained += sum(row.trained)
        else:
            size = len(row.parts[0]) + max((len(part) for part in row.parts[1:]), default=0)
        self.lengths.append(size + row.cut)
        if row.cut:
            self.tokens_lost += row.cut
            self._at("cut").add(example.source_row)

    def _text(self, example: Example) -> None:
        row = example.source_row
        if example.label is not None:
            self.labels.add(example.label)
        self.unfilled += has_placeholders(example)
        self.tools += bool(example.tools)
        self.numbers.append(row)
        answer = answer_of(example).strip()
        if answer and example.kind != "text":
            self.answers.append(_hash(answer))
            self.answer_rows.append(row)
        for kind, met in self.scan.faults(example):
            self._at(kind).add(row, met)

    def _at(self, kind: str) -> _Found:
        return self.found.setdefault(kind, _Found())

    def _bad(self, problem: RowProblem) -> None:
        self.unusable += 1
        if len(self.problems) < BLOCK:
            self.problems.append(problem)
        count, first = self.reasons.get(problem.reason, (0, problem.row))
        if count or len(self.reasons) < _KEPT_ROWS:
            self.reasons[problem.reason] = (count + 1, min(first, problem.row))
        self._at("unusable").add(problem.row)

    def _result(self, checked: int, batch: int) -> DataCheck:
        self.problems.sort(key=lambda problem: problem.row)
        ordered = sorted(self.lengths)
        duplicates = repeated(self.hashes, self.numbers)
        same = set(duplicates)
        cut = self.found["cut"].count if "cut" in self.found else 0
        cutoff = self.encoder.cutoff if self.encoder is not None else None
        advice = [
            cutoff_advice(ordered, cutoff, self.tokens_lost),
            # Rows with media are not packed.
            packing_advice(self.lengths, cutoff, batch, self.stage == "pt")
            if self.stage in ("sft", "pt") and not self.rows.info.media
            else "",
        ]
        reasons = sorted(self.reasons.items(), key=lambda item: (-item[1][0], item[1][1]))
        columns = column_findings(self.rows)
        return DataCheck(
            dataset=self.rows.name,
            rows=len(self.rows),
            checked=checked,
            usable=self.readable,
            unusable=self.unusable,
            problems=tuple(self.problems[:_SHOWN]),
            empty_answers=self.empty,
            duplicates=tuple(duplicates),
            cut=cut,
            cutoff=cutoff,
            p50=percentile(ordered, 50),
            p95=percentile(ordered, 95),
            longest=ordered[-1] if ordered else 0,
            tokens=sum(ordered),
            histogram=histogram(ordered),
            notes=tuple(note for note in self._notes(columns) if note),
            source=self.rows.info.source,
            cut_tokens=self.tokens_lost,
            trained_tokens=self.trained if ordered and form_of(self.stage) == "tokens" else None,
            percentiles=tuple((one, percentile(ordered, one)) for one in PERCENTS if ordered),
            reasons=tuple((reason, count, first) for reason, (count, first) in reasons[:_SHOWN]),
            findings=(
                *self._findings(checked, duplicates, same),
                *repeated_findings(self.rows, checked),
                *columns,
            ),
            advice=tuple(one for one in advice if one),
        )

    def _notes(self, columns: Sequence[Finding]) -> list[str]:
        notes = [idle_parts(self.rows.info), *(finding.words for finding in columns)]
        if self.encoder is not None:
            notes = [*self.encoder.notes, *notes]
        if self.talks and self.encoder is not None:
            notes.append(self.encoder.chat.thoughts_note(self.thoughts / self.talks))
        if self.tools and self.encoder is not None:
            notes.append(self.encoder.chat.tools_note)
        if self.unfilled:
            notes.append(f"{self.unfilled:,} rows still hold {PLACEHOLDERS}")
        return notes

    def _findings(self, checked: int, duplicates: list[int], same: set[int]) -> list[Finding]:
        made: list[Finding] = []

        def say(kind: str, level: Level, said: words.Said) -> None:
            found = self.found.get(kind)
            if found is not None:
                met = ", ".join(one for one, _ in found.met.most_common(3))
                made.append(_finding(kind, level, found, said(found.count, met)))

        say("unusable", "bad", words.unusable)
        say("masked", "warning", words.masked)
        cut = self.found.get("cut")
        if cut is not None and self.encoder is not None:
            share, total = cut.count / max(1, checked), sum(self.lengths)
            said = words.cut(cut.count, share, self.encoder.cutoff or 0, self.tokens_lost, total)
            made.append(_finding("cut", "warning", cut, said))
        if duplicates:
            self.found["duplicate"] = _all(duplicates)
            say("duplicate", "warning", words.duplicate)
        answers = [row for row in repeated(self.answers, self.answer_rows) if row not in same]
        if answers:
            self.found["same answer"] = _all(answers)
            share = len(answers) / max(1, checked)
            say("same answer", "warning" if share >= 0.05 else "note", words.same_answer)
        for kind, sentence in words.OF_TEXTS.items():
            say(kind, "warning", sentence)
        if len(self.labels) == 1 and self.readable > 1:
            (label,) = self.labels
            said = words.one_sided(label)
            made.append(Finding("one-sided", "warning", self.readable, (), *said))
        return made


def _finding(kind: str, level: Level, found: _Found, said: tuple[str, str]) -> Finding:
    return Finding(kind, level, found.count, tuple(sorted(found.rows)), *said)


def _all(rows: Sequence[int]) -> _Found:
    found = _Found()
    found.count, found.rows = len(rows), list(rows[:_KEPT_ROWS])
    return found


def repeated(hashes: array[int], numbers: array[int]) -> list[int]:
    """The numbers of rows whose hash an earlier row has, in order."""
    import numpy

    if len(hashes) < 2:
        return []
    keys = numpy.frombuffer(hashes, dtype=numpy.int64)
    rows = numpy.frombuffer(numbers, dtype=numpy.uint32)
    order = numpy.argsort(keys, kind="stable")
    again = order[1:][keys[order][1:] == keys[order][:-1]]
    return sorted(rows[again].tolist())


def _hash(text: str) -> int:
    """64 bits of a text: two of ten million rows meet by chance once in 400,000 sets."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def content_of(example: Example) -> int:
    """64 bits of all that is learnt from a row, but not of where it stands."""
    return _hash(repr([getattr(example, name) for name in _CONTENT]))


def _no_answer(problem: RowProblem) -> bool:
    return "no answer" in problem.reason or problem.reason.endswith("is empty")
