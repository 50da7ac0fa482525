"""A set checked from the row browser: a verdict, the detail behind it, and the way to a row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tui.dialogs.check import CheckCard
from tui.panes.data import DataView
from tui.widgets.list_view import ListPanel

TALE = "once upon a time there was a king who had three daughters and a dog " * 3


def content() -> list[dict[str, Any]]:
    rows = [{"instruction": f"Tell me tale {n}.", "output": f"Tale {n}. " + "word " * n}
            for n in range(1, 41)]  # fmt: skip
    rows[4]["output"] = ""
    rows[20]["output"] = "I am {{name}}."
    rows[30] = dict(rows[10])
    rows[33]["output"] = TALE
    rows[35] = {"instruction": "Tell me tale 34.", "output": TALE + "too"}
    return rows


async def opened(shown: Any, home: Path, rows: list[Any], **form: object) -> DataView:
    folder = home / "sets"
    folder.mkdir()
    (folder / "mine.json").write_text(json.dumps(rows), encoding="utf-8")
    (folder / "dataset_info.json").write_text('{"mine": {"file_name": "mine.json"}}')
    shown.studio.change_many({"dataset_dir": str(folder), "dataset": "mine", **form})
    shown.studio.read_datasets()
    shown.app.show()
    await shown.settle()
    await shown.press("2", "enter")
    view: DataView = shown.app.views["data"]
    return view


async def checked(shown: Any, view: DataView) -> None:
    await shown.press("i")
    await shown.until(lambda: view.checks.run is not None and view.checks.run.state.finished)
    shown.app.show()
    await shown.settle()


async def test_the_verdict_stands_beside_the_set(open_screen, home: Path) -> None:
    async with open_screen() as shown:
        view = await opened(shown, home, content())
        await checked(shown, view)
        said = " ".join(line for line in view.source_panel.picture_lines())
        assert "39 of 40 rows can be used" in said and shown.dialogs == 0
        (first, *_rest) = view.checks.lines("mine", 400)
        words = "".join(text for text, _role in first)
        assert "Nearly equal rows: 1." in words and "placeholders in 1 row" in words
        assert view.checks.lines("another", 80) == []
        # Another form is another run: what was found holds no more.
        shown.studio.change("cutoff_len", 77)
        assert view.checks.lines("mine", 80) == []


async def test_the_detail_leads_to_rows(open_screen, home: Path) -> None:
    async with open_screen() as shown:
        view = await opened(shown, home, content())
        await checked(shown, view)
        await shown.press("i")
        assert isinstance(shown.app.screen, CheckCard)
        panel = shown.app.screen.query_one(ListPanel)
        texts = [row.text for row in panel.rows]
        assert any("row 5: there is no answer" in text for text in texts)
        assert any("row 36 ~ 34" in text for text in texts)
        assert any("same as an earlier one" in text for text in texts)
        row = next(row for row in panel.rows if row.key.startswith("placeholder"))
        panel.select(row.key)
        await shown.press("enter")
        assert shown.dialogs == 0 and "row 21 of 40" in shown.text


async def test_long_findings_are_unfolded(open_screen, home: Path) -> None:
    async with open_screen() as shown:
        rows = [{"instruction": "q", "output": ""}, *content()[:1]] * 15
        view = await opened(shown, home, rows)
        await checked(shown, view)
        await shown.press("i")
        panel = shown.app.screen.query_one(ListPanel)
        bad = [row for row in panel.rows if row.key.startswith("bad")]
        assert len(bad) == 8 and panel.select("more#bad")
        await shown.press("enter")
        assert shown.dialogs == 1
        assert len([row for row in panel.rows if row.key.startswith("bad")]) == 15
        assert "Nothing is tokenised" in shown.text


async def test_validation_rows_that_are_trained_on_are_told(open_screen, home: Path) -> None:
    async with open_screen() as shown:
        rows = [{"instruction": f"Ask {n % 4}?", "output": f"Answer {n % 4}."} for n in range(20)]
        view = await opened(shown, home, rows, val_size=0.25)
        await checked(shown, view)
        run = view.checks.run
        assert run is not None and run.state.leaks is not None and len(run.state.leaks) == 5
        await shown.press("i")
        assert "Validation rows that are trained on: 5" in shown.text


async def test_a_run_starts_while_a_set_is_checked(open_screen, home: Path) -> None:
    """The check has a thread of its own: look-ups and `t` go on."""
    async with open_screen() as shown:
        view = await opened(shown, home, content() * 60)
        await shown.press("i")
        run = view.checks.run
        assert run is not None
        await shown.press("down")
        assert "row 2 of 2,400" in shown.text and shown.dialogs == 0
        assert run._thread is not None and run._thread.name == "finetui-check"
        run.stop()
        assert run.join(30)


async def test_a_set_that_cannot_be_read_is_told(open_screen, home: Path) -> None:
    async with open_screen() as shown:
        view = await opened(shown, home, content())
        (home / "sets" / "mine.json").write_text("[{")
        await checked(shown, view)
        run = view.checks.run
        assert run is not None and "not valid JSON" in run.state.problem
        assert "not valid JSON" in "".join(view.checks.lines("mine", 300)[0][0][0])


async def test_the_card_fits_a_narrow_screen(open_screen, home: Path) -> None:
    async with open_screen((80, 24)) as shown:
        view = await opened(shown, home, content())
        await checked(shown, view)
        # The verdict is told once, though more came later, and not over the card.
        assert len(shown.app._notifications) == 1
        assert next(iter(shown.app._notifications)).message.endswith("i shows more")
        await shown.press("i")
        assert isinstance(shown.app.screen, CheckCard) and "39 of 40 rows" in shown.text
        assert len(shown.app._notifications) == 0
        await shown.press("escape")
        assert shown.dialogs == 0
