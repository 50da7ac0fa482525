"""Where a row's pictures lie, how large they are let be, and which rows are refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.config import read_flat
from engine.datasets import Encoder, RowProblem, find_dataset, fits, open_rows, prepare
from engine.datasets.formats.fields import RowFault
from engine.datasets.media import Limits, find_picture, media_root, open_picture
from engine.datasets.media.paths import picture_size
from engine.datasets.media_rows import laid
from engine.datasets.medium import pictures
from engine.problem import BadInput


def settings(folder: Path, **changes: Any) -> Any:
    flat = {"dataset": "talk", "dataset_dir": str(folder), "use_cpu": True, **changes}
    return read_flat(flat, "test").config


@pytest.fixture
def talk(tmp_path: Path) -> Callable[..., Path]:
    """`talk(rows)` writes a set of picture rows, and a red picture beside it."""
    from PIL import Image

    def made(*rows: dict[str, Any]) -> Path:
        Image.new("RGB", (64, 48), "red").save(tmp_path / "red.png")
        (tmp_path / "talk.json").write_text(json.dumps(rows), encoding="utf-8")
        registry = {
            "talk": {
                "file_name": "talk.json",
                "columns": {"prompt": "q", "response": "a", "images": "images"},
            }
        }
        (tmp_path / "dataset_info.json").write_text(json.dumps(registry), encoding="utf-8")
        return tmp_path

    return made


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ((100, 100), (100, 100)),
        ((2000, 1000), (1095, 547)),
        ((10, 5), (46, 23)),
        ((1, 1), (32, 32)),
    ],
)
def test_pictures_are_shrunk_and_grown_in_shape(
    given: tuple[int, int], wanted: tuple[int, int]
) -> None:
    limits = Limits(most=600_000, least=1024)
    assert limits.size(*given) == wanted
    width, height = wanted
    assert 1024 <= width * height <= 600_000


def test_a_picture_stands_upright_and_opaque(tmp_path: Path) -> None:
    from PIL import Image

    lying = Image.new("RGB", (40, 20), "red")
    exif = Image.Exif()
    exif[0x0112] = 6
    lying.save(tmp_path / "lying.jpg", exif=exif)
    assert picture_size(tmp_path / "lying.jpg") == (20, 40)
    assert open_picture(tmp_path / "lying.jpg").size == (20, 40)
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert open_picture(tmp_path / "clear.png").getpixel((0, 0)) == (255, 255, 255)


def test_paths_start_in_the_media_folder_and_may_be_whole(tmp_path: Path) -> None:
    (tmp_path / "pics").mkdir()
    (tmp_path / "pics" / "a.png").write_bytes(b"x")
    config = settings(tmp_path, media_dir=str(tmp_path / "pics"))
    assert media_root(config) == tmp_path / "pics"
    assert media_root(settings(tmp_path)) == tmp_path
    assert find_picture(media_root(config), "a.png") == tmp_path / "pics" / "a.png"
    whole = str(tmp_path / "pics" / "a.png")
    assert find_picture(tmp_path, whole) == Path(whole)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gone.png", "there is no picture gone.png in"),
        ("https://example.org/a.png", "on the network"),
        ("../a.png", "lies outside of"),
        ("pics/../../a.png", "lies outside of"),
        ("a" * 5000, "there is no picture"),
        ("a\0b", "there is no picture"),
    ],
)
def test_a_picture_that_is_not_there_is_told(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(RowFault, match=reason):
        find_picture(tmp_path, name)


def test_a_file_that_is_no_picture_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    for content in (b"", b"not a picture", b"\x89PNG\r\n\x1a\n1234"):
        path.write_bytes(content)
        with pytest.raises(RowFault, match=r"a\.png is no picture that can be read"):
            open_picture(path)


GOOD = {"q": "<image>What?", "a": "Red.", "images": ["red.png"]}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({**GOOD, "images": []}, "holds 1 <image>, but it has 0 pictures"),
        ({**GOOD, "images": ["red.png"] * 2}, "holds 1 <image>, but it has 2 pictures"),
        ({**GOOD, "q": "<image><image>?"}, "holds 2 <image>, but it has 1 picture"),
        ({**GOOD, "q": "What?", "a": "<image>"}, "an answer holds <image>"),
        ({**GOOD, "images": ["gone.png"]}, "there is no picture gone.png"),
        ({**GOOD, "images": ["talk.json"]}, "talk.json is no picture"),
    ],
)
def test_a_row_that_can_not_be_seen_is_left_out_with_number_and_reason(
    row: dict[str, Any],
    reason: str,
    talk: Callable[..., Path],
    vision_folder: Callable[[str], Path],
) -> None:
    folder = talk(GOOD, row)
    config = settings(folder)
    prepared = prepare(config, Encoder(vision_folder("llava"), config))
    assert len(prepared.train) == 1
    (problem,) = prepared.dropped
    assert problem.row == 2 and reason in problem.reason


def test_pictures_are_counted_before_the_cutoff(
    talk: Callable[..., Path], vision_folder: Callable[[str], Path]
) -> None:
    folder = talk(GOOD, {**GOOD, "a": "Red. " * 40})
    encoder_of = vision_folder("llava")
    whole = Encoder(encoder_of, settings(folder))
    rows = open_rows(find_dataset("talk", folder))
    row = rows.example(0)
    assert not isinstance(row, RowProblem)
    length = len(whole.encode(row).ids)
    # 16 tokens of a picture do not fit into 10.
    tight = settings(folder, cutoff_len=10)
    with pytest.raises(BadInput, match=rf"pictures alone are 16 tokens of {length}") as refused:
        prepare(tight, Encoder(encoder_of, tight))
    assert f"set cutoff_len to at least {length}" in str(refused.value.problem)
    # A long answer loses its end, and the picture stays whole.
    roomy = settings(folder, cutoff_len=70)
    prepared = prepare(roomy, Encoder(encoder_of, roomy))
    assert len(prepared.train) == 2 and prepared.train.cut_rows == 1
    image = whole.tokenizer.backend.token_to_id("<image>")
    assert prepared.train[1]["input_ids"].count(image) == 16
    assert json.loads(prepared.train[1]["media"]) == [["image", "red.png"]]


def test_smaller_limits_take_fewer_tokens(
    talk: Callable[..., Path], vision_folder: Callable[[str], Path]
) -> None:
    folder = talk(GOOD)
    row = open_rows(find_dataset("talk", folder)).example(0)
    assert not isinstance(row, RowProblem)
    lengths = [
        len(Encoder(vision_folder("qwen2_vl"), settings(folder, **limit)).encode(row).ids)
        for limit in ({}, {"image_max_pixels": 1024})
    ]
    assert lengths[0] > lengths[1]


def test_sets_with_media_suit_some_stages(
    talk: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = talk(GOOD)
    info = find_dataset("talk", folder)
    assert fits(info, "sft") is None
    assert "for the stages sft and dpo" in str(fits(info, "pt"))
    registry = json.loads((folder / "dataset_info.json").read_text())
    registry["talk"]["columns"]["videos"] = "videos"
    (folder / "dataset_info.json").write_text(json.dumps(registry))
    reader = "engine.datasets.media.decoding.missing_pyav"
    monkeypatch.setattr(reader, lambda: "no reader is installed")
    told = fits(find_dataset("talk", folder), "sft")
    assert told == "its rows hold videos, and no reader is installed"
    monkeypatch.setattr(reader, lambda: None)
    assert fits(find_dataset("talk", folder), "sft") is None
    assert "pictures and videos" in str(fits(find_dataset("talk", folder), "pt"))


def test_a_model_of_text_is_told_once(
    talk: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory, save_tokenizer: Any
) -> None:
    text = tmp_path_factory.mktemp("text")
    save_tokenizer(text)
    config = settings(talk(GOOD))
    with pytest.raises(BadInput, match="talk holds pictures") as refused:
        prepare(config, Encoder(text, config))
    assert "reads only text" in refused.value.problem.what


def test_starts_are_counted_in_the_text_with_placeholders() -> None:
    # "a<i>b" with <i> as four letters: tokens a, x, x, x, x, b.
    replaced = [{"span": (1, 4), "new_span": (1, 5)}]
    row = laid(list(range(6)), [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6)], replaced)
    assert row.starts == [0, 1, 1, 1, 1, 4] or row.starts == [0, 1, 2, 3, 4, 4]
    assert row.inside == [False, True, True, True, True, False]
    assert row.starts[-1] == 4


def test_counting_pictures_needs_no_torch(
    talk: Callable[..., Path], vision_folder: Callable[[str], Path]
) -> None:
    folder = talk(GOOD)
    code = (
        "import sys\n"
        "from engine.config import read_flat\n"
        "from engine.datasets import Encoder, find_dataset, open_rows\n"
        f"config = read_flat({{'dataset': 'talk', 'dataset_dir': {str(folder)!r}}}, 't').config\n"
        "from pathlib import Path\n"
        f"encoder = Encoder(Path({str(vision_folder('qwen2_vl'))!r}), config)\n"
        f"row = open_rows(find_dataset('talk', {str(folder)!r})).example(0)\n"
        "assert len(encoder.encode(row).ids) > 16\n"
        "assert not {'torch', 'transformers', 'numpy'} & set(sys.modules), 'heavy'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_openai_turns_bring_their_pictures(talk: Callable[..., Path]) -> None:
    folder = talk()
    parts = [{"type": "image_url", "image_url": {"url": "red.png"}}, {"type": "text", "text": "?"}]
    turns = [{"role": "user", "content": parts}, {"role": "assistant", "content": "Red."}]
    marked = [{"role": "user", "content": [{"type": "image"}, "?"]}, turns[1]]
    rows = [
        {"messages": turns, "images": None},
        {"messages": marked, "images": ["red.png"]},
        {"messages": turns, "images": ["red.png"]},
    ]
    (folder / "talk.json").write_text(json.dumps(rows))
    columns = {"messages": "messages", "images": "images"}
    registry = {"talk": {"file_name": "talk.json", "formatting": "openai", "columns": columns}}
    registry["talk"]["tags"] = {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
    }
    (folder / "dataset_info.json").write_text(json.dumps(registry))
    read = open_rows(find_dataset("talk", folder))
    for place in (0, 1):
        example = read.example(place)
        assert not isinstance(example, RowProblem)
        assert example.media == pictures(["red.png"]) and example.messages[0].content == "<image>?"
    twice = read.example(2)
    assert isinstance(twice, RowProblem) and "both in its turns and in a column" in twice.reason
