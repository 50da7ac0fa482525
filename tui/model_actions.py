"""Which model: picked out of the field's catalogue, downloaded, its own code agreed to or not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tui.engine_text import engine_text
from tui.language import _, joined, listed, named, sentence
from tui.shell import Shell
from tui.widgets.list_view import ListRow

if TYPE_CHECKING:
    from engine.problem import Problem
    from engine.worker.catalogue import Pickable
    from engine.worker.downloads import Download

# From this width on the list says the template too.
WIDE_SCREEN = 110
HUB_NAMES = {"huggingface": "Hugging Face", "modelscope": "ModelScope"}


class ModelActions(Shell):
    """Mixed into the app."""

    # Models whose download was asked for here, with the state that was told last.
    _followed: dict[str, str]

    # Choosing

    def action_pick_catalogue(self) -> None:
        """The list of all models: those on this machine, then the field's."""
        self.run_worker(self._pick_catalogue(), exclusive=False)

    async def _pick_catalogue(self) -> None:
        from engine.worker.catalogue import pickables
        from engine.worker.questions import remember_model
        from tui import dialogs

        config = self.studio.config
        lines = await self._asked(pickables, config.hub, config.cache_dir)
        rows, details, words = model_rows(lines, self.size.width >= WIDE_SCREEN)
        place = next((n for n, one in enumerate(lines) if one.id == config.model_name_or_path), 0)
        chosen = await self.push_screen_wait(
            dialogs.Pick(
                _("Which model") + "   ✓ " + _("on this machine"),
                rows,
                details=details,
                detail_lines=3,
                words=words,
                selected=str(place),
                wide=True,
                counted=True,
            )
        )
        if chosen is None:
            return
        line = lines[int(chosen)]
        await self.use_model(line.id, line.hub)
        if not line.ready and line.id != "demo":
            remember_model(line.id)
            self.studio.read_models()
            await self._offer_download(line)

    def action_use_model(self, name: str, hub: str = "") -> None:
        """Put a model into the form."""
        self.run_worker(self.use_model(name, hub), exclusive=False)

    async def use_model(self, name: str, hub: str = "") -> None:
        """Put a model into the form, from the hub that it is of. Its own code runs only where a
        person agreed to it before, or does now; what its template should be is said."""
        from engine.worker.catalogue import code_is_trusted, own_code_problem, template_note

        studio = self.studio
        hub = hub or studio.config.hub
        if name != studio.config.model_name_or_path or hub != studio.config.hub:
            trusted = await self._asked(code_is_trusted, name, hub, studio.config.cache_dir)
            values = {"model_name_or_path": name, "hub": hub, "trust_remote_code": trusted}
            studio.change_many(values)
        studio.choose_model(name)
        self.action_form_changed()
        if not studio.config.trust_remote_code:
            problem = await self._asked(own_code_problem, name, hub, studio.config.cache_dir)
            if problem is not None:
                await self._ask_for_trust(name, problem)
        note = await self._asked(template_note, name, hub, studio.config.cache_dir)
        if note:
            self.notify(note, timeout=10)

    async def _ask_for_trust(self, name: str, problem: Problem) -> bool:
        """Yes is for this model and this code only; no is the answer where none is given."""
        from engine.worker.catalogue import trust_code
        from tui import dialogs

        answer = await self.push_screen_wait(
            dialogs.Question(
                _("Run this model's own code?"),
                [
                    engine_text(problem.what),
                    [],
                    [(problem.where, "dim")],
                    [],
                    _("Yes counts for this model and this very code; it is asked again when the "
                      "code changes. Without it the model can't be loaded."),
                ],
                [dialogs.Answer("y", _("run it"))],
                role="warning",
            )
        )  # fmt: skip
        if answer != "y":
            return False
        await self._asked(trust_code, name, problem.where)
        if self.studio.config.model_name_or_path == name:
            self.studio.change("trust_remote_code", True)
            self.action_form_changed()
        return True

    # Downloading

    async def _offer_download(self, line: Pickable) -> None:
        from tui import dialogs

        where = HUB_NAMES.get(line.hub, line.hub)
        answer = await self.push_screen_wait(
            dialogs.Question(
                _("It is not on this machine yet"),
                [
                    [(f"{line.id}  {line.size}".rstrip(), "text")],
                    f"{_('It is fetched from')} {where}; "
                    + _("a run that needs it does so by itself."),
                ],
                [dialogs.Answer("d", _("download it now"))],
            )
        )
        if answer == "d":
            self._begin_download()

    def action_download_model(self) -> None:
        """Fetch the chosen model; while it is under way, stop it."""
        name = self.studio.config.model_name_or_path or ""
        download = self.download_of(name)
        if download is not None and download.under_way:
            self.engine.downloads.stop(name)
        elif name in ("", "demo"):
            self.notify(_("The first run fetches the demo model by itself."))
        elif self.studio.card is not None:
            self.notify(_("This model is on this machine already."))
        else:
            self._begin_download()

    def _begin_download(self) -> None:
        config = self.studio.config
        name = config.model_name_or_path or ""
        self.engine.downloads.begin(config)
        self._follow(name, "running")
        self.notify(_("Downloading; the panel Model shows how far it is. d stops it."))
        self.show()

    def download_of(self, name: str) -> Download | None:
        """How the download of a model stands."""
        return self.engine.downloads.of(name) if self.works.made else None

    def _follow(self, name: str, state: str) -> None:
        # Here and not in the app's own __init__: most sessions download nothing.
        if not hasattr(self, "_followed"):
            self._followed = {}
        self._followed[name] = state

    def follow_downloads(self) -> None:
        """On the tick: tell the end of a download that was asked for."""
        for name, told in list(getattr(self, "_followed", {}).items()):
            download = self.download_of(name)
            if download is None or download.state == told or download.under_way:
                continue
            self._follow(name, download.state)
            self._tell_ended(download)

    def _tell_ended(self, download: Download) -> None:
        studio = self.studio
        if download.state == "stopped":
            self.notify(_("The download is stopped; what came is kept for the next one."))
        elif download.problem is not None:
            if download.problem.setting == "trust_remote_code":
                self.run_worker(
                    self._trust_and_go_on(download.model, download.problem), exclusive=False
                )
            else:
                self.tell(download.problem)
        elif download.state == "done":
            licence = sentence(named(_("Licence"), download.licence)) if download.licence else ""
            words = joined((f"{download.model} {_('is on this machine now.')}", licence))
            self.notify(words, timeout=10)
            studio.read_models()
            if studio.config.model_name_or_path == download.model:
                self.action_use_model(download.model, download.hub)

    async def _trust_and_go_on(self, name: str, problem: Problem) -> None:
        if await self._ask_for_trust(name, problem) and (
            self.studio.config.model_name_or_path == name
        ):
            self._begin_download()

    async def _asked(self, function: Any, *args: Any) -> Any:
        """The answer of a look-up."""
        return await asyncio.wrap_future(self.engine.lookup(function, *args))


def model_rows(
    lines: tuple[Pickable, ...], wide: bool
) -> tuple[list[ListRow], dict[str, str], dict[str, str]]:
    """The picker's rows; what is said of each below the list; the words that find it. A row's key
    is its place."""
    rows, details, words = [], {}, {}
    for number, line in enumerate(lines):
        key = str(number)
        figures: tuple[str, ...] = (_media(line.media), _kind(line), line.size)
        if wide:
            figures = (line.template, *figures)
        rows.append(ListRow(key, line.name, figures, mark="✓" if line.ready else ""))
        details[key] = _told(line)
        words[key] = line.words
    return rows, details, words


def _kind(line: Pickable) -> str:
    if line.thinking:
        return _("thinks")
    return {"base": _("base"), "chat": _("chat")}.get(line.kind, "")


def _media(media: tuple[str, ...]) -> str:
    """The most that it takes, in a word; the line below the list names all."""
    if "audio" in media:
        return _("all media") if len(media) > 1 else _("audio")
    return _("video") if "video" in media else _("image") if media else ""


def _told(line: Pickable) -> str:
    if not line.hub:
        told = f" · {_('template')} {line.template}" if line.template else ""
        return line.id + told
    other = "modelscope" if line.hub == "huggingface" else "huggingface"
    parts = [f"{HUB_NAMES.get(line.hub, line.hub)}: {line.id}"]
    if line.other_id and line.other_id != line.id:
        parts.append(f"{HUB_NAMES[other]}: {line.other_id}")
    elif line.other_id:
        parts[0] = f"Hugging Face, ModelScope: {line.id}"
    if line.media:
        parts.append(_("takes") + " " + listed(_(kind) for kind in line.media))
    if line.template:
        parts.append(f"{_('template')} {line.template}")
    if line.licence:
        parts.append(named(_("Licence"), line.licence))
    if line.source:
        parts.append(f"{_('from')} {line.source}")
    return " · ".join(parts)
