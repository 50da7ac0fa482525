"""The field's models by name: sizes, ids on two hubs, template, kind, and where each was read.

`models.json` holds the facts; it is read when somebody looks for a model, never before. Facts come
from the sources that it names; nothing in it was guessed, so a field without a source is null.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

Kind = Literal["base", "chat"]
Hub = Literal["huggingface", "modelscope"]


@dataclass(frozen=True)
class CatalogueModel:
    """One model of the catalogue.

    `size` is as its makers write it (`7B`, `30B-A3B` with three billion active, `8x7B`), empty
    where no source says it. `thinking` tells that it writes its thoughts before an answer. `media`
    is what it takes beside text. `template` is the field's name of its prompt format (None: none is
    published); of a base model it is the family's. `hf` and `ms` are its ids on Hugging Face and
    ModelScope (`ms` may be empty). `source` says where all this was read.
    """

    name: str
    family: str
    size: str
    kind: Kind
    thinking: bool
    media: tuple[str, ...]
    template: str | None
    hf: str
    ms: str
    source: str

    def id_on(self, hub: str) -> str:
        """Its id on a hub; empty where it is not known to be there."""
        return self.ms if hub == "modelscope" else self.hf

    @property
    def parameters(self) -> float | None:
        """About how many weights its size stands for; None where no size is known."""
        return parameters_of(self.size)


def parameters_of(size: str) -> float | None:
    """`7B`, `135M`, `8x7B`, `30B-A3B`, `17B-16E` in numbers: all weights, not the active ones.

    None where the text tells none: experts beside a shared part (`8x7B`, `17B-16E`) do not add up
    to a total by themselves.
    """
    found = re.fullmatch(r"E?(\d+(?:\.\d+)?)([BM])(-A[\d.]+[BM])?", size)
    if found is None:
        return None
    return float(found[1]) * (1e9 if found[2] == "B" else 1e6)


@lru_cache(maxsize=1)
def catalogue() -> tuple[CatalogueModel, ...]:
    """All models, families by name."""
    content = json.loads((Path(__file__).with_name("models.json")).read_text(encoding="utf-8"))
    sources = content["sources"]
    return tuple(_model(row, sources) for row in content["models"])


def _model(row: dict[str, Any], sources: dict[str, str]) -> CatalogueModel:
    return CatalogueModel(
        name=row["name"],
        family=row["family"],
        size=row["size"] or "",
        kind=row["kind"],
        thinking=row["thinking"],
        media=tuple(row["media"][1:]),
        template=row["template"],
        hf=row["hf"],
        ms=row["ms"] or "",
        source=sources[row["source"]],
    )


@lru_cache(maxsize=1)
def _by_key() -> dict[str, CatalogueModel]:
    found: dict[str, CatalogueModel] = {}
    for model in catalogue():
        for key in (model.name, model.hf, model.ms):
            if key:
                found.setdefault(key.lower(), model)
    return found


def find(name: str) -> CatalogueModel | None:
    """The model with this name or this id on either hub, any case."""
    return _by_key().get(name.strip().lower())


def search(words: str) -> Iterator[CatalogueModel]:
    """The models whose name, family, ids, template or kind hold every word, any case."""
    wanted = words.lower().split()
    for model in catalogue():
        text = " ".join(
            (model.name, model.family, model.hf, model.ms, model.template or "", model.kind,
             "thinking" if model.thinking else "", *model.media)
        ).lower()  # fmt: skip
        if all(word in text for word in wanted):
            yield model
