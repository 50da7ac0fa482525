"""Media inside parquet, arrow and JSON files are files in the cache like any other."""

from __future__ import annotations

import base64
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from engine.config import read_flat
from engine.datasets import Encoder, Example, RowProblem, open_rows, prepare
from engine.datasets.checks import check_dataset
from engine.datasets.detect import detect, look
from engine.datasets.formats.fields import RowFault
from engine.datasets.media import embedded
from engine.datasets.media.embedded import is_kept, name_of
from engine.datasets.media.preview import preview
from engine.datasets.tables import plain_row
from engine.problem import BadInput


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUI_CACHE", str(tmp_path / "cache"))


def picture(colour: str, form: str = "PNG") -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (20, 12), colour).save(file, form)
    return file.getvalue()


RED, BLUE = picture("red"), picture("blue", "JPEG")
WAYS: dict[str, Any] = {
    "struct": lambda content: {"bytes": content, "path": "one.png"},
    "struct without a path": lambda content: {"bytes": content, "path": None},
    "plain": lambda content: content,
}


def write(folder: Path, suffix: str, images: list[Any]) -> Path:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    asked = ["<image>" * (len(one) if isinstance(one, list) else 1) + "?" for one in images]
    table = arrow.table({"q": asked, "a": ["x"] * len(images), "images": images})
    path = folder / f"mine{suffix}"
    if suffix == ".parquet":
        parquet.write_table(table, path)
    else:
        with arrow.OSFile(str(path), "wb") as sink, arrow.ipc.new_file(sink, table.schema) as file:
            file.write_table(table)
    columns = {"prompt": "q", "response": "a", "images": "images"}
    entry = {"file_name": path.name, "columns": columns}
    (folder / "dataset_info.json").write_text(json.dumps({"mine": entry}))
    return folder


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("many", [False, True])
def test_pictures_of_a_table_become_files(
    tmp_path: Path, suffix: str, way: str, many: bool
) -> None:
    held = [WAYS[way](RED), WAYS[way](BLUE)]
    rows = open_rows("mine", write(tmp_path, suffix, [held, held[:1]] if many else held))
    wanted = [[RED, BLUE], [RED]] if many else [[RED], [BLUE]]
    for index, contents in enumerate(wanted):
        example = rows.example(index)
        assert isinstance(example, Example)
        paths = [Path(one.name) for one in example.media]
        assert [path.read_bytes() for path in paths] == contents
        assert all(is_kept(path) for path in paths)
        drawn = preview(paths[0], 10, 5)
        assert (drawn.width, drawn.height) == (20, 12) and drawn.lines and not drawn.problem
    assert len([path for path in embedded.media_cache().rglob("*") if path.is_file()]) == 2


def test_the_package_datasets_own_sounds_are_read_and_checked(tmp_path: Path) -> None:
    import numpy

    soundfile = pytest.importorskip("soundfile")
    file = io.BytesIO()
    wave = numpy.sin(numpy.arange(8000) / 9).astype("float32")
    soundfile.write(file, wave, 16000, format="WAV")
    held = [{"bytes": file.getvalue(), "path": "a.wav"}, {"bytes": b"no sound", "path": None}]
    checked = check_dataset(open_rows("mine", write_media(tmp_path, "audio", held)), None)
    assert (checked.usable, checked.problems[0].row) == (1, 2)
    assert "no sound that can be read" in checked.problems[0].reason


def test_videos_inside_are_checked(tmp_path: Path, tiny_video: Any) -> None:
    pytest.importorskip("av")
    path = tiny_video.write_video(tmp_path / "a.mp4", [(250, 0, 0)] * 4)
    held = [path.read_bytes(), b"no video at all"]
    checked = check_dataset(open_rows("mine", write_media(tmp_path, "video", held)), None)
    assert (checked.usable, checked.problems[0].row) == (1, 2)


def write_media(folder: Path, kind: str, held: list[Any]) -> Path:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    rows = {"q": [f"<{kind}>?"] * len(held), "a": ["x"] * len(held), "media": held}
    parquet.write_table(arrow.table(rows), folder / "mine.parquet")
    columns = {"prompt": "q", "response": "a", f"{kind}s": "media"}
    entry = {"file_name": "mine.parquet", "columns": columns}
    (folder / "dataset_info.json").write_text(json.dumps({"mine": entry}))
    return folder


def test_the_package_datasets_own_pictures_are_read(tmp_path: Path) -> None:
    import datasets
    from PIL import Image

    features = datasets.Features(
        {"q": datasets.Value("string"), "a": datasets.Value("string"), "images": datasets.Image()}
    )
    rows = {"q": ["<image>?"], "a": ["x"], "images": [Image.new("RGB", (5, 7), "green")]}
    write(tmp_path, ".parquet", [RED])
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "mine.parquet")
    example = open_rows("mine", tmp_path).example(0)
    assert isinstance(example, Example)
    drawn = preview(Path(example.media[0].name), 10, 5)
    assert (drawn.width, drawn.height) == (5, 7)


def test_the_browser_draws_them_and_shows_the_fields(tmp_path: Path) -> None:
    from engine.worker.questions import row_view
    from engine.worker.row_pictures import row_pictures

    config = settings(write(tmp_path, ".parquet", [RED, b"none"]), tmp_path)
    drawn, broken = (row_pictures("mine", i, config, 10, 5, False).previews[0] for i in (0, 1))
    assert drawn.lines and (drawn.width, drawn.height) == (20, 12)
    assert not broken.lines and "picture is no picture that can be read" in broken.problem
    assert row_view("mine", 0, config).raw["images"] == f"({len(RED)} bytes)"


def test_data_urls_and_base64_are_pictures_too(tmp_path: Path) -> None:
    text = base64.b64encode(RED).decode()
    url = {"url": f"data:image/png;base64,{text}"}
    content = [{"type": "text", "text": "Which? "}, {"type": "image_url", "image_url": url}]
    turns = [{"role": "user", "content": content}, {"role": "assistant", "content": "Red."}]
    (tmp_path / "mine.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    entry = {"file_name": "mine.jsonl", "formatting": "openai"}
    (tmp_path / "dataset_info.json").write_text(json.dumps({"mine": entry}))
    example = open_rows("mine", tmp_path).example(0)
    assert isinstance(example, Example)
    assert Path(example.media[0].name).read_bytes() == RED
    assert Path(name_of({"bytes": text, "path": None}, "image")).read_bytes() == RED
    assert name_of("a/b.png", "image") == "a/b.png"
    assert name_of({"bytes": None, "path": "a.png"}, "image") == "a.png"


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (None, "a picture of it is empty"),
        (b"", "is empty"),
        (5, "neither a path nor the bytes"),
        ({"bytes": None, "path": None}, "neither a path nor the bytes"),
        ({"bytes": "not base64!", "path": None}, "not valid base64"),
        ("data:image/png;base64", "has no content"),
        ("data:image/png;base64,???", "not valid base64"),
    ],
)
def test_what_is_no_medium_is_told(item: Any, reason: str) -> None:
    with pytest.raises(RowFault, match=reason):
        name_of(item, "image")


def test_a_given_name_can_t_lead_elsewhere() -> None:
    for given in ("../../etc/passwd", "..\\..\\x.png", "a\0b/../..", "." * 300, "x" * 4000):
        path = Path(name_of({"bytes": RED, "path": given}, "image"))
        assert is_kept(path) and path.read_bytes() == RED


def test_the_check_names_the_row_whose_picture_is_none(tmp_path: Path) -> None:
    rows = open_rows("mine", write(tmp_path, ".parquet", [RED, b"this is no picture", BLUE]))
    checked = check_dataset(rows, None)
    assert (checked.usable, checked.unusable) == (2, 1)
    (problem,) = checked.problems
    assert problem.row == 2 and problem.reason.startswith("picture is no picture that can be read")


def test_an_empty_picture_is_a_problem_of_its_row(tmp_path: Path) -> None:
    rows = open_rows("mine", write(tmp_path, ".parquet", [[RED], [None]]))
    problem = rows.example(1)
    assert isinstance(problem, RowProblem) and problem.row == 2
    assert problem.reason == "a picture of it is empty"


def test_a_cache_that_can_t_be_written_ends_it_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(BadInput, match="can't be written to the cache: No space left"):
        name_of(RED, "image")
    assert not [path for path in embedded.media_cache().rglob("*") if path.is_file()]


def test_what_was_long_unused_is_thrown_out_and_written_again(tmp_path: Path) -> None:
    old, new = Path(name_of(RED, "image")), Path(name_of(BLUE, "image"))
    os.utime(old, (1, 1))
    assert embedded.throw_out() == 1
    assert not old.exists() and new.exists()
    assert Path(name_of(RED, "image")).read_bytes() == RED
    os.utime(old, (1, 1))
    name_of(RED, "image")  # to use it is to keep it
    assert embedded.throw_out() == 0


def test_a_table_s_values_can_be_shown(tmp_path: Path) -> None:
    rows = open_rows("mine", write(tmp_path, ".parquet", [[{"bytes": RED, "path": "a"}]]))
    shown = plain_row(rows.raw(0))
    assert shown["images"] == [{"bytes": f"({len(RED)} bytes)", "path": "a"}]
    json.dumps(shown)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("many", [False, True])
def test_a_table_with_pictures_is_detected(tmp_path: Path, way: str, many: bool) -> None:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    held = WAYS[way](RED)
    columns = {"question": ["<image>?"], "answer": ["x"], "image": [[held] if many else held]}
    parquet.write_table(arrow.table(columns), tmp_path / "mine.parquet")
    draft = detect(tmp_path / "mine.parquet")
    assert draft.columns["images"] == "image"
    (fact,) = [one for one in draft.facts if one.name == "image"]
    assert f"({len(RED)} bytes)" in fact.sample
    assert look(draft).usable == 1 and not look(draft).warnings


def settings(folder: Path, model: Path, **changes: Any) -> Any:
    flat = {
        "model_name_or_path": str(model), "dataset": "mine", "dataset_dir": str(folder),
        "stage": "sft", "use_cpu": True, "cutoff_len": 512, **changes,
    }  # fmt: skip
    return read_flat(flat, "test").config


def test_they_become_the_same_tokens_as_files(tmp_path: Path, vision_folder: Any) -> None:
    model = vision_folder("qwen2_vl")
    inside = settings(write(tmp_path, ".parquet", [RED, BLUE]), model)
    rows = list(prepare(inside, Encoder(model, inside)).train)
    other = tmp_path / "files"
    other.mkdir()
    (other / "red.png").write_bytes(RED)
    (other / "blue.jpg").write_bytes(BLUE)
    write(other, ".parquet", ["red.png", "blue.jpg"])
    outside = settings(other, model)
    assert [row["input_ids"] for row in prepare(outside, Encoder(model, outside)).train] == [
        row["input_ids"] for row in rows
    ]
