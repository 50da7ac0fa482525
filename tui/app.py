"""The screen: composes rail and views, ticks once a second, hands the keyboard's wishes on.

It holds no logic of training: what is to be run lives in `Studio`, what runs in the engine.
"""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.notifications import SeverityLevel

from tui import actions, language
from tui.bottom_line import show_keys
from tui.engine_text import engine_text
from tui.keys import Keys
from tui.language import _
from tui.look_actions import LookActions
from tui.memory_actions import MemoryActions
from tui.model_actions import ModelActions
from tui.panes.rail import Rail
from tui.panes.top import top_state
from tui.places import Places
from tui.remembered import Remembered
from tui.set_actions import SetActions
from tui.studio import Studio
from tui.theme import current_theme, load_theme, set_current_theme, to_textual_theme
from tui.typed_ahead import TypedAhead
from tui.widgets.key_line import KeyLine
from tui.widgets.tab_line import TabLine
from tui.widgets.text_safe import visible
from tui.widgets.top_line import TopLine
from tui.works import Works

if TYPE_CHECKING:
    from engine.events import Event
    from engine.telemetry import Sampler
    from engine.worker import Engine

TICK_SECONDS = 1.0
ANSWER_SECONDS = 0.125


class Wake(Message):
    """The engine said something that is not to wait for the next tick."""


class Later(Message):
    """A look-up has its answer; it is taken in on the screen's thread."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        super().__init__()
        self.function = function
        self.args = args


class FinetuiApp(TypedAhead, Places, MemoryActions, LookActions, ModelActions, SetActions):
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
        keys: Keys | None = None,
        theme: str = "",
        model: str = "",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.works = Works(engine, sampler)
        self.keys = keys or Keys()
        self.studio = Studio(self.works, remembered)
        if model:
            self.studio.change("model_name_or_path", model)
        self.rail = Rail(self.studio)
        self.views = {}
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

    def on_mount(self) -> None:
        self.set_keymap(dict(self.keys.own))
        self.works.listen(self._heard)
        self.studio.begin(self)
        # At once: what has the focus decides what a narrow first frame shows, and the bottom line.
        self.screen.set_focus(self.views["train"].entry())
        self._fit(self.size)
        self.set_interval(TICK_SECONDS, self.tick)
        self.show()
        # The first frame is not to wait for the engine and the machine's readings.
        self.call_after_refresh(self._begin_works)

    def _begin_works(self) -> None:
        if not gc.isenabled():
            # Switched off for the start. What is there now stays as long as the screen.
            gc.freeze()
            gc.enable()
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
        self.follow_downloads()

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
            show_keys(self, self.query_one("#keys", KeyLine))

    def _show_top(self) -> None:
        studio = self.studio
        top = self.query_one("#top", TopLine)
        top.set_loaded(studio.model_name, studio.config.stage, studio.config.finetuning_type)
        top.set_state(top_state(studio, self.keys.sign("app.train")))

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
        text = "\n".join(map(engine_text, message.split("\n")))
        text = visible(text, keep_newlines=True)
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
