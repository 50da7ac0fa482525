"""Tokens of each row: the encoder's own counts, kept in the cache, gone on with, sorted stably."""

from __future__ import annotations

import dataclasses
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from engine.datasets import Encoder, open_rows
from engine.datasets.browse import lengths as lengths_module
from engine.datasets.browse.counted import CountedRows, TrainedTokens
from engine.datasets.browse.lengths import TokenLengths, encoder_identity
from engine.datasets.browse.walk import RowWalk
from engine.datasets.browse.wanted import with_filter
from engine.datasets.example import Example
from engine.datasets.rows import RowIndex
from engine.problem import BadInput, Problem

ROWS = [{"instruction": "word " * (n * 7 % 11 + 1), "output": "yes"} for n in range(40)]
ROWS[5] = {"instruction": "no answer"}


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RowIndex:
    monkeypatch.setenv("FINETUI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(lengths_module, "_BLOCK", 8)
    return a_set(tmp_path, ROWS)


def a_set(folder: Path, rows: list[Any]) -> RowIndex:
    (folder / "mine.json").write_text(json.dumps(rows))
    (folder / "dataset_info.json").write_text('{"mine": {"file_name": "mine.json"}}')
    return open_rows("mine", folder)


@pytest.fixture
def encoder(model_folder: Path, make_config: Any) -> Encoder:
    return Encoder(model_folder, make_config(cutoff_len=20))


def never() -> Encoder:
    raise AssertionError("all lengths are in the cache")


def counted(*args: Any) -> TokenLengths:
    lengths = TokenLengths(*args)
    lengths.join(60)
    if lengths.fault is not None:
        raise lengths.fault
    return lengths


def test_they_are_the_encoders_before_the_cutoff(rows: RowIndex, encoder: Encoder) -> None:
    lengths = counted(rows, lambda: encoder, "a")
    assert lengths.done and lengths.share == 1.0
    wanted = []
    for index in range(40):
        example = rows.example(index)
        row = encoder.encode(example) if isinstance(example, Example) else None
        wanted.append(len(row.ids) + row.cut if row is not None else 0)
    assert list(lengths.lengths) == wanted and wanted[5] == 0 and max(wanted) > 20


def test_sorting_keeps_the_files_order_among_equals(rows: RowIndex, encoder: Encoder) -> None:
    lengths = counted(rows, lambda: encoder, "a")
    found = lengths.lengths
    assert list(lengths.order(True)) == sorted(range(40), key=lambda n: (-found[n], n))
    assert list(lengths.order(False)) == sorted(range(40), key=lambda n: (found[n], n))


def test_the_cache_is_used_until_anything_changes(
    rows: RowIndex, encoder: Encoder, tmp_path: Path
) -> None:
    first = counted(rows, lambda: encoder, "a").lengths
    assert counted(rows, never, "a").lengths == first
    with pytest.raises(AssertionError):
        counted(rows, never, "b")
    changed = a_set(tmp_path, [*ROWS[:-1], ROWS[0]])
    with pytest.raises(AssertionError):
        counted(changed, never, "a")
    assert counted(changed, lambda: encoder, "a").lengths[-1] == first[0]


@pytest.mark.parametrize("harm", [b"", b"other", None])
def test_a_damaged_cache_is_counted_anew(
    harm: bytes | None, rows: RowIndex, encoder: Encoder, tmp_path: Path
) -> None:
    first = counted(rows, lambda: encoder, "a").lengths
    (place,) = (tmp_path / "cache" / "lengths").iterdir()
    raw = place.read_bytes()
    place.write_bytes(raw[:-3] + b"\x07\x07\x07" if harm is None else harm)
    assert counted(rows, lambda: encoder, "a").lengths == first


def test_what_was_counted_is_gone_on_with(
    rows: RowIndex, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks, hold, reached = [], threading.Event(), threading.Event()
    real = TokenLengths._block

    def block(self: TokenLengths, encoder: Encoder, start: int, total: int) -> list[int]:
        blocks.append(start)
        if len(blocks) == 3:
            reached.set()
            hold.wait(30)
        return real(self, encoder, start, total)

    monkeypatch.setattr(TokenLengths, "_block", block)
    lengths = TokenLengths(rows, lambda: encoder, "a")
    assert reached.wait(60) and 0 < lengths.share < 1
    lengths.cancel()
    hold.set()
    lengths.join(60)
    assert not lengths.done and len(lengths.lengths) == 24
    assert counted(rows, lambda: encoder, "a").done
    assert blocks == [0, 8, 16, 24, 32]


def test_filters_by_tokens_find_just_their_rows(
    rows: RowIndex, model_folder: Path, make_config: Any
) -> None:
    free = Encoder(model_folder, make_config(cutoff_len=4096))
    good = [one for one in map(rows.example, range(40)) if isinstance(one, Example)]
    lengths = sorted(len(free.encode(one).ids) for one in good)
    limit, cutoff = lengths[12], lengths[30]
    encoder = Encoder(model_folder, make_config(cutoff_len=cutoff))
    made: list[TokenLengths] = []

    def begin(kind: type[TokenLengths]) -> Any:
        def make() -> TokenLengths:
            made.append(kind(rows, lambda: encoder, kind.__name__))
            return made[-1]

        return make

    def found(text: str) -> list[int]:
        counted = CountedRows(begin(TokenLengths), begin(TrainedTokens), encoder.cutoff)
        walk = RowWalk(rows, with_filter(text, counted))
        walk.join(60)
        if walk.fault is not None:
            raise walk.fault
        return list(walk.places())

    encoded = [
        encoder.encode(one) if isinstance(one := rows.example(n), Example) else None
        for n in range(40)
    ]
    long = [n for n, row in enumerate(encoded) if row and len(row.ids) + row.cut > limit]
    cut = [n for n, row in enumerate(encoded) if row and row.cut]
    assert 0 < len(cut) < len(long) < 39
    assert found(f"tokens>{limit}") == long and found("cut") == cut
    assert found(f"tokens<={limit}") == [n for n in range(40) if n not in long and n != 5]
    assert found("tokens=0") == found("bad") == [5]
    most = max(sum(row.trained) for row in encoded if row)
    assert found(f"trained<{most}") == [
        n for n, row in enumerate(encoded) if row and sum(row.trained) < most
    ]
    assert len(made) == 5, "none is counted that is not asked for"
    assert found("bad") == [5] and len(made) == 5
    with pytest.raises(BadInput, match="none is chosen"):
        with_filter("cut")


def test_rows_of_which_nothing_is_trained_are_found(
    tmp_path: Path, model_folder: Path, make_config: Any
) -> None:
    texts = ["[INST]", "yes", "word " * 40]
    rows = a_set(tmp_path, [{"instruction": text, "output": text} for text in texts])
    encoder = Encoder(model_folder, make_config(cutoff_len=20))
    row = encoder.encode(rows.example(0))  # type: ignore[arg-type]
    encoder.encode_batch = lambda examples, name: [  # type: ignore[method-assign]
        dataclasses.replace(row, trained=[n == 1 for _ in row.trained])
        for n, _one in enumerate(examples)
    ]
    lengths = TrainedTokens(rows, lambda: encoder, "a")
    counted = CountedRows(lambda: lengths, lambda: lengths, 20)
    walk = RowWalk(rows, with_filter("trained=0", counted))
    walk.join(60)
    assert walk.fault is None and list(walk.places()) == [0, 2]


def test_a_filter_by_tokens_is_given_up_and_tells_its_fault(
    rows: RowIndex, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, hold = threading.Event(), threading.Event()
    real = TokenLengths._block

    def block(self: TokenLengths, encoder: Encoder, start: int, total: int) -> list[int]:
        if start == 16:
            reached.set()
            hold.wait(60)
        return real(self, encoder, start, total)

    monkeypatch.setattr(TokenLengths, "_block", block)
    made: list[TokenLengths] = []

    def begin() -> TokenLengths:
        made.append(TokenLengths(rows, lambda: encoder, "a"))
        return made[-1]

    walk = RowWalk(rows, with_filter("tokens>0", CountedRows(begin, begin, None)))  # type: ignore[arg-type]
    assert reached.wait(60) and walk.share < 0.5
    walk.cancel()
    walk.join(60)
    hold.set()
    made[0].join(60)
    assert not walk._thread.is_alive() and len(made[0].lengths) < 40

    def none() -> Encoder:
        raise BadInput(Problem("There is no tokenizer."))

    lengths = TokenLengths(rows, none, "b")
    walk = RowWalk(rows, with_filter("tokens>0", CountedRows(lambda: lengths, begin, None)))  # type: ignore[arg-type]
    walk.join(60)
    assert "no tokenizer" in str(walk.fault)


def test_identity_follows_model_and_settings(model_folder: Path, tmp_path: Path) -> None:
    model_folder = Path(shutil.copytree(model_folder, tmp_path / "model"))
    one = encoder_identity(model_folder, {"template": "a"})
    assert one != encoder_identity(model_folder, {"template": "b"})
    (model_folder / "chat_template.jinja").write_text("other")
    assert one != encoder_identity(model_folder, {"template": "a"})
