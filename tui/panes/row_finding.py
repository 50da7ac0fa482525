"""Rows looked for, filtered and sorted: what goes on in the background, and where it leads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.problem import FinetuiError, Problem
from tui.dialogs import AskLine
from tui.engine_text import engine_text
from tui.language import _
from tui.language import marked as _m
from tui.panes.view import View
from tui.shell import shell
from tui.widgets.frame import Line, Span
from tui.widgets.numbers import thousands
from tui.widgets.text_safe import visible

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.worker.questions import DatasetEntry
    from engine.worker.rows import RowWalk, TokenLengths

LONGEST, SHORTEST = "longest", "shortest"
ORDERS = ("", LONGEST, SHORTEST)
_ORDER_WORDS = {LONGEST: _m("longest first"), SHORTEST: _m("shortest first")}
FILTER_WORDS = (
    ("tokens>1024", _m("more tokens than that, before the cutoff; also = < >= <=")),
    ("cut", _m("longer than the cutoff: a part of it is lost")),
    ("trained=0", _m("nothing of it is learned")),
    ("role=tool", _m("holds a turn of user, assistant, system or tool")),
    ("turns>4", _m("more turns than that")),
    ("chars>2000", _m("more characters than that")),
    ("bad", _m("can't be used")),
    ("cut role=tool", _m("several, with a blank between them: all must hold")),
)


@dataclass
class Order:
    """Which rows of a set are walked through, and in what order; none of it: all, as they stand.

    `numbers` are their numbers as far as they are known.
    """

    dataset: str = ""
    filter: str = ""
    sort: str = ""
    walk: RowWalk | None = None
    lengths: TokenLengths | None = None
    numbers: Sequence[int] | None = field(default=None, repr=False)
    sorting: bool = False
    # What the form said when it was begun: tokens depend on that.
    config: RunConfig | None = field(default=None, repr=False)

    def cancel(self) -> None:
        for one in (self.walk, self.lengths):
            if one is not None:
                one.cancel()

    def row_at(self, place: int) -> int:
        if self.numbers is None:
            return place
        return self.numbers[min(place, len(self.numbers) - 1)] if self.numbers else 0

    def place_of(self, row: int) -> int:
        """Where a row stands in the order; 0 where it doesn't."""
        if self.numbers is None:
            return row
        return self.numbers.index(row) if row in self.numbers else 0


class RowFinding(View):
    """The part of the row browser that looks for rows. Places are those in the present order."""

    search: RowWalk | None = None
    order = Order()
    _text = ""
    _seeking = False
    _fault: Problem | None = None

    # What the browser itself gives

    @property
    def entry_shown(self) -> DatasetEntry | None:
        raise NotImplementedError

    @property
    def place(self) -> int:
        raise NotImplementedError

    def go(self, place: int) -> None:
        """Show the row at a place of the order."""
        raise NotImplementedError

    # Beginning

    def _begin(
        self, take: Callable[[Any], None], function: Callable[..., Any], *args: Any, key: str
    ) -> None:
        def answered(future: Future[Any]) -> None:
            shell(self).call_from_thread_later(taken, future)

        def taken(future: Future[Any]) -> None:
            try:
                take(future.result())
            except CancelledError:
                return
            except (FinetuiError, OSError) as error:
                self.app.notify(visible(str(error)), severity="error")

        self.studio.ask(answered, function, *args, self.studio.config, self._told, key=key)

    def _told(self) -> None:
        """Called on a thread of the engine: something was found, or all was gone through."""
        shell(self).call_from_thread_later(self.follow)

    def follow(self) -> None:
        """Take over what the background has come to; called at each news and tick."""
        self._begin_anew()
        order = self.order
        for one in (order.walk, order.lengths):
            if one is not None and one.fault is not None:
                fault, one.fault = one.fault, None
                self.app.notify(visible(str(fault)), severity="error")
                if one is order.lengths:
                    self._drop_order()
                    return
        if order.walk is not None and order.lengths is None:
            order.numbers = order.walk.places()
        if order.lengths is not None and order.lengths.done and not order.sorting:
            order.sorting = True
            self._ask_sorted(order)
        self._seek()

    def _begin_anew(self) -> None:
        """Filter or count again where the form has changed what the tokens of rows are."""
        order, config = self.order, self.studio.config
        if order.config is None or order.config is config:
            return
        from engine.worker.rows import asks_for_tokens, counts_depend_on

        stale = counts_depend_on(order.config) != counts_depend_on(config)
        order.config = config
        if stale and (order.sort or asks_for_tokens(order.filter)):
            text, sort = order.filter, order.sort
            self._drop_order()
            self._filter(text) if text else self._sort(sort)

    def _ask_sorted(self, order: Order) -> None:
        assert order.lengths is not None

        def answered(future: Future[Sequence[int]]) -> None:
            shell(self).call_from_thread_later(taken, future)

        def taken(future: Future[Sequence[int]]) -> None:
            if not future.cancelled() and self.order is order:
                order.numbers = future.result()
                self.go(0)

        self.studio.ask(answered, order.lengths.order, order.sort == LONGEST, key="sort")

    # Searching

    def begin_search(self) -> None:
        self.action_search_rows()

    def action_search_rows(self) -> None:
        from engine.worker.rows import search_fault

        def typed(text: str | None) -> None:
            if text:
                self._text = text
                self._search()
            elif text is not None:
                self._end_search()

        note = _("/…/ is a regular expression; empty ends the search")
        check = lambda text: engine_text(search_fault(text)) if text else ""  # noqa: E731
        self.app.push_screen(AskLine(_("Find a row that holds"), self._text, note, check), typed)

    def action_search_again(self) -> None:
        if self.search is None:
            self._search() if self._text else self.action_search_rows()
            return
        self._seeking = True
        self._seek()

    def _search(self) -> None:
        from engine.worker.rows import begin_search

        entry = self.entry_shown
        if entry is None:
            return
        self._end_search()
        self._begin(
            self._take_search,
            begin_search, entry.name, self._text, self.place, self.order.numbers,
            key="find",
        )  # fmt: skip

    def _take_search(self, walk: RowWalk) -> None:
        entry = self.entry_shown
        if entry is None or walk.rows.name != entry.name:
            walk.cancel()
            return
        self._end_search()
        self.search, self._seeking = walk, True
        self._seek()

    def _end_search(self) -> None:
        if self.search is not None:
            self.search.cancel()
        self.search, self._seeking = None, False

    def _seek(self) -> None:
        """Go to the next match, once it is known which that is."""
        walk = self.search
        if walk is not None and walk.fault is not None:
            self._end_search()
            self.app.notify(visible(str(walk.fault)), severity="error")
            return
        if walk is None or not self._seeking or not walk.settled_from(self.place):
            return
        self._seeking = False
        place = walk.next_from(self.place)
        if place is not None:
            self.go(place)
            return
        self._end_search()
        self.app.notify(f"{_('No row holds')} “{visible(self._text)}”.")

    # Filtering and sorting

    def action_filter_rows(self) -> None:
        from engine.worker.rows import filter_fault

        def typed(text: str | None) -> None:
            if text is None:
                return
            self._drop_order()
            if text.strip():
                self._filter(text.strip())

        note = _(
            "tokens>1024  cut  trained=0  role=tool  turns>4  chars>2000  bad; empty shows all"
        )
        check = lambda text: engine_text(filter_fault(text)) if text.strip() else ""  # noqa: E731
        self.app.push_screen(
            AskLine(_("Show only rows with"), self.order.filter, note, check), typed
        )

    def _filter(self, text: str) -> None:
        from engine.worker.rows import begin_filter

        entry = self.entry_shown
        if entry is None:
            return

        def take(walk: RowWalk) -> None:
            if self.entry_shown is not entry:
                walk.cancel()
                return
            self._end_search()
            self.order = Order(entry.name, text, walk=walk, config=self.studio.config)
            self.follow()
            self.go(0)

        self._begin(take, begin_filter, entry.name, text, key="filter")

    def action_sort_rows(self) -> None:
        """As they stand, longest first, shortest first, and round again."""
        entry = self.entry_shown
        if entry is None:
            return
        sort = ORDERS[(ORDERS.index(self.order.sort) + 1) % len(ORDERS)]
        lengths = self.order.lengths
        if lengths is not None and sort:
            self._end_search()
            self.order = Order(entry.name, sort=sort, lengths=lengths, config=self.studio.config)
            self.follow()
            return
        self._drop_order()
        if sort:
            self._sort(sort)

    def _sort(self, sort: str) -> None:
        from engine.worker.rows import begin_lengths

        entry = self.entry_shown
        if entry is None:
            return

        def take(lengths: TokenLengths) -> None:
            if self.entry_shown is not entry:
                lengths.cancel()
                return
            self.order = Order(entry.name, sort=sort, lengths=lengths, config=self.studio.config)
            self.follow()

        self._begin(take, begin_lengths, entry.name, key="lengths")

    def _drop_order(self) -> None:
        """All rows again, as they stand; the one in view stays."""
        row = self.order.row_at(self.place)
        self.order.cancel()
        had, self.order = self.order.numbers is not None, Order()
        self._end_search()
        if had:
            self.go(row)

    def leave_set(self) -> None:
        """Another set is looked at."""
        self.order.cancel()
        self.order = Order()
        self._end_search()

    def step_back(self) -> bool:
        if self.search is not None:
            self._end_search()
        elif self.order.filter or self.order.sort:
            self._drop_order()
        else:
            return False
        return True

    def idle(self) -> frozenset[str]:
        return frozenset() if self._text else frozenset({"rows.again"})

    # Telling

    def explained(self) -> list[Line]:
        """What a filter can ask for."""
        lines: list[Line] = [[(_("What the filter can ask for"), "text bold")]]
        lines += [[(f"{sign:<14}", "accent"), (_(told), "text")] for sign, told in FILTER_WORDS]
        return lines

    def told_line(self, share: float) -> list[Span]:
        """One line on what goes on and what is shown; empty where there is nothing to tell."""
        order, search = self.order, self.search
        parts: list[str] = []
        if share < 1:
            parts.append(f"{_('indexing')} {_percent(share)}")
        if order.filter:
            shown = thousands(len(order.numbers or ()))
            more = order.walk is not None and not order.walk.done
            so_far = f", {_percent(order.walk.share)}" if more and order.walk else ""
            parts.append(f"{_('only')} {visible(order.filter)}: {shown} {_('rows')}{so_far}")
        if order.lengths is not None and not order.lengths.done:
            parts.append(f"{_('counting tokens')} {_percent(order.lengths.share)}")
        elif order.numbers is not None and order.sort:
            parts.append(_(_ORDER_WORDS[order.sort]))
        if search is not None:
            so_far = "" if search.done else f", {_percent(search.share)}"
            found = f"{thousands(search.found)} {_('matches')}{so_far}"
            parts.append(f"“{visible(self._text)}” {found}")
        return [(" · ".join(parts), "dim")] if parts else []


def _percent(share: float) -> str:
    return f"{min(99, int(100 * share))} %"
