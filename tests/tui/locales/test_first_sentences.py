"""What is told before the first frame is told in the screen's language too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tui import language, remembered
from tui.keys import read_keys
from tui.theme.loader import load_theme


@pytest.fixture(autouse=True)
def chinese() -> Iterator[None]:
    before = language.language()
    language.use("zh_CN")
    yield
    language.use(before)


def is_chinese(told: str | None) -> bool:
    return bool(told and re.search(r"[一-鿿]", told)) and not re.search(
        r"[a-z]{2,} [a-z]", told or ""
    )


@pytest.mark.parametrize("text", ['no-such-action = "x"', "\x00"])
def test_keys_that_can_not_be_used(tmp_path: Path, text: str) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(text, encoding="utf-8")
    told = read_keys(file)[1] or ""
    # The reader's own words stand in the brackets.
    assert is_chinese(re.sub(r"（.*?）", "", told)), told


@pytest.mark.parametrize("text", ["[]", "{"])
def test_a_form_that_can_not_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("FINETUI_STATE", str(tmp_path))
    (tmp_path / "screen.json").write_text(text, encoding="utf-8")
    told = remembered.recall()[1]
    assert is_chinese(re.sub(r"（.*?）", "", told)), told


@pytest.mark.parametrize(
    "text", ["sparkle = 1", "dark = 1", "dark = true", "[roles]\nx = 1", "[roles]\ntext = 1"]
)
def test_a_theme_that_is_broken(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    assert is_chinese(load_theme("mine", (tmp_path,))[1])
    assert is_chinese(load_theme("none", (tmp_path,))[1])
