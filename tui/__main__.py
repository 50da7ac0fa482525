"""The command `finetui`: the screen, or with a command the same work without one."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

_SCREEN_OPTIONS = ("--lang", "--theme", "--model")
_USAGE = """\
usage: finetui [--lang en|zh] [--theme NAME] [--model NAME]    open the screen
       finetui COMMAND …                                       work without it

commands: train chat evaluate export runs models datasets templates settings doctor version
`finetui COMMAND --help` tells about one; `finetui --help` shows this.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Open the screen, or run a command. Returns the exit code."""
    _open_closed_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = screen_options(words)
    if options is not None:
        return _open_screen(options)
    asks = {"-h", "--help", "help"}
    if words[0] in asks or (words[0].startswith(_SCREEN_OPTIONS) and asks.intersection(words)):
        from engine.cli import usage

        return usage(_USAGE)
    if words[0] in ("--version", "-V"):
        words = ["version"]
    from engine.cli import main as command

    return command(words)


def _open_closed_streams() -> None:
    """A caller that closed stdin, stdout or stderr (`>&-`) gets /dev/null for it: Python has None
    there, and the next file opened would take the place of the terminal."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
            stream = open(number, "w" if number else "r", encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)


def screen_options(words: Sequence[str]) -> dict[str, str] | None:
    """The screen's options (`--name value` or `--name=value`), None where a command is meant."""
    found: dict[str, str] = {}
    rest = list(words)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if name not in _SCREEN_OPTIONS:
            return None
        if not equals:
            if not rest:
                return None
            value = rest.pop(0)
        found[name.removeprefix("--")] = value
    return found


def _open_screen(options: dict[str, str]) -> int:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        sys.stderr.write(
            "error: The screen needs a terminal, and this is none.\n"
            "  try:   finetui train, or another command (finetui --help)\n"
        )
        return 2
    # Until the screen stands (FinetuiApp._begin_works) no garbage is worth looking for: it took
    # an eighth of the start.
    gc.disable()
    from tui.start import start

    return start(options.get("lang", ""), options.get("theme", ""), options.get("model", ""))


if __name__ == "__main__":
    sys.exit(main())
