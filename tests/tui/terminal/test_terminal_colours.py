"""Colours come out in the terminal's own depth, in the shortest code."""

from __future__ import annotations

import pytest

from tui.terminal.colours import ColourRegistry, Colours, Depth, choose_depth
from tui.terminal.driver import needs_ascii
from tui.terminal.styles import PLAIN, Styles


@pytest.mark.parametrize(
    ("environ", "depth"),
    [
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, Depth.TRUE),
        ({"TERM": "xterm-256color"}, Depth.PALETTE),
        ({"TERM": "xterm-kitty"}, Depth.TRUE),
        ({"TERM": "linux"}, Depth.SIXTEEN),
        ({"TERM": "dumb"}, Depth.NONE),
        ({}, Depth.NONE),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor", "NO_COLOR": "1"}, Depth.NONE),
        ({"TERM": "xterm-256color", "NO_COLOR": ""}, Depth.PALETTE),
        ({"TERM": "dumb", "FINETUI_COLORS": "16", "NO_COLOR": "1"}, Depth.SIXTEEN),
        ({"TERM": "linux", "FINETUI_COLORS": "24bit"}, Depth.TRUE),
        ({"TERM": "linux", "FINETUI_COLORS": "mauve"}, Depth.SIXTEEN),
    ],
)
def test_the_depth_comes_from_the_environment(environ: dict[str, str], depth: Depth) -> None:
    assert choose_depth(environ) is depth


def _code(depth: Depth, parameters: str, registry: ColourRegistry | None = None) -> str:
    styles = Styles(Colours(depth, registry or ColourRegistry()))
    return styles.delta(PLAIN, styles.sgr(PLAIN, parameters))


@pytest.mark.parametrize(
    ("depth", "code"),
    [
        (Depth.TRUE, "\x1b[38;2;10;20;30;48;2;200;0;0m"),
        (Depth.PALETTE, "\x1b[38;5;75;41m"),
        (Depth.SIXTEEN, "\x1b[91m"),
        (Depth.NONE, ""),
    ],
)
def test_a_registered_colour_takes_the_themes_value(depth: Depth, code: str) -> None:
    registry = ColourRegistry()
    registry.register({"#0a141e": (75, 9), (200, 0, 0): (1, None)})
    assert _code(depth, "38;2;10;20;30;48;2;200;0;0", registry) == code


def test_other_colours_go_to_the_nearest() -> None:
    assert _code(Depth.PALETTE, "38;2;255;0;0") in ("\x1b[91m", "\x1b[38;5;196m")
    assert _code(Depth.SIXTEEN, "38;2;250;5;5") in ("\x1b[31m", "\x1b[91m")
    assert _code(Depth.SIXTEEN, "48;5;196") in ("\x1b[41m", "\x1b[101m")


def test_a_new_theme_is_seen_without_a_new_driver() -> None:
    registry = ColourRegistry()
    styles = Styles(Colours(Depth.SIXTEEN, registry))
    registry.register({"#102030": (1, 2)})
    styles.refresh()
    assert styles.delta(PLAIN, styles.sgr(PLAIN, "38;2;16;32;48")) == "\x1b[32m"
    registry.clear()
    registry.register({"#102030": (1, 5)})
    styles.refresh()
    assert styles.delta(PLAIN, styles.sgr(PLAIN, "38;2;16;32;48")) == "\x1b[35m"


@pytest.mark.parametrize("bad", [{"#12345": (1, 1)}, {"#123456": (256, 1)}, {"#123456": (1, 16)}])
def test_a_wrong_registration_is_refused(bad: dict) -> None:
    with pytest.raises(ValueError):
        ColourRegistry().register(bad)


@pytest.mark.parametrize("depth", list(Depth))
def test_the_default_colours_stay_the_terminals(depth: Depth) -> None:
    assert _code(depth, "39;49") == ""
    assert _code(depth, "1;39;49") == "\x1b[1m"


def test_without_colour_attributes_remain() -> None:
    assert _code(Depth.NONE, "1;7;31;48;2;1;2;3") == "\x1b[1;7m"


def test_deltas_switch_off_only_what_differs() -> None:
    styles = Styles(Colours(Depth.TRUE, ColourRegistry()))
    bold_red = styles.sgr(PLAIN, "1;31")
    red = styles.sgr(PLAIN, "31")
    dim_red = styles.sgr(PLAIN, "2;31")
    assert styles.delta(bold_red, red) == "\x1b[22m"
    assert styles.delta(bold_red, dim_red) in ("\x1b[22;2m", "\x1b[;2;31m")
    assert styles.delta(bold_red, PLAIN) == "\x1b[m"
    assert styles.delta(None, red) == "\x1b[;31m"
    assert styles.delta(red, red) == ""


def test_malformed_colours_are_no_crash() -> None:
    styles = Styles(Colours(Depth.TRUE, ColourRegistry()))
    for parameters in ("38", "38;2;1", "48;7;1", "38;5", "999", "38:2::1:2:3", "4:3", "58;5;1"):
        styles.sgr(PLAIN, parameters)
    assert styles.delta(PLAIN, styles.sgr(PLAIN, "38:2::1:2:3")) == "\x1b[38;2;1;2;3m"
    assert styles.delta(PLAIN, styles.sgr(PLAIN, "58;5;1;4")) == "\x1b[4m"


@pytest.mark.parametrize(
    ("environ", "ascii_only"),
    [
        ({"LANG": "en_GB.UTF-8"}, False),
        ({"LC_ALL": "C", "LANG": "en_GB.UTF-8"}, True),
        ({"LC_CTYPE": "C.utf8", "LANG": "C"}, False),
        ({"LANG": "zh_CN.GB18030"}, True),
        ({"LANG": "en_GB.UTF-8", "TERM": "linux"}, True),
        ({"LANG": "en_GB.UTF-8", "TERM": "vt220"}, True),
        ({"LANG": "C", "FINETUI_ASCII": "0"}, False),
        ({"LANG": "en_GB.UTF-8", "FINETUI_ASCII": "1"}, True),
    ],
)
def test_ascii_is_for_terminals_and_locales_without_utf8(environ: dict, ascii_only: bool) -> None:
    assert needs_ascii(environ) is ascii_only
