"""Sets that lie elsewhere: both hubs, buckets, a hub's registry; against stand-ins on 127.0.0.1."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import pytest

from engine.config import defaults_for_form, with_value
from engine.datasets import (
    Example,
    fetching,
    find_dataset,
    hub,
    hub_reach,
    list_datasets,
    open_rows,
)
from engine.datasets.dataset_info import DatasetInfo
from engine.problem import BadInput, Stopped
from tests.engine.datasets.both_hubs import Hub, serving

ROWS = [{"instruction": f"q{n}", "output": f"a{n}"} for n in range(4)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUI_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The stand-in, in place of both hubs; every cache lies in the test's own folder."""
    import huggingface_hub.constants as constants

    last = json.dumps(ROWS[3]).encode() + b"\n"
    one = Hub({"README.md": b"# Set\n", "train.jsonl": LINES, "test.jsonl": last})
    with serving(one) as url:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", url)
        monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "ms"))
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            url + "/{repo_id}/resolve/{revision}/{filename}",
        )
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
        monkeypatch.setattr(fetching, "WAITS", (0, 0))
        monkeypatch.delenv("USE_MODELSCOPE_HUB", raising=False)
        yield one


@pytest.fixture
def data_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets.config as config

    monkeypatch.setattr(config, "HF_DATASETS_CACHE", str(tmp_path / "arrow"))


def registry(at: Path, **entry: Any) -> DatasetInfo:
    (at / "dataset_info.json").write_text(json.dumps({"far": entry}))
    return find_dataset("far", at)


def fault(call: Any, *args: Any) -> str:
    with pytest.raises(BadInput) as caught:
        call(*args)
    problem = caught.value.problem
    assert problem.what.endswith(".") and problem.where and problem.hint
    return str(problem)


# Hugging Face


def test_a_hugging_face_set_is_loaded_by_subset_split_and_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    asked: list[Any] = []

    def load(*args: Any, **options: Any) -> Any:
        asked.append((args, options))
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load)
    info = registry(tmp_path, hf_hub_url="org/set", subset="en", split="test", folder="deep")
    rows = open_rows(info, token="hf_secret")
    assert asked == [
        (("org/set", "en"), {"split": "test", "data_dir": "deep", "token": "hf_secret"})
    ]
    assert len(rows) == 4 and isinstance(rows.example(3), Example)
    open_rows(find_dataset("org/other", "ONLINE"))
    assert asked[1][0] == ("org/other", None) and asked[1][1]["split"] == "train"
    assert find_dataset("ms:org/other", "ONLINE").ms_hub_url == "org/other"
    assert list_datasets("ONLINE") == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FileNotFoundError("no"), "There is no dataset org/set on the hub"),
        (RuntimeError("Dataset scripts are no longer supported, but found x.py"), "no longer"),
        (ValueError("Unknown split 'x'. Should be one of ['train']."), "Unknown split 'x'"),
        (KeyError("odd"), "could not be loaded"),
    ],
)
def test_what_goes_wrong_on_the_hub_is_one_sentence(
    error: Exception, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    def load(*_args: Any, **_options: Any) -> Any:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert said in fault(open_rows, registry(tmp_path, hf_hub_url="org/set"))


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub's address where nobody listens."""
    import datasets.config as config
    import huggingface_hub.constants as constants

    url = "http://127.0.0.1:9"
    monkeypatch.setattr(config, "HF_ENDPOINT", url)
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub_reach, "_PAUSE_SECONDS", 0.0)


def test_a_hub_that_is_away_is_told_at_once(
    nobody: None, tmp_path: Path, data_cache: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants as constants

    def wait(seconds: float) -> None:
        assert seconds == 0.0, f"the libraries ask again after {seconds} s"

    monkeypatch.setattr(time, "sleep", wait)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    told = fault(open_rows, registry(tmp_path, hf_hub_url="org/set"))
    assert told.startswith("The hub can't be reached, so org/set could not be fetched")
    told = fault(list_datasets, "REMOTE:org/set")
    assert told.startswith("The registry org/set could not be fetched from the hub")
    assert constants.HF_HUB_OFFLINE is False


def test_while_the_hub_is_away_the_cache_is_opened(
    nobody: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets
    import huggingface_hub.constants as constants

    def load(*_args: Any, **_options: Any) -> Any:
        assert datasets.config.HF_HUB_OFFLINE and constants.HF_HUB_OFFLINE
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert len(open_rows(registry(tmp_path, hf_hub_url="org/set"))) == 4


@pytest.mark.slow
def test_a_set_of_the_hub_from_end_to_end(far: Hub, tmp_path: Path) -> None:
    """The package `datasets` itself, in a process that knows no other hub than the stand-in."""
    code = (
        "from engine.datasets import open_rows; from engine.problem import BadInput\n"
        "from engine.datasets.hub import Access\n"
        "told = []\n"
        "tell = lambda name, done, total, unit: told.append((name, done, total, unit))\n"
        "from engine.problem import Stopped\n"
        "def stop(): raise Stopped\n"
        "try: open_rows('org/set', 'ONLINE', access=Access(check_stop=stop))\n"
        "except Stopped: print('stopped')\n"
        "access = Access(progress=tell)\n"
        "rows = open_rows('org/set', 'ONLINE', access=access)\n"
        "print(len(rows), rows.raw(3)['output'])\n"
        "try: open_rows('org/none', 'ONLINE', access=access)\n"
        "except BadInput as error: print(error.problem.what)\n"
        "print(*told[-1]); print(len(told))\n"
        "told.clear(); open_rows('org/set', 'ONLINE', access=access); print(len(told))\n"
        "from huggingface_hub import constants; constants.ENDPOINT = 'http://127.0.0.1:9'\n"
        "print(len(open_rows('org/set', 'ONLINE', access=access)))\n"
    )
    places = {
        "HF_ENDPOINT": str(os.environ["MODELSCOPE_ENDPOINT"]),
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "0",
        "HF_DATASETS_OFFLINE": "0",
        "FINETUI_CACHE": str(tmp_path / "cache"),
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **places},
        capture_output=True,
        text=True,
        timeout=200,
    )
    first, *lines = done.stdout.splitlines() or [""]
    assert first == "stopped", done.stderr[-2000:]
    assert lines[0] == "4 a3", done.stderr[-2000:]
    assert lines[1].startswith("There is no dataset org/none on the hub")
    rows = sum(len(data) for name, data in far.files.items() if name != "README.md")
    assert lines[2] == f"Fetching org/set {rows} {rows} bytes"
    assert int(lines[3]) >= 4  # before and after each file
    assert lines[4] == "0"  # nothing is fetched twice
    assert lines[5] == "4"  # and while the hub is away it is still there


def test_pictures_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    from PIL import Image

    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    picture = Image.new("RGB", (2, 2))
    made = datasets.Dataset.from_dict({"image": [picture], "text": ["x"]}, features=features)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_a, **_o: made)
    row = open_rows(registry(tmp_path, hf_hub_url="org/set")).raw(0)
    assert set(row["image"]) == {"bytes", "path"}


def test_media_within_lists_and_structs_are_not_decoded_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets
    from PIL import Image

    kinds = {
        "pictures": datasets.List(datasets.Image()),
        "turns": datasets.List({"picture": datasets.Image(), "said": datasets.Value("string")}),
        "sound": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")},
        "text": datasets.Value("string"),
    }
    one = Image.new("RGB", (2, 2))
    held = {"pictures": [[one, one]], "turns": [[{"picture": one, "said": "x"}]],
            "sound": [{"bytes": b"RIFF", "path": None}], "text": ["x"]}  # fmt: skip
    made = datasets.Dataset.from_dict(held, features=datasets.Features(kinds))
    made = made.cast_column("sound", datasets.Audio())
    monkeypatch.setattr(datasets, "load_dataset", lambda *_a, **_o: made)
    row = open_rows(registry(tmp_path, hf_hub_url="org/set")).raw(0)
    assert [set(picture) for picture in row["pictures"]] == [{"bytes", "path"}] * 2
    assert set(row["turns"][0]["picture"]) == {"bytes", "path"}
    assert row["sound"] == {"bytes": b"RIFF", "path": None}


# ModelScope


def test_a_modelscope_set_is_fetched_once_by_split(
    far: Hub, tmp_path: Path, data_cache: None
) -> None:
    info = registry(tmp_path, ms_hub_url="org/set", split="train")
    told: list[tuple[float, float]] = []
    access = hub.Access(progress=lambda _a, done, total, _u: told.append((done, total)))
    # A glance fetches nothing; what is here may be looked at.
    glance = hub.Access(fetch=False)
    assert "was not fetched yet" in fault(hub.open_hub, info, glance) and far.asked == []
    rows = hub.open_hub(info, access)
    assert len(hub.open_hub(info, glance)) == len(rows)
    assert [dict(row) for row in rows] == ROWS
    assert told[-1][0] == told[-1][1] == sum(map(len, far.files.values()))
    far.asked.clear()
    test = registry(tmp_path, ms_hub_url="org/set", split="test")
    assert [dict(row) for row in hub.open_hub(test)] == [ROWS[3]]
    assert far.asked == []


def test_a_modelscope_fetch_goes_on_where_it_broke(far: Hub, tmp_path: Path) -> None:
    from engine.datasets.modelscope import fetch_dataset

    far.files["train.jsonl"] = LINES * 4000
    far.breaks = [len(LINES) * 2000]
    root = fetch_dataset("org/set", None, None, lambda *_a: None, lambda: None)
    assert (root / "train.jsonl").read_bytes() == LINES * 4000
    again = [place for name, place in far.asked if name == "train.jsonl"][1]
    assert int(again.removeprefix("bytes=").rstrip("-")) > len(LINES) * 1500
    assert not list(root.rglob("*.part"))


def test_a_stopped_fetch_keeps_what_came(far: Hub, tmp_path: Path) -> None:
    from engine.datasets.modelscope import fetch_dataset

    far.files = {"train.jsonl": LINES * 4000}
    asked = []

    def stop() -> None:
        asked.append(1)
        if len(asked) > 3:
            raise Stopped

    with pytest.raises(Stopped):
        fetch_dataset("org/set", None, None, lambda *_a: None, stop)
    part = next((tmp_path / "ms").rglob("*.part"))
    assert 0 < part.stat().st_size < len(LINES) * 4000
    root = fetch_dataset("org/set", None, None, lambda *_a: None, lambda: None)
    assert (root / "train.jsonl").stat().st_size == len(LINES) * 4000
    assert far.asked[-1][1].startswith("bytes=")


def test_faults_of_modelscope(far: Hub, tmp_path: Path) -> None:
    info = registry(tmp_path, ms_hub_url="org/none")
    assert "ModelScope has no dataset org/none" in fault(open_rows, info)
    far.damage = True
    assert "came damaged" in fault(open_rows, registry(tmp_path, ms_hub_url="org/set"))
    far.damage = False
    empty = registry(tmp_path, ms_hub_url="org/set", folder="nothing")
    assert "no files of rows in its folder nothing" in fault(open_rows, empty)
    far.files = {"../../out.jsonl": LINES}
    assert "outside itself" in fault(open_rows, registry(tmp_path, ms_hub_url="org/set"))
    far.status = 403
    assert "gated or private" in fault(open_rows, registry(tmp_path, ms_hub_url="org/set"))


def test_of_two_hubs_the_wished_one(
    far: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_cache: None
) -> None:
    info = registry(tmp_path, ms_hub_url="org/set", hf_hub_url="org/hf")
    monkeypatch.setenv("USE_MODELSCOPE_HUB", "1")
    assert len(hub.open_hub(info)) == 4
    monkeypatch.delenv("USE_MODELSCOPE_HUB")
    config = with_value(defaults_for_form(), "hub", "modelscope")
    online = find_dataset("org/set", "ONLINE")
    assert len(hub.open_hub(online, hub.Access.of(config))) == 4


# Others


def test_modelers_and_scripts_are_refused_in_words(tmp_path: Path) -> None:
    said = fault(open_rows, registry(tmp_path, om_hub_url="org/set"))
    assert "Modelers hub" in said and "openmind_hub" in said
    (tmp_path / "dataset_info.json").write_text('{"far": {"script_url": "load.py"}}')
    said = fault(find_dataset, "far", tmp_path)
    assert "foreign code" in said and "save its rows as JSON Lines" in said


def test_a_bucket_without_its_package_names_the_command(tmp_path: Path) -> None:
    for url, package, extra in (("s3://b/a.jsonl", "s3fs", "s3"), ("gs://b/a", "gcsfs", "gcs")):
        if find_spec(package) is not None:
            continue
        said = fault(open_rows, registry(tmp_path, cloud_file_name=url))
        assert package in said and f"finetui[{extra}]" in said
    assert "begins with s3://" in fault(open_rows, registry(tmp_path, cloud_file_name="ftp://x"))


def test_a_file_of_a_bucket(far: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec
    from fsspec.implementations.memory import MemoryFileSystem

    from engine.datasets import cloud

    class Bucket(MemoryFileSystem):
        protocol = ("s3",)
        store: ClassVar[dict[str, Any]] = {}
        pseudo_dirs: ClassVar[list[str]] = [""]

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return "/" + path.removeprefix("s3://").strip("/")

    fsspec.register_implementation("s3", Bucket, clobber=True)
    monkeypatch.setattr(cloud, "find_spec", lambda _name: True)
    Bucket().pipe("/bucket/rows.jsonl", LINES)
    info = registry(tmp_path, cloud_file_name="s3://bucket/rows.jsonl")
    rows = open_rows(info)
    assert len(rows) == 4 and rows.raw(2) == ROWS[2]
    assert info.shape == "conversation" and info.path is None
    Bucket().rm("/bucket/rows.jsonl")
    assert "There is no file s3://bucket/rows.jsonl" in fault(open_rows, info)


def test_a_registry_of_the_hub_and_its_files(far: Hub, tmp_path: Path) -> None:
    far.files["dataset_info.json"] = json.dumps(
        {
            "one": {"file_name": "train.jsonl"},
            "bad": {"file_name": "../x"},
            "gone": {"file_name": "no.json"},
            "deep": {"file_name": "deep"},
            "part": {"file_name": "split", "split": "test"},
        }
    ).encode()
    listed = {entry.name: entry for entry in list_datasets("REMOTE:org/set")}
    assert listed["one"].rows is None and listed["bad"].problem is not None
    rows = open_rows("one", "REMOTE:org/set")
    assert [rows.raw(n) for n in range(4)] == ROWS and rows.info.source == "org/set/train.jsonl"
    far.files["deep/a.jsonl"] = far.files["deep/b.jsonl"] = LINES
    far.files["split/train.jsonl"] = LINES
    far.files["split/test.jsonl"] = far.files["test.jsonl"]
    told: list[tuple[Any, ...]] = []
    access = hub.Access(progress=lambda *words: told.append(words))
    assert len(open_rows("deep", "REMOTE:org/set", access=access)) == 8
    assert told[-1] == ("Fetching org/set", 2 * len(LINES), 2 * len(LINES), "bytes")

    def stop() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        open_rows("deep", "REMOTE:org/set", access=hub.Access(check_stop=stop))
    assert len(open_rows("part", "REMOTE:org/set")) == 1
    assert "There is no file no.json" in fault(open_rows, "gone", "REMOTE:org/set")
    assert "could not be fetched" in fault(find_dataset, "one", "REMOTE:org/none")
    assert "Did you mean one" in fault(find_dataset, "ones", "REMOTE:org/set")


def test_a_hub_set_is_made_out_like_a_file(far: Hub, tmp_path: Path, data_cache: None) -> None:
    draft = hub.detect_hub("ms:org/set", split="test")
    assert draft.name == "set" and draft.entry() == {
        "ms_hub_url": "org/set",
        "split": "test",
        "formatting": "alpaca",
        "columns": {"prompt": "instruction", "response": "output"},
    }
    assert hub.is_hub_name("s3://b/x") and not hub.is_hub_name("data/x.json")
