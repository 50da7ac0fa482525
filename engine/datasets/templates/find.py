"""The text of a named template, from the first of its sources that has it."""

from __future__ import annotations

from dataclasses import dataclass

from engine.datasets.templates.names import named_templates
from engine.datasets.templates.package import NotHere, package_templates
from engine.datasets.templates.published import published_template
from engine.datasets.templates.record import TemplateRecord
from engine.datasets.templates.writer import write_jinja


@dataclass(frozen=True)
class FoundTemplate:
    """A named template's Jinja source, where it comes from, and its record where it has one."""

    name: str
    source: str
    origin: str
    record: TemplateRecord | None = None


def find_template(name: str, fetch: bool = True) -> FoundTemplate:
    """The text of `name`. With `fetch` its sources are fetched where they are not on this machine.

    The model's own template is not asked here. Raises NotHere with the reason.
    """
    known = named_templates().get(name)
    if known is None:
        raise NotHere("no source of it is known")
    reasons = []
    # An installed package may hold names that the release on PyPI doesn't.
    try:
        package = package_templates(fetch and known.package)
        record = package.templates.records.get(name)
        if record is not None:
            return FoundTemplate(name, write_jinja(record), package.origin, record)
        why = package.templates.unreadable.get(name)
        told = f"has it in a form that can't be read ({why})" if why else "lacks it"
        reasons.append(f"{package.origin} {told}")
    except NotHere as reason:
        if known.package:
            reasons.append(str(reason))
    if known.hub:
        source = published_template(known.hub, fetch)
        if source is not None:
            return FoundTemplate(name, source, known.hub)
        reasons.append(f"{known.hub} is not in the hub's cache and can't be fetched")
    raise NotHere("; ".join(reasons) or "only a model's own template gives it")
