"""Headless commands, one module each: what the screen does, from the command line."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Run one command. Returns the exit code: 0 done, 1 failed, 2 bad input, 130 stopped."""
    from engine.cli.commands import run

    return run(list(arguments))


def usage(text: str) -> int:
    """Print the page that tells about all commands. Returns the exit code."""
    from engine.cli.commands import reader_left
    from engine.cli.output import output

    try:
        output().say(text, end="")
    except BrokenPipeError:
        return reader_left()
    return 0
