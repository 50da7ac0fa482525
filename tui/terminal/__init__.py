"""Between Textual and the terminal: only changed cells are sent, and it is left as it was.

Light to import: `driver` (which needs Textual's) is imported by name where the app is built.
"""

from __future__ import annotations

from tui.terminal.colours import Depth, choose_depth, register_colours
from tui.terminal.fds import (
    redirect_output,
    release_terminal,
    restore,
    restore_terminal,
    take_terminal,
)
from tui.terminal.leaving import LeaveGuard

__all__ = [
    "Depth",
    "LeaveGuard",
    "choose_depth",
    "redirect_output",
    "register_colours",
    "release_terminal",
    "restore",
    "restore_terminal",
    "take_terminal",
]
