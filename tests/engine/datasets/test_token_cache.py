"""Kept tokens: found where nothing that matters has changed, made anew where something has."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from engine.config.data import DataGroup
from engine.config.feeding import FeedingGroup
from engine.datasets import Encoder, cache_key, prepare, token_cache
from engine.datasets.content import Contents
from engine.problem import BadInput

ROWS = [{"instruction": f"Say {i}", "output": f"It is {i}."} for i in range(20)]
ROWS.append({"instruction": "Nothing", "output": None})  # a row that can't be used
MADE = "Tokens come from"


@pytest.fixture(autouse=True)
def keeps_small_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_cache, "LEAST_TOKENS", 1)


@pytest.fixture
def run(model_folders: dict[str, Path], make_config: Any, make_set: Any, tmp_path: Path) -> Any:
    """Prepare the set with changed settings; tells rows, notes, and whether they were kept."""
    folder = make_set(ROWS)
    model = tmp_path / "model"
    shutil.copytree(model_folders["chatml"], model)

    def prepared(**changes: Any) -> Any:
        config = make_config(**{"dataset": "mine", "dataset_dir": str(folder), **changes})
        return prepare(config, Encoder(model, config))

    prepared.folder, prepared.model = folder, model
    return prepared


def was_kept(prepared: Any) -> bool:
    return any(note.startswith(MADE) for note in prepared.notes)


def rows(prepared: Any) -> list[Any]:
    return [*prepared.train, *prepared.eval]


def test_a_second_run_takes_the_same_rows_and_says_the_same(run: Any) -> None:
    first, second = run(val_size=0.2), run(val_size=0.2)
    assert not was_kept(first) and was_kept(second)
    assert rows(second) == rows(first)
    assert second.counts == first.counts and second.eval_counts == first.eval_counts
    assert second.dropped == first.dropped and len(first.dropped) == 1
    assert second.notes[: len(first.notes)] == first.notes
    assert second.tokens == first.tokens and second.longest == first.longest
    assert second.train.trained_tokens == first.train.trained_tokens


@pytest.mark.parametrize(
    ("stage", "changes"),
    [("sft", {"packing": True}), ("pt", {"cutoff_len": 32}), ("ppo", {}), ("sft", {})],
)
def test_every_form_of_rows_comes_back(run: Any, stage: str, changes: dict[str, Any]) -> None:
    first, second = run(stage=stage, **changes), run(stage=stage, **changes)
    assert was_kept(second)
    assert rows(second) == rows(first)
    assert second.train.lengths() == first.train.lengths()


MISSES: dict[str, Any] = {
    "cutoff_len": 64,
    "train_on_prompt": True,
    "mask_history": True,
    "default_system": "Be kind.",
    "max_samples": 5,
    "val_size": 3,
    "enable_thinking": False,
    "packing": True,
    "neat_packing": True,
    "stage": "distill",
    "add_tokens": "<new>",
    "bad_rows": None,
    "preprocessing_batch_size": 7,
    "identity_name": "Ada",
}


@pytest.mark.parametrize("name", [name for name in MISSES if MISSES[name] is not None])
def test_a_setting_that_matters_makes_anew(run: Any, name: str) -> None:
    run()
    assert not was_kept(run(**{name: MISSES[name]}))
    assert was_kept(run())


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 1e-3},
        {"seed": 7},  # nothing is drawn
        {"disable_shuffling": True},
        {"preprocessing_num_workers": 1},
        {"per_device_train_batch_size": 2},
        {"eval_on_each_dataset": True},
    ],
)
def test_a_setting_that_does_not_matter_is_a_hit(run: Any, changes: dict[str, Any]) -> None:
    run()
    assert was_kept(run(**changes))


def test_the_seed_matters_where_rows_are_drawn(run: Any) -> None:
    run(val_size=3)
    assert not was_kept(run(val_size=3, seed=7))


def test_every_setting_of_data_is_sorted() -> None:
    own = {name for group in (DataGroup, FeedingGroup) for name in group.__annotations__}
    assert own <= {*cache_key.MATTERING, *cache_key.UNRELATED}


def test_other_content_of_the_same_size_and_time_makes_anew(run: Any) -> None:
    path = run.folder / "mine.json"
    first = run()
    state = path.stat()
    path.write_text(path.read_text().replace("Say 1", "Say 9"))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert path.stat().st_size == state.st_size
    second = run()
    assert not was_kept(second)
    assert rows(second) != rows(first)


def test_the_same_content_elsewhere_is_a_hit(run: Any, tmp_path: Path) -> None:
    run()
    other = tmp_path / "elsewhere"
    shutil.copytree(run.folder, other)
    assert was_kept(run(dataset_dir=str(other)))


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"])
def test_the_model_s_files_matter(run: Any, name: str) -> None:
    run()
    path = run.model / name
    text = path.read_text()
    if name == "chat_template.jinja":
        path.write_text(text.replace("You are a model.", "You are another."))
    else:
        path.write_text(text + "\n")
    assert not was_kept(run())


def test_the_registry_s_reading_of_columns_matters(run: Any) -> None:
    run()
    registry = run.folder / "dataset_info.json"
    entry = {"file_name": "mine.json", "columns": {"prompt": "output", "response": "instruction"}}
    registry.write_text(json.dumps({"mine": entry}))
    assert not was_kept(run())


def test_overwrite_cache_makes_anew_and_keeps_the_new(run: Any) -> None:
    run()
    assert not was_kept(run(overwrite_cache=True))
    assert was_kept(run())


@pytest.mark.parametrize("name", ["train.ids", "train.ends", "prepared.json"])
@pytest.mark.parametrize("damage", ["cut", "altered", "gone"])
def test_a_damaged_set_is_made_anew_with_a_note(run: Any, name: str, damage: str) -> None:
    first = run()
    (folder,) = token_cache.tokens_folder().iterdir()
    path = folder / name
    raw = path.read_bytes()
    if damage == "cut":
        path.write_bytes(raw[: len(raw) // 2])
    elif damage == "altered":
        path.write_bytes(bytes([raw[0] ^ 1]) + raw[1:])
    else:
        path.unlink()
    second = run()
    assert not was_kept(second)
    assert rows(second) == rows(first)
    told = [note for note in second.notes if "damaged" in note]
    # Without its description a folder is none of ours, and simply written again.
    assert bool(told) == (damage != "gone" or name != "prepared.json")
    assert was_kept(run())


def test_a_cache_that_can_t_be_written_is_told(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(token_cache, "save", full)
    told = run()
    assert any("can't be kept" in note and "No space" in note for note in told.notes)
    assert len(told.train) == 20


def test_the_oldest_are_thrown_out(run: Any) -> None:
    for cutoff in (50, 60, 70):
        run(cutoff_len=cutoff)
    folders = list(token_cache.tokens_folder().iterdir())
    run(cutoff_len=50)  # used last
    sizes = [sum(item.stat().st_size for item in folder.iterdir()) for folder in folders]
    assert token_cache.keep_within(max(sizes)) == 2
    assert was_kept(run(cutoff_len=50))


def test_nothing_half_written_is_left(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(token_cache, "write_atomic", cut_off)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert list(token_cache.tokens_folder().iterdir()) == []


def test_small_sets_are_not_kept(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_cache, "LEAST_TOKENS", 100_000)
    run()
    assert not token_cache.tokens_folder().exists()


def test_tokenized_path_keeps_and_is_checked(run: Any, tmp_path: Path) -> None:
    own = tmp_path / "own" / "tokens"
    first = run(tokenized_path=str(own))
    assert (own / token_cache.DESCRIPTION).is_file()
    assert not token_cache.tokens_folder().exists()
    second = run(tokenized_path=str(own))
    assert was_kept(second) and rows(second) == rows(first)
    with pytest.raises(BadInput, match="made otherwise: cutoff_len, mask_history") as refused:
        run(tokenized_path=str(own), cutoff_len=64, mask_history=True)
    assert refused.value.problem.setting == "tokenized_path"
    template = run.model / "chat_template.jinja"
    template.write_text(template.read_text().replace("a model", "a tool"))
    with pytest.raises(BadInput, match="another template"):
        run(tokenized_path=str(own))


def test_tokenized_path_says_when_the_data_are_others(run: Any, tmp_path: Path) -> None:
    own = str(tmp_path / "tokens")
    run(tokenized_path=own)
    path = run.folder / "mine.json"
    path.write_text(json.dumps(ROWS[:3]))
    told = run(tokenized_path=own)
    assert len(told.train) == 20
    assert any("made of other data" in note for note in told.notes)


def test_a_file_is_read_again_only_when_it_may_have_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.datasets import content

    path = tmp_path / "rows.json"
    path.write_text("[]")
    monkeypatch.setattr(content, "_SETTLED_NS", -1)
    known = Contents()
    first = known.digest(path)
    known.save()
    monkeypatch.setattr(content.hashlib, "blake2b", None)  # reading again would fail
    assert Contents().digest(path) == first
    monkeypatch.undo()


def test_a_file_written_just_now_is_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text("[1]")
    known = Contents()
    first = known.digest(path)
    assert known._known == {}
    path.write_text("[2]")
    assert known.digest(path) != first


def test_settings_are_compared_as_written() -> None:
    parts = {"settings": {"cutoff_len": 5}, "template": ["a", None], "tokenizer": {}, "version": 1}
    token_cache.check_agrees(json.loads(json.dumps(parts)), parts, Path("x"))


def test_doctor_names_the_folder_and_its_bound(run: Any) -> None:
    from engine.cli.doctor import _places

    run()
    told = dict(_places())["kept tokens"]
    assert told == f"{token_cache.tokens_folder()} (0.0 of at most 20 GB)"
