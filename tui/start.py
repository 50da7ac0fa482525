"""From the command to the first frame: terminal, log, engine, screen; and out again, all saved."""

from __future__ import annotations

import contextlib
import sys

from engine.paths import config_dir, program_log
from engine.telemetry import Sampler
from engine.worker import Engine
from tui import actions, language
from tui.remembered import recall
from tui.terminal import (
    LeaveGuard,
    redirect_output,
    register_colours,
    release_terminal,
    restore,
    take_terminal,
)
from tui.theme import current_theme, depth_map

SAVE_SECONDS = 120.0


def start(wanted_language: str = "", theme: str = "", model: str = "") -> int:
    """Open the screen; returns the exit code when the person leaves."""
    from tui.app import FinetuiApp
    from tui.terminal.driver import FinetuiDriver

    remembered, fault = recall()
    language.use(_language(wanted_language) or remembered.language or language.from_locale())
    keys, key_fault = actions.read_keys(config_dir() / "keys.toml")
    take_terminal()
    log = program_log()
    log.parent.mkdir(parents=True, exist_ok=True)
    redirect_output(log)
    engine = Engine()
    sampler = Sampler()
    app = FinetuiApp(engine, sampler, remembered, keys, theme, model, driver_class=FinetuiDriver)
    register_colours({rgb: pair for rgb, pair in depth_map(current_theme()).items()})
    app.studio.notes += [note for note in (fault, key_fault) if note]
    guard = LeaveGuard(lambda _signal: _save(app, engine), deadline=SAVE_SECONDS)
    guard.install()
    sampler.start()
    engine.start()
    try:
        code = app.run()
    finally:
        sampler.stop()
        engine.shutdown(True, SAVE_SECONDS)
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


def _save(app: object, engine: Engine) -> None:
    """A dropped line or a kill: the job saves a checkpoint, the form is remembered."""
    with contextlib.suppress(OSError):
        app.studio.save_form()  # type: ignore[attr-defined]
    engine.shutdown(True, SAVE_SECONDS)
