"""Rows with videos: their tokens by arithmetic and by the processor, their look and preview."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.config import read_flat
from engine.datasets import Encoder, find_dataset, fits, open_rows
from engine.datasets.example import Example, Message
from engine.datasets.formats.fields import RowFault
from engine.datasets.media.looks import look_at
from engine.datasets.media.preview import preview
from engine.datasets.medium import Medium

pytest.importorskip("av")
FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "llava_next_video", "video_llava",
            "llava_onevision", "smolvlm")  # fmt: skip


def settings(model: Path, folder: Path, **changes: Any) -> Any:
    flat = {"model_name_or_path": str(model), "dataset": "clips", "dataset_dir": str(folder)}
    return read_flat({**flat, "cutoff_len": 4096, **changes}, "test").config


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"video_max_pixels": 32 * 32},
        {"video_fps": 1.3, "video_min_pixels": 128 * 128, "video_max_pixels": 256 * 256},
        {"video_fps": 8, "video_maxlen": 5},
        {"video_maxlen": 1},
    ],
    ids=["usual", "small", "large", "five", "one"],
)
def test_counting_and_the_models_processor_agree_token_by_token(
    family: str, changes: dict[str, Any], video_folder: Any, video_set: Path
) -> None:
    import torch

    from engine.models.processor import see_through

    folder = video_folder(family)
    config = settings(folder, video_set, **changes)
    encoder = Encoder(folder, config)
    rows = open_rows(find_dataset("clips", video_set))
    examples = [rows.example(place) for place in (0, 2, 3)]
    two = Message("user", "<video> or <video>?"), Message("assistant", "both")
    media = tuple(Medium("video", name) for name in ("green.mp4", "both.avi"))
    examples.append(Example("conversation", 9, two, media=media))
    counted = [encoder.encode(example) for example in examples]
    seen = see_through(encoder, folder, config)
    assert seen is not None
    read = [encoder.encode(example) for example in examples]
    assert [row.ids for row in counted] == [row.ids for row in read]
    assert [row.trained for row in counted] == [row.trained for row in read]
    # And there are as many of these tokens as the model has features to put in their place.
    (token,) = seen.readers["video"].token_ids or seen.readers["image"].token_ids
    tokens = read[0].ids.count(token)
    made = seen.inputs(torch.tensor([read[0].ids]), [list(read[0].media)])
    if "video_grid_thw" in made:
        assert tokens == int(made["video_grid_thw"].prod()) // 4
    elif family == "smolvlm":
        assert tokens == 4 * made["pixel_values"].shape[1]
    else:
        frames = made["pixel_values_videos"].shape[1]
        assert tokens == {"llava_next_video": 4 * frames, "video_llava": 17 * frames,
                          "llava_onevision": 4 * frames + 1}[family]  # fmt: skip


def test_times_are_written_and_counted_from_the_videos_own_frames(
    video_folder: Any, video_set: Path
) -> None:
    import torch

    from engine.models.processor import see_through

    # Four frames of two seconds at 8 a second: the 1st, 6th, 11th and 16th.
    config = settings(video_folder("qwen3_vl"), video_set)
    encoder = Encoder(video_folder("qwen3_vl"), config)
    row = open_rows(find_dataset("clips", video_set)).example(0)
    text = encoder.tokenizer.decode(encoder.encode(row).ids)
    assert "<0.3 seconds>" in text and "<1.6 seconds>" in text
    config = settings(video_folder("qwen2_5_vl"), video_set, video_fps=4)
    encoder = Encoder(video_folder("qwen2_5_vl"), config)
    media = see_through(encoder, video_folder("qwen2_5_vl"), config)
    assert media is not None
    made = media.inputs(torch.tensor([encoder.encode(row).ids]), [list(row.media)])
    assert made["second_per_grid_ts"].tolist() == [0.5]  # two frames at 4 a second


def test_videos_of_a_batch_stand_one_behind_the_other(video_folder: Any, video_set: Path) -> None:
    import torch

    from engine.models.processor import see_through
    from engine.problem import BadInput

    for family, shape in (
        ("qwen2_vl", None),
        ("llava_next_video", (1, 12)),
        ("video_llava", (1, 12)),
    ):
        config = settings(video_folder(family), video_set)
        media = see_through(Encoder(video_folder(family), config), video_folder(family), config)
        assert media is not None
        rows = [[Medium("video", name)] for name in ("red.mp4", "both.avi")]
        ids = torch.zeros(2, 4, dtype=torch.long)
        apart = [media.inputs(ids[:1], [row])["pixel_values_videos"] for row in rows]
        together = media.inputs(ids, rows)["pixel_values_videos"]
        assert torch.equal(together, torch.cat(apart, dim=0 if shape is None else 1))
        assert shape is None or tuple(together.shape[:2]) == shape
    config = settings(video_folder("llava_onevision"), video_set)
    folder = video_folder("llava_onevision")
    media = see_through(Encoder(folder, config), folder, config)
    assert media is not None
    with pytest.raises(BadInput, match="different numbers of frames side by side"):
        media.inputs(ids, rows)


def test_pictures_and_videos_stand_in_one_row(
    video_folder: Any, video_set: Path, tmp_path: Path
) -> None:
    import torch
    from PIL import Image

    from engine.models.processor import see_through

    Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    folder = video_folder("qwen2_vl")
    config = settings(folder, video_set)
    encoder = Encoder(folder, config)
    turns = Message("user", "<video>Like <image>?"), Message("assistant", "yes")
    media = (Medium("image", str(tmp_path / "red.png")), Medium("video", "red.mp4"))
    example = Example("conversation", 1, turns, media=media)
    counted = encoder.encode(example).ids
    seen = see_through(encoder, folder, config)
    assert seen is not None
    read = encoder.encode(example).ids
    assert counted == read
    made = seen.inputs(torch.tensor([read]), [list(media)])
    assert set(made) >= {"pixel_values", "pixel_values_videos", "image_grid_thw", "video_grid_thw"}
    assert read.index(seen.readers["video"].token_ids[0]) < read.index(
        seen.readers["image"].token_ids[0]
    )


def test_a_set_with_videos_suits_the_stages_of_pictures(video_set: Path) -> None:
    info = find_dataset("clips", video_set)
    assert fits(info, "sft") is None
    assert "rows hold videos, for the stages sft and dpo" in str(fits(info, "kto"))


def test_without_pyav_a_set_with_videos_says_what_to_install(
    video_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.datasets.media import decoding

    monkeypatch.setattr(decoding, "is_installed", lambda _: False)
    told = fits(find_dataset("clips", video_set), "sft")
    assert (
        told == "its rows hold videos, and videos are read with PyAV: pip install 'finetui[video]'"
    )


def test_a_file_is_looked_at_without_a_model(video_set: Path, tmp_path: Path) -> None:
    look_at(video_set, Medium("video", "red.mp4"))
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(RowFault, match=r"text\.mp4 is no video"):
        look_at(tmp_path, Medium("video", "text.mp4"))


def test_the_preview_is_the_first_frame_with_its_length(video_set: Path) -> None:
    shown = preview(video_set / "both.avi", 16, 8, kind="video")
    assert shown.title == "[video 64×48, 4.0 s, 32 frames]"
    upper = shown.lines[0][0].upper
    assert upper is not None and upper[0] > 180 and upper[2] < 80
    broken = preview(video_set / "dataset_info.json", 16, 8, kind="video")
    assert "is no video that can be read" in broken.title and not broken.lines


def test_videos_are_counted_without_torch(video_folder: Any, video_set: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from engine.config import read_flat
from engine.datasets import Encoder, find_dataset, open_rows
flat = {{"dataset": "clips", "dataset_dir": {str(video_set)!r}, "cutoff_len": 4096}}
config = read_flat(flat).config
encoder = Encoder(Path({str(video_folder("qwen2_vl"))!r}), config)
row = open_rows(find_dataset("clips", {str(video_set)!r})).example(0)
assert len(encoder.encode(row).ids) > 20
print([name for name in ("torch", "transformers") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_frames_among_pictures_stand_in_the_order_of_the_rows(
    video_folder: Any, video_set: Path, tmp_path: Path
) -> None:
    import torch
    from PIL import Image

    from engine.models.processor import see_through

    pytest.importorskip("num2words")
    Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    folder = video_folder("smolvlm")
    config = settings(folder, video_set)
    encoder = Encoder(folder, config)
    media = see_through(encoder, folder, config)
    assert media is not None
    picture, video = Medium("image", str(tmp_path / "red.png")), Medium("video", "both.avi")
    ids = torch.zeros(3, 4, dtype=torch.long)
    apart = [media.inputs(ids[:1], [[one]])["pixel_values"] for one in (video, picture)]
    together = media.inputs(ids, [[video], [], [picture]])
    assert torch.equal(together["pixel_values"], torch.cat(apart, dim=1))
    assert together["pixel_attention_mask"].shape[1] == together["pixel_values"].shape[1]
    turns = Message("user", "<video>Like <image>?"), Message("assistant", "yes")
    (refused,) = encoder.encode_batch([Example("conversation", 1, turns, media=(picture, video))])
    assert "the model takes only one of both in a row" in str(refused)


def test_a_video_that_stands_twice_in_a_batch_is_decoded_once(
    video_folder: Any, video_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from engine.models import video_reader
    from engine.models.processor import see_through

    folder = video_folder("qwen2_vl")
    config = settings(folder, video_set)
    media = see_through(Encoder(folder, config), folder, config)
    assert media is not None
    read: list[Path] = []
    original = video_reader.read_video

    def counting(path: Path, choice: Any) -> Any:
        read.append(path)
        return original(path, choice)

    monkeypatch.setattr(video_reader, "read_video", counting)
    row = [Medium("video", "red.mp4")]
    ids = torch.zeros(2, 4, dtype=torch.long)
    made = media.inputs(ids, [row, row])["pixel_values_videos"]
    assert len(read) == 1
    assert torch.equal(made[: len(made) // 2], made[len(made) // 2 :])
