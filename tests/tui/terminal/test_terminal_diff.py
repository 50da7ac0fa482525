"""The diff layer draws exactly what Textual's raw output would, cell by cell."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tui.terminal.colours import ColourRegistry, Colours, Depth
from tui.terminal.diff import Differ
from tui.terminal.model import ScreenModel
from tui.terminal.styles import Style, Styles

WIDTH, HEIGHT = 24, 6
_START = "\x1b[?1049h\x1b[?7l"


class Pipeline:
    """Model and differ without the thread: text in, what would be sent out."""

    def __init__(self, width: int = WIDTH, height: int = HEIGHT, **options) -> None:
        styles = Styles(Colours(options.pop("depth", Depth.TRUE), ColourRegistry()))
        self.model = ScreenModel(width, height, styles, **options)
        self.differ = Differ(styles)

    def __call__(self, data: str) -> str:
        model, differ = self.model, self.differ
        model.feed(data)
        out = [model.take_passed()]
        if model.active:
            if model.reset_wanted:
                model.reset_wanted = False
                out.append(differ.reset(model.width, model.height))
            for y in sorted(model.dirty):
                out.append(differ.update_row(y, model.chars[y][:], model.numbers[y][:]))
            model.dirty.clear()
            out.append(differ.move(model.cursor_y, min(model.cursor_x, model.width - 1)))
        return "".join(out)


_CLUSTERS = st.one_of(
    st.sampled_from("abz 09-~"),
    st.sampled_from("─│╭╮┃█▌⣿⠁●✓…"),
    st.sampled_from("你好机，。한あ"),
    st.sampled_from(["e\u0301", "n\u0303", "a\u0308\u0304"]),
    st.just("      "),
)
_TEXTS = st.lists(_CLUSTERS, min_size=1, max_size=10).map("".join)
_COLOURS = st.sampled_from(["1;2;3", "250;0;9", "40;50;60"])
_CODES = st.one_of(
    st.sampled_from(
        ["1", "3", "4", "5", "7", "9", "31", "42", "94", "103", "39", "49", "38;5;200"]
    ),
    _COLOURS.map("38;2;".__add__),
    _COLOURS.map("48;2;".__add__),
)
_STYLES = st.lists(_CODES, max_size=4).map(";".join)


def _width(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


@st.composite
def _runs(draw) -> str:
    """A move and styled segments that end within the row, as a strip renders them."""
    y = draw(st.integers(0, HEIGHT - 1))
    x = draw(st.integers(0, WIDTH - 1))
    out = [f"\x1b[{y + 1};{x + 1}H"]
    for text, style in draw(st.lists(st.tuples(_TEXTS, _STYLES), min_size=1, max_size=4)):
        while x + _width(text) > WIDTH:
            text = text[:-1]
        if not text:
            break
        x += _width(text)
        out.append(f"\x1b[{style}m{text}\x1b[0m" if style else text)
    if y < HEIGHT - 1 and draw(st.booleans()):
        out.append("\n")
    return "".join(out)


_ERASES = st.tuples(
    st.integers(1, HEIGHT), st.integers(1, WIDTH), st.sampled_from(["K", "1K", "2K", "J", "2J"])
).map(lambda at: f"\x1b[{at[0]};{at[1]}H\x1b[{at[2]}")
_WRITES = st.lists(st.one_of(_runs(), _runs(), _runs(), _ERASES), min_size=1, max_size=6)


@settings(max_examples=80, deadline=None)
@given(frames=st.lists(_WRITES.map("".join), min_size=1, max_size=6))
def test_the_diff_shows_what_the_raw_output_shows(emulator, frames: list[str]) -> None:
    raw, ours, pipeline = emulator(WIDTH, HEIGHT), emulator(WIDTH, HEIGHT), Pipeline()
    for screen, data in ((raw, _START), (ours, pipeline(_START))):
        screen.feed(data)
    for frame in frames:
        end = "\x1b[2;3H"
        raw.feed(frame.replace("\n", "\r\n") + end)
        ours.feed(pipeline(frame + end))
        assert ours.looks() == raw.looks(), repr(frame)
        assert (ours.cursor.x, ours.cursor.y) == (2, 1)


@settings(max_examples=40, deadline=None)
@given(frame=_WRITES.map("".join))
def test_the_same_frame_again_sends_nothing(frame: str) -> None:
    pipeline = Pipeline()
    frame = _START.replace("\x1b[?1049h", "") + frame + "\x1b[H"
    pipeline("\x1b[?1049h" + frame)
    # A frame of several writes may overwrite itself; its end is the same screen.
    assert pipeline(frame).replace("\x1b[?7l", "") == ""


def _looks(model: ScreenModel) -> list[list[Style]]:
    """Each cell's style; a space's without what is not seen on one. A piece of spaces alone is
    stored so at once, and one within a text when it is sent."""
    styles = model.styles
    return [
        [
            styles.table[styles.blank[number] if char == " " else number]
            for char, number in zip(chars, numbers, strict=True)
        ]
        for chars, numbers in zip(model.chars, model.numbers, strict=True)
    ]


@settings(max_examples=40, deadline=None)
@given(frame=_WRITES.map("".join), cut=st.integers(0, 400))
def test_a_sequence_may_be_cut_anywhere(frame: str, cut: int) -> None:
    whole, pieces = Pipeline(), Pipeline()
    whole(_START + frame)
    pieces(_START + frame[:cut])
    pieces(frame[cut:])
    # A combining mark after the cut joins its base all the same.
    assert pieces.model.chars == whole.model.chars
    assert _looks(pieces.model) == _looks(whole.model)


def test_one_changed_cell_costs_a_move_and_the_cell() -> None:
    pipeline = Pipeline()
    pipeline(_START + "\x1b[1;1H\x1b[1;38;2;1;2;3mloss 0.61\x1b[0m\x1b[1;1H")
    sent = pipeline("\x1b[1;1H\x1b[1;38;2;1;2;3mloss 0.62\x1b[0m\x1b[1;1H")
    assert sent == "\x1b[8C2\r"  # the terminal still has the style


def test_a_style_is_kept_over_segments() -> None:
    pipeline = Pipeline()
    pipeline(_START)
    sent = pipeline("\x1b[H\x1b[31mab\x1b[0m\x1b[31mcd\x1b[0m\x1b[1;31mef\x1b[0m")
    assert sent == "\x1b[31mabcd\x1b[1mef"


def test_a_blanked_tail_is_erased_not_written() -> None:
    pipeline = Pipeline()
    pipeline(_START + "\x1b[H" + "x" * WIDTH)
    assert pipeline("\x1b[Hxx" + " " * (WIDTH - 2) + "\x1b[H") == "\x1b[3G\x1b[K\r"


def test_control_sequences_pass_in_order_and_draw_nothing() -> None:
    pipeline = Pipeline()
    pipeline(_START)
    passed = (
        "\x1b[?25l\x1b[?1000h\x1b[>25u\x1b]52;c;aGk=\a\x1b]0;title\x1b\\\a\x1b[6n\x1b[?2048$p"
        "\x1b]22;text\x07\x1b[2 q\x1b[<u"
    )
    assert pipeline(passed) == passed


def test_synchronised_updates_are_the_writers_affair() -> None:
    pipeline = Pipeline()
    pipeline(_START)
    assert pipeline("\x1b[?2026h") == ""
    assert pipeline.model.in_sync
    pipeline("\x1b[?2026l")
    assert not pipeline.model.in_sync and pipeline.model.sync_supported


def test_an_unknown_sequence_passes_and_the_screen_is_sent_again() -> None:
    pipeline = Pipeline()
    pipeline(_START + "\x1b[Hhello\x1b[H")
    sent = pipeline("\x1b[2;4r")
    assert sent.startswith("\x1b[2;4r") and "\x1b[2J" in sent and "hello" in sent


def test_leaving_and_entering_the_alternate_screen_sends_everything_again() -> None:
    pipeline = Pipeline()
    pipeline(_START + "\x1b[Hhello\x1b[H")
    assert pipeline("\x1b[?1049l\x1b[Hbyes!") == "\x1b[?1049l"
    assert "byes!" in pipeline("\x1b[?1049h")


def test_links_are_part_of_the_style() -> None:
    pipeline = Pipeline()
    pipeline(_START)
    link = "\x1b]8;id=1;https://a.b\x1b\\"
    sent = pipeline(f"\x1b[H{link}\x1b[4mdocs\x1b[0m\x1b]8;;\x1b\\ rest\x1b[H")
    assert sent == f"\x1b[4m{link}docs\x1b[C\x1b[m\x1b]8;;\x1b\\rest\r"


def test_half_a_wide_character_overwritten_leaves_a_space(emulator) -> None:
    pipeline, screen = Pipeline(), emulator(WIDTH, HEIGHT)
    screen.feed(pipeline(_START + "\x1b[H你好吗\x1b[H"))
    screen.feed(pipeline("\x1b[1;2Hx\x1b[1;5Hy"))
    assert screen.display[0].rstrip() == " x好y"


def test_text_past_the_edge_stays_in_its_row(emulator) -> None:
    pipeline, screen = Pipeline(), emulator(WIDTH, HEIGHT)
    screen.feed(pipeline(_START + f"\x1b[1;{WIDTH - 2}Habcdef你"))
    assert screen.display[0] == " " * (WIDTH - 3) + "ab "
    assert screen.display[1].strip() == ""


def test_a_cell_of_uncertain_width_is_followed_by_a_placed_cursor() -> None:
    pipeline = Pipeline()
    pipeline(_START)
    sent = pipeline("\x1b[H👩\u200d💻ok\x1b[H")
    assert sent == "👩\u200d💻\x1b[3Gok\r"


@pytest.mark.parametrize("mark", ["\u202e", "\u2066", "\u200f", "\x9b", "\x00", "\x7f"])
def test_what_can_reorder_or_control_is_never_sent(mark: str) -> None:
    pipeline = Pipeline()
    pipeline(_START)
    assert pipeline(f"\x1b[Ha{mark}bc\x1b[H") == "abc\r"


def test_a_combining_mark_may_begin_a_segment() -> None:
    pipeline = Pipeline()
    pipeline(_START)
    pipeline("\x1b[Hcafe\x1b[1m\u0301s\x1b[0m")
    assert pipeline.model.chars[0][:5] == ["c", "a", "f", "e\u0301", "s"]


def test_ascii_takes_one_cell_for_one_cell() -> None:
    pipeline = Pipeline(ascii_only=True)
    pipeline(_START)
    frame = "╭─┃█▌⣿⠁●✓…é你"
    pipeline("\x1b[H" + frame)
    row = "".join(pipeline.model.chars[0])
    assert row.isascii()
    assert row.rstrip() == "+-|#|#'*v.e??"
    assert len(row) == WIDTH


def test_resizing_keeps_nothing_of_the_old_geometry() -> None:
    pipeline = Pipeline()
    pipeline(_START + "\x1b[H" + "你" * (WIDTH // 2))
    pipeline.model.resize(5, 2)
    sent = pipeline("")
    assert sent == "\x1b[m\x1b[H\x1b[2J你你"
    assert all(len(row) == 5 for row in pipeline.model.chars)
