"""What panes and actions may ask of the app, whichever part of it answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from textual.app import App
from textual.widget import Widget

if TYPE_CHECKING:
    from engine.problem import Problem
    from engine.worker import Engine
    from tui.keys import Keys
    from tui.panes.rail import Rail
    from tui.panes.view import View
    from tui.studio import Studio
    from tui.works import Works


class Shell(App[int]):
    """The app as its parts see it; `FinetuiApp` puts the parts together."""

    studio: Studio
    works: Works
    keys: Keys
    rail: Rail
    views: dict[str, View]
    view_name: str
    narrow: bool

    @property
    def engine(self) -> Engine:
        """The engine; made now if it was not wanted before."""
        return self.works.engine

    async def open_view(self, name: str, focus: bool = True) -> None:
        """Show a view in the right half."""
        raise NotImplementedError

    def show(self) -> None:
        """Draw all that is visible and changed."""
        raise NotImplementedError

    def take_in(self) -> None:
        """Fold what the engine said, and draw."""
        raise NotImplementedError

    def tell(self, problem: Problem, count: int = 1) -> None:
        """A card for bad input."""
        raise NotImplementedError

    async def dialog_ready(self) -> None:
        """A dialog takes keys now."""
        raise NotImplementedError

    def use_language(self, name: str) -> None:
        """Switch the language of everything on the screen."""
        raise NotImplementedError

    def rebuild(self) -> None:
        """Draw everything anew."""
        raise NotImplementedError

    def call_from_thread_later(self, function: Callable[..., Any], *args: Any) -> None:
        """Run `function` on the screen's thread, without waiting for it."""
        raise NotImplementedError

    def action_form_changed(self) -> None:
        """The form's values changed."""
        raise NotImplementedError

    def action_type_model(self) -> None:
        """Ask for a model's id or folder."""
        raise NotImplementedError

    def action_use_model(self, name: str, hub: str = "") -> None:
        """Put a model into the form, from the hub that it is of."""
        raise NotImplementedError

    def action_pick_catalogue(self) -> None:
        """Pick out of the field's models."""
        raise NotImplementedError

    def action_download_model(self) -> None:
        """Fetch the chosen model, or stop that."""
        raise NotImplementedError

    def action_dataset_folder(self) -> None:
        """Ask for a dataset folder."""
        raise NotImplementedError

    def action_add_set(self) -> None:
        """Make a set of a file."""
        raise NotImplementedError

    def action_edit_set(self) -> None:
        """Correct the set in the list."""
        raise NotImplementedError

    def action_remove_set(self) -> None:
        """Take the set in the list off it."""
        raise NotImplementedError

    def action_resume_run(self) -> None:
        """Go on from a checkpoint of the run in the list."""
        raise NotImplementedError

    def action_take_settings(self) -> None:
        """Take the settings of the run in the list."""
        raise NotImplementedError

    async def action_chat_run(self) -> None:
        """Talk to the model of the run in the list."""
        raise NotImplementedError

    def action_stop_job(self) -> None:
        """Stop the job that runs."""
        raise NotImplementedError

    def action_pause_job(self) -> None:
        """Pause the job that runs, or go on."""
        raise NotImplementedError

    async def go_to_setting(self, name: str) -> None:
        """Open the form with the cursor on a setting."""
        raise NotImplementedError


def shell(widget: Widget) -> Shell:
    """The app of a widget, typed."""
    return cast(Shell, widget.app)
