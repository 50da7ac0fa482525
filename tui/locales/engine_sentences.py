"""Reads out of the engine's source what it may say to a person, with places for what is filled in.

The engine speaks English and knows no catalogue. Its sentences are found here by reading its
source: every text of more than a word, whatever call it is handed to, less what is never shown (a
log key, a regular expression, a template's code, the command line's own words). An f-string becomes
a message with numbered places: `f"{path.name} holds no rows."` is `{0} holds no rows.`, and where a
place holds one of several texts written out, there is one message for each.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

# Not shown by the screen, or translated elsewhere: `tui.locales.gather.declared`.
_OTHER_FILES = (
    "engine/cli/",
    "engine/config/catalogue.py",  # labels of sections, words of the page of all settings
    "engine/config/reference.py",
    "engine/datasets/template_names.py",
    "engine/datasets/templates/writer.py",
    "engine/datasets/tool_formats.py",
    "engine/datasets/word_memo.py",
    "engine/export/card.py",  # what is written into a model's folder stays English
    "engine/export/modelfile.py",
    "engine/models/explain",
    "engine/training/card.py",
    "engine/worker/form_notes.py",
    "engine/worker/quiet.py",
)
# What Python and the system say of a file, which the engine passes on.
_SAID_BY_PYTHON = tuple(
    said
    for text in (
        "Expecting value",
        "Expecting property name enclosed in double quotes",
        "Expecting ',' delimiter",
        "Expecting ':' delimiter",
        "Illegal trailing comma before end of object",
        "Illegal trailing comma before end of array",
        "Extra data",
        "Invalid control character at",
        "Unterminated string starting at",
        "Unexpected end of data",
        "Compressed file ended before the end-of-stream marker was reached",
        "Not a gzipped file",
        "No such file or directory",
        "Permission denied",
        "No space left on device",
        "Is a directory",
        "Not a directory",
        "File exists",
        "File name too long",
        "Read-only file system",
        "Disk quota exceeded",
        "Too many levels of symbolic links",
        "Too many open files",
        "Connection refused",
        "Connection reset by peer",
    )
    # The engine begins it small where it stands inside a sentence.
    for said in (text, text[0].lower() + text[1:])
)
# What these say of files and settings is a finished sentence too, shown as the engine's are.
_SCREEN_FILES = ("tui/keys.py", "tui/remembered.py", "tui/studio.py", "tui/theme/loader.py")
# Calls whose texts are gathered elsewhere, patterns, names of fields, or faults of our own.
_OTHER_CALLS = frozenset(
    (
        *("_", "_m", "marked", "setting", "Preset", "Measure"),
        *("compile", "search", "fullmatch", "match", "sub", "split", "startswith", "endswith"),
        *("removeprefix", "removesuffix", "replace", "encode", "strftime", "open"),
        *("getLogger", "exception", "debug", "filterwarnings", "import_module", "find_spec"),
        *("blake2b", "sha256"),
        *("ValueError", "TypeError", "AttributeError", "RuntimeError", "KeyError", "IndexError"),
        *("AssertionError", "NotImplementedError", "SecurityError"),
    )
)
# What is put together out of a table, the kinds of media. A lone `text` is a column's name as a
# rule, so sentences with that kind stand here whole.
_OUT_OF_TABLES = {
    "engine/datasets/medium.py": tuple(
        f"{count}{word}{plural}"
        for word in ("picture", "video", "sound")
        for count in ("", "{0} ")
        for plural in ("", "s")
    ),
    "engine/datasets/media_rows.py": ("it has {0}, and the model reads only text",),
    "engine/datasets/preparation_words.py": ("{0} holds {1}, and {2} reads only text.",),
    "engine/models/vision.py": ("{0} reads only text, and the message has a {1}.",),
}
# What code looks like: of a template, a regular expression, a model's class.
_CODE = re.compile(r"\{%|\{\{|%\}|\(\?|\n|\t|^\[A-Za|^<\|?\w+\|?>|^<\{|^Bearer |^# ")
# Names of packages, licences and formats; commands that a person types as they stand.
_AS_IT_IS = re.compile(
    r"^pip (install|download)( |$)|^Megatron Bridge$|^os error|failed writing$|^memory watch$|"
    r"^[\w.]+( [\w.-]+)* (license|community|terms of use|3-clause)$|^llamafactory \{0\}$|"
    r"^You are provided the following series|^Frame from |"  # written into a model's prompt
    r"^(set|data|cloud|own)$"  # a set or file may be called so
)
PLACE = re.compile(r"\{(\d+)\}")
# A place of `str.format` in a text that is no f-string.
_NAMED = re.compile(r"\{[a-z_]*\}")
_WORD = re.compile(r"[a-z]+(?:[ -][a-z]+)*")

Messages = dict[str, set[str]]


class Place:
    """What is filled in when the program runs."""


Part = str | Place


def gather_engine(root: Path) -> Messages:
    """Every message of the engine below `root` (the folder that holds `engine/`), with the files
    that it comes from, in the order of the files."""
    found: Messages = {}
    paths = sorted((root / "engine").rglob("*.py"))
    for path in [*paths, *(root / name for name in _SCREEN_FILES)]:
        name = path.relative_to(root).as_posix()
        if name.startswith(_OTHER_FILES):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"), name)
        for text in (*sentences(tree), *_OUT_OF_TABLES.get(name, ())):
            found.setdefault(text, set()).add(name)
    for text in _SAID_BY_PYTHON:
        found.setdefault(text, set()).add("Python")
    return found


def sentences(tree: ast.Module) -> Iterator[str]:
    """The messages of one file: as they stand, those that are put together by `+=`, activities."""
    names = _filled_in(tree)
    for node, is_word in _texts(tree, names):
        for parts in forms(node):
            text = message(parts)
            if _is_told(text, is_word):
                yield text
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            yield from filter(_is_told, _lengthened(function))
    yield from activities_in(tree)


def _filled_in(tree: ast.AST) -> set[str]:
    """Names that are filled into a text somewhere in the file: what they are given may be a word
    of it."""
    return {
        inner.id
        for node in ast.walk(tree)
        if isinstance(node, ast.FormattedValue)
        for inner in ast.walk(node.value)
        if isinstance(inner, ast.Name)
    }


def _texts(
    node: ast.AST, names: set[str], is_word: bool = False
) -> Iterator[tuple[ast.expr, bool]]:
    """The largest expressions of text below `node`, and whether a single word counts there."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
            continue  # a docstring
        if isinstance(child, (ast.Compare, ast.arguments)):
            continue
        if isinstance(node, ast.Subscript) and child is node.slice:
            continue
        if isinstance(node, ast.Dict) and child in node.keys:
            continue
        if isinstance(child, ast.Call) and _called(child) in _OTHER_CALLS:
            continue
        word = is_word
        if isinstance(child, ast.stmt):
            word = isinstance(node, ast.FunctionDef | ast.If | ast.For | ast.With | ast.Try) and (
                _given(child) in names
            )
        elif isinstance(child, ast.Call | ast.Tuple | ast.List | ast.Set | ast.Dict):
            word = False
        if isinstance(child, ast.expr) and is_text(child):
            yield child, word
            yield from _inside(child, names)
        else:
            yield from _texts(child, names, word)


def _inside(node: ast.expr, names: set[str]) -> Iterator[tuple[ast.expr, bool]]:
    """Texts within what is filled into a text."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.FormattedValue) and not is_text(inner.value):
            yield from _texts(inner, names, is_word=True)


def _lengthened(function: ast.FunctionDef) -> Iterator[str]:
    """`words = "…"` that `words += "…"` may lengthen, as one message."""
    given: dict[str, list[tuple[Part, ...]]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and is_text(node.value) and (name := _given(node)):
            given.setdefault(name, []).extend(forms(node.value))
    for node in ast.walk(function):
        if isinstance(node, ast.AugAssign) and is_text(node.value):
            for before in given.get(_given(node) or "", []):
                for after in forms(node.value):
                    yield message((*before, *after))


def activities_in(tree: ast.AST) -> Iterator[str]:
    """What a job says it is doing, be it one word: the first argument of `progress(…)`, and
    `Progress(activity=…)`. A name is followed to the text it was given in the same file."""
    given: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and (name := _given(node)):
            given.setdefault(name, []).append(node.value)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        told: list[ast.expr] = []
        if _called(node) == "progress":
            told = node.args[:1]
        elif _called(node) == "Progress":
            told = [word.value for word in node.keywords if word.arg == "activity"]
        for value in told:
            for one in given.get(value.id, []) if isinstance(value, ast.Name) else [value]:
                yield from map(message, forms(one) if is_text(one) else [])


def _given(statement: ast.stmt) -> str | None:
    """The one name that a statement gives a value."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
        return target.id if isinstance(target, ast.Name) else None
    if isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name):
        return statement.target.id
    return None


def _called(call: ast.Call) -> str:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def is_text(node: ast.expr) -> bool:
    """Whether an expression is a text written out, in part at least."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return is_text(node.left) or is_text(node.right)
    if isinstance(node, ast.IfExp):
        return is_text(node.body) and is_text(node.orelse)
    return isinstance(node, ast.JoinedStr)


def forms(node: ast.expr) -> list[tuple[Part, ...]]:
    """Every way in which an expression may read, in texts and places."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [_with_named_places(node.value)]
    if isinstance(node, ast.IfExp) and is_text(node):
        return forms(node.body) + forms(node.orelse)
    if isinstance(node, ast.BinOp) and is_text(node):
        return _joined([forms(node.left), forms(node.right)])
    if isinstance(node, ast.JoinedStr):
        return _joined([forms(value) for value in node.values])
    if isinstance(node, ast.FormattedValue) and is_text(node.value):
        return forms(node.value)
    return [(Place(),)]


def _with_named_places(text: str) -> tuple[Part, ...]:
    texts = _NAMED.split(text)
    parts: list[Part] = [texts[0]]
    for one in texts[1:]:
        parts += [Place(), one]
    return tuple(parts)


def _joined(pieces: list[list[tuple[Part, ...]]]) -> list[tuple[Part, ...]]:
    return [tuple(part for piece in chosen for part in piece) for chosen in product(*pieces)]


def message(parts: tuple[Part, ...]) -> str:
    """The message of some parts, its places numbered from 0, without blanks at its ends."""
    text, count = "", 0
    for part in parts:
        if isinstance(part, Place):
            text += f"{{{count}}}"
            count += 1
        else:
            text += part
    return text.strip()


def _is_told(text: str, is_word: bool = False) -> bool:
    bare = PLACE.sub("", text)
    if _CODE.search(text) or _AS_IT_IS.search(text):
        return False
    if is_word and _WORD.fullmatch(text):
        return len(text) > 1
    return " " in text and bool(re.search(r"[A-Za-z]{2,}", bare))
