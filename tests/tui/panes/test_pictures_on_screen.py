"""Pictures of rows in the row browser, and a picture with a message in the chat."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.datasets.media.preview import Cell, Preview
from tui.panes.chat import ChatView
from tui.panes.data import DataView
from tui.panes.row_views import media_told, picture_lines, with_media
from tui.widgets.frame import line_width


def picture_set(home: Path) -> Path:
    from PIL import Image

    folder = home / "sets"
    folder.mkdir()
    Image.new("RGB", (640, 480), "red").save(folder / "red.png")
    rows = [
        {"instruction": "<image>What?", "output": "A [/b] wall.", "images": ["red.png"]},
        {"instruction": "<image>What?", "output": "Gone.", "images": ["gone[/b].png"]},
    ]
    (folder / "mine.json").write_text(json.dumps(rows), encoding="utf-8")
    columns = {"prompt": "instruction", "response": "output", "images": "images"}
    registry = {"mine": {"file_name": "mine.json", "columns": columns}}
    (folder / "dataset_info.json").write_text(json.dumps(registry), encoding="utf-8")
    return folder


async def opened(shown, folder: Path) -> DataView:
    shown.studio.change_many({"dataset_dir": str(folder), "dataset": "mine"})
    shown.studio.read_datasets()
    shown.app.show()
    await shown.settle()
    await shown.press("2", "enter")
    await shown.settle()
    view = shown.app.views["data"]
    assert isinstance(view, DataView)
    return view


async def test_a_row_shows_its_picture_in_half_blocks(
    open_screen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETUI_COLORS", "truecolor")
    async with open_screen() as shown:
        view = await opened(shown, picture_set(tmp_path))
        assert view.pictures.shown is not None and len(view.pictures.shown.previews) == 1
        assert "▀" in shown.text and "[picture 640×480] red.png" in shown.text
        # The demo's stand-in reads only text, and says so where the tokens stand.
        await shown.press("down")
        await shown.settle()
        assert "there is no picture gone[/b].png" in shown.text


async def test_with_few_colours_a_picture_is_shades(
    open_screen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETUI_COLORS", "16")
    async with open_screen() as shown:
        await opened(shown, picture_set(tmp_path))
        assert "▀" not in shown.text and "░" in shown.text
        assert "[picture 640×480]" in shown.text


def test_a_picture_takes_no_more_than_its_width() -> None:
    red = Cell("▀", (255, 0, 0), (250, 0, 0))
    blue = Cell("▀", (0, 0, 255), (0, 0, 255))
    shown = Preview("a\x1b[31m.png", 30, 10, ((red, red, blue), (red, blue, blue)))
    lines = picture_lines(shown, 20)
    assert lines[0] == [("  ", "text"), ("▀▀", "#f80000,#f80000"), ("▀", "#0000f8,#0000f8")]
    assert all(line_width(line) <= 20 for line in picture_lines(shown, 20))
    assert "\x1b" not in "".join(text for line in lines for text, _ in line)


def test_a_pictures_tokens_are_told_by_number() -> None:
    pieces = [("a", "prompt"), ("", "picture"), ("", "picture"), ("<image>", "picture")]
    pieces += [("b", "trained"), ("", "sound"), ("<audio>", "sound")]
    assert with_media(pieces) == [
        ("a", "prompt"),
        ("⟨picture: 3 tokens⟩", "picture"),
        ("b", "trained"),
        ("⟨sound: 2 tokens⟩", "sound"),
    ]
    assert media_told([part for _text, part in pieces]) == "3 of pictures, 2 of sounds"


async def test_the_views_tell_how_many_tokens_a_picture_takes(
    open_screen, tmp_path: Path, vision_model: Path
) -> None:
    async with open_screen(model=str(vision_model)) as shown:
        view = await opened(shown, picture_set(tmp_path))
        assert view.row is not None and not view.row.problem
        count = [piece.part for piece in view.row.pieces].count("picture")
        assert count == 16
        await shown.press("v")
        assert view.mode == "tokens"
        said = " ".join(view_text(view))
        assert "⟨picture:·16·tokens⟩" in said and "16 of pictures" in said
        await shown.press("v")
        await shown.press("end")
        assert "tokens: 16 of pictures" in " ".join(view_text(view))


def view_text(view: DataView) -> list[str]:
    return ["".join(text for text, _ in line) for line in view.row_panel._lines]


@pytest.fixture(scope="module")
def vision_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the look-ups read of a LLaVA: its tokenizer, config and processor."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("seeing")
    vocabulary = {"<pad>": 0, "<|end|>": 1, "<image>": 2}
    for letter in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary[letter] = len(vocabulary)
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(["<pad>", "<|end|>", "<image>"])
    inner.save(str(folder / "tokenizer.json"))
    template = (
        "{% for m in messages %}{{ m['role'] }}: {% if m['content'] is string %}{{ m['content'] }}"
        "{% else %}{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>{% else %}"
        "{{ c['text'] }}{% endif %}{% endfor %}{% endif %}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    written = {"eos_token": "<|end|>", "pad_token": "<pad>", "chat_template": template}
    (folder / "tokenizer_config.json").write_text(json.dumps(written))
    config = {
        "model_type": "llava",
        "architectures": ["LlavaForConditionalGeneration"],
        "image_token_index": 2,
        "vision_config": {"image_size": 32, "patch_size": 8},
        "text_config": {"model_type": "llama"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    processor = {
        "patch_size": 8,
        "num_additional_image_tokens": 1,
        "vision_feature_select_strategy": "default",
        "image_processor": {"crop_size": {"height": 32, "width": 32}, "do_center_crop": True},
    }
    (folder / "processor_config.json").write_text(json.dumps(processor))
    import numpy
    from safetensors.numpy import save_file

    save_file({"lm_head.weight": numpy.zeros((2, 2), "float32")}, folder / "model.safetensors")
    return folder


async def test_a_line_gives_the_next_message_a_picture(open_screen, tmp_path: Path) -> None:
    picture = picture_set(tmp_path) / "red.png"
    async with open_screen() as shown:
        await shown.press("c")
        view = shown.app.views["chat"]
        assert isinstance(view, ChatView)
        await shown.type(f"/image {picture}")
        await shown.press("enter")
        assert len(shown.engine.queue) == 0 and "with red.png" in shown.text
        await shown.type("what is it")
        await shown.press("enter")
        (waits,) = shown.engine.queue
        (message,) = waits.job.messages
        assert message.pictures == (str(picture),) and message.content == "what is it"
        assert "[red.png]" in shown.text and "with red.png" not in shown.text


@pytest.mark.slow
async def test_lines_give_the_next_message_a_sound_and_a_video(open_screen, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"x")
    (tmp_path / "frames").mkdir()
    async with open_screen() as shown:
        await shown.press("c")
        for line in (f"/sound {tmp_path}/a.wav", f"/video {tmp_path}/frames"):
            await shown.type(line)
            await shown.press("enter")
        assert "with a.wav, frames" in shown.text
        await shown.type("what is it")
        await shown.press("enter")
        (waits,) = shown.engine.queue
        (message,) = waits.job.messages
        assert message.sounds == (f"{tmp_path}/a.wav",) and message.pictures == ()
        assert message.videos == (f"{tmp_path}/frames",)


async def test_a_picture_that_is_not_there_is_not_taken(open_screen, tmp_path: Path) -> None:
    async with open_screen() as shown:
        await shown.press("c")
        view = shown.app.views["chat"]
        assert isinstance(view, ChatView)
        await shown.type("/image nowhere.png")
        await shown.press("enter")
        assert view.files == {} and len(shown.engine.queue) == 0
