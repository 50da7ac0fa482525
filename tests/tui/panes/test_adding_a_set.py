"""A set is added from the screen: a file chosen, made out, corrected, written; Esc anywhere."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from engine.datasets.registry import own_sets_dir
from engine.paths import bundled_data_dir
from tui.dialogs.add_set import AddSet, SetForm
from tui.dialogs.choose_file import ChooseFile

ROWS = [
    {"question": f"how many {n}", "reply": f"exactly {n}", "second": "other", "id": n}
    for n in range(1, 6)
]


def a_file(home: Path, rows: list[object], name: str = "mine.json") -> Path:
    (home / name).write_text(json.dumps(rows), encoding="utf-8")
    return home / name


async def opened(shown) -> AddSet:
    """The form of the file, once its rows are made out."""
    await shown.until(lambda: isinstance(shown.app.screen, AddSet) and shown.app.screen.found)
    await shown.settle()
    return shown.app.screen


async def typed_path(shown, text: str) -> None:
    await shown.press("2", "a")
    assert isinstance(shown.app.screen, ChooseFile)
    await shown.type(text)
    await shown.press("enter")


def own_entries() -> dict:
    path = own_sets_dir() / "dataset_info.json"
    return json.loads(path.read_text()) if path.exists() else {}


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 50)])
async def test_a_file_is_made_out_shown_and_written(open_screen, home: Path, size) -> None:
    path = a_file(home, ROWS)
    before = (bundled_data_dir() / "dataset_info.json").read_bytes()
    async with open_screen(size) as shown:
        await typed_path(shown, "mi")
        await opened(shown)
        assert "A new set   mine.json" in shown.text and "5 of 5 usable" in shown.text
        assert "‹ alpaca ›" in shown.text and "‹ question ›" in shown.text
        assert "! Not used: second, id." in shown.text and "how many 1" in shown.text
        await shown.press("w")
        await shown.until(lambda: shown.dialogs == 0)
        assert own_entries()["mine"] == {
            "file_name": str(path),
            "formatting": "alpaca",
            "columns": {"prompt": "question", "response": "reply"},
        }
        row = shown.app.rail.data.cursor_row
        assert row is not None and row.key == "mine" and row.figures == ("5",)
        await shown.press("space")
        assert "mine" in shown.studio.chosen
    assert (bundled_data_dir() / "dataset_info.json").read_bytes() == before


async def test_a_column_a_tag_and_the_format_are_corrected(open_screen, home: Path) -> None:
    a_file(home, ROWS)
    async with open_screen((120, 40)) as shown:
        await typed_path(shown, "mi")
        screen = await opened(shown)
        form = screen.query_one(SetForm)
        form.select("columns.response")
        await shown.press("right")
        assert screen.found.draft.columns["response"] == "second"
        assert "other" in shown.text and "! Not used: reply, id." in shown.text
        form.select("rows_are")
        await shown.press("left")
        assert screen.found.draft.rows_are == "text" and "plain text" in shown.text
        assert screen.found.look.examples[0].kind == "text"
        await shown.press("right")
        form.select("judged")
        await shown.press("right")
        assert screen.found.draft.judged == "better and worse"
        assert "None of the rows can be used so." in shown.text
        await shown.press("w")
        assert shown.dialogs == 1 and own_entries() == {}
        assert "be used so: say" in shown.text and screen.query_one(SetForm).cursor_key == "write"
        await shown.press("escape")
        assert shown.dialogs == 0


async def test_roles_of_a_message_list(open_screen, home: Path) -> None:
    talk = [{"who": "x"}, {"from": "Ann", "value": "q"}, {"from": "Bob", "value": "a"}]
    a_file(home, [{"conversations": talk[1:]}], "talk.json")
    async with open_screen((120, 40)) as shown:
        await typed_path(shown, "talk")
        screen = await opened(shown)
        assert screen.found.draft.tags["user_tag"] == "Ann"
        form = screen.query_one(SetForm)
        form.select("tags.assistant_tag")
        await shown.press("right")
        assert "assistant_tag" not in screen.found.draft.tags
        assert "Roles without a name: Bob" in shown.text
        await shown.press("left")
        assert "1 of 1 usable" in shown.text


async def test_the_name_is_asked_and_one_that_is_taken_is_told(open_screen, home: Path) -> None:
    a_file(home, ROWS)
    async with open_screen((120, 40)) as shown:
        await typed_path(shown, "mi")
        screen = await opened(shown)
        assert screen.query_one(SetForm).cursor_key == "name"
        await shown.press("enter")
        await shown.type("a,b")
        assert "no comma" in shown.text
        await shown.press("enter")
        assert screen.query_one(SetForm).editing == "name"
        await shown.press("backspace", "backspace", "enter", "w")
        await shown.until(lambda: shown.dialogs == 0)
        assert list(own_entries()) == ["a"]
        await typed_path(shown, "mi")
        screen = await opened(shown)
        await shown.press("enter")
        await shown.type("a")
        await shown.press("enter", "w")
        await shown.until(lambda: bool(screen.name_fault))
        assert "There is a set 'a' already" in shown.text and shown.dialogs == 1
        # It may be written over, if that is said.
        screen.query_one(SetForm).select("columns.response")
        await shown.press("right")
        screen.query_one(SetForm).select("replace")
        await shown.press("space", "w")
        await shown.until(lambda: shown.dialogs == 0)
        assert own_entries()["a"]["columns"]["response"] == "second"


async def test_a_name_that_another_set_has_is_not_proposed(open_screen, home: Path) -> None:
    a_file(home, ROWS, "identity.json")
    async with open_screen((120, 40)) as shown:
        await typed_path(shown, "id")
        screen = await opened(shown)
        assert screen.found.draft.name == "identity_2"
        await shown.press("enter")
        await shown.type("identity")
        await shown.press("enter", "w")
        # The bundled set of that name would hide it.
        await shown.until(lambda: bool(screen.name_fault))
        assert own_entries() == {}


async def test_a_hub_set_by_name_and_part(open_screen, home: Path, monkeypatch) -> None:
    import datasets

    asked = []

    def load(name, subset, *, split, **_options):
        asked.append((name, subset, split))
        return datasets.Dataset.from_list(ROWS if split == "train" else ROWS[:2])

    monkeypatch.setattr(datasets, "load_dataset", load)
    async with open_screen((120, 40)) as shown:
        await shown.press("2", "a")
        line = shown.app.screen.query_one("Input")
        line.value = "hf:org/set"
        await shown.press("enter")
        screen = await opened(shown)
        assert "5 of 5 usable" in shown.text
        screen.query_one(SetForm).select("split")
        await shown.press("enter")
        await shown.type("test")
        await shown.press("enter")
        await shown.until(lambda: screen.found.look.looked_at == 2)
        await shown.press("w")
        await shown.until(lambda: shown.dialogs == 0)
        assert own_entries()["set"]["hf_hub_url"] == "org/set"
        assert own_entries()["set"]["split"] == "test"
        assert asked[:2] == [("org/set", None, "train"), ("org/set", None, "test")]
        # It was fetched: its rows can be looked at.
        await shown.press("enter")
        await shown.until(lambda: "row 1 of 2" in shown.text)


async def test_a_fetch_is_followed_and_esc_ends_it(open_screen, home: Path, monkeypatch) -> None:
    import threading

    from engine.datasets import hub
    from engine.problem import Stopped

    ended = threading.Event()

    def fetch(_info, access):
        access.progress("Fetching set", 30, 100, "bytes")
        try:
            while True:
                access.check_stop()
                ended.wait(0.01)
        except Stopped:
            ended.set()
            raise

    monkeypatch.setattr(hub, "_opened", fetch)
    async with open_screen((120, 40)) as shown:
        await shown.press("2", "a")
        shown.app.screen.query_one("Input").value = "ms:org/set"
        await shown.press("enter")
        await shown.until(lambda: "Fetching set   30 %" in shown.text)
        # Other questions are answered meanwhile.
        assert await asyncio.wrap_future(shown.engine.lookup(int)) == 0
        await shown.press("escape")
        await shown.until(ended.is_set)
        assert shown.dialogs == 0 and own_entries() == {}


async def test_a_hub_registry_is_read_beside_the_screen(
    open_screen, home: Path, monkeypatch
) -> None:
    from engine.datasets import hub

    (home / "far").mkdir()
    (home / "far" / "dataset_info.json").write_text('{"one": {"hf_hub_url": "org/one"}}')
    monkeypatch.setattr(hub, "remote_registry", lambda _repo: home / "far")
    async with open_screen((120, 40)) as shown:
        shown.studio.change("dataset_dir", "REMOTE:org/sets")
        shown.studio.read_datasets()
        assert shown.studio.datasets == []
        await shown.until(lambda: [one.name for one in shown.studio.datasets] == ["one"])
        assert shown.studio.datasets_problem is None
        # A glance at a set of the hub fetches nothing.
        await shown.press("2", "enter")
        await shown.until(lambda: "was not fetched yet" in shown.text)


async def test_a_file_of_the_dataset_folder_goes_into_its_registry(open_screen, home: Path) -> None:
    folder = home / "sets"
    folder.mkdir()
    (folder / "dataset_info.json").write_text('{"old": {"file_name": "mine.json"}}')
    a_file(folder, ROWS)
    async with open_screen((120, 40)) as shown:
        shown.studio.change("dataset_dir", str(folder))
        shown.studio.read_datasets()
        await typed_path(shown, "sets/mi")
        screen = await opened(shown)
        assert screen.places[0] == ("folder", folder)
        screen.query_one(SetForm).select("num_samples")
        await shown.press("enter")
        await shown.type("3")
        await shown.press("enter", "w")
        await shown.until(lambda: shown.dialogs == 0)
        written = json.loads((folder / "dataset_info.json").read_text())
        assert list(written) == ["old", "mine"] and written["mine"]["num_samples"] == 3
        assert written["mine"]["file_name"] == "mine.json" and own_entries() == {}
        # A damaged registry is refused in words, and nothing is lost.
        (folder / "dataset_info.json").write_text('{"old": ')
        await typed_path(shown, "sets/mi")
        screen = await opened(shown)
        await shown.press("w")
        await shown.until(lambda: bool(screen.fault))
        assert "is damaged" in shown.text
        assert (folder / "dataset_info.json").read_text() == '{"old": '


async def test_the_list_of_files_completes_and_walks_folders(open_screen, home: Path) -> None:
    (home / "deep").mkdir()
    a_file(home / "deep", ROWS, "one.json")
    a_file(home / "deep", ROWS, "two.json")
    (home / "deep" / "no.md").write_text("")
    async with open_screen((80, 24)) as shown:
        await shown.press("2", "a")
        assert "deep/" in shown.text
        await shown.press("tab")
        assert "one.json" in shown.text and "no.md" not in shown.text
        assert "the whole folder as one set" in shown.text
        await shown.press("up", "enter")
        screen = await opened(shown)
        assert screen.found.look.looked_at == 10 and screen.found.draft.name == "deep"
        await shown.press("escape")
        assert shown.dialogs == 0
        await shown.press("a", "escape")
        assert shown.dialogs == 0
        await shown.press("a")
        await shown.type("nothing")
        await shown.press("enter")
        assert "There is no such file." in shown.text
        await shown.press("escape")


async def test_a_file_without_rows_is_told_on_a_card(open_screen, home: Path) -> None:
    (home / "mine.json").write_text("{")
    async with open_screen((80, 24)) as shown:
        await typed_path(shown, "mi")
        await shown.until(lambda: "not valid JSON" in shown.text)
        await shown.press("escape")
        assert shown.dialogs == 0


async def test_foreign_text_is_only_text(open_screen, home: Path) -> None:
    nasty = "[/b] \x1b[31mred \u202eback"
    a_file(home, [{"question": nasty, nasty: "x", "answer": nasty}])
    async with open_screen((120, 40)) as shown:
        await typed_path(shown, "mi")
        await opened(shown)
        assert "[/b]" in shown.text and "\x1b[31mred" not in shown.text
        assert "\u202e" not in shown.text
