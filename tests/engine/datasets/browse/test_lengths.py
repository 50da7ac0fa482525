"""Tokens of each row: the encoder's own counts, kept in the cache, gone on with, sorted stably."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from engine.datasets import Encoder, open_rows
from engine.datasets.browse import lengths as lengths_module
from engine.datasets.browse.lengths import TokenLengths, encoder_identity
from engine.datasets.example import Example
from engine.datasets.rows import RowIndex

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


def test_identity_follows_model_and_settings(model_folder: Path, tmp_path: Path) -> None:
    model_folder = Path(shutil.copytree(model_folder, tmp_path / "model"))
    one = encoder_identity(model_folder, {"template": "a"})
    assert one != encoder_identity(model_folder, {"template": "b"})
    (model_folder / "chat_template.jinja").write_text("other")
    assert one != encoder_identity(model_folder, {"template": "a"})
