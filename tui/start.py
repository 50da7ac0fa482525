"""From the command to the first frame: terminal, log, engine, screen; and out again, all saved."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from engine.paths import config_dir, program_log
from tui import language
from tui.keys import read_keys
from tui.remembered import log_fault, recall
from tui.terminal import (
    LeaveGuard,
    redirect_output,
    register_colours,
    release_terminal,
    restore,
    take_terminal,
)
from tui.theme import current_theme, depth_map

if TYPE_CHECKING:
    from tui.app import FinetuiApp

SAVE_SECONDS = 120.0


def start(wanted_language: str = "", theme: str = "", model: str = "") -> int:
    """Open the screen in this terminal; returns the exit code when the person leaves.

    From here on only the terminal driver writes to the terminal: descriptors 1 and 2 lead to the
    program's log.
    """
    from tui.app import FinetuiApp
    from tui.terminal.driver import FinetuiDriver

    wanted = _language(wanted_language)
    language.use(wanted or language.from_locale())  # What is wrong with the form is told in it.
    remembered, fault = recall()
    language.use(wanted or remembered.language or language.from_locale())
    keys, key_fault = read_keys(config_dir() / "keys.toml")
    take_terminal()
    log = program_log()
    redirect_output(log)
    app = FinetuiApp(None, None, remembered, keys, theme, model, driver_class=FinetuiDriver)
    register_colours({rgb: pair for rgb, pair in depth_map(current_theme()).items()})
    notes = (fault, key_fault, log_fault(log))
    app.studio.notes += [note for note in notes if note]
    guard = LeaveGuard(lambda _signal: _save(app), deadline=SAVE_SECONDS)
    guard.install()
    try:
        code = app.run()
    finally:
        app.works.close(SAVE_SECONDS)
        guard.uninstall()
        restore()
        release_terminal()
    if code is None and app.return_code:
        print(f"The screen ended because of a fault in finetui; details: {log}", file=sys.stderr)
        return 1
    return code or 0


def _language(wanted: str) -> str:
    """`en`, `zh`, `zh_CN` as typed; empty where nothing was asked for."""
    return "zh_CN" if wanted.lower().startswith("zh") else wanted


def _save(app: FinetuiApp) -> None:
    """A dropped line or a kill: the job saves a checkpoint, the form is remembered."""
    with contextlib.suppress(OSError):
        app.studio.save_form()
    app.works.close(SAVE_SECONDS)
