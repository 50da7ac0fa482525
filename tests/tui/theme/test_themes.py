"""Theme files, the theme in use, and what Textual and the terminal layer get from it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest
from textual.app import App, ComposeResult

from tui.theme import (
    FALLBACK,
    RGB,
    ROLES,
    Theme,
    current_theme,
    depth_map,
    load_theme,
    on_theme_change,
    set_current_theme,
    style,
    theme_names,
    themes_dir,
    to_textual_theme,
)
from tui.widgets.frame import Drawn, Line

BUNDLED = ("contrast", "dark", "light")


@pytest.fixture(autouse=True)
def theme_restored() -> Iterator[None]:
    before = current_theme()
    yield
    set_current_theme(before)


def linear(rgb: RGB) -> list[float]:
    return [(c / 255) / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]


def luminance(rgb: RGB) -> float:
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear(rgb), strict=True))


def contrast(one: RGB, two: RGB) -> float:
    high, low = sorted((luminance(one), luminance(two)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_bundled_themes_are_whole() -> None:
    assert theme_names() == list(BUNDLED)
    for name in BUNDLED:
        theme, warning = load_theme(name)
        assert warning is None
        assert theme.name == name
        assert set(theme.shades) == set(ROLES)


@pytest.mark.parametrize("name", BUNDLED)
def test_every_role_can_be_read_on_its_background(name: str) -> None:
    theme, _ = load_theme(name)
    # A dark terminal is seldom pure black, nor a light one pure white.
    grounds: list[RGB] = [(0, 0, 0), (30, 30, 30)] if theme.dark else [(255,) * 3, (245,) * 3]
    if theme.background is not None and theme.background.rgb is not None:
        grounds = [theme.background.rgb]
    for role, shade in theme.shades.items():
        for ground in grounds:
            if shade.rgb is not None:
                assert contrast(shade.rgb, ground) >= 4.5, role


# Machado, Oliveira and Fernandes (2009), severity 1.0: protanopia and deuteranopia, linear RGB.
BLINDNESS = {
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
}


def lab(linear_rgb: list[float]) -> tuple[float, float, float]:
    r, g, b = (max(0.0, min(1.0, c)) for c in linear_rgb)
    xyz = (
        (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505,
        0.2126 * r + 0.7152 * g + 0.0722 * b,
        (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089,
    )
    x, y, z = (c ** (1 / 3) if c > 0.008856 else 7.787 * c + 16 / 116 for c in xyz)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("kind", BLINDNESS)
@pytest.mark.parametrize("name", BUNDLED)
def test_series_are_told_apart_by_colour_blind_eyes(name: str, kind: str) -> None:
    theme, _ = load_theme(name)
    seen = {}
    for number in range(1, 7):
        rgb = theme.shades[f"series{number}"].rgb
        assert rgb is not None
        light = linear(rgb)
        seen[number] = lab(
            [sum(w * c for w, c in zip(row, light, strict=True)) for row in BLINDNESS[kind]]
        )
    for one, two in combinations(seen, 2):
        distance = sum((a - b) ** 2 for a, b in zip(seen[one], seen[two], strict=True)) ** 0.5
        assert distance > 10, (one, two, distance)


def write(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.toml").write_text(text, encoding="utf-8")


def dark_text() -> str:
    return (themes_dir() / "dark.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("roles = [", "mine.toml"),
        ("dark = true", "no [roles] table"),
        ("[roles]\ntext = 'terminal'", "'dim' is missing"),
        (dark_text() + "\nsparkle = 'terminal'", "unknown role 'sparkle'"),
        ("font = 'big'\n" + dark_text(), "unknown entry 'font'"),
        (dark_text().replace("dark = true", "dark = 3"), "true or false"),
        (dark_text().replace('text = "terminal"', 'text = ["red", 1, 1]'), "text is"),
        (dark_text().replace('text = "terminal"', 'text = ["#ffffff", 256, 1]'), "text is"),
        (dark_text().replace('text = "terminal"', 'text = ["#ffffff", 1, true]'), "text is"),
    ],
)
def test_a_broken_theme_warns_and_the_default_stands_in(
    tmp_path: Path, text: str, says: str
) -> None:
    write(tmp_path, "mine", text)
    theme, warning = load_theme("mine", (tmp_path,))
    assert theme == load_theme("dark")[0]
    assert warning is not None
    assert says in warning
    assert "using dark" in warning


def test_a_missing_theme_names_those_there_are(tmp_path: Path) -> None:
    _, warning = load_theme("nowhere", (tmp_path,))
    assert warning is not None
    assert "contrast, dark, light" in warning


def test_a_name_never_leaves_the_folders() -> None:
    theme, warning = load_theme("../../etc/passwd")
    assert theme.name == "dark"
    assert warning is not None


def test_without_any_file_plain_colours_stand_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.theme.loader.themes_dir", lambda: tmp_path)
    theme, warning = load_theme("dark")
    assert theme is FALLBACK
    assert warning is not None
    assert "plain colours" in warning
    assert set(FALLBACK.shades) == set(ROLES)


def test_a_theme_of_ones_own_is_found_first(tmp_path: Path) -> None:
    write(tmp_path, "light", dark_text())
    theme, warning = load_theme("light", (tmp_path,))
    assert warning is None
    assert theme.dark


def test_the_style_of_a_role() -> None:
    set_current_theme(load_theme("dark")[0])
    accent = style("accent bold")
    assert accent.color is not None
    assert accent.color.triplet == current_theme().shades["accent"].rgb
    assert accent.bold
    assert accent.bgcolor is None
    assert style("text").color is None
    with pytest.raises(KeyError):
        style("sparkle")
    with pytest.raises(ValueError, match="no such attribute"):
        style("text loud")


def test_a_background_is_in_every_style() -> None:
    set_current_theme(load_theme("contrast")[0])
    for role in ROLES:
        ground = style(role).bgcolor
        assert ground is not None
        assert ground.triplet == (0, 0, 0)


def test_a_change_of_theme_is_told_until_it_is_not_asked_for() -> None:
    told: list[str] = []
    set_current_theme(load_theme("dark")[0])
    forget = on_theme_change(lambda theme: told.append(theme.name))
    before = style("accent")
    set_current_theme(load_theme("light")[0])
    set_current_theme(load_theme("light")[0])
    assert told == ["light"]
    assert style("accent") != before
    forget()
    set_current_theme(load_theme("dark")[0])
    assert told == ["light"]


@pytest.mark.parametrize("name", BUNDLED)
def test_each_true_colour_has_its_own_lower_values(name: str) -> None:
    theme, _ = load_theme(name)
    table = depth_map(theme)
    for role, shade in theme.shades.items():
        if shade.rgb is not None:
            assert table[shade.rgb] == (shade.index256, shade.index16), role
    if theme.background is not None:
        assert theme.background.rgb in table


class OneLine(Drawn):
    def draw_line(self, y: int, width: int, height: int) -> Line:
        return [("loss", "accent")] if y == 0 else ()


@pytest.mark.parametrize("name", BUNDLED)
async def test_textual_takes_the_theme(name: str) -> None:
    theme: Theme = load_theme(name)[0]
    set_current_theme(theme)

    class Probe(App[None]):
        def compose(self) -> ComposeResult:
            yield OneLine()

    app = Probe()
    textual_theme = to_textual_theme(theme)
    app.register_theme(textual_theme)
    app.theme = textual_theme.name
    async with app.run_test(size=(20, 3)) as pilot:
        await pilot.pause()
        strip = app.screen._compositor.render_strips()[0]
        grounds = {segment.style.bgcolor for segment in strip if segment.style is not None}
        if theme.background is None:
            # Nothing but the terminal's own background.
            assert all(ground is None or ground.is_default for ground in grounds)
        else:
            assert {ground and ground.triplet for ground in grounds} == {theme.background.rgb}
        first = next(iter(strip))
        assert first.style is not None
        assert first.style.color is not None
        assert first.style.color.triplet == theme.shades["accent"].rgb
