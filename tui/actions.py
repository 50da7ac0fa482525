"""Every action of the screen, once: keys, bottom line, help and palette all derive from this.

An action belongs to a scope, the class of panes where its key acts. Its id is stable: a person's
own keys are written against it (`keys.toml` in the configuration folder, `"run.train" = "f5"`).
"""

from __future__ import annotations

from dataclasses import dataclass

from textual.binding import Binding

from tui.language import marked as _m


@dataclass(frozen=True)
class Action:
    """One thing a person can do.

    `keys` are Textual key names, the first one is shown. `label` stands in the bottom line, `help`
    in the help screen and the palette. `method` names the `action_…` method. `rank` orders the
    bottom line (0: not shown there). `palette` is False for plain movement. `sign` is written for
    the key where it stands for two (`↑↓`).
    """

    id: str
    keys: tuple[str, ...]
    label: str
    help: str
    method: str
    scope: str
    rank: int = 0
    palette: bool = True
    sign: str = ""


def _action(
    id: str,
    keys: str,
    label: str,
    help: str,
    method: str = "",
    rank: int = 0,
    palette: bool = True,
    sign: str = "",
) -> Action:
    scope = id.split(".", 1)[0]
    return Action(
        id=id,
        keys=tuple(keys.split()),
        label=label,
        help=help,
        method=method or id.replace(".", "_"),
        scope=scope,
        rank=rank,
        palette=palette,
        sign=sign,
    )


ACTIONS: tuple[Action, ...] = (
    # The whole screen.
    _action("app.train", "t", _m("train"), _m("Train with what the left side says"), "train", 30),
    _action("app.stop", "s", _m("stop"), _m("Stop the job; a checkpoint is saved"), "stop_job"),
    _action("app.pause", "space", _m("pause"), _m("Pause the job, or go on"), "pause_job"),
    _action("app.model", "1", _m("1-4 panes"), _m("Go to Model"), "rail('model')", 50),
    _action("app.data", "2", _m("data"), _m("Go to Data"), "rail('data')"),
    _action("app.settings", "3", _m("settings"), _m("Go to Settings"), "rail('settings')"),
    _action("app.runs", "4", _m("runs"), _m("Go to Runs"), "rail('runs')"),
    _action("app.monitor", "m", _m("monitor"), _m("Watch the training"), "view('train')", 53),
    _action("app.chat", "c", _m("chat"), _m("Talk to a model"), "view('chat')", 51),
    _action(
        "app.evaluate", "e", _m("evaluate"), _m("Score a model on data"), "view('evaluate')", 54
    ),
    _action("app.export", "x", _m("export"), _m("Export a model"), "view('export')", 52),
    _action("app.back", "escape", _m("back"), _m("Step out one level"), "back", 60, False),
    _action("app.next", "tab", _m("next pane"), _m("Next pane"), "focus_next", 0, False),
    _action(
        "app.previous",
        "shift+tab",
        _m("previous pane"),
        _m("Previous pane"),
        "focus_previous",
        0,
        False,
    ),
    _action("app.help", "question_mark", _m("keys"), _m("Keys of this pane"), "help"),
    _action(
        "app.palette", "colon ctrl+p slash", _m("commands"), _m("Every command by name"), "palette"
    ),
    _action(
        "app.language",
        "f2",
        _m("language"),
        _m("Switch the language (English, 简体中文)"),
        "switch_language",
    ),
    _action("app.theme", "f3", _m("theme"), _m("Switch the colour theme"), "switch_theme"),
    _action("app.card", "f4", _m("details"), _m("Details of the last failure"), "failure_details"),
    _action("app.log", "f5", _m("log"), _m("Read the log of the run"), "read_log"),
    _action(
        "app.fit",
        "f6",
        _m("fit"),
        _m("Take a change that makes the run fit into memory"),
        "take_advice",
    ),
    _action("app.repaint", "ctrl+l", _m("redraw"), _m("Draw the whole screen again"), "repaint"),
    _action(
        "app.suspend",
        "ctrl+z",
        _m("suspend"),
        _m("Put the program to sleep (fg wakes it)"),
        "suspend",
    ),
    _action("app.quit", "q", _m("quit"), _m("Leave; with a run going it asks first"), "leave"),
    _action(
        "app.interrupt",
        "ctrl+c",
        _m("leave"),
        _m("Leave; with a run going it asks first"),
        "leave",
        0,
        False,
    ),
    # The training monitor.
    _action(
        "train.zoom", "z", _m("zoom"), _m("Look closer at the last part of the curve"), "zoom", 3
    ),
    _action(
        "train.measure",
        "v right_square_bracket",
        _m("measure"),
        _m("Draw the next measure that the stage logs"),
        "walk_measures(1)",
        1,
    ),
    _action(
        "train.measure_before",
        "left_square_bracket",
        "",
        _m("Draw the measure before"),
        "walk_measures(-1)",
    ),
    _action(
        "train.completions",
        "a",
        _m("answers"),
        _m("Read the sampled answers and their rewards"),
        "read_completions",
        2,
    ),
    _action("train.log_axis", "y", _m("log axis"), _m("Logarithmic loss axis"), "log_axis", 4),
    # Model.
    _action(
        "model.choose",
        "enter",
        _m("use this model"),
        _m("Use this model for the next run"),
        "choose",
        1,
        False,
    ),
    _action(
        "model.pick",
        "o",
        _m("all models"),
        _m("Pick out of the field's models by name"),
        "pick_catalogue",
        2,
    ),
    _action(
        "model.type",
        "slash",
        _m("type an id or folder"),
        _m("Type a hub id or the path of a folder"),
        "type_model",
        3,
    ),
    _action(
        "model.download",
        "d",
        _m("download"),
        _m("Download the chosen model now, or stop that"),
        "download_model",
        4,
    ),
    _action(
        "model.step_in",
        "right",
        _m("read the card"),
        _m("Read the model's card"),
        "step_in",
        5,
        False,
    ),
    # Data list and row browser.
    _action(
        "data.toggle",
        "space",
        _m("use this set"),
        _m("Use this set, or leave it out"),
        "toggle_set",
        1,
    ),
    _action(
        "data.step_in",
        "enter right",
        _m("look at rows"),
        _m("Look at its rows"),
        "step_in",
        2,
        False,
    ),
    _action("data.folder", "d", _m("folder"), _m("Another dataset folder"), "folder", 3),
    _action("data.add", "a plus", _m("add"), _m("Make a set of a file of rows"), "add_set", 4),
    _action(
        "data.edit", "E", _m("correct"), _m("Correct the set: name, columns, file"), "edit_set", 5
    ),
    _action(
        "data.remove",
        "R delete",
        _m("take off"),
        _m("Take the set off the list; its files stay"),
        "remove_set",
        6,
    ),
    _action("rows.next", "down", _m("row"), _m("Next row"), "next_row", 1, False, "↑↓"),
    _action("rows.previous", "up", "", _m("Previous row"), "previous_row", 0, False),
    _action("rows.down", "j", "", _m("Scroll a long row down"), "scroll_lines(1)", 0, False),
    _action("rows.up", "k", "", _m("Scroll a long row up"), "scroll_lines(-1)", 0, False),
    _action("rows.go", "g", _m("go to"), _m("Go to a row by its number"), "go_to_row", 2),
    _action(
        "rows.search",
        "slash",
        _m("search"),
        _m("Find a row that holds a text or fits an expression"),
        "search_rows",
        3,
    ),
    _action(
        "rows.again", "n", _m("next match"), _m("Next row that holds the text"), "search_again", 4
    ),
    _action(
        "rows.filter",
        "f",
        _m("filter"),
        _m("Show only rows of a role, a length, a number of tokens"),
        "filter_rows",
        4,
    ),
    _action(
        "rows.sort",
        "o",
        _m("order"),
        _m("Longest rows first by tokens, shortest first, or as they stand"),
        "sort_rows",
        6,
    ),
    _action(
        "rows.check",
        "i",
        _m("check"),
        _m("Check the set: rows that can't be used, lengths, duplicates"),
        "check_set",
        4,
    ),
    _action("rows.view", "v", _m("view"), _m("Conversation, tokens, raw fields"), "next_view", 5),
    _action(
        "rows.edit", "E", _m("correct"), _m("Correct the set: name, columns, file"), "edit_set", 8
    ),
    _action(
        "rows.thoughts",
        "h",
        _m("thoughts"),
        _m("Does your data hold thoughts? The row with thinking and without"),
        "thoughts",
        7,
    ),
    _action(
        "rows.take",
        "enter",
        "",
        _m("Set Thinking as the thoughts of the rows ask for"),
        "take_thoughts",
        0,
    ),
    _action(
        "rows.toggle",
        "space",
        _m("use this set"),
        _m("Use this set, or leave it out"),
        "toggle_set",
        6,
    ),
    _action(
        "data.search",
        "slash",
        _m("search"),
        _m("Find a row of the set that holds a text or fits an expression"),
        "search",
        0,
    ),
    # Settings panel and form.
    _action(
        "settings.step_in",
        "enter right",
        _m("edit"),
        _m("Edit the settings"),
        "step_in",
        1,
        False,
    ),
    _action(
        "settings.filter",
        "slash",
        _m("filter"),
        _m("Show the settings whose name holds a text"),
        "search",
        2,
    ),
    _action("form.edit", "enter", _m("edit"), _m("Edit the value"), "edit", 2, False),
    _action(
        "form.lower", "left", _m("choose"), _m("Previous choice"), "previous_choice", 3, False, "←→"
    ),
    _action("form.higher", "right", "", _m("Next choice"), "next_choice", 0, False),
    _action("form.flip", "space", "", _m("Switch on or off"), "flip", 0, False),
    _action(
        "form.choose",
        "o",
        _m("choose a model"),
        _m("Choose one of the runs or models that are here"),
        "choose_model",
        1,
    ),
    _action("form.default", "d", _m("default"), _m("Back to the default"), "default", 4),
    _action("form.undo", "u", _m("undo"), _m("Undo the last change"), "undo", 5),
    _action(
        "form.filter",
        "slash",
        _m("filter"),
        _m("Show the settings whose name holds a text"),
        "filter",
        6,
    ),
    _action("form.level", "a", _m("all"), _m("Basic settings, or all of them"), "level", 7),
    _action("form.preset", "p", _m("preset"), _m("Choose a preset"), "preset", 8),
    _action(
        "form.save", "w", _m("save YAML"), _m("Write the settings to a YAML file"), "save_yaml", 9
    ),
    _action(
        "form.load", "l", _m("load YAML"), _m("Read settings from a YAML file"), "load_yaml", 10
    ),
    # Runs.
    _action("runs.open", "enter right", _m("open"), _m("Look at its curves"), "step_in", 1, False),
    _action(
        "runs.resume", "r", _m("resume"), _m("Go on from a checkpoint of choice"), "resume_run", 2
    ),
    _action(
        "runs.again",
        "a",
        _m("its settings"),
        _m("Take its settings into the form"),
        "take_settings",
        3,
    ),
    _action("runs.chat", "c", _m("chat"), _m("Talk to this run's model"), "chat_run", 4),
    # Chat.
    _action("chat.write", "i slash enter", _m("write"), _m("Write a message"), "write", 1),
    _action("chat.stop", "s", _m("stop"), _m("Stop the answer"), "stop_answer", 2),
    _action(
        "chat.again", "r", _m("regenerate"), _m("Answer the last message again"), "regenerate", 3
    ),
    _action(
        "chat.beside",
        "b",
        _m("base beside tuned"),
        _m("Let the base answer too, beside the model that was made of it; or no more"),
        "beside",
        4,
    ),
    _action("chat.model", "o", _m("model"), _m("Talk to another model or checkpoint"), "pick", 5),
    _action(
        "chat.sampling",
        "p",
        _m("sampling"),
        _m("Temperature, length and system prompt"),
        "sampling",
        6,
    ),
    _action("chat.new", "n", _m("new"), _m("Start a new conversation"), "new", 7),
    # The message line of the chat.
    _action("message.send", "enter", _m("send"), _m("Send the message"), "send", 1, False),
    _action("message.leave", "escape", _m("leave the line"), _m("Leave the line"), "out", 2, False),
    _action("message.line", "ctrl+j", _m("new line"), _m("Begin a new line"), "line", 3, False),
    # The short forms of evaluate and export.
    _action("values.edit", "enter", _m("edit"), _m("Edit the value"), "edit", 1, False),
    _action(
        "values.lower",
        "left",
        _m("choose"),
        _m("Previous choice"),
        "previous_choice",
        2,
        False,
        "←→",
    ),
    _action("values.higher", "right", "", _m("Next choice"), "next_choice", 0, False),
    _action("values.flip", "space", "", _m("Switch on or off"), "flip", 0, False),
    # Evaluate and export.
    _action("evaluate.start", "g", _m("start"), _m("Start the evaluation"), "start", 1),
    _action(
        "evaluate.model", "o", _m("model"), _m("Evaluate another model or checkpoint"), "pick", 2
    ),
    _action("evaluate.sort", "v", _m("sort"), _m("Sort rows by score, or as they came"), "sort", 3),
    _action("export.start", "g", _m("start"), _m("Start the export"), "start", 1),
    _action("export.model", "o", _m("model"), _m("Export another run or checkpoint"), "pick", 2),
)

BY_ID = {action.id: action for action in ACTIONS}


# These act in a text field too, which would take Ctrl+C for copying and Ctrl+Z for undoing.
_ALWAYS = frozenset({"app.interrupt", "app.suspend"})


def in_scope(scope: str) -> list[Action]:
    return [action for action in ACTIONS if action.scope == scope]


def bindings(scope: str) -> list[Binding | tuple[str, str] | tuple[str, str, str]]:
    """Textual's bindings for a scope; their ids let `set_keymap` move them."""
    return [
        Binding(
            ",".join(action.keys),
            action.method,
            action.label,
            id=action.id,
            show=False,
            priority=action.id in _ALWAYS,
        )
        for action in in_scope(scope)
    ]
