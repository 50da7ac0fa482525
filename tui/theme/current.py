"""The theme in use: one for the process; styles by role; what Textual and the terminal need."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.color import Color
from rich.style import Style

from tui.theme.loader import DEFAULT_THEME, load_theme
from tui.theme.roles import RGB, Shade, Theme

if TYPE_CHECKING:
    from textual.theme import Theme as TextualTheme

_ATTRIBUTES = frozenset({"bold", "italic", "underline", "strike", "reverse"})

# A picture has as many as it has cells.
_MOST_STYLES = 20_000

_theme: Theme | None = None
_styles: dict[str, Style] = {}
_listeners: list[Callable[[Theme], None]] = []


def current_theme() -> Theme:
    """The theme in use; the default one is loaded when none was set."""
    global _theme
    if _theme is None:
        _theme, _ = load_theme(DEFAULT_THEME)
    return _theme


def set_current_theme(theme: Theme) -> None:
    """Makes `theme` the one in use, and tells those who asked with `on_theme_change`."""
    global _theme
    if theme == _theme:
        return
    _theme = theme
    _styles.clear()
    for listener in tuple(_listeners):
        listener(theme)


def on_theme_change(listener: Callable[[Theme], None]) -> Callable[[], None]:
    """Calls `listener` with each new theme; the function returned ends that."""
    _listeners.append(listener)

    def forget() -> None:
        if listener in _listeners:
            _listeners.remove(listener)

    return forget


def style(role: str) -> Style:
    """The style of a role, in true colour; attributes may follow it: `style("accent bold")`, of
    bold, italic, underline, strike and reverse. `#rrggbb,#rrggbb` is a picture's cell: its upper
    and its lower colour.

    Raises KeyError for a role, and ValueError for an attribute, that there is not.
    """
    found = _styles.get(role)
    if found is None:
        if len(_styles) > _MOST_STYLES:
            _styles.clear()
        found = _styles[role] = _make_style(current_theme(), role)
    return found


def _make_style(theme: Theme, role: str) -> Style:
    if role.startswith("#"):
        upper, _, lower = role.partition(",")
        return Style(color=upper, bgcolor=lower)
    name, *attributes = role.split()
    shade = theme.shades[name]
    if strange := set(attributes) - _ATTRIBUTES:
        raise ValueError(f"no such attribute: {sorted(strange)[0]}")
    colors = Style(color=_rich(shade), bgcolor=_rich(theme.background))
    return colors + Style.parse(" ".join(attributes))


def _rich(shade: Shade | None) -> Color | None:
    return None if shade is None or shade.rgb is None else Color.from_rgb(*shade.rgb)


def depth_map(theme: Theme) -> dict[RGB, tuple[int, int]]:
    """For terminals with fewer colours: each true colour of the theme with its index in the table
    of 256 and its number among the 16."""
    shades = [*theme.shades.values(), *([theme.background] if theme.background else [])]
    return {shade.rgb: (shade.index256, shade.index16) for shade in shades if shade.rgb is not None}


def to_textual_theme(theme: Theme) -> TextualTheme:
    """The same colours for Textual's own parts.

    Without a background it is one of Textual's `ansi` themes, which let the terminal's own show.
    """
    from textual.theme import Theme as TextualTheme

    def color(role: str) -> str:
        return theme.shades[role].hex or "ansi_default"

    background = theme.background.hex if theme.background else None
    plain = background or "ansi_default"
    accent, dim = color("accent"), color("dim")
    return TextualTheme(
        name=f"finetui-{theme.name}",
        dark=theme.dark,
        ansi=background is None,
        primary=accent,
        secondary=color("series2"),
        accent=accent,
        success=color("ok"),
        warning=color("warning"),
        error=color("error"),
        foreground=color("text") if background is None else theme.shades["text"].hex or "#ffffff",
        background=plain,
        surface=plain,
        panel=plain,
        boost=plain,
        variables={
            "ansi-background": "ansi_black" if theme.dark else "ansi_white",
            "ansi-foreground": "ansi_white" if theme.dark else "ansi_black",
            "border": accent,
            "border-blurred": dim,
            "text-muted": dim,
            "text-disabled": dim,
            "scrollbar": dim,
            "scrollbar-hover": accent,
            "scrollbar-active": accent,
            "scrollbar-background": plain,
            "scrollbar-background-hover": plain,
            "scrollbar-background-active": plain,
            "scrollbar-corner-color": plain,
            "input-cursor-text-style": "reverse",
            "block-cursor-background": accent,
            "block-cursor-foreground": plain,
            "block-cursor-text-style": "reverse" if background is None else "none",
        },
    )
