"""Widgets that draw themselves line by line: the base of all, and the one with a frame.

A drawn line is a sequence of spans: (text, role), the role one of the theme's, with attributes
after it where wanted: `("0.61", "series1 bold")`. Text is plain: nothing in it is read as markup,
and what a terminal would obey is made visible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from rich.cells import cell_len
from rich.segment import Segment
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from tui.theme import on_theme_change, style
from tui.widgets.ascii import ascii_only, to_ascii
from tui.widgets.text_safe import cells_of, take_cells, visible

Span = tuple[str, str]
Line = Sequence[Span]
Border = Literal["box", "rule", "none"]


def line_width(line: Line) -> int:
    """The cells that a line takes."""
    return sum(cell_len(text) for text, _ in line)


def cut_line(line: Line, width: int) -> list[Span]:
    """A line made safe, its end cut off with `…` where it takes more than `width` cells."""
    line = [(visible(text), role) for text, role in line]
    if line_width(line) <= width:
        return line
    if width <= 0:
        return []
    result: list[Span] = []
    left = width - 1
    for text, role in line:
        if cell_len(text) > left:
            result.append((take_cells(text, left) + "…", role))
            return result
        result.append((text, role))
        left -= cell_len(text)
    return result


def fit_line(line: Line, width: int, fill: str = "text") -> tuple[Span, ...]:
    """A line of exactly `width` cells: made safe, cut off, or filled with blanks of role `fill`."""
    result: list[Span] = []
    left = width
    for raw, role in line:
        text = visible(raw)
        if ascii_only():
            text = to_ascii(text)
        size = cell_len(text)
        if size > left:
            text = take_cells(text, left)
            size = cell_len(text)
        if text:
            result.append((text, role))
            left -= size
        if left <= 0:
            break
    if left > 0:
        result.append((" " * left, fill))
    return tuple(result)


def ends(left: Line, right: Line, width: int, gap: int = 1) -> list[Span]:
    """`left` at the beginning of a line of `width` cells and `right` at its end; where they would
    meet, the left one is cut off, and the right one where it alone is too long."""
    right = cut_line(right, width)
    right_width = line_width(right)
    room = max(0, width - right_width - gap)
    start = cut_line(left, room) if right_width else cut_line(left, width)
    space = width - line_width(start) - right_width
    return [*start, (" " * space, "text"), *right]


def _changed_columns(old: Line, new: Line) -> tuple[int, int] | None:
    """The first cell that differs and the one behind the last, both lines being as wide."""
    if old == new:  # most are, second after second
        return None
    before = [(cell, role) for text, role in old for cell in cells_of(text)]
    after = [(cell, role) for text, role in new for cell in cells_of(text)]
    if before == after:
        return None
    if len(before) != len(after):
        return 0, max(len(before), len(after))
    start = 0
    while before[start] == after[start]:
        start += 1
    end = len(before)
    while before[end - 1] == after[end - 1]:
        end -= 1
    # A wide character is redrawn whole.
    while start > 0 and (before[start][0] == "" or after[start][0] == ""):
        start -= 1
    while end < len(after) and (before[end][0] == "" or after[end][0] == ""):
        end += 1
    return start, end


class Drawn(Widget):
    """A widget that draws itself: subclasses give `draw_line`, and call `picture_changed` when what
    it draws from has changed; then only the cells that differ are refreshed, and none while the
    widget is not on screen."""

    DEFAULT_CSS = "Drawn { width: 1fr; height: 1fr; }"

    def __init__(
        self, *, name: str | None = None, id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._picture: list[tuple[Span, ...]] | None = None
        self._picture_size = (0, 0)
        self._forget_theme: Callable[[], None] | None = None

    def draw_line(self, y: int, width: int, height: int) -> Line:
        """Line `y` of the picture (0 to `height` - 1), at most `width` cells."""
        raise NotImplementedError

    def picture_changed(self, rows: Iterable[int] | None = None) -> None:
        """Compares the picture with the one last drawn, and refreshes the cells that differ; only
        `rows` are looked at where they are given."""
        size = (self.size.width, self.size.height)
        if self._picture is None or self._picture_size != size or not self.is_on_screen:
            # There is no picture to compare with: it was never drawn, or a repaint that was due
            # came while it was hidden, and was lost.
            self._picture = None
            self.refresh()
            return
        width, height = size
        regions: list[Region] = []
        for y in range(height) if rows is None else rows:
            if not 0 <= y < height:
                continue
            line = fit_line(self.draw_line(y, width, height), width)
            span = _changed_columns(self._picture[y], line)
            if span is not None:
                self._picture[y] = line
                regions.append(Region(span[0], y, span[1] - span[0], 1))
        if regions:
            self.refresh(*regions)

    def redraw(self) -> None:
        """Draws all of it anew."""
        self._picture = None
        self.refresh()

    def picture_lines(self) -> list[str]:
        """The text of the lines as they are drawn now, each as wide as the widget."""
        width, height = self.size
        return ["".join(text for text, _ in self._line(y, width, height)) for y in range(height)]

    def render_line(self, y: int) -> Strip:
        width, height = self.size
        line = self._line(y, width, height)
        return Strip([Segment(text, style(role)) for text, role in line], width)

    def _line(self, y: int, width: int, height: int) -> tuple[Span, ...]:
        if self._picture is None or self._picture_size != (width, height):
            self._picture = [
                fit_line(self.draw_line(row, width, height), width) for row in range(height)
            ]
            self._picture_size = (width, height)
        return self._picture[y] if y < height else ((" " * width, "text"),)

    def on_mount(self) -> None:
        self._forget_theme = on_theme_change(lambda _theme: self.redraw())

    def on_unmount(self) -> None:
        if self._forget_theme is not None:
            self._forget_theme()

    def watch_has_focus(self, _has_focus: bool) -> None:
        super().watch_has_focus(_has_focus)
        # Textual refreshes a widget whose focus changed; the picture must be a new one by then.
        self._picture = None


class Framed(Drawn, can_focus=True):
    """A panel with its own frame: thin and dim, or heavy in the accent colour while it is focused
    (or `active`); the title left and a figure right in its top edge.

    Subclasses give `content_line`. `border`: `box`; `rule` draws one line above the content and
    nothing else (for narrow screens); `none` draws no frame.
    """

    def __init__(
        self,
        title: str | Line = "",
        figure: str | Line = "",
        *,
        border: Border = "box",
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._title = title
        self._figure = figure
        self._border_kind: Border = border
        self._active = False

    # What stands in the frame

    @property
    def active(self) -> bool:
        """Whether the frame is heavy though the focus is elsewhere."""
        return self._active

    @active.setter
    def active(self, on: bool) -> None:
        if on != self._active:
            self._active = on
            self.picture_changed()

    @property
    def border(self) -> Border:
        """`box`, `rule` or `none`."""
        return self._border_kind

    @border.setter
    def border(self, border: Border) -> None:
        if border != self._border_kind:
            self._border_kind = border
            self.picture_changed()

    def set_title(self, title: str | Line) -> None:
        """The title, as text or spans."""
        if title != self._title:
            self._title = title
            self.picture_changed((0,))

    def set_figure(self, figure: str | Line) -> None:
        """What stands at the right of the top edge."""
        if figure != self._figure:
            self._figure = figure
            self.picture_changed((0,))

    @property
    def lit(self) -> bool:
        """Whether it is drawn as the panel in use."""
        return self._active or self.has_focus

    # The content

    def content_line(self, y: int, width: int) -> Line:
        """Line `y` of what is inside the frame, at most `width` cells."""
        return ()

    def beyond(self) -> str:
        """A sign in the bottom edge where more can be scrolled to: `↓`, `↑↓`, `↑`."""
        return ""

    @property
    def content_width(self) -> int:
        """Cells inside the frame."""
        return max(0, self.size.width - (2 if self._border_kind == "box" else 0))

    @property
    def content_height(self) -> int:
        """Lines inside the frame."""
        edges = {"box": 2, "rule": 1, "none": 0}[self._border_kind]
        return max(0, self.size.height - edges)

    @property
    def content_top(self) -> int:
        """The widget's line on which the content begins."""
        return 0 if self._border_kind == "none" else 1

    def content_changed(self) -> None:
        """To be called when what is inside the frame may look different."""
        top = self.content_top
        self.picture_changed(range(top, top + self.content_height))

    # Drawing

    def draw_line(self, y: int, width: int, height: int) -> Line:
        if self._border_kind == "none":
            return self.content_line(y, width)
        if self._border_kind == "rule":
            if y == 0:
                return [(f" {'─' * (width - 2)} ", "accent" if self.lit else "dim")]
            return self.content_line(y - 1, width)
        role = "accent" if self.lit else "dim"
        corners = "┏━┓┃┗┛" if self.lit else "╭─╮│╰╯"
        if width < 4:
            return [(corners[1] * width, role)] if y in (0, height - 1) else ()
        if y == 0:
            return self._top_edge(width, corners, role)
        if y == height - 1:
            sign = self.beyond()
            sign = f" {sign} " if sign and width > len(sign) + 6 else ""
            edge = corners[1] * (width - 3 - len(sign)) + sign + corners[1]
            return [(corners[4] + edge + corners[5], role)]
        side = corners[3]
        inside = fit_line(self.content_line(y - 1, width - 2), width - 2)
        return [(side, role), *inside, (side, role)]

    def _spans(self, text: str | Line, role: str, room: int) -> list[Span]:
        line: Line = [(text, role)] if isinstance(text, str) else text
        line = [(visible(part), its) for part, its in line if part]
        return cut_line(line, room)

    def _top_edge(self, width: int, corners: str, role: str) -> Line:
        left, dash, right = corners[0], corners[1], corners[2]
        room = width - 4
        figure = self._spans(self._figure, "text", max(0, room - 3))
        figure_width = line_width(figure) + 2 if figure else 0
        title_room = room - figure_width - 2 - (1 if figure else 0)
        name_role = "accent bold" if self.lit else "text"
        title = self._spans(self._title, name_role, title_room) if title_room > 0 else []
        title_width = line_width(title) + 2 if title else 0
        edge: list[Span] = [(left + dash, role)]
        if title:
            edge += [(" ", role), *title, (" ", role)]
        edge.append((dash * (room - title_width - figure_width), role))
        if figure:
            edge += [(" ", role), *figure, (" ", role)]
        edge.append((dash + right, role))
        return edge
