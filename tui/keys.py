"""The keys in force: the actions' own, or a person's from `keys.toml`; how they are written."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path

from tui.actions import BY_ID, Action, in_scope
from tui.language import _, listed

_KEY_SIGNS = {
    "question_mark": "?",
    "colon": ":",
    "slash": "/",
    "escape": "Esc",
    "enter": "Enter",
    "space": "space",
    "up": "↑",
    "down": "↓",
    "left": "←",
    "right": "→",
    "tab": "Tab",
    "shift+tab": "Shift+Tab",
    "pageup": "PgUp",
    "pagedown": "PgDn",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
}


def key_sign(key: str) -> str:
    """How a key is written for a person: `?`, `Esc`, `Ctrl+P`."""
    if key in _KEY_SIGNS:
        return _KEY_SIGNS[key]
    if key.startswith("ctrl+"):
        return "Ctrl+" + key[5:].upper()
    return key.upper() if len(key) > 1 and key[0] == "f" and key[1:].isdigit() else key


class Keys:
    """The keys in force: the defaults, with a person's `keys.toml` over them."""

    def __init__(self, own: dict[str, str] | None = None) -> None:
        self.own = own or {}

    def of(self, action: Action) -> tuple[str, ...]:
        own = self.own.get(action.id)
        return tuple(own.replace(",", " ").split()) if own else action.keys

    def sign(self, action_id: str) -> str:
        """The first key of an action, as written for a person."""
        return self.sign_of(BY_ID[action_id])

    def sign_of(self, action: Action) -> str:
        own = action.id in self.own
        return action.sign if action.sign and not own else key_sign(self.of(action)[0])


def read_keys(path: Path) -> tuple[Keys, str | None]:
    """The person's own keys, and a sentence where the file can't be used (the rest then holds)."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Keys(), None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        told = _("{file}: the keys can't be read ({why}); the usual ones are in force.")
        return Keys(), told.format(file=path, why=error)
    own = {name: str(key) for name, key in table.items() if name in BY_ID}
    strangers = sorted(set(table) - set(own))
    if strangers:
        told = _("{file}: there is no action named {names}.")
        return Keys(own), told.format(file=path, names=listed(strangers))
    return Keys(own), None


def scope_pairs(
    scopes: Iterable[str], keys: Keys, idle: frozenset[str] = frozenset()
) -> list[tuple[str, str]]:
    """(key, label) pairs for the bottom line: the focused pane's first, then the screen's. `idle`
    are actions that would do nothing now."""
    pairs: list[tuple[str, str]] = []
    for scope in scopes:
        ranked = sorted((a for a in in_scope(scope) if a.rank), key=lambda action: action.rank)
        shown = [one for one in ranked if one.label and one.id not in idle]
        pairs += [(keys.sign_of(action), action.label) for action in shown]
    return pairs
