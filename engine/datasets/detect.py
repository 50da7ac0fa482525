"""What a file of rows holds, made out from its first rows: format, columns, tags, what is lost."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.datasets.column_facts import CONTENT_KEYS, ROLE_KEYS, facts_of
from engine.datasets.dataset_info import DatasetInfo
from engine.datasets.draft import ColumnFacts, Draft, Judged, RowsAre
from engine.datasets.example import Example
from engine.datasets.files import SUFFIXES, Rows
from engine.datasets.formats import RowFault, convert
from engine.datasets.formats.fields import shown
from engine.datasets.index.packed import inner_suffix, is_packed
from engine.datasets.local import open_local
from engine.datasets.medium import ANY_PLACEHOLDER, kinds_of, words
from engine.problem import BadInput, Problem

# Rows that are looked at. Enough to meet rare roles, few enough to be read at once.
SAMPLE = 200

# The names that published sets give their columns, the most telling first.
_NAMED: dict[str, tuple[str, ...]] = {
    "messages": ("messages", "conversations", "conversation", "dialog", "dialogue", "chat"),
    "prompt": ("instruction", "prompt", "question", "query", "problem", "user", "input"),
    "query": ("input", "context"),
    "response": (
        "output", "response", "answer", "completion", "target", "solution", "assistant", "reply",
    ),
    "chosen": ("chosen", "preferred", "accepted", "better"),
    "rejected": ("rejected", "dispreferred", "worse"),
    "kto_tag": ("kto_tag", "label", "desirable", "is_good", "good", "thumbs_up", "liked"),
    "system": ("system", "system_prompt"),
    "history": ("history",),
    "tools": ("tools", "functions"),
    "images": ("images", "image", "pictures", "picture"),
    "videos": ("videos", "video"),
    "audios": ("audios", "audio", "sounds"),
    "text": ("text", "content", "document", "raw_content", "body"),
}  # fmt: skip
# Which side a role is, by the names in use.
_SIDES: dict[str, tuple[str, ...]] = {
    "user_tag": ("human", "user", "prompter", "person", "customer", "client", "question"),
    "assistant_tag": ("gpt", "assistant", "bot", "model", "chatgpt", "ai", "agent", "answer"),
    "observation_tag": ("observation", "tool", "function_response", "tool_response", "ipython"),
    "function_tag": ("function_call", "function-call", "tool_call", "tool_calls", "action"),
    "system_tag": ("system", "developer"),
}
_OPENAI_ROLES = {"system", "developer", "user", "assistant", "tool", "function"}


@dataclass(frozen=True)
class Look:
    """What the sampled rows come to under a draft: the first ones converted, how many can be used
    of how many, and sentences about what would be lost."""

    examples: tuple[Example, ...]
    usable: int
    looked_at: int
    warnings: tuple[str, ...]


def detect(path: Path, subset: str | None = None, split: str | None = None) -> Draft:
    """Open a file or folder, or a part of it, and make out what it holds. Raises BadInput where it
    can't be read or holds no rows."""
    path = path.expanduser()
    if not path.exists():
        raise _bad(f"There is no file {path.name}.", path, "Check the path.")
    parts = {key: value for key, value in (("subset", subset), ("split", split)) if value}
    info = DatasetInfo(
        path.name, path.parent, path.name, subset=subset or None, split=split or "train"
    )
    rows = open_local(info)
    try:
        return detect_rows(rows, _name_of(path), path, {"file_name": path.name, **parts})
    finally:
        close = getattr(rows, "close", None)
        if close is not None:
            close()


def detect_rows(
    rows: Rows, name: str, path: Path | None = None, source: Mapping[str, Any] | None = None
) -> Draft:
    """The draft for rows that are open already. Raises BadInput where none of them is an object."""
    good: list[tuple[int, Mapping[str, Any]]] = []
    faults: list[tuple[int, str]] = []
    for number in range(SAMPLE):
        try:
            row = rows[number]
        except IndexError:
            break
        except BadInput as error:
            faults.append((number + 1, error.problem.what.rstrip(".")))
            continue
        if isinstance(row, Mapping):
            good.append((number + 1, row))
        else:
            faults.append((number + 1, f"the row is {shown(row)}, not an object with columns"))
    where = path or Path(name)
    if not good and faults:
        raise _bad(f"Row {faults[0][0]}: {faults[0][1]}.", where, "A row is an object: {…}.")
    if not good:
        raise _bad(f"{where.name} holds no rows.", where, "Choose another file.")
    draft = Draft(name, path, source or {}, rows=tuple(good), faults=tuple(faults))
    draft = replace(draft, facts=facts_of([row for _, row in good]))
    return guess(draft)


def guess(
    draft: Draft, rows_are: RowsAre | None = None, judged: Judged | None = None
) -> Draft:  # fmt: skip
    """The columns and tags that the names and values of the columns speak for; those of a chosen
    format and judgement where they are given."""
    by_kind = _Kinds(draft.facts)
    lists = by_kind.named("messages", ("messages",), anything=True, but=("chosen", "rejected"))
    pair = (
        by_kind.named("chosen", ("text", "message", "messages")),
        by_kind.named("rejected", ("text", "message", "messages")),
    )
    label = by_kind.named("kto_tag", ("true or false",))
    answer = by_kind.named("response", ("text",))
    question = by_kind.named("prompt", ("text",), but=(answer,))
    if judged is None:
        judged = "better and worse" if all(pair) else "good or bad" if label else "one answer"
    whole = all(pair) and all(by_kind.of[name] == "messages" for name in pair if name)
    if rows_are is None:
        if lists or (judged == "better and worse" and whole):
            rows_are = _list_format(draft, lists or pair[0])
        elif question and (answer or judged == "better and worse"):
            rows_are = "alpaca"
        else:
            rows_are = "text"
            judged = "one answer"
    columns: dict[str, str | None] = {}
    if rows_are == "text":
        columns["prompt"] = by_kind.named("text", ("text",)) or by_kind.longest_text(draft)
    elif rows_are == "alpaca":
        columns["prompt"], columns["response"] = question, answer
        columns["query"] = by_kind.named("query", ("text", "empty"), but=(question, answer))
        columns["history"] = by_kind.named("history", ("pairs", "empty"))
    else:
        columns["messages"] = lists
    if rows_are != "text":
        columns["system"] = by_kind.named("system", ("text", "empty"))
        columns["tools"] = by_kind.named("tools", ("json", "list of objects", "object"))
        for medium in ("images", "videos", "audios"):
            columns[medium] = by_kind.named(
                medium, ("text", "list of text", "file", "list of files")
            )
        columns["chosen"], columns["rejected"] = pair
        columns["kto_tag"] = label
    found = {name: column for name, column in columns.items() if column}
    draft = replace(draft, rows_are=rows_are, judged=judged, columns=found)
    return replace(draft, tags=_tags(draft))


def look(draft: Draft, media_root: Path | None = None, first: int = 2) -> Look:
    """Convert the sampled rows as the draft says, and tell what would be lost.

    `media_root` is where the paths of pictures start from; None: the file's own folder.
    """
    try:
        info = draft.info()
    except BadInput as error:
        return Look((), 0, len(draft.rows), (error.problem.what,))
    examples: list[Example] = []
    bad = list(draft.faults)
    for number, row in draft.rows:
        try:
            examples.append(convert(row, info, number))
        except RowFault as fault:
            bad.append((number, str(fault)))
    warnings = []
    total = len(draft.rows) + len(draft.faults)
    if bad:
        number, reason = min(bad)
        warnings.append(
            f"{len(bad):,} of the first {total:,} rows can't be used; row {number:,}: {reason}."
        )
    used = set(draft.entry()["columns"].values())
    idle = [fact.name for fact in draft.facts if fact.filled and fact.name not in used]
    if idle:
        warnings.append(f"Not used: {', '.join(idle)}.")
    unnamed = [role for role in roles(draft) if role not in draft.tags.values()]
    if draft.rows_are == "sharegpt" and unnamed:
        warnings.append(f"Roles without a name: {', '.join(unnamed)}; their rows can't be used.")
    warnings += _media_warnings(draft, examples, media_root)
    return Look(tuple(examples[:first]), len(examples), total, tuple(warnings))


def roles(draft: Draft) -> list[str]:
    """The roles in the sampled message lists, the most frequent first."""
    key = draft.tags.get("role_tag")
    found = Counter(
        message[key] for message in _turns(draft) if key and isinstance(message.get(key), str)
    )
    return [role for role, _ in found.most_common(20)]


def turn_keys(draft: Draft) -> list[str]:
    """The fields of the sampled turns, the most frequent first."""
    found = Counter(str(key) for message in _turns(draft) for key in message)
    return [key for key, _ in found.most_common(20)]


def data_files(folder: Path) -> list[Path]:
    """What of a folder can be a set: its folders, then its files of rows, by name.

    Raises OSError for a folder that can't be read.
    """
    items = sorted(folder.iterdir(), key=lambda item: item.name.lower())
    shown_items = [item for item in items if not item.name.startswith(".")]
    folders = [item for item in shown_items if item.is_dir()]
    files = [
        item
        for item in shown_items
        if item.is_file() and inner_suffix(item) in SUFFIXES and item.name != "dataset_info.json"
    ]
    return [*folders, *files]


class _Kinds:
    """Which column of a kind bears one of the usual names."""

    def __init__(self, facts: Sequence[ColumnFacts]) -> None:
        self.of = {fact.name: fact.kind for fact in facts}

    def named(
        self,
        ours: str,
        kinds: Sequence[str],
        anything: bool = False,
        but: Iterable[str | None] = (),
    ) -> str | None:
        """The column for our name; with `anything`, any column of the kinds where none has it."""
        fitting = [name for name, kind in self.of.items() if kind in kinds and name not in but]
        lower = {name.lower(): name for name in reversed(fitting)}
        known = [lower[name] for name in _NAMED[ours] if name in lower]
        if known:
            return known[0]
        return fitting[0] if anything and fitting else None

    def longest_text(self, draft: Draft) -> str | None:
        texts = [name for name, kind in self.of.items() if kind == "text"]
        return max(
            texts,
            key=lambda name: sum(len(str(row.get(name) or "")) for _, row in draft.rows),
            default=None,
        )


def _list_format(draft: Draft, column: str | None) -> RowsAre:
    """openai where fields and roles are its own; sharegpt takes any by its tags."""
    seen: set[str] = set()
    for _, row in draft.rows:
        for message in _messages(row.get(column or "")):
            if "role" not in message or not {"content", "tool_calls"} & set(message):
                return "sharegpt"
            seen.add(str(message["role"]))
    return "openai" if seen <= _OPENAI_ROLES else "sharegpt"


def _messages(value: Any) -> list[Mapping[str, Any]]:
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, Mapping)]


def _turns(draft: Draft) -> list[Mapping[str, Any]]:
    names = [draft.columns.get(name) for name in ("messages", "chosen", "rejected")]
    return [
        message
        for _, row in draft.rows
        for name in names
        if name
        for message in _messages(row.get(name))
    ]


def _tags(draft: Draft) -> dict[str, str]:
    if not draft.asked_tags:
        return {}
    keys = turn_keys(draft)
    role_key = next((key for key in ROLE_KEYS if key in keys), None)
    content_key = next((key for key in CONTENT_KEYS if key in keys and key != role_key), None)
    if draft.rows_are == "openai":
        role_key, content_key = role_key or "role", content_key or "content"
    tags: dict[str, str | None] = {"role_tag": role_key, "content_tag": content_key}
    found = roles(replace(draft, tags={"role_tag": role_key} if role_key else {}))
    for tag, usual in _SIDES.items():
        tags[tag] = next((role for role in found if role.lower() in usual), None)
    if "function" in found:
        # It is a tool's result, but where results have a name of their own it is the call.
        calls = tags["observation_tag"] is not None and tags["function_tag"] is None
        side = "function_tag" if calls else "observation_tag"
        tags[side] = tags[side] or "function"
    named = set(tags.values())
    strangers = [role for role in _in_order(draft, role_key) if role not in named]
    for tag in ("user_tag", "assistant_tag"):
        # Whoever speaks first asks.
        if tags[tag] is None and strangers:
            tags[tag] = strangers.pop(0)
    return {tag: value for tag, value in tags.items() if value}


def _in_order(draft: Draft, role_key: str | None) -> list[str]:
    said = (message.get(role_key or "") for message in _turns(draft))
    return list(dict.fromkeys(role for role in said if isinstance(role, str)))


def _media_warnings(
    draft: Draft, examples: Sequence[Example], media_root: Path | None
) -> list[str]:
    warnings = []
    root = media_root or (draft.path.absolute().parent if draft.path is not None else Path())
    media = [medium for example in examples for medium in example.media]
    gone = [one for one in media if "://" not in one.name and not (root / one.name).exists()]
    if gone:
        held = words(kinds_of(media))
        warnings.append(
            f"{len(gone):,} of {len(media):,} {held} are not in {root}, such as {gone[0].name}; "
            "media_dir says where to look."
        )
    for example in examples:
        text = "".join(message.content for message in example.messages)
        places = len(ANY_PLACEHOLDER.findall(text))
        if example.media and places != len(example.media):
            warnings.append(
                f"Row {example.source_row:,} has {len(example.media)} media and {places} places."
            )
            break
    return warnings


def _name_of(path: Path) -> str:
    stem = Path(path.stem).stem if is_packed(path) else path.stem
    return re.sub(r"[\s,=]+", "_", stem).strip("_") or "set"


def _bad(what: str, where: Path, hint: str) -> BadInput:
    return BadInput(Problem(what, str(where), hint, "dataset"))
