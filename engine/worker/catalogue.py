"""What the model picker asks: the models that are here and those of the field, each in a few words.

Plain functions for `Engine.lookup`; nothing here needs a device, torch or a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    from engine.models.catalogue import CatalogueModel


@dataclass(frozen=True)
class Pickable:
    """A line of the picker. `id` is what model_name_or_path takes, `hub` the hub it is of (empty:
    a folder, or the demo). `size`, `template` and `other_id` (its id on the other hub) are empty
    where they are not known; `source` says where the facts were read."""

    id: str
    name: str
    hub: str
    size: str = ""
    kind: str = ""
    thinking: bool = False
    media: tuple[str, ...] = ()
    template: str = ""
    family: str = ""
    other_id: str = ""
    source: str = ""
    ready: bool = False
    licence: str = ""

    @property
    def words(self) -> str:
        """All that it is searched by, in lower case."""
        thinking = "thinking" if self.thinking else ""
        parts = (self.name, self.id, self.other_id, self.family, self.size, self.kind, thinking,
                 self.template, *self.media)  # fmt: skip
        return " ".join(parts).lower()


def pickables(hub: str, cache_dir: str | None = None) -> tuple[Pickable, ...]:
    """Everything that can be picked: what is on this machine first, then the field's models.

    A model that is on Hugging Face only is offered from there, whichever `hub` is asked for.
    """
    from engine.models.catalogue import catalogue, find
    from engine.models.locate import known_models
    from engine.models.places import places

    known = places()
    licences = {name: place.licence for name, place in known.items()}
    here: list[Pickable] = []
    listed: set[tuple[str, str]] = set()
    for entry in known_models(cache_dir):
        named = entry.name if entry.source == "demo" else entry.id
        model = find(named) if entry.source != "local" else None
        licence = licences.get(entry.id, "")
        here.append(_line(model, entry.id, entry.name, entry.hub, entry.ready, licence))
        listed.add((entry.id, entry.hub or hub))
    field = []
    for model in catalogue():
        on = hub if model.id_on(hub) else "huggingface"
        if (model.id_on(on), on) not in listed:
            field.append(_line(model, model.id_on(on), model.name, on, False, ""))
    return (*here, *field)


def matching(lines: Sequence[Pickable], text: str) -> tuple[Pickable, ...]:
    """The lines that hold every word of `text`."""
    wanted = text.lower().split()
    return tuple(line for line in lines if all(word in line.words for word in wanted))


def pickable(name: str, hub: str = "huggingface") -> Pickable | None:
    """The catalogue's line of a model, by its name or by an id on either hub."""
    from engine.models.catalogue import find
    from engine.models.locate import on_disk

    model = find(name)
    if model is None:
        return None
    on = hub if model.id_on(hub) else "huggingface"
    ready = on_disk(model.id_on(on), "main", None, on) is not None
    return _line(model, model.id_on(on), model.name, on, ready, "")


def template_note(name: str, hub: str = "huggingface", cache_dir: str | None = None) -> str:
    """What a person should know of a model's template before training: that the field's name for it
    stands for another text than the model's own template. Empty where they agree, where there is
    nothing to compare, and where the named text is not on this machine."""
    from engine.models.catalogue import find
    from engine.models.locate import on_disk

    model = find(name)
    folder = on_disk(name, "main", cache_dir, hub) if model is not None else None
    if model is None or model.template is None or folder is None:
        return ""
    if model.kind == "base":
        return ""
    return _template_note(folder, model.template)


def _template_note(folder: Path, template: str) -> str:
    from engine.datasets.template import render
    from engine.datasets.template_names import FAMILIES
    from engine.datasets.templates import NotHere, find_template, named_templates, same_text
    from engine.datasets.tokenizer import FastTokenizer

    try:
        tokenizer = FastTokenizer(folder)
    except BadInput:
        return ""
    own = tokenizer.chat_templates.get("default")
    if own is None:
        return (
            f"The model has no chat template of its own; the field writes {template} for it: set "
            f"template to {template}."
        )
    special = tokenizer.special_tokens
    talk = ({"role": "user", "content": "u"}, {"role": "assistant", "content": "a"})
    named = named_templates().get(template)
    try:
        shown = render(own, talk, special)
    except Exception:
        # A template is the model's own program: whatever it raises, there is nothing to compare.
        return ""
    if named is not None and named.family is not None:
        if all(mark in shown for mark in FAMILIES[named.family]):
            return ""
    else:
        try:
            if same_text(own, find_template(template, fetch=False).source, special):
                return ""
        except NotHere:
            return ""
    return (
        f"The field writes {template} for this model, and the model's own chat template writes "
        "another text; with template empty its own is used."
    )


def own_code_problem(name: str, hub: str, cache_dir: str | None = None) -> Problem | None:
    """What is said before a model's own code may run; None where it needs none, or where a person
    agreed to this very code before. Only what is on disk can be looked into."""
    from engine.models.remote_code import check_own_code, is_trusted

    folder = _folder(name, hub, cache_dir)
    if folder is None or is_trusted(name, folder):
        return None
    try:
        check_own_code(folder, name, trusted=False)
    except BadInput as error:
        return error.problem
    return None


def code_is_trusted(name: str, hub: str, cache_dir: str | None = None) -> bool:
    """Whether a person agreed to run this model's code, as it lies on disk now."""
    from engine.models.remote_code import is_trusted

    folder = _folder(name, hub, cache_dir)
    return folder is not None and is_trusted(name, folder)


def trust_code(name: str, folder: str) -> None:
    """Remember that a person agreed to run the code in `folder` for the model `name`."""
    from engine.models.remote_code import trust

    trust(name, Path(folder))


def _folder(name: str, hub: str, cache_dir: str | None) -> Path | None:
    from engine.models.locate import on_disk

    local = Path(name).expanduser()
    if (local / "config.json").is_file():
        return local
    return on_disk(name, "main", cache_dir, hub) if "/" in name else None


def _line(
    model: CatalogueModel | None, id: str, name: str, hub: str, ready: bool, licence: str
) -> Pickable:
    if model is None:
        return Pickable(id, name, hub, ready=ready, licence=licence)
    return Pickable(
        id=id,
        name=model.name,
        hub=hub,
        size=model.size,
        kind=model.kind,
        thinking=model.thinking,
        media=model.media,
        template=model.template or "",
        family=model.family,
        other_id={"modelscope": model.hf, "huggingface": model.ms}.get(hub, ""),
        source=model.source,
        ready=ready,
        licence=licence,
    )
