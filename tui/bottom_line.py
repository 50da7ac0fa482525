"""The bottom line: the keys of what is focused, then the ways to other places."""

from __future__ import annotations

from typing import Any

from tui import actions
from tui.dialogs.dialog import Dialog
from tui.keys import scope_pairs
from tui.language import _
from tui.panes.rail import RAIL_NAMES
from tui.shell import Shell
from tui.widgets.key_line import KeyHint, KeyLine


def show_keys(app: Shell, line: KeyLine) -> None:
    """Say what the keys do here, the most used first."""
    over = app.screen
    if isinstance(over, Dialog):
        line.set_keys(over.hints())
        line.set_tail([])
        return
    if app.focused is not None and getattr(app.focused.parent, "editing", None):
        # A value is being typed: letters act nowhere else.
        own = [KeyHint("Enter", _("ok")), KeyHint("Esc", _("close"))]
        line.set_keys(own, [])
        return
    scopes: list[str] = []
    node: Any = app.focused
    while node is not None and node is not app.screen:
        scope = getattr(node, "scope", "")
        if scope and scope not in scopes:
            scopes.append(scope)
        node = node.parent
    idle = app.views[app.view_name].idle()
    if scopes == ["train"] or not scopes:
        running = app.studio.current is not None
        first = ("app.stop", "app.pause") if running else ("app.train",)
        pairs = [(app.keys.sign(name), _(actions.BY_ID[name].label)) for name in first]
        if app.studio.live is not None or app.view_name == "runs":
            pairs += [(key, _(text)) for key, text in scope_pairs(["train"], app.keys, idle)]
        if app.view_name == "runs":
            pairs.append((app.keys.sign("app.back"), _("back")))
    else:
        pairs = [(key, _(text)) for key, text in scope_pairs(scopes, app.keys, idle)]
        if scopes[0] in RAIL_NAMES or scopes[0] == "form":
            pairs.append((app.keys.sign("app.train"), _("train")))
        if scopes[0] == "message":
            pairs += [(key, _(text)) for key, text in scope_pairs(["chat"], app.keys)[2:]]
        else:
            pairs.append((app.keys.sign("app.back"), _("back")))
    places = []
    for name in ("app.model", "app.chat", "app.export", "app.evaluate", "app.monitor"):
        action = actions.BY_ID[name]
        sign = "1-4" if name == "app.model" else app.keys.sign(name)
        label = _("panes") if name == "app.model" else _(action.label)
        if all(sign != key for key, _label in pairs) and scopes[:1] != ["message"]:
            places.append(KeyHint(sign, label, app.keys.of(action)[0]))
    own = [KeyHint(key, text) for key, text in pairs]
    line.set_keys(own, places)
    line.set_tail(
        [
            KeyHint(app.keys.sign("app.help"), _("keys"), "question_mark"),
            KeyHint(app.keys.sign("app.palette"), _("commands"), "colon"),
        ]
    )
