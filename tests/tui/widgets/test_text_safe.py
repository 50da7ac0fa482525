"""Foreign text: nothing in it reaches the terminal as a command, and it wraps by cells."""

from __future__ import annotations

import random
import unicodedata

import pytest
from rich.cells import cell_len

from tui.widgets.ascii import lacks_utf8, to_ascii
from tui.widgets.text_safe import (
    cells_of,
    take_cells,
    take_last_cells,
    visible,
    wrap_cells,
    wrap_spans,
)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain [/b] text", "plain [/b] text"),
        ("\x1b[31mred\x1b[0m", "␛[31mred␛[0m"),
        ("a\x00b\x7f", "a␀b␡"),
        ("a\nb\r\n", "a␊b␍␊"),
        ("a\tb", "a    b"),
        ("\u202eevil", "⟨U+202E⟩evil"),
        ("a\u200bb", "a⟨U+200B⟩b"),
        ("\x9b31m", "⟨U+009B⟩31m"),
        ("\ud800", "⟨U+D800⟩"),
        ("\U000e0041", "⟨U+E0041⟩"),
        ("\u2028", "⟨U+2028⟩"),
        ("❤\ufe0f", "❤"),
        ("你好，世界", "你好，世界"),
        ("é e\u0301", "é e\u0301"),
        ("", ""),
    ],
)
def test_what_a_terminal_would_obey_is_shown(raw: str, shown: str) -> None:
    assert visible(raw) == shown


def test_line_ends_can_stay() -> None:
    assert visible("a\r\nb\n\x1bc", keep_newlines=True) == "a\nb\n␛c"


def test_no_control_or_format_character_is_left() -> None:
    everything = "".join(map(chr, range(0x11000))) + "".join(map(chr, range(0xE0000, 0xE0200)))
    shown = visible(everything)
    left = {char for char in shown if unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"}}
    assert not left
    for mark in "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069":
        assert mark not in shown
    shown.encode("utf-8")


def test_cells() -> None:
    assert cells_of("ab") == ["a", "b"]
    assert cells_of("a微b") == ["a", "微", "", "b"]
    assert cells_of("e\u0301x") == ["e\u0301", "x"]
    assert take_cells("a微b", 2) == "a"
    assert take_cells("a微b", 3) == "a微"
    assert take_cells("ab", 0) == ""
    assert take_last_cells("a微b", 2) == "b"
    assert take_last_cells("a微b", 3) == "微b"
    assert take_last_cells("ae\u0301x", 1) == "x"


def test_words_wrap_at_spaces() -> None:
    assert wrap_cells("the committee approved the budget", 14) == [
        "the committee", "approved the", "budget",
    ]  # fmt: skip
    assert wrap_cells("a\n\nb", 10) == ["a", "", "b"]
    assert wrap_cells("", 10) == [""]
    assert wrap_cells("exactly ten", 11) == ["exactly ten"]
    assert wrap_cells("  indented text goes on", 12) == ["  indented", "text goes on"]


def test_a_long_word_is_broken() -> None:
    assert wrap_cells("abcdefghij", 4) == ["abcd", "efgh", "ij"]
    assert wrap_cells("x abcdefghij", 4) == ["x", "abcd", "efgh", "ij"]


def test_chinese_wraps_between_characters_and_no_line_begins_with_a_full_stop() -> None:
    lines = wrap_cells("我是助手。我可以帮助你。", 8)
    assert "".join(lines) == "我是助手。我可以帮助你。"
    assert all(cell_len(line) <= 8 for line in lines)
    assert not any(line.startswith("。") for line in lines)


def test_a_wide_character_in_one_cell() -> None:
    assert wrap_cells("微", 1) == ["…"]


@pytest.mark.parametrize("seed", range(20))
def test_no_line_is_too_wide_and_nothing_is_lost(seed: int) -> None:
    random.seed(seed)
    text = "".join(random.choice("ab c微，。（）🙂-e\u0301") for _ in range(300))
    for width in (2, 3, 7, 20):
        lines = wrap_cells(text, width)
        assert all(cell_len(line) <= width for line in lines)
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_a_line_of_several_roles_is_wrapped_each_keeping_its_own() -> None:
    line = [("has ", "dim"), ("no GPU ", "text"), ("你好世界", "accent")]
    assert wrap_spans(line, 40) == [line]
    assert wrap_spans(line, 8) == [
        [("has ", "dim"), ("no", "text")],
        [("GPU ", "text"), ("你好", "accent")],
        [("世界", "accent")],
    ]
    assert wrap_spans([], 8) == [[]]


def test_ascii_stands_cell_for_cell() -> None:
    drawn = "┏━ loss ━┓│ ▕██▎▏ ⠁⡀⣿⠀ ▁█ ●○◌✓■✗◆ 微 – …"
    plain = to_ascii(drawn)
    assert plain.isascii()
    assert cell_len(plain) == cell_len(drawn)
    assert to_ascii("⠁⡀⣿⠀") == "'.: "
    # The frame in use differs from the others without any colour.
    assert to_ascii("━┃") != to_ascii("─│")


def test_when_a_terminal_lacks_utf8() -> None:
    assert not lacks_utf8({"TERM": "xterm-256color"}, "utf-8")
    assert not lacks_utf8({"TERM": "linux"}, "UTF8")
    assert lacks_utf8({"TERM": "xterm"}, "ISO-8859-1")
    assert lacks_utf8({"TERM": "xterm"}, "ANSI_X3.4-1968")
    assert lacks_utf8({"TERM": "vt100"}, "utf-8")
    assert lacks_utf8({"TERM": "xterm"}, None)
    assert lacks_utf8({"TERM": "xterm"}, "no-such-encoding")
