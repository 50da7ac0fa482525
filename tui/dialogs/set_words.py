"""What the parts of a registry entry are called for a person."""

from tui.engine_text import engine_text
from tui.language import _
from tui.language import marked as _m

WORDS = {
    "text": _m("plain text"),
    "one answer": _m("one answer"),
    "better and worse": _m("better and worse"),
    "good or bad": _m("good or bad"),
    "own list": _m("your own list"),
    "folder": _m("the dataset folder"),
    "copy": _m("the dataset folder, copied"),
}
TOLD = {
    "own list": _m("The file stays where it is; the set is there beside every dataset folder."),
    "folder": _m("Its dataset_info.json gets one entry more; nothing else of it changes."),
    "copy": _m("The file is copied there, and its dataset_info.json gets one entry more."),
}
COLUMNS = {
    "prompt": _m("question"), "query": _m("its input"), "response": _m("answer"),
    "history": _m("earlier turns"), "messages": _m("turns"), "system": _m("system text"),
    "tools": _m("tools"), "images": _m("pictures"), "videos": _m("videos"),
    "audios": _m("sounds"), "chosen": _m("better answer"), "rejected": _m("worse answer"),
    "kto_tag": _m("label"),
}  # fmt: skip
# What of a hub's set; another part is fetched and made out anew.
PARTS = {"subset": _m("subset"), "split": _m("split")}
TAGS = {
    "role_tag": _m("field of the role"), "content_tag": _m("field of the text"),
    "user_tag": _m("user is called"), "assistant_tag": _m("assistant is called"),
    "observation_tag": _m("tool result is called"), "function_tag": _m("tool call is called"),
    "system_tag": _m("system is called"),
}  # fmt: skip


def word(value: str) -> str:
    """A value of an entry as a person reads it."""
    return _(WORDS[value]) if value in WORDS else value


def typed_fault(key: str, text: str) -> str:
    """What is wrong with a typed value, in a sentence; empty where nothing is."""
    if key in PARTS or key == "file":
        return ""
    if key == "num_samples":
        number = text.replace(",", "").strip()
        return "" if not number or number.isdigit() else _("Type a whole number, or nothing.")
    from engine.worker.new_sets import name_fault

    return engine_text(name_fault(text))
