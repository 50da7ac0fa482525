"""The items of a YAML or JSON file and of `key=value` overrides, each with where it stood."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.config.catalogue import settings
from engine.problem import BadSettings, Problem


@dataclass(frozen=True)
class Item:
    """One setting as it was written: `text` is a scalar's own spelling, where it had one."""

    key: str
    value: Any
    text: str | None
    where: str


@dataclass(frozen=True)
class Items:
    """What a source holds, in order, and what is wrong with single items of it."""

    found: list[Item]
    problems: list[Problem] = field(default_factory=list)


def read_items(path: Path) -> Items:
    """The items of a flat YAML or JSON file; a key that stands twice is a problem of theirs.

    Raises BadSettings for a file that is missing, isn't text, has a syntax error (with its line),
    or isn't one mapping.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise _bad(f"There is no file {path}.", str(path), "Check the path.") from None
    except IsADirectoryError:
        raise _bad(f"{path} is a folder.", str(path), "Name a YAML or JSON file.") from None
    except UnicodeDecodeError as error:
        raise _bad(
            f"The file is not UTF-8 text (byte {error.start}).",
            str(path),
            "Save it as UTF-8.",
        ) from None
    except OSError as error:
        raise _bad(
            f"The file can't be read: {error.strerror}.", str(path), "Check its permissions."
        ) from None
    return items_of_text(text, str(path), path.suffix.lower() == ".json")


def items_of_text(text: str, source: str, is_json: bool = False) -> Items:
    """The items of YAML or JSON text; `source` names it in messages."""
    return _json_items(text, source) if is_json else _yaml_items(text, source)


def _bad(what: str, where: str, hint: str) -> BadSettings:
    return BadSettings([Problem(what, where=where, hint=hint)])


def _not_a_mapping(source: str) -> BadSettings:
    return _bad(
        "The file is not a mapping of settings.",
        source,
        "Write one `key: value` a line, such as `stage: sft`.",
    )


def _json_items(text: str, source: str) -> Items:
    twice: list[str] = []

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in pairs:
            if key in result:
                twice.append(key)
            result[key] = value
        return result

    try:
        record = json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise _bad(
            f"The JSON has an error: {error.msg} (column {error.colno}).",
            f"{source}:{error.lineno}",
            "Mend that line.",
        ) from None
    if not isinstance(record, dict):
        raise _not_a_mapping(source)
    problems = [_twice(key, _json_lines(text, key)[:2], source) for key in twice]
    found = []
    for key, value in record.items():
        lines = _json_lines(text, key)
        found.append(Item(key, value, None, f"{source}:{lines[0]}" if lines else source))
    return Items(found, problems)


def _json_lines(text: str, key: str) -> list[int]:
    """The lines on which a key stands as a key."""
    pattern = re.escape(json.dumps(key, ensure_ascii=False)) + r"\s*:"
    return [text.count("\n", 0, match.start()) + 1 for match in re.finditer(pattern, text)]


def _twice(key: str, lines: Sequence[int], source: str) -> Problem:
    where = f"{source}:{lines[-1]}" if lines else source
    said = f" (lines {' and '.join(map(str, lines))})" if lines else ""
    return Problem(f"{key} stands twice{said}.", where=where, hint="Keep one of them.", setting=key)


# Numbers that YAML 1.1 takes for text, as they have no point: 1e-4.
EXPONENT = re.compile(r"^[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$")
NUMBER_STARTS = tuple("-+.0123456789")


def _loader(text: str) -> Any:
    """A safe YAML loader that reads 1e-4 as a number and leaves dates as text."""
    import yaml

    float_tag = "tag:yaml.org,2002:float"
    known: dict[str, list[tuple[str, Any]]] = yaml.SafeLoader.yaml_implicit_resolvers
    loader = yaml.SafeLoader(text)
    loader.yaml_implicit_resolvers = {
        letter: [
            *(rule for rule in known.get(letter, []) if not rule[0].endswith(":timestamp")),
            *([(float_tag, EXPONENT)] if letter in NUMBER_STARTS else []),
        ]
        for letter in {*known, *NUMBER_STARTS}
        if isinstance(letter, str)
    }
    return loader


def _yaml_items(text: str, source: str) -> Items:
    import yaml

    try:
        loader = _loader(text)
        node = loader.get_single_node()
        if node is None:
            raise _bad("The file holds no settings.", source, "Write one `key: value` a line.")
        if not isinstance(node, yaml.MappingNode):
            raise _not_a_mapping(source)
        doubles = list(_yaml_doubles(node, source))
        loader.flatten_mapping(node)
        found = [_yaml_item(loader, key, value, source) for key, value in node.value]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = " ".join(part for part in (error.context, error.problem) if part)
        line = f":{mark.line + 1}" if mark else ""
        raise _bad(
            f"The YAML has an error: {said or 'unreadable'}.", f"{source}{line}", "Mend that line."
        ) from None
    except yaml.YAMLError as error:
        raise _bad(
            f"The YAML can't be read: {str(error).splitlines()[0]}.",
            source,
            "Save it as plain UTF-8 text.",
        ) from None
    except (ValueError, RecursionError) as error:
        raise _bad(f"The YAML holds a value that can't be read: {error}.", source, "") from None
    # A merged-in mapping comes first and is overridden by the file's own keys.
    return Items(list({item.key: item for item in found}.values()), doubles)


def _yaml_item(loader: Any, key: Any, value: Any, source: str) -> Item:
    import yaml

    scalar = isinstance(value, yaml.ScalarNode)
    name = key.value if isinstance(key, yaml.ScalarNode) else str(loader.construct_object(key))
    return Item(
        name,
        loader.construct_object(value, deep=True),
        value.value if scalar else None,
        f"{source}:{key.start_mark.line + 1}",
    )


def _yaml_doubles(node: Any, source: str, seen: set[int] | None = None) -> Iterable[Problem]:
    """Keys that stand twice in one mapping, at any depth (a file may refer to itself)."""
    import yaml

    seen = set() if seen is None else seen
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and not key.tag.endswith(":merge"):
                line = key.start_mark.line + 1
                if key.value in lines:
                    yield _twice(key.value, (lines[key.value], line), source)
                lines[key.value] = line
            yield from _yaml_doubles(value, source, seen)
    elif isinstance(node, yaml.SequenceNode):
        for child in node.value:
            yield from _yaml_doubles(child, source, seen)


def override_items(words: Sequence[str]) -> Items:
    """The items of `key=value`, `--key value`, `--key=value` and a bare `--key` (true).

    Later ones win over earlier ones; a word that is none of these is a problem.
    """
    found: dict[str, Item] = {}
    problems: list[Problem] = []
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        dashed = word.startswith("--")
        name, equals, text = (word[2:] if dashed else word).partition("=")
        if dashed and not equals:
            following = words[position] if position < len(words) else "--"
            if following.startswith("--") or (_is_switch(name) and "=" in following):
                text = "true"
            else:
                text = following
                position += 1
        if not name or (not dashed and not equals):
            problems.append(
                Problem(
                    f"{word!r} is not a setting.",
                    where="command line",
                    hint="Write key=value, such as learning_rate=1e-4.",
                )
            )
            continue
        key = name.strip().replace("-", "_")
        found[key] = Item(key, _scalar(text), text, "command line")
    return Items(list(found.values()), problems)


def _is_switch(name: str) -> bool:
    """Whether a bare `--name` may stand for true, with another setting after it."""
    info = settings().get(name.replace("-", "_"))
    return info is not None and info.kind == "bool"


def _scalar(text: str) -> Any:
    """An override's value, read as YAML; text that is no YAML is taken as it stands."""
    import yaml

    try:
        return _loader(text).get_single_data()
    except (yaml.YAMLError, ValueError, RecursionError):
        return text
