"""The engine's sentences: all gathered, all translated, with what they hold in its place."""

from __future__ import annotations

import ast
import gettext
import re
from io import BytesIO
from pathlib import Path

import pytest

from tui.language import LANGUAGES
from tui.locales.engine_sentences import PLACE, gather_engine, sentences
from tui.locales.gather import catalogue_path, read_catalogue

ROOT = Path(__file__).resolve().parents[3]
TRANSLATED = [name for name in LANGUAGES if name != "en"]


@pytest.fixture(scope="module")
def gathered() -> dict[str, set[str]]:
    return gather_engine(ROOT)


@pytest.mark.parametrize("name", TRANSLATED)
def test_every_sentence_is_translated(name: str, gathered: dict[str, set[str]]) -> None:
    catalogue = read_catalogue(name, "engine")
    entries = {text: catalogue.get(text) for text in gathered}
    absent = {
        text: sorted(gathered[text])
        for text, entry in entries.items()
        if entry is None or not entry.string or entry.fuzzy
    }
    assert not absent, "python -m tui.locales.gather lists them"
    assert len(gathered) > 1500


@pytest.mark.parametrize("name", TRANSLATED)
def test_catalogue_holds_nothing_else(name: str, gathered: dict[str, set[str]]) -> None:
    catalogue = read_catalogue(name, "engine")
    assert not [entry.id for entry in catalogue if entry.id and entry.id not in gathered]
    assert not catalogue.obsolete


@pytest.mark.parametrize("name", TRANSLATED)
def test_a_translation_has_the_places_of_its_sentence(name: str) -> None:
    wrong = [
        (entry.id, entry.string)
        for entry in read_catalogue(name, "engine")
        if entry.id and sorted(PLACE.findall(entry.id)) != sorted(PLACE.findall(entry.string))
    ]
    assert not wrong


@pytest.mark.parametrize("name", TRANSLATED)
def test_names_of_settings_and_values_stay(name: str) -> None:
    """What a person has to type is in the translation letter by letter."""
    typed = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)+|--[a-z]+|`[a-z][^`{]+`|[A-Z]+(?:_[A-Z]+)+")
    lost = [
        (word, entry.string)
        for entry in read_catalogue(name, "engine")
        if entry.id
        for word in typed.findall(PLACE.sub("{", entry.id))
        if word not in entry.string
    ]
    assert not lost


@pytest.mark.parametrize("name", TRANSLATED)
def test_compiled_catalogue_is_in_step(name: str) -> None:
    compiled = gettext.GNUTranslations(BytesIO(catalogue_path(name, "mo", "engine").read_bytes()))
    for entry in read_catalogue(name, "engine"):
        if entry.id:
            assert compiled.gettext(entry.id) == entry.string


def test_chinese_is_chinese() -> None:
    """Only names, commands and code are the same in both."""
    same = [
        entry.id
        for entry in read_catalogue("zh_CN", "engine")
        if entry.id and not re.search(r"[一-鿿]", PLACE.sub("", entry.string))
    ]
    assert len(same) < 15, same
    assert not [text for text in same if text.endswith(".")]


def test_a_full_stop_stays_a_full_stop() -> None:
    """A sentence ends as one, and a part of a sentence does not."""
    wrong = [
        (entry.id, entry.string)
        for entry in read_catalogue("zh_CN", "engine")
        if entry.id and entry.id.endswith(".") != entry.string.endswith("。")
    ]
    assert not wrong


def test_gathering_numbers_the_places_and_tells_forms_apart() -> None:
    tree = ast.parse(
        '"""Not this."""\n'
        "def check(path, count, error):\n"
        '    """Nor this."""\n'
        "    if count:\n"
        '        raise BadInput(Problem(f"{path.name} holds {count:,} rows.", hint="Once more."))\n'
        "    words = 'one row' if count == 1 else f'{count} rows'\n"
        '    ends = f\'It {"is" if count else "was"} cut: {error}\'\n'
        "    note('The tail' + (' ends.' if error else '.') + str(error))\n"
        "    label = setting(1, label='A label of the form', help='Not here.')\n"
        "    state = 'good' if count else 'bad'\n"
        "    head = f'{path} begins'\n"
        "    head += ' and ends'\n"
        "    say(f'It is {state}, {others(words)}.')\n"
        "    raise ValueError('for a programmer only')\n"
        "    say('{name} is filled in later'.format(name=path))\n"
    )
    assert list(dict.fromkeys(sentences(tree))) == [
        "{0} holds {1} rows.",
        "Once more.",
        "one row",
        "{0} rows",
        "It is cut: {0}",
        "It was cut: {0}",
        "The tail ends.{0}",
        "The tail.{0}",
        "good",
        "bad",
        "{0} begins",
        "and ends",
        "It is {0}, {1}.",
        "{0} is filled in later",
        "{0} begins and ends",
    ]


def test_gathering_follows_what_jobs_say() -> None:
    tree = ast.parse(
        "_NAMED = 'Checking'\n"
        "session.progress('loading', 0, 3)\n"
        "progress(_NAMED, 1, 2, 'bytes')\n"
        "progress(f'Reading {rows.name}', 0)\n"
        "Progress(activity='Saving', done=1)\n"
        "progress(total)\n"
    )
    assert set(sentences(tree)) == {"loading", "Checking", "Reading {0}", "Saving"}


def test_gathering_leaves_code_out() -> None:
    tree = ast.parse(
        "text = '{% if messages %}{{ messages }}{% endif %} and more'\n"
        "pattern = re.compile('[a-z] +')\n"
        "run('pip install one two')\n"
        "line = 'first line\\nsecond line'\n"
        "same = word == 'not told here'\n"
        "held = table['not told here']\n"
    )
    assert not list(sentences(tree))
