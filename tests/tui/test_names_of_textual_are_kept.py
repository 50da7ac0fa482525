"""Our widgets never take a private name of Textual's for something else: `self._size = (0, 0)` in
a widget breaks its layout, far from the line that did it."""

from __future__ import annotations

import ast
import importlib
import inspect
import textwrap
from functools import cache
from pathlib import Path

import pytest
from textual.message_pump import MessagePump

REPOSITORY = Path(__file__).parents[2]
MODULES = sorted(
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
    for path in (REPOSITORY / "tui").rglob("*.py")
    if path.name != "__main__.py"
)


@cache
def stored(kind: type) -> set[str]:
    """The private names that a class's own methods set on `self`."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
        and node.attr.startswith("_")
    }


@pytest.mark.parametrize("module", MODULES)
def test_no_private_name_is_taken(module: str) -> None:
    loaded = importlib.import_module(module)
    for kind in vars(loaded).values():
        if not (inspect.isclass(kind) and kind.__module__ == module):
            continue
        if not issubclass(kind, MessagePump):
            continue
        theirs = [one for one in kind.__mro__ if one.__module__.startswith("textual.")]
        names = set().union(*(stored(one) | set(vars(one)) for one in theirs))
        own = stored(kind) | {name for name, value in vars(kind).items() if is_own(name, value)}
        assert not own & names, f"{kind.__qualname__} takes {sorted(own & names)}"


def is_own(name: str, value: object) -> bool:
    """A private method of ours; a handler (`_on_key`) is meant to stand for Textual's."""
    return (
        inspect.isfunction(value) and name.startswith("_") and not name.startswith(("__", "_on_"))
    )
