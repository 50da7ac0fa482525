"""An entry written into a registry: the rest stays byte for byte; damage and the bundled sets."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.datasets import find_dataset, list_datasets, open_rows
from engine.datasets.detect import detect
from engine.datasets.registry import own_sets_dir
from engine.datasets.registry_text import with_entry
from engine.datasets.registry_write import add_set, check_name, write_entry
from engine.paths import bundled_data_dir
from engine.problem import BadInput

ENTRY = {"file_name": "b.json", "columns": {"prompt": "ü"}}


@pytest.fixture(autouse=True)
def own_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUI_CONFIG", str(tmp_path / "config"))


def a_set(folder: Path, name: str = "mine.json") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps([{"instruction": "q", "output": "a"}]))
    return folder / name


@pytest.mark.parametrize(
    "before",
    [
        '{\n    "a": {"file_name": "a.json"},   \n    "z": {"hf_hub_url": "o/n"}\n}\n',
        '{"a": {"file_name": "a.json"}}',
        '{\r\n\t"a": {\r\n\t\t"file_name": "a.json"\r\n\t}\r\n}\r\n',
        '\ufeff{"a": {"file_name": "a, \\"b\\": {}}.json"}}',
        "{}",
        "",
        "{ }\n",
    ],
)
def test_every_other_byte_stays(before: str, tmp_path: Path) -> None:
    path = tmp_path / "dataset_info.json"
    path.write_bytes(before.encode())
    write_entry(tmp_path, "b", ENTRY)
    after = path.read_bytes().decode()
    old = json.loads(before.removeprefix("\ufeff") or "{}")
    assert json.loads(after.removeprefix("\ufeff")) == {**old, "b": ENTRY}
    assert list(json.loads(after.removeprefix("\ufeff"))) == [*old, "b"]
    kept = before.rstrip().removesuffix("}").rstrip()
    assert after.startswith(kept) and "ü" in after
    assert [item.name for item in tmp_path.iterdir()] == ["dataset_info.json"]


def test_one_entry_is_replaced_where_it_stands(tmp_path: Path) -> None:
    before = '{"a": {"file_name": "a.json"}, "b": {"x":  [1,2]} ,\n "c": {"file_name": "c"}}'
    after = with_entry(before, "b", ENTRY, True, tmp_path)
    assert after.startswith('{"a": {"file_name": "a.json"}, "b": {')
    assert after.endswith(' ,\n "c": {"file_name": "c"}}')
    with pytest.raises(BadInput, match="There is a set 'b' already"):
        with_entry(before, "b", ENTRY, False, tmp_path)


@pytest.mark.parametrize(
    ("before", "said"),
    [
        (b'{"a": {"file_name": "a.json"}', "not valid JSON, line 1"),
        (b"[]", "not one object"),
        (b'{"a": 1, "a": 2}', "names 'a' twice"),
        (b"\xff\xfe{", "not UTF-8"),
    ],
)
def test_a_damaged_registry_is_refused_and_stays(before: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "dataset_info.json"
    path.write_bytes(before)
    with pytest.raises(BadInput, match=said):
        write_entry(tmp_path, "b", ENTRY)
    assert path.read_bytes() == before


def test_the_bundled_sets_are_never_written_to(tmp_path: Path) -> None:
    before = (bundled_data_dir() / "dataset_info.json").read_bytes()
    with pytest.raises(BadInput, match="never written to"):
        write_entry(bundled_data_dir(), "b", ENTRY)
    link = tmp_path / "link"
    link.symlink_to(bundled_data_dir())
    draft = detect(a_set(tmp_path / "else"))
    with pytest.raises(BadInput, match="never written to"):
        add_set(draft, "copy", link)
    assert (bundled_data_dir() / "dataset_info.json").read_bytes() == before


def test_the_own_list_is_there_beside_every_folder(tmp_path: Path) -> None:
    far = a_set(tmp_path / "far away")
    add_set(detect(far), "own list")
    assert find_dataset("mine").path == far
    assert open_rows("mine").example(0).messages[1].content == "a"  # type: ignore[union-attr]
    names = [entry.name for entry in list_datasets()]
    assert names[:2] == ["identity", "instructions"] and names[-1] == "mine"
    other = tmp_path / "other"
    write_entry(other, "mine", {"file_name": "here.json"})
    # The folder's own set of that name wins.
    assert find_dataset("mine", other).path == other / "here.json"
    (own_sets_dir() / "dataset_info.json").write_text("{")
    assert [e.name for e in list_datasets(other) if e.problem] == ["mine", str(own_sets_dir())]


def test_a_file_in_the_folder_outside_it_and_copied(tmp_path: Path) -> None:
    folder = tmp_path / "sets"
    (folder / "deep").mkdir(parents=True)
    inside = a_set(folder / "deep")
    add_set(detect(inside), "folder", folder)
    registry = json.loads((folder / "dataset_info.json").read_text())
    assert registry["mine"]["file_name"] == "deep/mine.json"
    draft = detect(a_set(tmp_path / "far", "second.json"))
    with pytest.raises(BadInput, match="lies outside the dataset folder"):
        add_set(draft, "folder", folder)
    add_set(draft, "copy", folder)
    assert find_dataset("second", folder).path == folder / "second.json"
    assert len(open_rows("second", folder)) == 1
    with pytest.raises(BadInput, match="There is a set 'second' already"):
        add_set(draft, "copy", folder)


def test_many_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    threads = [
        threading.Thread(target=write_entry, args=(tmp_path, f"set{n}", ENTRY)) for n in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    registry = json.loads((tmp_path / "dataset_info.json").read_text())
    assert sorted(registry) == sorted(f"set{n}" for n in range(12))


def test_a_link_is_written_through(tmp_path: Path) -> None:
    real = tmp_path / "real.json"
    real.write_text("{}")
    folder = tmp_path / "sets"
    folder.mkdir()
    (folder / "dataset_info.json").symlink_to(real)
    write_entry(folder, "b", ENTRY)
    assert (folder / "dataset_info.json").is_symlink() and "b" in json.loads(real.read_text())


@pytest.mark.parametrize("name", ["", " a", "a,b", "a=b", "a\nb", "x" * 101])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(BadInput):
        check_name(name)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    registry=st.dictionaries(st.text(max_size=6), _JSON, max_size=5),
    name=st.text(max_size=6),
    entry=st.dictionaries(st.text(max_size=5), _JSON, max_size=3),
    indent=st.sampled_from([None, 0, 1, 4, "\t"]),
    plain=st.booleans(),
)
def test_no_registry_loses_or_alters_an_entry(
    registry: dict, name: str, entry: dict, indent: int | str | None, plain: bool
) -> None:
    before = json.dumps(registry, indent=indent, ensure_ascii=plain)
    after = json.loads(with_entry(before, name, entry, True, Path("dataset_info.json")))
    assert after == {**registry, name: entry}
    assert list(after) == list({**registry, name: entry})
