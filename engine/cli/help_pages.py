"""How `--help` reads: no types of the programming language, and no sentence cut in the middle."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup


class Commands(TyperGroup):
    """A command with commands of its own: its help tells each one's whole first paragraph, where
    Typer's own cuts it at the width of one line."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        rows = []
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                first = (command.help or "").strip().split("\n\n")[0]
                rows.append((name, " ".join(first.split())))
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


def without_types(command: Any) -> Any:
    """The command, its arguments told by their names alone and its options by TEXT or N: Typer
    adds `<list[str]>` and the like to them."""
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            parameter.display_type_rich = _no_type
        elif parameter.metavar is None and not parameter.is_flag:
            parameter.metavar = "N" if "int" in parameter.bare_type() else "TEXT"
    for inner in getattr(command, "commands", {}).values():
        without_types(inner)
    return command


def _no_type(ctx: Any) -> str:
    return ""
