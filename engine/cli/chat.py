"""`finetui chat`: a conversation, line by line."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import typer

from engine.cli.output import Output, output, visible
from engine.cli.train import WORDS
from engine.config import RunConfig
from engine.events import AnswerEnded, AnswerPiece, Event, LogLine, Progress
from engine.worker import ChatJob, ChatMessage, Engine

_HELP = (
    "/exit leaves, /reset begins anew, /system TEXT sets the system text, /image, /video and "
    "/sound PATH give the next message a picture, a video or a sound, /help shows this."
)
IMAGES = typer.Option(
    [], "--image", metavar="PATH", help="A picture for the first message; repeat it for several."
)
VIDEOS = typer.Option(
    [], "--video", metavar="PATH", help="A video for the first message; repeat it for several."
)
SOUNDS = typer.Option(
    [], "--sound", metavar="PATH", help="A sound for the first message; repeat it for several."
)
# The field of a message that a file goes to, and what people call it.
_FILES = {"/image": ("pictures", "picture"), "/video": ("videos", "video"),
          "/sound": ("sounds", "sound")}  # fmt: skip


def chat(
    words: list[str] = WORDS,
    once: str = typer.Option(
        "", "--once", metavar="QUESTION", help="Answer one question and leave; - reads it."
    ),
    system: str = typer.Option("", "--system", help="The system text."),
    image: list[Path] = IMAGES,
    video: list[Path] = VIDEOS,
    sound: list[Path] = SOUNDS,
) -> int:
    """Talk to a model, line by line; from a pipe, each line is a turn."""
    from engine.cli.read import check_inputs, checked, read_words

    config = checked(read_words(words), "chat")
    check_inputs(config)
    out = output()
    out.divert()
    engine = Engine()
    talk = Conversation(config, engine, out, system)
    try:
        for kind, paths in (("/image", image), ("/video", video), ("/sound", sound)):
            if not all(talk.give(kind, str(path)) for path in paths):
                return 2
        if once:
            return talk.ask(sys.stdin.read().strip() if once == "-" else once)
        return talk.loop()
    finally:
        engine.shutdown(save=False, deadline=5.0)


class Conversation:
    """The turns so far; one ChatJob a turn, the model kept between them."""

    def __init__(self, config: RunConfig, engine: Engine, out: Output, system: str) -> None:
        self._config = config
        self._engine = engine
        self._out = out
        self._system = system or None
        self._turns: list[ChatMessage] = []
        self._files: dict[str, list[str]] = {}

    def give(self, kind: str, name: str) -> bool:
        """Give the next message a file (`/image`, `/video`, `/sound`); False, and said so, where
        there is no such file. A video may be a folder of frames."""
        field, word = _FILES[kind]
        path = Path(name).expanduser()
        if not path.is_file() and not (name and kind == "/video" and path.is_dir()):
            self._out.tell(f"There is no {word} {name}.")
            return False
        self._files.setdefault(field, []).append(str(path.resolve()))
        return True

    def loop(self) -> int:
        """Read lines until /exit or the end of the input; the last answer's exit code."""
        typed = sys.stdin.isatty()
        if typed:
            self._out.tell(_HELP)
        code = 0
        while True:
            if typed:
                self._out.say("> ", end="")
            try:
                line = sys.stdin.readline()
            except KeyboardInterrupt:
                self._out.say()
                return 128 + signal.SIGINT
            text = line.strip()
            if not line or text in ("/exit", "/quit", "exit"):
                return 0 if typed else code
            if text.startswith("/"):
                self._command(text)
            elif text:
                code = self.ask(text)
                # Typed, Ctrl+C only ends the answer, and a fault was told: the talk goes on.
                if code and not (typed and code in (1, 2, 128 + signal.SIGINT)):
                    return code

    def ask(self, question: str) -> int:
        """One turn: stream the answer. A turn that failed is taken back."""
        from engine.cli.follow import follow

        files = self._files
        named = {field: tuple(names) for field, names in files.items()}
        self._turns.append(ChatMessage("user", question, **named))
        self._files = {}
        job = ChatJob(self._config, tuple(self._turns), self._system)
        answer = _Streamed(self._out)
        outcome = follow(job, answer, self._engine)
        if outcome.code == 0 or answer.text:
            self._turns.append(ChatMessage("assistant", answer.text))
        else:
            self._turns.pop()
            self._files = files
        return outcome.code

    def _command(self, text: str) -> None:
        name, _, rest = text.partition(" ")
        if name in _FILES:
            if self.give(name, rest.strip()):
                self._out.tell(f"the next message has the {_FILES[name][1]}")
        elif name in ("/reset", "/clear", "/new"):
            self._turns.clear()
            self._files.clear()
            self._out.tell("a new conversation")
        elif name == "/system":
            self._system = rest.strip() or None
            self._turns.clear()
            self._out.tell("system text set, a new conversation")
        else:
            self._out.tell(_HELP)


class _Streamed:
    """Shows an answer as it grows; what loads meanwhile is told on stderr."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._activity = ""
        self._open = False
        self.text = ""

    def show(self, event: Event) -> None:
        if isinstance(event, AnswerPiece):
            self.text += event.text
            self._open = True
            self._out.say(visible(event.text, lines=True), end="")
        elif isinstance(event, AnswerEnded):
            if not self._open:
                self._out.say(visible(event.text, lines=True), end="")
            self.text = event.text
            self._out.say()
            self._open = False
        elif isinstance(event, Progress) and event.activity != self._activity:
            self._activity = event.activity
            self._out.tell(visible(event.activity))
        elif isinstance(event, LogLine):
            self._out.tell(visible(event.text))

    def close(self) -> None:
        if self._open:
            self._out.say()
            self._open = False
