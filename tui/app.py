"""The screen: composes rail and views, ticks once a second, hands the keyboard's wishes on.

It holds no logic of training: what is to be run lives in `Studio`, what runs in the engine.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.geometry import Size
from textual.message import Message
from textual.notifications import SeverityLevel
from textual.widget import Widget

from tui import actions, language
from tui.job_actions import JobActions
from tui.language import _
from tui.look_actions import LookActions
from tui.panes.rail import RAIL_NAMES, Rail, StepIn
from tui.panes.top import top_state
from tui.panes.view import View
from tui.remembered import Remembered
from tui.studio import Studio
from tui.theme import current_theme, load_theme, set_current_theme, to_textual_theme
from tui.widgets.key_line import KeyHint, KeyLine
from tui.widgets.tab_line import TabLine
from tui.widgets.text_safe import visible
from tui.widgets.top_line import TopLine
from tui.works import Works

if TYPE_CHECKING:
    from engine.events import Event
    from engine.telemetry import Sampler
    from engine.worker import Engine

NARROW_COLUMNS, NARROW_ROWS, WIDE_COLUMNS = 100, 30, 160
TICK_SECONDS = 1.0
ANSWER_SECONDS = 0.125
VIEW_NAMES = ("train", "chat", "evaluate", "export")


class Wake(Message):
    """The engine said something that is not to wait for the next tick."""


class Later(Message):
    """A look-up has its answer; it is taken in on the screen's thread."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        super().__init__()
        self.function = function
        self.args = args


class FinetuiApp(JobActions, LookActions):
    """One screen over one engine."""

    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar = actions.bindings("app")
    CSS = """
    Screen { layout: vertical; background: ansi_default; }
    ModalScreen { background: transparent; }
    #body { height: 1fr; }
    #tabs { display: none; }
    """

    def __init__(
        self,
        engine: Engine | None,
        sampler: Sampler | None,
        remembered: Remembered,
        keys: actions.Keys | None = None,
        theme: str = "",
        model: str = "",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.works = Works(engine, sampler)
        self.keys = keys or actions.Keys()
        self.studio = Studio(self.works, remembered)
        if model:
            self.studio.change("model_name_or_path", model)
        self.rail = Rail(self.studio)
        self.views: dict[str, View] = {}
        self.view_name = "train"
        self.narrow = False
        self.wide = False
        self._woken = False
        self._answering = False
        self._told: set[str] = set()
        self._noted = 0
        chosen, warning = load_theme(theme or remembered.theme or "dark")
        set_current_theme(chosen)
        if warning:
            self.studio.notes.append(warning)
        self.register_theme(to_textual_theme(chosen))
        self.theme = f"finetui-{current_theme().name}"

    # Building

    def compose(self) -> ComposeResult:
        yield TopLine(id="top")
        yield TabLine(id="tabs")
        with Horizontal(id="body"):
            yield self.rail
            yield self._made("train")
        yield KeyLine(id="keys")

    def _made(self, name: str) -> View:
        """The view called `name`, built when it is first wanted."""
        if name not in self.views:
            self.views[name] = _build_view(name, self.studio)
            self.views[name].fit(self.narrow, self.wide)
        return self.views[name]

    def on_mount(self) -> None:
        self.set_keymap({name: key for name, key in self.keys.own.items()})
        self.works.listen(self._heard)
        self.studio.begin(self)
        self._fit(self.size)
        self.views["train"].entry().focus()
        self.set_interval(TICK_SECONDS, self.tick)
        self.show()
        # The first frame is not to wait for the engine and the machine's readings.
        self.call_after_refresh(self._begin_works)

    def _begin_works(self) -> None:
        with self.alive():
            self.works.begin()
            self.studio.reading = self.works.reading()
            self.studio.meet_engine()
        self.show()

    def _heard(self, event: Event) -> None:
        """On the engine thread: keep the event, wake the screen where it is not to wait."""
        self.studio.inbox.append(event)
        if event.urgent and not self._woken:
            self._woken = True
            self.post_message(Wake())

    # The tick

    def tick(self) -> None:
        """Once a second: read the machine, fold what the engine said, draw what changed."""
        self.studio.reading = self.works.reading()
        self.take_in()

    def on_wake(self) -> None:
        self.take_in()

    def take_in(self) -> None:
        """Fold the engine's events and draw."""
        self._woken = False
        with self.alive():
            self.react(self.studio.drain())
            self._tell_notes()
        answering = self.studio.answering
        if answering and not self._answering:
            self._answering = True
            self.set_timer(ANSWER_SECONDS, self._follow_answer)
        self.show()

    def _follow_answer(self) -> None:
        """While an answer grows, the chat is drawn about eight times a second."""
        self._answering = False
        self.take_in()

    def show(self) -> None:
        """Draw all that is visible; each widget compares and sends only what changed."""
        if not self.is_running:
            return
        with self.alive():
            if self.rail.display:
                self.rail.show()
            view = self.views[self.view_name]
            if view.display and view.is_mounted:
                view.show()
            self._show_top()
            self._show_keys()

    def _show_top(self) -> None:
        studio = self.studio
        top = self.query_one("#top", TopLine)
        top.set_loaded(studio.model_name, studio.config.stage, studio.config.finetuning_type)
        top.set_state(top_state(studio, self.keys.sign("app.train")))

    def _show_keys(self) -> None:
        if len(self.screen_stack) > 1:
            return  # a dialog tells its own keys
        if self.focused is not None and getattr(self.focused.parent, "editing", None):
            # A value is being typed: letters act nowhere else.
            own = [KeyHint("Enter", _("ok")), KeyHint("Esc", _("close"))]
            self.query_one("#keys", KeyLine).set_keys(own, [])
            return
        scopes: list[str] = []
        node: Any = self.focused
        while node is not None and node is not self.screen:
            scope = getattr(node, "scope", "")
            if scope and scope not in scopes:
                scopes.append(scope)
            node = node.parent
        if scopes == ["train"] or not scopes:
            running = self.studio.current is not None
            first = ("app.stop", "app.pause") if running else ("app.train",)
            pairs = [(self.keys.sign(name), _(actions.BY_ID[name].label)) for name in first]
            if self.studio.live is not None or self.view_name == "runs":
                pairs += [(key, _(text)) for key, text in actions.line(["train"], self.keys)]
            if self.view_name == "runs":
                pairs.append((self.keys.sign("app.back"), _("back")))
        else:
            pairs = [(key, _(text)) for key, text in actions.line(scopes, self.keys)]
            if scopes[0] in RAIL_NAMES or scopes[0] == "form":
                pairs.append((self.keys.sign("app.train"), _("train")))
            if scopes[0] == "message":
                pairs += [(key, _(text)) for key, text in actions.line(["chat"], self.keys)[2:]]
            else:
                pairs.append((self.keys.sign("app.back"), _("back")))
        places = []
        for name in ("app.model", "app.chat", "app.export", "app.evaluate", "app.monitor"):
            action = actions.BY_ID[name]
            sign = "1-4" if name == "app.model" else self.keys.sign(name)
            label = _("panes") if name == "app.model" else _(action.label)
            if all(sign != key for key, _label in pairs) and scopes[:1] != ["message"]:
                places.append(KeyHint(sign, label, self.keys.of(action)[0]))
        own = [KeyHint(key, text) for key, text in pairs]
        line = self.query_one("#keys", KeyLine)
        line.set_keys(own, places)
        line.set_tail(
            [
                KeyHint(self.keys.sign("app.help"), _("keys"), "question_mark"),
                KeyHint(self.keys.sign("app.palette"), _("commands"), "colon"),
            ]
        )

    # Places: a rail panel or a view

    def on_resize(self, event: events.Resize) -> None:
        # Textual takes the new size in only after this handler: `self.size` is the old one.
        self._fit(event.size)
        self.call_after_refresh(self.show)

    def _fit(self, size: Size) -> None:
        width, height = size
        self.narrow = width < NARROW_COLUMNS or height < NARROW_ROWS
        self.wide = not self.narrow and width >= WIDE_COLUMNS
        self.query_one("#tabs", TabLine).display = self.narrow
        self.rail.expected = height - (3 if self.narrow else 2)
        self.rail.styles.width = "1fr" if self.narrow else 40 if self.wide else 32
        for view in self.views.values():
            view.fit(self.narrow, self.wide)
        self._place()

    def _place(self) -> None:
        """On a narrow screen show the rail panel or the view, whichever has the focus."""
        tabs = self.query_one("#tabs", TabLine)
        tabs.set_tabs(
            [
                (name, f"{number} {_(name.capitalize())}")
                for number, name in enumerate(RAIL_NAMES, 1)
            ],
            [(name, _(name.capitalize())) for name in VIEW_NAMES],
        )
        panel = self._focused_panel()
        view = self.views[self.view_name]
        if not self.narrow:
            self.rail.display = view.display = True
            if self.rail.single is not None:
                self.rail.show_single(None)
            return
        self.rail.display = panel is not None
        view.display = panel is None
        if panel is not None:
            self.rail.show_single(panel)
        tabs.open(panel or view.home or self.view_name)

    def _focused_panel(self) -> str | None:
        node: Widget | None = self.focused
        for name, panel in self.rail.panels.items():
            if node is panel:
                return name
        return None

    async def open_view(self, name: str, focus: bool = True) -> None:
        """Show a view in the right half, building it the first time."""
        view = self._made(name)
        if not view.is_attached:
            # Hidden until it stands alone: two views are never seen side by side.
            view.display = False
            await self.query_one("#body").mount(view)
        self.view_name = name
        for other in self.views.values():
            # Two wishes may have crossed while a view was being built: the last one stands alone.
            other.display = other is view
        for key, panel in self.rail.panels.items():
            panel.active = key == view.home and focus
        if focus:
            view.entry().focus()
        self._place()
        self.show()

    async def action_view(self, name: str) -> None:
        await self.open_view(name)

    async def action_rail(self, name: str) -> None:
        if self.narrow:
            self.rail.display = True
            self.rail.show_single(name)
        self.rail.panels[name].focus()
        await self._bring_detail(name)

    async def _bring_detail(self, name: str) -> None:
        """Focus on a rail panel brings up its detail beside it."""
        if self.narrow:
            self._place()
            self.show()
        else:
            await self.open_view(name, focus=False)

    async def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        panel = self._focused_panel()
        if panel is not None and not self.narrow and self.view_name != panel:
            await self._bring_detail(panel)
        else:
            for key, other in self.rail.panels.items():
                other.active = panel is None and key == self.views[self.view_name].home
            self._place()
            self.call_after_refresh(self.show)

    def on_list_panel_highlighted(self) -> None:
        """Another row of a rail list: its detail follows at once."""
        self.show()

    async def on_step_in(self, message: StepIn) -> None:
        await self.open_view(message.name)

    async def on_tab_line_chosen(self, message: TabLine.Chosen) -> None:
        if message.key in RAIL_NAMES:
            await self.action_rail(message.key)
        else:
            await self.open_view(message.key)

    async def action_back(self) -> None:
        """One level out: from a detail to its rail panel, from there to the monitor."""
        view = self.views[self.view_name]
        panel = self._focused_panel()
        if panel is None and view.step_back():
            self.show()
        elif panel is None and view.home:
            await self.action_rail(view.home)
        elif panel is not None or self.view_name != "train":
            await self.open_view("train")

    # Textual binds Tab and Shift+Tab to these names on every screen.
    def action_focus_next(self) -> None:
        self.call_later(self._walk, 1)

    def action_focus_previous(self) -> None:
        self.call_later(self._walk, -1)

    async def _walk(self, by: int) -> None:
        """To the next panel; on a narrow screen on to the next tab after a place's last one."""
        chain = self.screen.focus_chain
        place = chain.index(self.focused) if self.focused in chain else -1
        if not self.narrow or len(self.screen_stack) > 1 or 0 <= place + by < len(chain):
            self.screen.focus_next() if by > 0 else self.screen.focus_previous()
            return
        tabs = [*RAIL_NAMES, *VIEW_NAMES]
        here = self._focused_panel() or self.views[self.view_name].home or self.view_name
        there = tabs[(tabs.index(here) + by) % len(tabs)]
        await (self.action_rail(there) if there in RAIL_NAMES else self.open_view(there))

    def on_key_line_pressed(self, message: KeyLine.Pressed) -> None:
        self.simulate_key(message.key)

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """A toast. Its text is never read as markup: it may hold names that others gave."""
        text = visible(message, keep_newlines=True)
        super().notify(text, title=visible(title), severity=severity, timeout=timeout, markup=False)

    def _tell_notes(self) -> None:
        """Notes stand in the log of the first picture; once a run has the log they are toasts."""
        new = self.studio.notes[self._noted :]
        self._noted = len(self.studio.notes)
        if self.studio.live is not None:
            for note in new[-3:]:
                self.notify(note)

    def call_from_thread_later(self, function: Callable[..., Any], *args: Any) -> None:
        """Run `function` on the screen's thread, without waiting for it (waiting can deadlock on
        quit)."""
        self.post_message(Later(function, args))

    def on_later(self, message: Later) -> None:
        with self.alive():
            message.function(*message.args)
        self.show()

    @contextmanager
    def alive(self) -> Iterator[None]:
        """A fault of our own in what is drawn or taken in is told once and logged; the screen and
        the run under it go on."""
        try:
            yield
        except Exception as error:
            traceback.print_exception(error)  # descriptor 2 leads to the program's log
            what = f"{type(error).__name__}: {error}"
            if what not in self._told:
                self._told.add(what)
                self.notify(f"{_('finetui made a mistake; F5 shows its log.')} {what}", timeout=10)

    # Language, theme, redraw

    def use_language(self, name: str) -> None:
        language.use(name)
        self.studio.remembered.language = name
        self.rebuild()

    def rebuild(self) -> None:
        """Draw everything anew, after a change of language or theme."""
        for view in self.views.values():
            view.relabel()
        self._place()
        self.show()
        self.refresh(repaint=True, layout=True)


def _build_view(name: str, studio: Studio) -> View:
    """Views are imported when they are first wanted: opening the screen needs one of them."""
    from importlib import import_module

    homes = {
        "train": ("train", "TrainView"),
        "model": ("model", "ModelView"),
        "data": ("data", "DataView"),
        "settings": ("settings", "SettingsView"),
        "runs": ("runs", "RunView"),
        "chat": ("chat", "ChatView"),
        "evaluate": ("evaluate", "EvaluateView"),
        "export": ("export", "ExportView"),
    }
    module, kind = homes[name]
    view: View = getattr(import_module(f"tui.panes.{module}"), kind)(studio)
    return view


def run(language: str = "", theme: str = "", model: str = "") -> int:
    """Open the screen in this terminal; returns the exit code.

    From here on only the terminal driver writes to the terminal: descriptors 1 and 2 lead to the
    program's log.
    """
    from tui.start import start

    return start(language, theme, model)
