"""A picture as cells: its shape, its colours, and what stands where it can't be drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.datasets.media.preview import preview


@pytest.fixture
def halves(tmp_path: Path) -> Path:
    """White above, blue below, 40 by 20."""
    from PIL import Image

    picture = Image.new("RGB", (40, 20), "white")
    picture.paste("blue", (0, 10, 40, 20))
    picture.save(tmp_path / "halves.png")
    return tmp_path / "halves.png"


def test_two_pixels_a_cell_in_their_colours(halves: Path) -> None:
    shown = preview(halves, 4, 10)
    assert (shown.width, shown.height) == (40, 20)
    # 4 cells across are 4 pixels, and so 2 pixels down: one line, white over blue.
    assert len(shown.lines) == 1 and len(shown.lines[0]) == 4
    cell = shown.lines[0][0]
    assert (cell.text, cell.upper, cell.lower) == ("▀", (255, 255, 255), (0, 0, 255))


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (10, 24), (80, 3), (1, 1)])
def test_it_fits_and_keeps_its_shape(halves: Path, columns: int, rows: int) -> None:
    lines = preview(halves, columns, rows).lines
    across, down = len(lines[0]), len(lines)
    assert across <= columns and down <= rows
    assert all(len(line) == across for line in lines)
    if columns > 2 and rows > 2:
        assert across / (2 * down) == pytest.approx(2.0, rel=0.5)


def test_few_colours_get_shades(halves: Path) -> None:
    shown = preview(halves, 8, 8, "shades")
    assert all(cell.upper is None for line in shown.lines for cell in line)
    assert shown.lines[0][0].text == "█" and shown.lines[-1][0].text in " ░"


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[31m.png"
    path.write_bytes(b"nothing")
    shown = preview(path, 10, 10)
    assert not shown.lines and "no picture" in shown.title
    gone = preview(tmp_path / "gone.png", 10, 10)
    assert not gone.lines and gone.problem


def test_a_title_says_the_size(halves: Path) -> None:
    assert preview(halves, 4, 4).title == "[picture 40×20]"
