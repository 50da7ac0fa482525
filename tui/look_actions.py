"""What a person asks of the screen itself: keys, commands, language, theme, files, going places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.problem import BadInput
from tui import actions, dialogs
from tui.keys import key_sign
from tui.language import LANGUAGES, _, language
from tui.shell import Shell
from tui.theme import load_theme, set_current_theme, theme_names, to_textual_theme
from tui.widgets.frame import Line
from tui.widgets.list_view import ListRow
from tui.widgets.text_safe import wrap_cells

# Where the words stand, behind the keys.
_WORDS_AT = 14


def _help_lines(signs: str, words: str, width: int) -> list[Line]:
    """A key and what it does, below each other where one line is too short."""
    parts = wrap_cells(words, width - _WORDS_AT)
    heads = [signs, *[""] * (len(parts) - 1)]
    return [
        [(head.ljust(_WORDS_AT), "accent"), (part, "text")]
        for head, part in zip(heads, parts, strict=True)
    ]


class LookActions(Shell):
    """Mixed into the app."""

    # Help and commands

    def _scopes(self) -> list[str]:
        scopes: list[str] = []
        node: Any = self.focused
        while node is not None:
            scope = getattr(node, "scope", "")
            if scope and scope not in scopes:
                scopes.append(scope)
            node = node.parent
        return [*scopes, "app"]

    def action_help(self) -> None:
        """The keys of the focused pane and its parents."""
        scopes = self._scopes()
        view = self.views[self.view_name]
        told = {"train", "evaluate"}.intersection(scopes)
        lines: list[Any] = list(view.explained()) if told else []
        if lines:
            lines.pop()
        for scope in scopes:
            shown = [action for action in actions.in_scope(scope) if action.help]
            if not shown:
                continue
            if lines:
                lines.append([])
            for action in shown:
                signs = " ".join(key_sign(key) for key in self.keys.of(action))
                lines += _help_lines(signs, _(action.help), min(self.size.width - 8, 72))
            if scope == "rows":
                lines += [[], *view.explained()]
        self.push_screen(dialogs.Card(_("Keys"), lines))

    def action_palette(self) -> None:
        """Every command by name."""
        rows = []
        details = {}
        focused = set(self._scopes())
        for action in actions.ACTIONS:
            if not action.palette or (action.scope not in focused and action.scope != "app"):
                continue
            sign = key_sign(self.keys.of(action)[0])
            rows.append(ListRow(action.id, _(action.help), (sign,)))
            details[action.id] = action.id
        origin = self.focused

        async def chosen(name: str | None) -> None:
            if name is None:
                return
            node: Any = origin
            action = actions.BY_ID[name]
            while node is not None and getattr(node, "scope", "") != action.scope:
                node = node.parent
            await self.run_action(action.method, node if node is not None else self)

        self.push_screen(dialogs.Pick(_("Commands"), rows, details=details), chosen)

    # Language and theme

    def action_switch_language(self) -> None:
        rows = [
            ListRow(name, label, mark="✓" if name == language() else "")
            for name, label in LANGUAGES.items()
        ]

        def chosen(name: str | None) -> None:
            if name is not None:
                self.use_language(name)
                self.studio.save_screen()

        self.push_screen(dialogs.Pick(_("Language"), rows, selected=language()), chosen)

    def action_switch_theme(self) -> None:
        rows = [ListRow(name, name) for name in theme_names()]

        def chosen(name: str | None) -> None:
            if name is None:
                return
            theme, warning = load_theme(name)
            set_current_theme(theme)
            self.register_theme(to_textual_theme(theme))
            self.theme = f"finetui-{theme.name}"
            if warning:
                self.notify(warning, severity="warning")
            else:
                self.studio.remembered.theme = name
                self.studio.save_screen()
            self.rebuild()

        self.push_screen(dialogs.Pick(_("Theme"), rows), chosen)

    def action_repaint(self) -> None:
        repaint = getattr(self._driver, "repaint", None)
        if repaint is not None:
            repaint()
        self.refresh(repaint=True, layout=True)

    # The next run's parts

    def action_form_changed(self) -> None:
        """The form's values changed: everything derived from them is looked at again."""
        self.studio.look_again()
        self.show()

    def action_type_model(self) -> None:
        def check(text: str) -> str:
            name = text.strip()
            if not name:
                return _("Type a hub id such as org/name, or a folder.")
            # What could be an id is asked of the hub when it is read.
            path = name.startswith(("/", "./", "../", "~"))
            missing = path and not Path(name).expanduser().is_dir()
            return _("There is no such folder.") if missing else ""

        def typed(text: str | None) -> None:
            if text is not None:
                self.studio.type_model(text.strip())
                self.show()

        note = _("a hub id such as org/name, or the path of a folder")
        now = self.studio.config.model_name_or_path or ""
        self.push_screen(
            dialogs.AskLine(_("Which model"), "" if now == "demo" else now, note, check), typed
        )

    def action_dataset_folder(self) -> None:
        def check(text: str) -> str:
            folder = text.strip()
            if not folder or folder.startswith("REMOTE:") or folder == "ONLINE":
                return ""
            path = Path(folder).expanduser()
            if not path.is_dir():
                return _("There is no such folder.")
            if not (path / "dataset_info.json").is_file():
                return _("It holds no dataset_info.json.")
            return ""

        def typed(text: str | None) -> None:
            if text is not None:
                try:
                    self.studio.change("dataset_dir", text.strip() or None)
                except BadInput as error:
                    self.tell(error.problem)
                self.studio.read_datasets()
                self.action_form_changed()

        note = _("a folder with a dataset_info.json; empty: the bundled sets")
        self.push_screen(
            dialogs.AskLine(_("Dataset folder"), self.studio.config.dataset_dir or "", note, check),
            typed,
        )

    async def go_to_setting(self, name: str) -> None:
        """Open the form with the cursor on a setting."""
        await self.open_view("settings")
        view = self.views["settings"]
        view.go_to(name)  # type: ignore[attr-defined]
