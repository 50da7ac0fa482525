"""Gathers what the screen can say into the catalogues: `python -m tui.locales.gather`.

There are two a language: `finetui`, the screen's own words, and `engine`, the sentences of the
engine (`tui.locales.engine_sentences`).

A message is a text written out in `_("…")` or `marked("…")` anywhere in `tui`, or one that the
screen takes from the engine's declarations and passes through `_` (the table `declared`). Messages
that are gone leave the catalogue, new ones come in without a translation and are listed, and the
compiled `.mo` is written beside the `.po`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from tui.engine_text import DOMAIN as ENGINE_DOMAIN
from tui.language import DOMAIN, LANGUAGES
from tui.locales.engine_sentences import Messages, gather_engine

HERE = Path(__file__).resolve().parent
TUI = HERE.parent
# `marked` is imported under both names; `_` shows at once, the others mark for later.
_CALLS = frozenset({"_", "_m", "marked"})

_SPEAKERS = {DOMAIN: "finetui's screen", ENGINE_DOMAIN: "finetui's engine"}


def gather() -> Messages:
    """Every message, in a settled order, with the places it comes from (files or table names)."""
    found: Messages = {}

    def add(text: str, place: str) -> None:
        if text and any(letter.isalpha() for letter in text):
            found.setdefault(text, set()).add(place)

    for path, tree in _sources(TUI):
        for text in written_in(tree):
            add(text, path)
    for place, texts in declared():
        for text in texts:
            add(text, place)
    return found


def _sources(root: Path) -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root.parent).as_posix()
        yield name, ast.parse(path.read_text(encoding="utf-8"), name)


def written_in(tree: ast.AST) -> Iterator[str]:
    """The texts of every `_("…")` and `marked("…")`, those inside f-strings too.

    Babel's own reader of Python is not used: on Python 3.11 it doesn't look into f-strings.
    """
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        if node.func.id in _CALLS and node.args:
            yield from _texts(node.args[0])


def _texts(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from _texts(node.body)
        yield from _texts(node.orelse)
    elif isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from _texts(value)


def declared() -> Iterator[tuple[str, Iterable[str]]]:
    """(where they are declared, texts) of what the screen translates when it shows it."""
    from engine.config import empty_means, form_base, presets, settings
    from engine.config.catalogue import SECTIONS
    from engine.datasets import fits, list_datasets
    from engine.models.explain import MESSAGES
    from engine.runs.measures import STAGE_MEASURES
    from engine.worker import form_notes
    from tui.panes.rail import RAIL_NAMES
    from tui.panes.row_views import VIEWS
    from tui.places import VIEW_NAMES

    infos = settings()
    metas = [info.setting for info in infos.values()]
    yield "engine/config/catalogue.py", SECTIONS
    yield "engine/config", (meta.label for meta in metas)
    for meta in metas:
        values = (meta.help, meta.higher, meta.lower, meta.usual, *meta.usual_for.values())
        yield "engine/config", values
    base = form_base()
    yield "engine/config/catalogue.py", (empty_means(base, name) for name in infos)
    for preset in presets.values():
        yield "engine/config/presets.py", (preset.label, preset.help)
    yield "engine/models/explain.py", MESSAGES.values()
    yield "engine/worker/form_notes.py", form_notes.MESSAGES
    # The words of a model's card (engine.models.card) for its chat template.
    yield "engine/models/card.py", ("own template", "none")
    # What a run is drawn by.
    drawn = [one for found in STAGE_MEASURES.values() for one in found]
    for measure in drawn:
        yield "engine/runs/measures.py", (measure.label, measure.help, *(measure.curves or ()))
    # Why a set does not suit a stage.
    stages = infos["stage"].choices
    reasons = {fits(entry, stage) or "" for entry in list_datasets() for stage in stages}
    yield "engine/datasets/listing.py", sorted(reasons)
    # Who speaks in a row (engine.datasets.example), and how a row is shown.
    yield "engine/datasets/example.py", ("system", "user", "assistant", "tool", "text")
    yield "tui/panes/row_views.py", VIEWS
    yield "tui/places.py", (name.capitalize() for name in (*RAIL_NAMES, *VIEW_NAMES))


def catalogue_path(language: str, ending: str = "po", domain: str = DOMAIN) -> Path:
    """Where a language's catalogue lies."""
    return HERE / language / "LC_MESSAGES" / f"{domain}.{ending}"


def read_catalogue(language: str, domain: str = DOMAIN) -> Catalog:
    """The `.po` of a language, which must be there."""
    with catalogue_path(language, domain=domain).open("rb") as file:
        return read_po(file, locale=language, domain=domain)


def updated(language: str, messages: Messages, translations: Catalog) -> Catalog:
    """A catalogue of just these messages, with the translations that are known of them."""
    from engine import __version__

    domain = translations.domain or DOMAIN
    new = Catalog(
        language,
        domain,
        f"# {LANGUAGES[language]}: what {_SPEAKERS[domain]} says.",
        "finetui",
        __version__,
        copyright_holder="the finetui authors",
        last_translator="the finetui authors",
        language_team=LANGUAGES[language],
        msgid_bugs_address="the finetui authors",
        fuzzy=False,
        # A date that changed with every run would change the file where no message did.
        creation_date=translations.creation_date,
        revision_date=translations.revision_date,
    )
    for text, places in messages.items():
        known = translations.get(text)
        entry = new.add(
            text,
            known.string if known is not None else "",
            locations=[(place, None) for place in sorted(places)],  # type: ignore[misc]
            flags=known.flags if known is not None else (),
            user_comments=known.user_comments if known is not None else (),
        )
        # Places are filled in by name; a per cent sign is never one, though Babel takes it so.
        entry.flags.discard("python-format")
    return new


def write(language: str, catalogue: Catalog) -> None:
    """Write a language's `.po` and the `.mo` compiled from it."""
    text, compiled = BytesIO(), BytesIO()
    write_po(text, catalogue, width=100)
    write_mo(compiled, catalogue)
    domain = catalogue.domain or DOMAIN
    catalogue_path(language, domain=domain).write_bytes(text.getvalue())
    catalogue_path(language, "mo", domain).write_bytes(compiled.getvalue())


def main() -> int:
    """Update every catalogue. Returns 1 where a translation is missing."""
    missing = 0
    for domain, messages in ((DOMAIN, gather()), (ENGINE_DOMAIN, gather_engine(TUI.parent))):
        for language in LANGUAGES:
            if language == "en":
                continue
            catalogue = updated(language, messages, read_catalogue(language, domain))
            write(language, catalogue)
            empty = [str(one.id) for one in catalogue if one.id and not one.string]
            missing += len(empty)
            print(f"{language}, {domain}: {len(messages)} messages, {len(empty)} untranslated")
            for text in empty:
                print(f"  {text}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
