"""Theme files (TOML) read and checked; a broken one warns and another stands in."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from types import MappingProxyType

from tui.language import _, listed, named
from tui.theme.locate import themes_dir
from tui.theme.roles import FALLBACK, ROLES, TERMINAL_OWN, Shade, Theme

DEFAULT_THEME = "dark"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_HEX = re.compile(r"#[0-9a-fA-F]{6}")


class BrokenTheme(ValueError):
    """A theme file that cannot be used; its message is one sentence for a person."""


def theme_names(folders: tuple[Path, ...] = ()) -> list[str]:
    """The names of the themes in `folders` and of the bundled ones, sorted."""
    names = {
        file.stem
        for folder in (*folders, themes_dir())
        if folder.is_dir()
        for file in folder.glob("*.toml")
    }
    return sorted(names)


def load_theme(name: str, folders: tuple[Path, ...] = ()) -> tuple[Theme, str | None]:
    """The theme `name` from the first of `folders` that has it, else the bundled one.

    Returns the theme and None, or, where the file is missing or broken, the default theme and a
    sentence that says what is wrong with which file.
    """
    try:
        return read_theme(_find(name, folders)), None
    except BrokenTheme as error:
        warning = str(error)
    if name != DEFAULT_THEME:
        try:
            return read_theme(_find(DEFAULT_THEME, ())), _("{why}; using {theme}").format(
                why=warning, theme=DEFAULT_THEME
            )
        except BrokenTheme as error:
            warning = f"{warning}; {error}"
    return FALLBACK, _("{why}; using plain colours").format(why=warning)


def _find(name: str, folders: tuple[Path, ...]) -> Path:
    if not _NAME.fullmatch(name):
        raise BrokenTheme(_("theme {name}: not a theme's name").format(name=repr(name)))
    for folder in (*folders, themes_dir()):
        file = folder / f"{name}.toml"
        if file.is_file():
            return file
    known = listed(theme_names(folders)) or "–"
    told = _("theme {name}: no such theme (there are: {known})")
    raise BrokenTheme(told.format(name=repr(name), known=known))


def read_theme(file: Path) -> Theme:
    """The theme that a file describes; its name is the file's.

    Raises BrokenTheme when it cannot be read, lacks a role, or sets anything else.
    """
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _broken(file, "{why}", why=error) from error
    unknown = sorted(set(content) - {"dark", "background", "roles"})
    if unknown:
        raise _broken(file, _("unknown entry {name}"), name=repr(unknown[0]))
    dark = content.get("dark", True)
    if not isinstance(dark, bool):
        raise _broken(file, _("dark is true or false"))
    roles = content.get("roles")
    if not isinstance(roles, dict):
        raise _broken(file, _("no [roles] table"))
    if strange := sorted(set(roles) - set(ROLES)):
        raise _broken(file, _("unknown role {name}"), name=repr(strange[0]))
    if missing := [role for role in ROLES if role not in roles]:
        raise _broken(file, _("role {name} is missing"), name=repr(missing[0]))
    shades = {role: _shade(roles[role], role, file) for role in ROLES}
    background = content.get("background")
    shade = None if background is None else _shade(background, "background", file)
    if shade is TERMINAL_OWN:
        shade = None
    return Theme(file.stem, dark, MappingProxyType(shades), shade)


def _shade(value: object, role: str, file: Path) -> Shade:
    if value == "terminal":
        return TERMINAL_OWN
    if isinstance(value, list) and len(value) == 3:
        true, index256, index16 = value
        if (
            isinstance(true, str)
            and _HEX.fullmatch(true)
            and type(index256) is int
            and 0 <= index256 <= 255
            and type(index16) is int
            and 0 <= index16 <= 15
        ):
            rgb = (int(true[1:3], 16), int(true[3:5], 16), int(true[5:7], 16))
            return Shade(rgb, index256, index16)
    told = _('{role} is "terminal" or ["#rrggbb", 0 to 255, 0 to 15], not {value}')
    raise _broken(file, told, role=role, value=repr(value))


def _broken(file: Path, told: str, **parts: object) -> BrokenTheme:
    """What is wrong with which file, as one sentence in the screen's language."""
    return BrokenTheme(f"{_('theme')} {named(file.name, told.format(**parts))}")
