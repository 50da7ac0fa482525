"""`folder`, `subset` and `split` of sets on disk, read as the package `datasets` reads them."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.datasets import list_datasets, open_rows
from engine.datasets.checks import check_dataset
from engine.datasets.detect import detect
from engine.datasets.local import idle_parts, local_files, local_set
from engine.datasets.preparation import select
from engine.datasets.registry import find_dataset
from engine.problem import BadInput


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    """`folder(entry, names)` writes files of one row, which holds the file's name, and a registry
    of one set, `mine`, whose file_name is `set`."""

    def made(entry: dict[str, Any], *names: str, card: str = "") -> Path:
        for name in names:
            path = tmp_path / "set" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"instruction": name, "output": "x"}) + "\n")
        if card:
            (tmp_path / "set" / "README.md").write_text(f"---\n{card}---\n# Set\n")
        registry = {"mine": {"file_name": "set", **entry}}
        (tmp_path / "dataset_info.json").write_text(json.dumps(registry))
        return tmp_path

    return made


def read(root: Path) -> list[str]:
    rows = open_rows("mine", root)
    return [rows.raw(index)["instruction"] for index in range(len(rows))]


SPLIT = ("train.jsonl", "dev.jsonl", "my-test-2.jsonl", "notes.txt")


@pytest.mark.parametrize(
    ("split", "wanted"),
    [
        ("train", ["train.jsonl"]),
        ("validation", ["dev.jsonl"]),
        ("dev", ["dev.jsonl"]),
        ("test", ["my-test-2.jsonl"]),
        ("train+test", ["train.jsonl", "my-test-2.jsonl"]),
        ("test[:0]", []),
        ("train[:1] + validation[0:50%]", ["train.jsonl"]),
    ],
)
def test_files_named_for_splits_are_those(folder: Any, split: str, wanted: list[str]) -> None:
    root = folder({"split": split}, *SPLIT)
    assert read(root) == wanted
    (entry,) = list_datasets(root)
    assert entry.problem is None and entry.rows == len(wanted)


LAYOUTS = [
    ("train.jsonl", "validation.jsonl"),
    ("train/a.jsonl", "train/b.jsonl", "test/a.jsonl"),
    ("data/train-00000-of-00002.jsonl", "data/train-00001-of-00002.jsonl",
     "data/odd-00000-of-00001.jsonl"),
    ("a.jsonl", "b.jsonl"),
    ("latest.jsonl", "trained.jsonl"),
    ("en_train.jsonl", "en_val_1.jsonl", "deep/more/fr.eval.jsonl"),
    ("my-training-set/a.jsonl", "testing 2/b.jsonl", "test.jsonl"),
]  # fmt: skip


@pytest.mark.parametrize("names", LAYOUTS)
def test_splits_are_found_as_datasets_finds_them(folder: Any, names: tuple[str, ...]) -> None:
    from datasets.data_files import DataFilesDict, get_data_patterns

    root = folder({}, *names)
    base = str(root / "set")
    theirs = DataFilesDict.from_patterns(get_data_patterns(base), base_path=base)
    ours = local_set(find_dataset("mine", root)).splits
    assert {str(name): sorted(map(Path, files)) for name, files in theirs.items()} == {
        name: sorted(files) for name, files in ours.items()
    }


def test_a_split_that_is_not_there_is_refused(folder: Any) -> None:
    root = folder({"split": "test"}, "train.jsonl", "dev.jsonl")
    with pytest.raises(BadInput, match="no split 'test': it has train, validation"):
        read(root)
    root = folder({"split": "odd split["}, "train.jsonl")
    with pytest.raises(BadInput, match="can't be read"):
        read(root)


def test_files_that_name_no_split_have_none(folder: Any) -> None:
    root = folder({}, "a.jsonl", "b.jsonl")
    assert read(root) == ["a.jsonl", "b.jsonl"]
    root = folder({"split": "validation"}, "a.jsonl")
    with pytest.raises(BadInput, match="no file in set names a split"):
        read(root)


def test_the_only_split_of_a_folder_is_read_where_none_is_said(folder: Any) -> None:
    assert read(folder({}, "test.jsonl")) == ["test.jsonl"]


def test_a_subfolder_is_a_subset_or_a_folder(folder: Any) -> None:
    names = ("en/train.jsonl", "en/test.jsonl", "fr/train.jsonl")
    assert read(folder({"folder": "en"}, *names)) == ["en/train.jsonl"]
    assert read(folder({"subset": "fr"}, *names)) == ["fr/train.jsonl"]
    assert read(folder({"folder": "en", "split": "test"}, *names)) == ["en/test.jsonl"]
    with pytest.raises(BadInput, match="no folder 'de' in set") as refused:
        read(folder({"subset": "de"}, *names))
    assert refused.value.problem.hint == "It has: en, fr."


def test_rows_in_subfolders_alone_are_named(folder: Any) -> None:
    with pytest.raises(BadInput, match="itself, but in de, en: set subset to one"):
        read(folder({}, "en/a.jsonl", "de/a.jsonl"))


CARD = """configs:
- config_name: english
  data_files: en*.jsonl
- config_name: french
  data_files:
  - split: train
    path: [f1.jsonl, f2.jsonl]
  - split: test
    path: f3.jsonl
"""
CARDED = ("en1.jsonl", "en2.jsonl", "f1.jsonl", "f2.jsonl", "f3.jsonl")


@pytest.mark.parametrize(
    ("entry", "wanted"),
    [
        ({"subset": "english"}, ["en1.jsonl", "en2.jsonl"]),
        ({"subset": "french"}, ["f1.jsonl", "f2.jsonl"]),
        ({"subset": "french", "split": "test"}, ["f3.jsonl"]),
    ],
)
def test_the_card_s_configs_are_the_subsets(
    folder: Any, entry: dict[str, str], wanted: list[str]
) -> None:
    import datasets

    root = folder(entry, *CARDED, card=CARD)
    assert read(root) == wanted
    theirs: Any = datasets.load_dataset(
        str(root / "set"), entry["subset"], split=entry.get("split", "train")
    )
    assert theirs["instruction"] == wanted


def test_several_subsets_ask_for_one_and_a_default_is_taken(folder: Any) -> None:
    with pytest.raises(BadInput, match="several subsets: english, french"):
        read(folder({}, *CARDED, card=CARD))
    with pytest.raises(BadInput, match="no subset 'german': it has english, french"):
        read(folder({"subset": "german"}, *CARDED, card=CARD))
    card = CARD.replace("english", "default")
    assert read(folder({}, *CARDED, card=card)) == ["en1.jsonl", "en2.jsonl"]


@pytest.mark.parametrize(
    "head",
    [
        "configs: 5\n",
        "configs: [1, 2]\n",
        "when: 2020-13-45\n",
        "a: [\n",
        "a: &a [x]\nb: &b [*a, *a]\n",
        "[" * 5000 + "\n",
    ],
)
def test_a_card_that_tells_nothing_is_passed_over(folder: Any, head: str) -> None:
    assert read(folder({}, "a.jsonl", card=head)) == ["a.jsonl"]


def test_a_card_may_map_splits_to_files(folder: Any) -> None:
    card = "configs:\n- config_name: x\n  data_files: {train: a.jsonl, odd: [b.jsonl]}\n"
    assert read(folder({"split": "odd"}, "a.jsonl", "b.jsonl", card=card)) == ["b.jsonl"]


@pytest.mark.timeout(20)
def test_pipes_are_not_waited_for(folder: Any) -> None:
    root = folder({"folder": "en"}, "en/train.jsonl")
    os.mkfifo(root / "set" / "en" / "README.md")
    assert read(root) == ["en/train.jsonl"]
    os.mkfifo(root / "set" / "en" / "test.jsonl")
    with pytest.raises(BadInput, match=r"test\.jsonl is a device or a pipe"):
        read(root)


def test_a_folder_that_leads_to_itself_ends(folder: Any) -> None:
    root = folder({}, "en/train.jsonl")
    (root / "set" / "en" / "again").symlink_to(root / "set")
    assert read(root) == ["en/train.jsonl"]


def test_a_folder_that_can_t_be_read_is_told(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.datasets import local

    root = folder({}, "en/train.jsonl")

    def walk(base: Path, onerror: Any) -> Any:
        onerror(PermissionError(13, "Permission denied", str(base / "en")))
        yield from ()

    monkeypatch.setattr(local.os, "walk", walk)
    with pytest.raises(BadInput, match="en can't be read: Permission denied"):
        read(root)


@pytest.mark.parametrize("pattern", ["../*.json", "/etc/*.json"])
def test_a_card_does_not_lead_out_of_the_folder(folder: Any, pattern: str) -> None:
    card = f"configs:\n- config_name: default\n  data_files: '{pattern}'\n"
    with pytest.raises(BadInput, match="outside its folder"):
        read(folder({}, "a.jsonl", card=card))


@pytest.mark.parametrize("key", ["subset", "folder"])
@pytest.mark.parametrize("name", ["../out", "/etc"])
def test_parts_do_not_lead_out_of_the_folder(folder: Any, key: str, name: str) -> None:
    with pytest.raises(BadInput, match="lies outside set"):
        read(folder({key: name}, "a.jsonl"))


def test_a_link_in_a_part_does_not_lead_out(folder: Any, tmp_path: Path) -> None:
    root = folder({"subset": "en"}, "en/a.jsonl")
    inner = root / "inner"
    inner.mkdir()
    (root / "secret.jsonl").write_text('{"instruction": "s", "output": "s"}\n')
    (root / "set").rename(inner / "set")
    (root / "dataset_info.json").rename(inner / "dataset_info.json")
    (inner / "set" / "en" / "b.jsonl").symlink_to(root / "secret.jsonl")
    with pytest.raises(BadInput, match="lies outside the dataset folder"):
        read(inner)


def test_what_datasets_saved_is_read(tmp_path: Path) -> None:
    import datasets

    rows = {"instruction": ["a", "b"], "output": ["c", "d"]}
    both = datasets.DatasetDict(
        {name: datasets.Dataset.from_dict(rows) for name in ("train", "test")}
    )
    both.save_to_disk(str(tmp_path / "set"))
    (tmp_path / "dataset_info.json").write_text('{"mine": {"file_name": "set"}}')
    assert read(tmp_path) == ["a", "b"]
    both["test"].save_to_disk(str(tmp_path / "one"))
    (tmp_path / "dataset_info.json").write_text('{"mine": {"file_name": "one"}}')
    assert read(tmp_path) == ["a", "b"]


def test_parts_of_a_single_file_are_told_to_mean_nothing(folder: Any, make_config: Any) -> None:
    root = folder({"file_name": "set/a.jsonl", "subset": "x", "folder": "y"}, "a.jsonl")
    assert read(root) == ["a.jsonl"]
    info = find_dataset("mine", root)
    assert idle_parts(info) == (
        "mine: subset and folder mean nothing for a single file; all of it is read."
    )
    one = replace(info, hub_folder=None)
    assert idle_parts(one).startswith("mine: subset means nothing for a single file")
    assert idle_parts(info) in check_dataset(open_rows("mine", root), None).notes
    chosen = select(make_config(dataset="mine", dataset_dir=str(root)), ["mine"])
    assert idle_parts(info) in chosen.notes
    assert idle_parts(find_dataset("mine", folder({}, "a.jsonl"))) == ""


def test_files_of_no_split_beside_named_ones_are_told(folder: Any, make_config: Any) -> None:
    root = folder({}, "train.jsonl", "test.jsonl", "extra.jsonl", "more/deep.jsonl")
    told = "mine: 2 files are not read, as others are named for a split: extra.jsonl, …"
    assert idle_parts(find_dataset("mine", root)) == told
    assert read(root) == ["train.jsonl"]
    chosen = select(make_config(dataset="mine", dataset_dir=str(root)), ["mine"])
    assert told in chosen.notes


def test_nothing_is_told_where_all_is_read_or_named(folder: Any) -> None:
    for names in (("a.jsonl", "b.jsonl"), ("train.jsonl", "test.jsonl")):
        root = folder({}, *names)
        assert idle_parts(find_dataset("mine", root)) == ""
        for name in names:
            (root / "set" / name).unlink()


def test_the_files_of_a_part_are_only_its_own(folder: Any) -> None:
    info = find_dataset("mine", folder({"split": "test"}, *SPLIT))
    assert [path.name for path in local_files(info)] == ["my-test-2.jsonl"]


def test_detecting_a_folder_looks_at_what_is_read(folder: Any) -> None:
    root = folder({}, *SPLIT)
    assert [row["instruction"] for _, row in detect(root / "set").rows] == ["train.jsonl"]
