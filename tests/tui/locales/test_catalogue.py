"""The Simplified Chinese catalogue: complete, true to its places, compiled, and switched to."""

from __future__ import annotations

import ast
import gettext
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from rich.cells import cell_len

from engine.config import presets, settings
from engine.config.catalogue import SECTIONS
from tui import language
from tui.language import DOMAIN, LANGUAGES, _
from tui.locales.gather import catalogue_path, gather, read_catalogue, written_in

LABEL_CELLS = 22
PLACES = re.compile(r"\{[^{}]*\}")
TRANSLATED = [name for name in LANGUAGES if name != "en"]


@pytest.fixture
def chinese() -> Iterator[None]:
    before = language.language()
    language.use("zh_CN")
    yield
    language.use(before)


@pytest.mark.parametrize("name", TRANSLATED)
def test_every_message_is_translated(name: str) -> None:
    catalogue = read_catalogue(name)
    entries = {text: catalogue.get(text) for text in gather()}
    absent = [text for text, entry in entries.items() if entry is None or not entry.string]
    assert not absent, "python -m tui.locales.gather lists them"
    assert not [text for text, entry in entries.items() if entry and entry.fuzzy]


@pytest.mark.parametrize("name", TRANSLATED)
def test_catalogue_holds_nothing_else(name: str) -> None:
    messages = gather()
    catalogue = read_catalogue(name)
    assert not [entry.id for entry in catalogue if entry.id and entry.id not in messages]
    assert not catalogue.obsolete


@pytest.mark.parametrize("name", TRANSLATED)
def test_places_are_the_same(name: str) -> None:
    wrong = [
        (entry.id, entry.string)
        for entry in read_catalogue(name)
        if entry.id and sorted(PLACES.findall(entry.id)) != sorted(PLACES.findall(entry.string))
    ]
    assert not wrong


@pytest.mark.parametrize("name", TRANSLATED)
def test_blanks_at_the_ends_are_kept(name: str) -> None:
    for entry in read_catalogue(name):
        if entry.id:
            assert entry.string == entry.string.strip(), entry.id
            assert "\n" not in entry.string, entry.id


@pytest.mark.parametrize("name", TRANSLATED)
def test_compiled_catalogue_is_in_step(name: str) -> None:
    compiled = gettext.GNUTranslations(BytesIO(catalogue_path(name, "mo").read_bytes()))
    catalogue = read_catalogue(name)
    held = {text: compiled.gettext(text) for text in compiled._catalog if text}  # type: ignore[attr-defined]
    assert held == {entry.id: entry.string for entry in catalogue if entry.id}


def test_chinese_is_chinese() -> None:
    """A translation without a Chinese character is one of a value, an abbreviation or a number."""
    same = [
        entry.id
        for entry in read_catalogue("zh_CN")
        if entry.id and not re.search(r"[一-鿿]", entry.string)
    ]
    # A sentence or a phrase of several words is never left in English.
    phrases = [text for text in same if re.search(r"[a-z]{2,} [a-z]{2,}", text)]
    assert not phrases
    assert len(same) < 60


# A thing has one word: the pattern of another word for it, and the word.
ONE_WORD = {
    "聊天模板|对话模板": "提示模板",
    "评测": "评估",
    "您": "你",
    "回车(?!符)": "Enter",
    "数字类型": "数值类型",
    "投影器": "投影层",
    "图像": "图片",
    "演示模型": "demo 模型",
    "拉伸": "拉长",
    "[「」]": "“”",
    "RoPE 缩放": "RoPE 插值",
    "恢复(运行|训练)|点恢复|从它恢复": "续训",
}


@pytest.mark.parametrize("domain", [DOMAIN, "engine"])
@pytest.mark.parametrize("other", ONE_WORD)
def test_a_thing_has_one_word(domain: str, other: str) -> None:
    catalogue = read_catalogue("zh_CN", domain)
    found = [entry.string for entry in catalogue if entry.id and re.search(other, entry.string)]
    assert not found, f"the word is {ONE_WORD[other]}"


def test_labels_fit_their_column(chinese: None) -> None:
    labels = [info.setting.label for info in settings().values()]
    labels += [*SECTIONS, *(preset.label for preset in presets.values())]
    assert not [(text, _(text)) for text in labels if cell_len(_(text)) > LABEL_CELLS]


def test_different_settings_keep_different_labels(chinese: None) -> None:
    """Two settings of one form section must be told apart."""
    seen: dict[tuple[str, str], str] = {}
    for name, info in settings().items():
        shown = (info.setting.section, _(info.setting.label))
        assert shown not in seen, f"{name} and {seen[shown]} are both called {shown[1]}"
        seen[shown] = name


def test_signs_between_words_follow_the_language(chinese: None) -> None:
    assert language.named(_("rows"), "91") == "行：91"
    assert language.listed(["pt", "sft"]) == "pt、sft"
    assert language.clauses(_("fits"), "1.2 / 24 GB") == "放得下，1.2 / 24 GB"
    assert language.joined([language.sentence("好"), "", language.sentence("行")]) == "好。行。"
    language.use("en")
    assert language.named(_("rows"), "91") == "rows: 91"
    assert language.listed(["pt", "sft"]) == "pt, sft"
    assert language.joined([language.sentence("One"), "", language.sentence("Two")]) == "One. Two."


PANES = sorted(Path(language.__file__).parent.glob("p*/*.py"))


@pytest.mark.parametrize("path", PANES, ids=lambda path: path.name)
def test_no_pane_puts_english_signs_behind_translated_words(path: Path) -> None:
    """`: ` behind a translated word, or `, ` between several, is English: `named` and `listed`."""
    text = path.read_text(encoding="utf-8")
    assert not re.findall(r"\{_\([^)]*\)\}[:,] |[\"'], [\"']\.join", text)


def test_switching_the_language_switches_labels() -> None:
    label = settings()["learning_rate"].setting.label
    before = language.language()
    try:
        language.use("zh_CN")
        assert _(label) == "学习率"
        language.use("en")
        assert _(label) == "Learning rate"
        language.use("tlh")
        assert _(label) == "Learning rate"
    finally:
        language.use(before)


def test_gathering_reads_calls_wherever_they_stand() -> None:
    tree = ast.parse(
        "a = f\"{n} {_('inside')}\"\n"
        "b = _m('marked here')\n"
        "c = _('one' if x else 'two')\n"
        "d = _(\n    'joined '\n    'text'\n)\n"
        "e = _(variable)\n"
        "f = other('not this')\n"
    )
    assert set(written_in(tree)) == {"inside", "marked here", "one", "two", "joined text"}
