"""The settings form: values, choices, undo, presets, filter, files, the live line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from engine.config import presets, settings
from engine.models.rows import RowFacts
from tui.panes.settings import SettingsView


async def form_of(shown) -> SettingsView:
    await shown.press("3", "enter")
    view = shown.app.views["settings"]
    assert isinstance(view, SettingsView)
    return view


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (60, 24)])
async def test_the_live_lines_are_whole_on_a_small_screen(open_screen, size) -> None:
    async with open_screen(size) as shown:
        view = await form_of(shown)
        await shown.settle()
        told = view.outcome
        drawn = [told.content_line(y, told.content_width) for y in range(told.content_height)]
        text = " ".join("".join(part for part, _ in line).strip() for line in drawn).rstrip()
        assert "…" not in text and text.endswith(" free"), text


async def test_the_form_shows_what_applies_with_help_and_outcome(open_screen) -> None:
    async with open_screen() as shown:
        view = await form_of(shown)
        assert "Basics" in shown.lines[2]
        assert "91 rows × 5 epochs ÷ (4 × 2) ≈ 60 steps · warm-up 6" in shown.text
        assert "parameters" in shown.text and re.search(r"memory \S+ (GB )?of \d+ GB", shown.text)
        view.form.select("learning_rate")
        await shown.settle()
        assert "How far each update moves" in shown.text
        assert "Flat key  learning_rate" in shown.text
        assert "Usual for sft + lora" in shown.text


async def test_a_value_is_typed_in_place_and_everything_follows(open_screen) -> None:
    async with open_screen() as shown:
        view = await form_of(shown)
        view.form.select("num_train_epochs")
        await shown.press("enter")
        await shown.type("2")
        await shown.press("enter")
        assert shown.studio.config.num_train_epochs == 2
        assert "× 2 epochs ÷ (4 × 2) ≈ 24 steps" in shown.text
        assert "→ 24 steps" in shown.text
        assert shown.app.focused is view.form
        await shown.press("u")
        assert shown.studio.config.num_train_epochs == 5
        await shown.press("u")
        assert "There is nothing to undo." in shown.text


async def test_a_wrong_value_keeps_its_text_and_says_why(open_screen) -> None:
    async with open_screen() as shown:
        view = await form_of(shown)
        view.form.select("learning_rate")
        await shown.press("enter")
        await shown.type("fast")
        await shown.press("enter")
        row = next(i for i, line in enumerate(shown.lines) if "Learning rate  " in line[33:])
        assert "fast" in shown.lines[row]
        assert "expected a number" in shown.lines[row + 1]
        assert shown.studio.config.learning_rate == pytest.approx(1e-3)
        await shown.press("escape")
        assert "expected a number" not in shown.text
        assert shown.places == ["settings"] and shown.app.focused is view.form


async def test_an_empty_value_stays_empty_when_it_is_looked_at(open_screen) -> None:
    async with open_screen() as shown:
        view = await form_of(shown)
        assert view.form.select("lora_alpha")
        await shown.press("enter", "enter")
        assert shown.studio.config.lora_alpha is None


async def test_choices_step_both_ways_and_enter_steps_forward(open_screen) -> None:
    async with open_screen() as shown:
        view = await form_of(shown)
        view.form.select("lr_scheduler_type")
        first = shown.studio.config.lr_scheduler_type
        await shown.press("right")
        second = shown.studio.config.lr_scheduler_type
        assert second != first
        await shown.press("left")
        assert shown.studio.config.lr_scheduler_type == first
        await shown.press("enter")
        assert shown.studio.config.lr_scheduler_type == second
        await shown.press("d")
        assert shown.studio.config.lr_scheduler_type == shown.studio.base().lr_scheduler_type


async def test_another_method_shows_its_own_settings(open_screen) -> None:
    async with open_screen() as shown:
        view = await form_of(shown)
        keys = {row.key for row in view.form.rows}
        assert "lora_rank" in keys and "freeze_trainable_layers" not in keys
        shown.studio.change("finetuning_type", "freeze")
        shown.app.show()
        keys = {row.key for row in view.form.rows}
        assert "freeze_trainable_layers" in keys and "lora_rank" not in keys


async def test_sections_open_and_all_shows_more_than_basic(open_screen) -> None:
    async with open_screen() as shown:
        view = await form_of(shown)
        basic = len(view.form.rows)
        fold = next(row.key for row in view.form.rows if row.kind == "fold")
        view.form.select(fold)
        await shown.press("enter")
        assert len(view.form.rows) > basic
        opened = len(view.form.rows)
        await shown.press("a")
        assert view.level == "all" and len(view.form.rows) > opened
        await shown.press("a")
        assert view.level == "basic"


async def test_the_filter_begins_in_the_rail_too(open_screen) -> None:
    async with open_screen() as shown:
        await shown.press("3")
        assert "/ filter" in shown.key_line
        await shown.press("slash")
        await shown.type("rate")
        await shown.press("enter")
        assert shown.app.views["settings"].filter == "rate" and shown.places == ["settings"]


async def test_the_filter_narrows_and_escape_takes_it_away_first(open_screen) -> None:
    async with open_screen() as shown:
        view = await form_of(shown)
        await shown.press("slash")
        await shown.type("warm")
        await shown.press("enter")
        keys = {row.key for row in view.form.rows}
        assert "warmup_ratio" in keys and "learning_rate" not in keys
        assert "/ warm" in shown.text
        await shown.press("escape")
        assert view.filter == "" and shown.places == ["settings"]
        await shown.press("slash")
        await shown.type("zzzz")
        await shown.press("enter")
        assert "No setting has that in its name." in shown.text
        await shown.press("escape", "escape")
        assert shown.app._focused_panel() == "settings"


async def test_a_preset_says_what_it_changes_before_it_does(open_screen) -> None:
    async with open_screen() as shown:
        await form_of(shown)
        before = shown.studio.config
        await shown.press("p", "down")
        assert "Changes:" in shown.text and "Epochs 5 → 3" in shown.text
        await shown.press("escape")
        assert shown.studio.config == before
        await shown.press("p", "down", "enter")
        name = list(presets)[1]
        assert shown.studio.config.preset == name
        assert presets[name].label.lower() in shown.text
        await shown.press("u")
        assert shown.studio.config == before


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
async def test_no_preset_is_cut_before_its_last_change(open_screen, size) -> None:
    async with open_screen(size) as shown:
        await form_of(shown)
        await shown.press("p")
        for _preset in presets:
            assert "…" not in "".join(line for line in shown.lines[3:-1] if "→" in line)
            await shown.press("down")


async def test_settings_are_written_and_read_back(open_screen, home: Path) -> None:
    async with open_screen() as shown:
        view = await form_of(shown)
        shown.studio.change("lora_rank", 32)
        await shown.press("w")
        assert shown.dialogs == 1
        await shown.press("enter")
        written = yaml.safe_load((home / "finetui.yaml").read_text(encoding="utf-8"))
        assert written["lora_rank"] == 32
        shown.studio.change("lora_rank", 4)
        await shown.press("w", "enter")
        assert "The file exists" in shown.text
        await shown.press("escape")
        assert yaml.safe_load((home / "finetui.yaml").read_text())["lora_rank"] == 32
        await shown.press("l")
        await shown.type("finetui.yaml")
        await shown.press("enter")
        assert shown.studio.config.lora_rank == 32
        assert shown.app.focused is view.form


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "none.yaml"),
        ("lora_rank: [", "none.yaml"),
        ("lora_rnk: 3\n", "lora_rank"),
        ("lora_rank: many\n", "lora_rank"),
    ],
)
async def test_a_file_that_can_not_be_read_is_told_and_changes_nothing(
    open_screen, home: Path, text: str | None, told: str
) -> None:
    if text is not None:
        (home / "none.yaml").write_text(text, encoding="utf-8")
    async with open_screen() as shown:
        await form_of(shown)
        before = shown.studio.config
        await shown.press("l")
        await shown.type("none.yaml")
        await shown.press("enter")
        assert shown.dialogs == 1 and told in shown.text
        assert shown.studio.config == before
        await shown.press("escape")
        assert shown.dialogs == 0


async def test_a_fault_of_the_form_is_told_at_its_row_on_the_rail_and_on_t(open_screen) -> None:
    async with open_screen() as shown:
        view = await form_of(shown)
        shown.studio.change("load_best_model_at_end", True)
        shown.app.action_form_changed()
        await shown.settle()
        faults = [problem for problem in shown.studio.problems if problem.setting]
        assert faults
        assert "fault" in shown.app.rail.settings.picture_lines()[-2] + shown.text
        row = next(row for row in view.form.rows if row.key == faults[0].setting)
        assert faults[0].what in row.problem
        await shown.press("t")
        assert shown.dialogs == 1 and "This can't be run yet" in shown.text
        await shown.press("escape")
        assert view.form.cursor_key == faults[0].setting
        assert shown.studio.live is None


async def test_every_setting_of_the_form_can_be_looked_at(open_screen) -> None:
    async with open_screen() as shown:
        view = await form_of(shown)
        await shown.press("a")
        view.opened.update(row.key[1:] for row in view.form.rows if row.kind == "fold")
        view.show()
        walked = [row.key for row in view.form.rows if row.key in settings()]
        assert len(walked) > 40
        for key in walked:
            view.form.select(key)
            await shown.pilot.pause()
            told = "".join("".join(text for text, _role in line) for line in view.help._lines)
            assert key in told.replace(" ", "")
        assert not shown.app._told


async def test_the_help_draws_the_learning_rate_and_tells_what_bits_take(open_screen) -> None:
    async with open_screen() as shown:
        view = await form_of(shown)
        view.form.select("lr_scheduler_type")
        await shown.settle()
        assert "Learning rate over the run" in shown.text
        row = next(i for i, line in enumerate(shown.lines) if "↑ 0.001" in line)
        assert "60 steps" in shown.lines[row]
        bars = [line[-33:-2] for line in shown.lines[row - 4 : row]]
        # Warm-up, the top, the long way down: the lowest line is the longest.
        lengths = [len(line.strip()) for line in bars]
        assert lengths == sorted(lengths) and lengths[0] > 0
        view.go_to("quantization_bit")
        await shown.settle()
        assert "Weights of this model" in shown.text
        assert "4-bit nf4" in shown.text


async def test_packed_rows_make_the_steps_and_are_told(open_screen, monkeypatch) -> None:
    # The demo model, whose tokenizer would tell, is not on the disk here.
    facts = RowFacts(200, each=5.7, filled=0.96)
    monkeypatch.setattr("engine.worker.fitting.row_facts", lambda _config: facts)
    async with open_screen() as shown:
        view = await form_of(shown)
        view.form.select("packing")
        shown.studio.change("packing", True)
        shown.studio.look_again()
        await shown.settle()
        view.show()
        await shown.settle()
        assert shown.studio.rows == 16
        assert "91 rows packed into 16 (96 % full) × 5 epochs ÷ (4 × 2) ≈ 10 steps" in shown.text
        assert "→ 10 steps" in shown.text


async def test_steps_are_known_where_rows_are_not(open_screen, tmp_path) -> None:
    (tmp_path / "dataset_info.json").write_text('{"far": {"hf_hub_url": "org/far"}}')
    async with open_screen() as shown:
        view = await form_of(shown)
        studio = shown.studio
        studio.change_many({"dataset_dir": str(tmp_path), "dataset": "far"})
        studio.look_again()
        view.show()
        await shown.settle()
        assert studio.rows is None and studio.steps is None
        assert "The rows are counted when the run reads them." in shown.text
        studio.change_many({"streaming": True, "max_steps": 1234})
        studio.look_again()
        view.show()
        await shown.settle()
        assert studio.steps.total == 1234
        assert "1,234 steps" in shown.text
