"""Kept tokens of rows with media and of sets of a hub: never of what has changed, and not made
twice of what has not."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from engine.config import read_flat
from engine.datasets import Encoder, cache_media, prepare, token_cache
from engine.datasets.media.counts import Counted
from engine.datasets.stage_rows import media_of

MADE = "Tokens come from"


@pytest.fixture
def run(
    vision_folder: Any, picture_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Prepare the set of pictures with changed settings; `run.looks` counts the rows with media
    that were laid out as tokens."""
    monkeypatch.setenv("FINETUI_CACHE", str(tmp_path / "cache"))
    folder, model = tmp_path / "set", tmp_path / "model"
    shutil.copytree(picture_set, folder)
    shutil.copytree(vision_folder("qwen2_vl"), model)
    laid_out = Counted.lay_out

    def counting(self: Counted, *args: Any) -> Any:
        prepared.looks += 1
        return laid_out(self, *args)

    monkeypatch.setattr(Counted, "lay_out", counting)

    def prepared(**changes: Any) -> Any:
        flat = {
            "model_name_or_path": str(model), "dataset": "colours", "dataset_dir": str(folder),
            "stage": "sft", "use_cpu": True, "cutoff_len": 512, **changes,
        }  # fmt: skip
        config = read_flat(flat, "test").config
        prepared.looks = 0
        return prepare(config, Encoder(model, config))

    prepared.folder, prepared.model, prepared.looks = folder, model, 0
    return prepared


def was_kept(prepared: Any) -> bool:
    return any(note.startswith(MADE) for note in prepared.notes)


def rows(prepared: Any) -> list[Any]:
    return [*prepared.train, *prepared.eval]


@pytest.mark.parametrize(
    "changes", [{}, {"val_size": 2}, {"stage": "dpo", "dataset": "better"}, {"max_samples": 2}]
)
def test_a_second_run_looks_at_no_picture(run: Any, changes: dict[str, Any]) -> None:
    first = run(**changes)
    assert run.looks > 0 and not was_kept(first)
    second = run(**changes)
    assert was_kept(second) and run.looks == 0
    assert rows(second) == rows(first)
    assert [media_of(row) for row in rows(second)] == [media_of(row) for row in rows(first)]
    assert any(media_of(row) for row in rows(second))
    assert second.counts == first.counts and second.dropped == first.dropped


def paint(path: Path, size: tuple[int, int], colour: str = "red") -> None:
    from PIL import Image

    Image.new("RGB", size, colour).save(path)


def test_a_changed_picture_makes_anew_and_says_so(run: Any) -> None:
    first = run()
    paint(run.folder / "red.png", (160, 120))
    second = run()
    assert not was_kept(second) and run.looks
    assert any("have changed" in note for note in second.notes)
    assert rows(second) != rows(first)
    assert was_kept(run())


def test_another_content_of_the_same_size_and_time_makes_anew(run: Any) -> None:
    path = run.folder / "blue.png"
    run()
    state = path.stat()
    raw = path.read_bytes()
    time.sleep(0.02)  # a tick of the file system's clock
    path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert path.stat().st_size == state.st_size and path.stat().st_mtime_ns == state.st_mtime_ns
    assert not was_kept(run())


def test_a_touched_picture_of_the_same_content_is_a_hit(run: Any) -> None:
    run()
    os.utime(run.folder / "red.png", (1, 1))
    assert was_kept(run()) and run.looks == 0


def test_the_same_pictures_elsewhere_are_a_hit(run: Any, tmp_path: Path) -> None:
    run()
    other = tmp_path / "elsewhere"
    shutil.copytree(run.folder, other)
    assert was_kept(run(dataset_dir=str(other)))
    assert was_kept(run(media_dir=str(other)))


def test_other_pictures_elsewhere_are_none(run: Any, tmp_path: Path) -> None:
    run()
    other = tmp_path / "elsewhere"
    shutil.copytree(run.folder, other)
    paint(other / "red.png", (300, 20))
    assert not was_kept(run(media_dir=str(other)))


def test_a_picture_that_goes_or_comes_makes_anew(run: Any) -> None:
    run()
    path = run.folder / "green.png"
    path.rename(path.with_suffix(".away"))
    without = run()
    assert not was_kept(without) and without.dropped
    again = run()
    assert was_kept(again) and again.dropped == without.dropped
    path.with_suffix(".away").rename(path)
    back = run()
    assert not was_kept(back) and not back.dropped


@pytest.mark.parametrize(
    "changes",
    [{"image_max_pixels": 20_000}, {"image_min_pixels": 9_000}, {"cutoff_len": 300},
     {"mask_history": True}, {"default_system": "Look."}],
)  # fmt: skip
def test_a_setting_that_matters_makes_anew(run: Any, changes: dict[str, Any]) -> None:
    run()
    assert not was_kept(run(**changes))
    assert was_kept(run())


@pytest.mark.parametrize(
    "changes", [{"freeze_vision_tower": False}, {"learning_rate": 1e-3}, {"seed": 5}]
)
def test_a_setting_that_does_not_matter_is_a_hit(run: Any, changes: dict[str, Any]) -> None:
    run()
    assert was_kept(run(**changes))


@pytest.mark.parametrize(
    "name", ["processor_config.json", "config.json", "tokenizer.json", "chat_template.jinja"]
)
def test_the_model_s_files_matter(run: Any, name: str) -> None:
    run()
    path = run.model / name
    text = path.read_text()
    if name == "chat_template.jinja":
        path.write_text("{#- another -#}" + text)
    else:
        path.write_text(text + "\n")
    assert not was_kept(run())


def test_a_changed_row_makes_anew(run: Any) -> None:
    run()
    path = run.folder / "colours.json"
    told = json.loads(path.read_text())
    told[0]["images"] = ["blue.png"]
    path.write_text(json.dumps(told))
    assert not was_kept(run())


def test_a_picture_changed_while_rows_become_tokens_is_not_kept(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = cache_media.MediaFiles.records

    def late(self: Any, *args: Any) -> Any:
        time.sleep(0.02)
        paint(run.folder / "red.png", (90, 90))
        return records(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(cache_media.MediaFiles, "records", late)
        run()
    assert not token_cache.tokens_folder().exists()
    assert not was_kept(run())


def test_pictures_inside_a_table_are_kept_too(run: Any) -> None:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    from engine.datasets.media.embedded import media_cache

    told = json.loads((run.folder / "colours.json").read_text())
    for row in told:
        row["images"] = [(run.folder / name).read_bytes() for name in row["images"]]
    parquet.write_table(arrow.Table.from_pylist(told), run.folder / "inside.parquet")
    registry = json.loads((run.folder / "dataset_info.json").read_text())
    registry["inside"] = {**registry["colours"], "file_name": "inside.parquet"}
    (run.folder / "dataset_info.json").write_text(json.dumps(registry))
    first = run(dataset="inside")
    second = run(dataset="inside")
    assert was_kept(second) and run.looks == 0 and rows(second) == rows(first)
    # What was thrown out of the cache is written again.
    shutil.rmtree(media_cache())
    third = run(dataset="inside")
    assert not was_kept(third) and rows(third) == rows(first)
    assert all(Path(one.name).is_file() for row in rows(third) for one in media_of(row))


def test_tokenized_path_keeps_pictures(run: Any, tmp_path: Path) -> None:
    own = str(tmp_path / "own")
    run(tokenized_path=own)
    assert was_kept(run(tokenized_path=own))
    paint(run.folder / "red.png", (160, 120))
    assert not was_kept(run(tokenized_path=own))
    assert was_kept(run(tokenized_path=own))


# Sets of a hub


@pytest.fixture
def far(
    model_folders: dict[str, Path],
    make_config: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    """Prepare a set of the hub, which `datasets` loads from a folder here; `far.folder` holds its
    files, `far.encoded` counts the rows that became tokens."""
    import datasets
    import datasets.config

    monkeypatch.setenv("FINETUI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "arrow")
    monkeypatch.setattr(token_cache, "LEAST_TOKENS", 1)
    folder, registry = tmp_path / "hub", tmp_path / "registry"
    folder.mkdir()
    registry.mkdir()
    load = datasets.load_dataset

    def from_here(_name: str, *args: Any, **options: Any) -> Any:
        options.pop("token")
        return load(str(folder), *args, **options)

    monkeypatch.setattr(datasets, "load_dataset", from_here)
    monkeypatch.setattr(datasets, "load_dataset_builder", from_here)
    encode = Encoder.encode_batch

    def counting(self: Encoder, block: Any, *args: Any) -> Any:
        prepared.encoded += len(block)
        return encode(self, block, *args)

    monkeypatch.setattr(Encoder, "encode_batch", counting)

    def prepared(entry: dict[str, Any] | None = None, **changes: Any) -> Any:
        told = {"far": {"hf_hub_url": "org/set", **(entry or {})}}
        (registry / "dataset_info.json").write_text(json.dumps(told))
        config = make_config(dataset="far", dataset_dir=str(registry), **changes)
        prepared.encoded = 0
        return prepare(config, Encoder(model_folders["chatml"], config))

    prepared.folder, prepared.encoded = folder, 0
    return prepared


def publish(folder: Path, name: str, *said: str) -> None:
    lines = [json.dumps({"instruction": f"Say {one}", "output": one}) + "\n" for one in said]
    (folder / name).write_text("".join(lines))


def test_a_hub_set_is_kept_until_it_changes(far: Any) -> None:
    publish(far.folder, "train.jsonl", "a", "b", "c")
    first = far()
    assert far.encoded == 3 and not was_kept(first)
    second = far()
    assert was_kept(second) and far.encoded == 0 and rows(second) == rows(first)
    publish(far.folder, "train.jsonl", "a", "b", "d")
    third = far()
    assert not was_kept(third) and rows(third) != rows(first)
    publish(far.folder, "train.jsonl", "a", "b", "c")
    assert was_kept(far())


@pytest.mark.parametrize(
    "entry", [{"split": "test"}, {"split": "train[:2]"}, {"columns": {"prompt": "output",
     "response": "instruction"}}, {"num_samples": 2}],
)  # fmt: skip
def test_another_part_of_a_hub_set_is_another_set(far: Any, entry: dict[str, Any]) -> None:
    publish(far.folder, "train.jsonl", "a", "b", "c")
    publish(far.folder, "test.jsonl", "d", "e", "f")
    far()
    assert not was_kept(far(entry))
    assert was_kept(far(entry)) and was_kept(far())


def test_parts_of_a_local_set_are_sets_of_their_own(
    model_folders: dict[str, Path], make_config: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("FINETUI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(token_cache, "LEAST_TOKENS", 1)
    folder = tmp_path / "registry"
    (folder / "set").mkdir(parents=True)
    publish(folder / "set", "train.jsonl", "a", "b", "c")
    publish(folder / "set", "test.jsonl", "d", "e", "f")

    def made(**entry: Any) -> Any:
        told = {"mine": {"file_name": "set", **entry}}
        (folder / "dataset_info.json").write_text(json.dumps(told))
        config = make_config(dataset="mine", dataset_dir=str(folder))
        return prepare(config, Encoder(model_folders["chatml"], config))

    whole = made()
    for split in ("train[:2]", "test", "train+test"):
        other = made(split=split)
        assert not was_kept(other) and rows(other) != rows(whole)
        assert was_kept(made(split=split))
    publish(folder / "set", "test.jsonl", "g")
    assert was_kept(made()) and not was_kept(made(split="test"))
