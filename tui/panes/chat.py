"""The chat: talk to the base or to any checkpoint of any run; the answer grows as it is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widget import Widget

from engine.config import RunConfig, applies, format_value, settings, with_value
from engine.events import AnswerEnded, AnswerPiece
from engine.problem import BadInput
from tui.dialogs import Pick
from tui.language import _, listed, named
from tui.language import marked as _m
from tui.panes.sampling import NAMES, Sampling
from tui.panes.transcript import MessageBox, Transcript
from tui.panes.turns import PAGE, Turn, how_it_went, turn_lines
from tui.panes.view import View
from tui.shell import shell
from tui.sources import Source, base_of
from tui.widgets.frame import Line
from tui.widgets.lines_panel import LinesPanel
from tui.widgets.list_view import ListRow
from tui.widgets.numbers import middle_cut
from tui.widgets.text_safe import pad_cells, visible, wrap_cells

if TYPE_CHECKING:
    from textual.widgets import TextArea

    from engine.worker import ChatJob, ChatMessage
    from tui.studio import Studio

# The lines that give the next message a file: the field of a message, and what is missing.
FILES = {
    "/image": ("pictures", _m("There is no such picture")),
    "/video": ("videos", _m("There is no such video")),
    "/sound": ("sounds", _m("There is no such sound")),
}


class ChatView(View):
    """A conversation with `source`."""

    DEFAULT_CSS = """
    ChatView #talk { width: 1fr; height: 1fr; }
    ChatView Transcript { height: 1fr; }
    ChatView #how { width: 44; display: none; }
    ChatView.wide { layout: horizontal; }
    ChatView.wide #how { display: block; }
    """

    def __init__(self, studio: Studio) -> None:
        super().__init__(studio, id="view-chat")
        self.transcript = Transcript(self)
        self.box = MessageBox("")
        self.how = LinesPanel(_("how it answers"), id="how")
        self.how.can_focus = False
        self.source: Source | None = None
        self.turns: list[Turn] = []
        self.files: dict[str, tuple[str, ...]] = {}
        self.run = ""
        # Whether the base answers too, beside the model that was made of it; and which that was.
        self.beside = False
        self._asked: Source | None = None
        self._editor: TextArea | None = None

    def compose(self) -> ComposeResult:
        with Vertical(id="talk"):
            yield self.transcript
            with self.box:
                yield self._made_editor()
        yield self.how

    def _made_editor(self) -> TextArea:
        from tui.panes.message_line import MessageLine

        self._editor = MessageLine()
        return self._editor

    def entry(self) -> Widget:
        if self._editor is not None and not self.answering:
            return self._editor
        return self.transcript

    def fit(self, narrow: bool, wide: bool) -> None:
        self.box.set_class(narrow, "narrow")
        self.set_class(wide, "wide")

    def idle(self) -> frozenset[str]:
        return frozenset() if self.answering else frozenset({"chat.stop"})

    def relabel(self) -> None:
        self.how.set_title(_("how it answers"))

    @property
    def answering(self) -> bool:
        return self._growing() is not None

    def _growing(self) -> Turn | None:
        """The answer that is being written: the last one, or the base's beside one of them."""
        found = (one for turn in self.turns for one in (turn, turn.base))
        return next((turn for turn in found if turn is not None and turn.open), None)

    # Which model

    def talk_to(self, source: Source) -> None:
        """Another model; the conversation so far stays, as the question is often the same."""
        self.source = source
        self.show()

    def _source(self) -> Source:
        """The model that was picked; before that the newest run's result that writes, else the
        base."""
        if self.source is not None:
            return self.source
        found = self.studio.sources()
        return next((one for one in found[1:] if not one.scores), found[0])

    def pick_source(self) -> None:
        found = self.studio.sources()
        rows = [
            ListRow(str(number), source.label, source.marks) for number, source in enumerate(found)
        ]

        def chosen(key: str | None) -> None:
            if key is not None:
                self.talk_to(found[int(key)])

        self.app.push_screen(Pick(_("Talk to"), rows), chosen)

    # Drawing

    def show(self) -> None:
        self._take_pieces()
        config = self.studio.config
        source = self._source()
        how = (
            _("greedy") if not config.do_sample else f"T {config.temperature:g} p {config.top_p:g}"
        )
        room = max(10, self.transcript.content_width - 44)
        title = f"{_('Chat with')}  {middle_cut(source.label, room)}"
        self.transcript.set_title(
            f"{title}  {_('beside its base')}" if self.beside and source.folder else title
        )
        self.how.set_lines(self._how_lines(source))
        most = f"{config.max_new_tokens} {_('tokens')}"
        if not config.max_new_tokens:  # then prompt and answer together are what is bounded
            most = f"max_length {config.max_length}"
        self.transcript.set_figure(f"{how} · {most}")
        lines = self._lines()
        following = self.transcript.at_end
        self.transcript.set_lines(lines)
        if following:
            self.transcript.to_end()

    def _how_lines(self, source: Source) -> list[Line]:
        """Beside a wide conversation: who answers, and with which settings."""
        config, width = self.studio.config, max(10, self.how.content_width - 2)
        lines: list[Line] = []
        for head, text in (
            (_("model"), source.model),
            (_("adapter"), source.adapter or "–"),
            (_("system prompt"), self.studio.remembered.chat_system or _("the model's own")),
        ):
            lines.append([(head, "dim")])
            lines += [[("  " + part, "text")] for part in wrap_cells(visible(text), width - 2)]
            lines.append([])
        for name in NAMES:
            if applies(config, name):
                label = pad_cells(_(settings()[name].setting.label), 24)
                value = format_value(name, getattr(config, name))
                lines.append([(label, "dim"), (value or "–", "text")])
        return [*lines, [], [(f"p {_('changes them')}", "dim")]]

    def _lines(self) -> list[Line]:
        width = max(20, self.transcript.content_width - 4)
        if not self.turns:
            files = listed(("/image", "/video", "/sound"))
            return [
                [],
                [(_("Write a message and press Enter."), "dim")],
                [(f"o {_('another model')}   p {_('sampling and system prompt')}   "
                  f"n {_('a new conversation')}", "dim")],
                [(f"{files} {_('PATH gives the next message a file')}", "dim")],
            ]  # fmt: skip
        lines: list[Line] = []
        if self.studio.remembered.chat_system:
            lines += [[(_("system"), "system")]]
            system = visible(self.studio.remembered.chat_system)
            for part in wrap_cells(system, min(width, PAGE) - 2):
                lines.append([("  " + part, "dim")])
            lines.append([])
        for turn in self.turns:
            lines += turn_lines(turn, width, self._waits(turn))
        return lines

    def _waits(self, turn: Turn) -> str:
        """Why an answer has not begun, where another job is before it."""
        current = self.studio.current
        if not turn.open or turn.text or current is None or current.kind == "chat":
            return ""
        return _("The run holds the device; the answer comes when it has ended.")

    def _take_pieces(self) -> None:
        pieces = self.studio.pieces
        while pieces:
            event = pieces.popleft()
            turn = self._growing()
            if event.run != self.run or turn is None:
                continue
            if isinstance(event, AnswerPiece):
                turn.text += event.text
            elif isinstance(event, AnswerEnded):
                turn.text = event.text
                turn.open = False
                turn.note = how_it_went(event)
                if not turn.text and event.reason == "stopped":
                    self._take_back(turn)
                elif self.beside and event.reason != "stopped":
                    self._ask_base()
        live, turn = self.studio.jobs.get(self.run), self._growing()
        if live is not None and live.ended and turn is not None:
            # Failed or stopped before an end was said.
            turn.open = False
            if not turn.text:
                self._take_back(turn)

    def _take_back(self, turn: Turn) -> None:
        """A question that got no answer can be changed and sent again; what is being typed or was
        chosen since stays."""
        if turn is not self.turns[-1]:
            for one in self.turns:
                if one.base is turn:
                    one.base = None
            return
        self.turns.pop()
        asked = self.turns[-1]
        if self._editor is not None and not self._editor.text:
            self._editor.text = asked.text
            self._editor.move_cursor(self._editor.document.end)
        self.files = self.files or asked.files
        self._show_files()

    # Talking

    def write(self) -> None:
        if self._editor is not None:
            self._editor.focus()

    def send(self, text: str) -> bool:
        """Send what was typed; False where it can't be sent now."""
        text = text.strip()
        if not text:
            return False
        command, _space, name = text.partition(" ")
        if command in FILES:
            return self._take_file(command, name.strip())
        if self.answering:
            self.app.notify(_("The answer is still being written; s stops it."))
            return False
        if self.turns and self.turns[-1].role == "user":
            self.turns.pop()  # it got no answer: this is asked in its place
        self.turns.append(Turn("user", text, files=self.files))
        self.files = {}
        self._show_files()
        self._ask()
        return True

    def _take_file(self, command: str, name: str) -> bool:
        """A file for the next message, from a line such as `/image PATH`; without a path, none."""
        kind, missing = FILES[command]
        path = Path(name).expanduser()
        # A video may be a folder of frames.
        if name and not path.is_file() and not (kind == "videos" and path.is_dir()):
            self.app.notify(named(_(missing), name), markup=False)
            return False
        held = (*self.files.get(kind, ()), str(path.resolve())) if name else ()
        self.files = {**self.files, kind: held}
        self._show_files()
        return True

    def _show_files(self) -> None:
        names = listed(Path(one).name for files in self.files.values() for one in files)
        self.box.set_title(f"{_('with')} {names}" if names else "")

    def _ask(self) -> None:
        source = self._source()
        job = self._job(source, self._messages(len(self.turns)))
        if job is not None:
            self.turns.append(Turn("assistant", "", source.label.split("/")[0], open=True))
            self._asked = source
            self._submit(job)

    def _job(self, source: Source, messages: tuple[ChatMessage, ...]) -> ChatJob | None:
        """A question to a model; None, and told, where the settings don't suit it."""
        from engine.worker import ChatJob

        try:
            config = self.chat_config(source)
        except BadInput as error:
            shell(self).tell(error.problem)
            return None
        return ChatJob(config, messages, self.studio.remembered.chat_system or None)

    def _submit(self, job: ChatJob) -> None:
        self.run = self.studio.submit(job, "chat").run
        self.transcript.to_end()
        shell(self).take_in()

    # The base beside it

    def put_base_beside(self) -> None:
        """Let the base answer too, at once what it was not asked yet; or no more."""
        if self.beside:
            self.beside = False
        elif self._base(self._source()) is None:
            self.app.notify(_("This is the base itself: o picks what was made of it."))
        else:
            self.beside = True
            if not self.answering:
                self._ask_base()
        self.show()

    def _base(self, source: Source) -> Source | None:
        base = base_of(source)
        chosen = base is not None and base.model == self.studio.config.model_name_or_path
        return replace(base, label=self.studio.model_name) if base and chosen else base

    def _ask_base(self) -> None:
        """The first question that the base has no answer to. Its conversation is its own: what the
        trained model answered would be an example to it."""
        answers = (number for number, turn in enumerate(self.turns) if turn.role == "assistant")
        number = next((one for one in answers if self.turns[one].base is None), None)
        base = self._base(self._asked or self._source())
        if number is None or base is None:
            return
        job = self._job(base, self._messages(number, of_base=True))
        if job is not None:
            name = f"{base.label}  ({_('base')})"
            self.turns[number].base = Turn("assistant", "", name, open=True)
            self._submit(job)

    def _messages(self, end: int, of_base: bool = False) -> tuple[ChatMessage, ...]:
        """The conversation before a turn, as the model had it or as its base did."""
        from engine.worker import ChatMessage

        turns = [turn.base or turn if of_base else turn for turn in self.turns[:end]]
        return tuple(ChatMessage(turn.role, turn.text, **turn.files) for turn in turns)

    def chat_config(self, source: Source) -> RunConfig:
        config = with_value(self.studio.config, "model_name_or_path", source.model)
        config = with_value(config, "adapter_name_or_path", source.adapter or None)
        return with_value(config, "finetuning_type", "lora") if source.adapter else config

    def stop_answer(self) -> None:
        if self.answering:
            self.engine_stop()
        else:
            shell(self).action_stop_job()

    def engine_stop(self) -> None:
        self.studio.engine.stop(self.run)

    def regenerate(self) -> None:
        if self.answering:
            return
        if self.turns and self.turns[-1].role == "assistant":
            self.turns.pop()
        if self.turns:
            self._ask()
            self.show()

    def start_anew(self) -> None:
        if self.answering:
            self.engine_stop()
        self.turns = []
        self.files = {}
        self._show_files()
        self.show()
        self.write()

    def open_sampling(self) -> None:
        def closed(_result: object) -> None:
            self.studio.save_screen()
            self.studio.save_form()
            self.show()

        self.app.push_screen(Sampling(self.studio), closed)
