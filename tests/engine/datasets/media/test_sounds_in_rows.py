"""Where a row's sounds lie, how they are read, what they become, and which rows are refused."""

from __future__ import annotations

import json
import math
import random
import shutil
from pathlib import Path
from typing import Any

import numpy
import pytest
import soundfile

from engine.config import read_flat
from engine.datasets import Encoder, find_dataset, fits, open_rows, prepare
from engine.datasets.detect import detect, look
from engine.datasets.example import Example
from engine.datasets.formats.fields import RowFault
from engine.datasets.media import find_medium
from engine.datasets.media import sounds as module
from engine.datasets.media.looks import look_at
from engine.datasets.media.preview import preview
from engine.datasets.media.sound_tracks import is_container
from engine.datasets.media.sounds import SoundFacts, about_sound, read_sound
from engine.datasets.medium import Medium


def settings(folder: Path, model: Path | None = None, **changes: Any) -> Any:
    flat = {
        "dataset": "tones",
        "dataset_dir": str(folder),
        "model_name_or_path": str(model) if model else None,
        "cutoff_len": 512,
        **changes,
    }
    return read_flat(
        {key: value for key, value in flat.items() if value is not None}, "test"
    ).config


def main_tone(samples: Any, rate: int) -> float:
    """The loudest frequency, in hertz."""
    spectrum = numpy.abs(numpy.fft.rfft(samples))
    return float(numpy.argmax(spectrum) * rate / len(samples))


@pytest.mark.parametrize(
    ("name", "rate", "channels"),
    [("a.wav", 8000, 1), ("a.flac", 44100, 2), ("a.ogg", 16000, 1), ("a.mp3", 22050, 2)],
)
def test_sounds_of_every_kind_are_read_as_the_model_hears(
    name: str, rate: int, channels: int, tiny_sound: Any, tmp_path: Path
) -> None:
    path = tiny_sound.save_tone(tmp_path / name, 440, 1.5, rate, channels)
    assert about_sound(path) == SoundFacts(round(1.5 * rate), rate, channels)
    samples = read_sound(path, 16000)
    assert samples.dtype == numpy.float32 and samples.shape == (24000,)
    assert abs(main_tone(samples, 16000) - 440) < 2
    # Of a sine of height 0.5 the mean square is 1/8; coding takes a little at the ends.
    assert abs(math.sqrt(float((samples**2).mean())) - 0.5 / math.sqrt(2)) < 0.02


def save_track(path: Path, codec: str, hertz: float, seconds: float, rate: int) -> Path:
    import av

    times = numpy.arange(round(seconds * rate)) / rate
    wave = (0.5 * numpy.sin(2 * math.pi * hertz * times)).astype("float32")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="stereo")
        size = stream.codec_context.frame_size or 1024
        for start in range(0, len(wave), size):
            part = wave[start : start + size]
            frame = av.AudioFrame.from_ndarray(
                numpy.ascontiguousarray(numpy.stack([part, part])), format="fltp", layout="stereo"
            )
            frame.sample_rate = rate
            frame.pts = start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("name", "codec"), [("a.m4a", "aac"), ("a.mka", "ac3")])
def test_a_containers_sound_track_is_read(name: str, codec: str, tmp_path: Path) -> None:
    path = save_track(tmp_path / name, codec, 440, 1.5, 48000)
    facts = about_sound(path)
    assert (facts.rate, facts.channels) == (48000, 2) and abs(facts.seconds - 1.5) < 0.05
    samples = read_sound(path, 16000)
    assert len(samples) == facts.samples(16000)
    assert abs(main_tone(samples[2000:22000], 16000) - 440) < 2
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(RowFault, match="is no sound that can be read"):
        read_sound(path, 16000)


def test_a_track_that_claims_many_channels_is_told(tmp_path: Path) -> None:
    # PyAV 18 would read frames of more than eight planes from memory that isn't theirs.
    path = save_track(tmp_path / "a.mka", "pcm_f32le", 440, 0.5, 48000)
    whole = path.read_bytes()
    assert whole.count(b"\x9f\x81\x02") == 1  # Matroska's element of channels
    path.write_bytes(whole.replace(b"\x9f\x81\x02", b"\x9f\x81\x0e"))
    with pytest.raises(RowFault, match="it has 14 channels"):
        read_sound(path, 16000)


def test_a_container_without_its_package_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.datasets.media import sound_tracks

    monkeypatch.setattr(sound_tracks, "is_installed", lambda name: name != "av")
    (tmp_path / "a.m4a").write_bytes(b"x")
    with pytest.raises(RowFault, match=r"read with PyAV: pip install 'finetui\[video\]'"):
        read_sound(tmp_path / "a.m4a", 16000)


def test_channels_are_brought_together(tmp_path: Path) -> None:
    both = numpy.stack([numpy.full(100, 0.5), numpy.full(100, -0.25)], axis=1)
    soundfile.write(tmp_path / "a.wav", both, 16000, subtype="FLOAT")
    assert numpy.allclose(read_sound(tmp_path / "a.wav", 16000), 0.125)


def test_reading_in_blocks_is_reading_at_once(
    tiny_sound: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_sound.save_tone(tmp_path / "a.wav", 440, 3.0, 44100, 2)
    whole = read_sound(path, 16000)
    monkeypatch.setattr(module, "_BLOCK", 1000)
    assert numpy.allclose(read_sound(path, 16000), whole, atol=1e-4)


def broken(folder: Path, kind: str) -> Path:
    path = folder / "a.wav"
    if kind == "text":
        path.write_text("no sound at all")
    elif kind == "nothing":
        path.write_bytes(b"")
    elif kind == "silent":
        soundfile.write(path, numpy.zeros(0), 16000)
    elif kind == "numbers":
        soundfile.write(path, numpy.full(1000, numpy.nan), 16000, subtype="FLOAT")
    elif kind == "raw":
        path = folder / "a.raw"
        path.write_bytes(b"\0" * 1000)
    elif kind == "frames":
        path = folder / "a.mp3"
        soundfile.write(path, numpy.zeros(8000), 16000)
        data = path.read_bytes()
        path.write_bytes(data[:200] + bytes(len(data)))
    elif kind == "cut":
        path = folder / "a.flac"
        noise = numpy.random.default_rng(0).normal(0, 0.1, 160_000)
        soundfile.write(path, noise, 16000)
        path.write_bytes(path.read_bytes()[:100_000])
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("text", r"a\.wav is no sound that can be read \("),
        ("nothing", r"a\.wav is no sound that can be read \("),
        ("silent", "the sound a.wav is empty"),
        ("numbers", "the sound a.wav holds samples that are no numbers"),
        ("raw", r"a\.raw is no sound that can be read \("),
        ("frames", r"a\.mp3 is no sound that can be read \(its content"),
        ("cut", r"the sound a\.flac breaks off after|a\.flac is no sound that can be read"),
    ],
)
def test_what_is_no_sound_is_told(kind: str, reason: str, tmp_path: Path) -> None:
    path = broken(tmp_path, kind)
    with pytest.raises(RowFault, match=reason):
        read_sound(path, 16000)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.m4a", "a.mka"])
def test_a_damaged_file_is_read_or_told(name: str, tiny_sound: Any, tmp_path: Path) -> None:
    path = tmp_path / name
    if is_container(path):
        save_track(path, "aac" if name == "a.m4a" else "ac3", 440, 0.5, 48000)
    else:
        tiny_sound.save_tone(path, 440, 0.5, 16000, 2)
    whole, chance, told = path.read_bytes(), random.Random(1), 0
    for turn in range(120):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            near = min(len(damaged), 400 if turn % 2 else len(damaged))
            place = (
                chance.randrange(near) if turn % 3 else len(damaged) - 1 - chance.randrange(near)
            )
            if chance.random() < 0.7:
                damaged[place] = chance.randrange(256)
            else:
                del damaged[place : place + chance.randint(1, 2000)]
                damaged = damaged or bytearray(b"x")
        path.write_bytes(bytes(damaged))
        try:
            samples = read_sound(path, 16000)
        except RowFault as fault:
            assert name in str(fault)
            told += 1
        else:
            assert len(samples) == about_sound(path).samples(16000)
    assert told


def test_a_sound_of_hours_is_refused_by_its_head(tmp_path: Path) -> None:
    with soundfile.SoundFile(tmp_path / "a.flac", "w", 8000, 1) as file:
        for _minute in range(31):
            file.write(numpy.zeros(8000 * 60))
    with pytest.raises(RowFault, match="longer than 30 minutes: cut it"):
        about_sound(tmp_path / "a.flac")


def test_without_the_package_the_command_is_told(
    sound_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "is_installed", lambda name: name != "soxr")
    reason = fits(find_dataset("tones", sound_set), "sft")
    assert reason is not None and "pip install 'finetui[sound]'" in reason
    with pytest.raises(RowFault, match=r"finetui\[sound\]"):
        read_sound(sound_set / "low.wav", 8000)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../a.wav", "lies outside of"),
        ("https://x/a.wav", "is on the network"),
        ("none.wav", "there is no sound none.wav"),
    ],
)
def test_sounds_stay_in_their_folder(name: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(RowFault, match=reason):
        find_medium(tmp_path, Medium("audio", name))


def test_a_set_of_sounds_suits_the_stages_of_media(sound_set: Path) -> None:
    info = find_dataset("tones", sound_set)
    assert info.media == ("audio",) and fits(info, "sft") is None
    assert fits(find_dataset("better", sound_set), "dpo") is None
    assert fits(info, "kto") == "its rows hold sounds, for the stages sft and dpo"


@pytest.mark.parametrize("family", ["qwen2_audio", "audioflamingo3"])
def test_counted_tokens_are_those_of_the_processor(
    family: str, sound_model: Any, sound_set: Path, tiny_sound: Any, tmp_path: Path
) -> None:
    from engine.models.processor import see_through

    sound_folder = sound_model(family)
    lengths = [200, 400, 641, 8000, 15999, 16000, 16001, 31999, 32000]
    if family == "audioflamingo3":  # it hears several windows
        lengths += [32001, 50000, 80123, 96000]
    for length in lengths:
        tiny_sound.save_tone(tmp_path / f"{length}.wav", 440, length / 16000)
    tiny_sound.save_tone(tmp_path / "other.wav", 440, 1.23456, 44100)
    config = settings(sound_set, sound_folder, media_dir=str(tmp_path))
    counting, hearing = (Encoder(sound_folder, config) for _ in range(2))
    assert see_through(hearing, sound_folder, config) is not None
    text = "say <|audio_bos|><|AUDIO|><|audio_eos|> this"
    for name in (*lengths, "other"):
        media = (Medium("audio", f"{name}.wav"),)
        if name == 200:  # two frames of the spectrum
            for encoder in (counting, hearing):
                with pytest.raises(RowFault, match="too short for the model"):
                    encoder.prompt_ids(text, media)
            continue
        ids = counting.prompt_ids(text, media)
        assert ids == hearing.prompt_ids(text, media)
        assert ids.count(counting.tokenizer.backend.token_to_id("<|AUDIO|>")) > 0


def test_a_sound_longer_than_the_model_hears_is_refused(
    sound_folder: Path, sound_set: Path, tiny_sound: Any, tmp_path: Path
) -> None:
    from engine.models.processor import see_through

    tiny_sound.save_tone(tmp_path / "long.wav", 440, 2.5)
    config = settings(sound_set, sound_folder, media_dir=str(tmp_path))
    counting, hearing = (Encoder(sound_folder, config) for _ in range(2))
    see_through(hearing, sound_folder, config)
    for encoder in (counting, hearing):
        with pytest.raises(RowFault, match=r"is 2\.5 seconds long, and the model hears 2: cut it"):
            encoder.prompt_ids("<|AUDIO|>", (Medium("audio", "long.wav"),))


def test_a_turn_is_written_as_the_models_template_has_it(
    sound_folder: Path, sound_set: Path
) -> None:
    config = settings(sound_set, sound_folder)
    encoder = Encoder(sound_folder, config)
    example = open_rows("tones", sound_set).example(3)
    assert isinstance(example, Example)
    text = encoder.encode(example).text
    sounds = [f"Audio {n}: <|audio_bos|><|AUDIO|><|audio_eos|>\n" for n in (1, 2)]
    assert f"One {sounds[0]} and two {sounds[1]}?" in text
    prepared = prepare(config, encoder)
    assert [json.loads(row["media"]) for row in prepared.train][3] == [
        ["audio", "low.wav"],
        ["audio", "high.ogg"],
    ]


def test_a_template_of_text_alone_is_given_the_models_words(
    sound_folder: Path, sound_set: Path, tmp_path: Path
) -> None:
    shutil.copytree(sound_folder, tmp_path / "model")
    plain = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    (tmp_path / "model" / "chat_template.jinja").write_text(plain)
    encoder = Encoder(tmp_path / "model", settings(sound_set, tmp_path / "model"))
    example = open_rows("tones", sound_set).example(0)
    assert isinstance(example, Example)
    encoded = encoder.encode(example)
    assert "user\n<|audio_bos|><|AUDIO|><|audio_eos|>Which tone?<|im_end|>" in encoded.text
    heard = encoder.tokenizer.backend.token_to_id("<|AUDIO|>")
    assert encoded.ids.count(heard) == 15 and encoded.media == (Medium("audio", "low.wav"),)


def test_the_reader_knows_the_tokens_of_sounds(sound_folder: Path, sound_set: Path) -> None:
    from engine.models.processor import Media

    config = settings(sound_set, sound_folder)
    encoder = Encoder(sound_folder, config)
    media = Media(sound_folder, config, encoder.tokenizer)
    assert media.placeholders == {"audio": "<|AUDIO|>"}
    assert media.token_ids == (encoder.tokenizer.backend.token_to_id("<|AUDIO|>"),)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"audios": []}, "its text holds 1 <audio>, but it has 0 sounds"),
        ({"audios": ["low.wav", "low.wav"]}, "its text holds 1 <audio>, but it has 2 sounds"),
        ({"audios": ["tones.json"]}, "tones.json is no sound that can be read"),
        ({"audios": ["none.wav"]}, "there is no sound none.wav"),
    ],
)
def test_rows_with_wrong_sounds_are_told(
    changes: dict[str, Any], reason: str, sound_folder: Path, sound_set: Path, tmp_path: Path
) -> None:
    from engine.datasets import check_dataset

    for name in ("low.wav", "dataset_info.json"):
        (tmp_path / name).write_bytes((sound_set / name).read_bytes())
    rows = json.loads((sound_set / "tones.json").read_text())
    rows = [rows[0], {**rows[0], **changes}]
    (tmp_path / "tones.json").write_text(json.dumps(rows))
    config = settings(tmp_path, sound_folder)
    for encoder in (Encoder(sound_folder, config), None):
        if encoder is None and changes["audios"] == []:
            continue  # without a model `<audio>` may be a word of the text
        check = check_dataset(open_rows("tones", tmp_path), encoder, stage="sft")
        assert check.usable == 1
        assert [(row.row, reason in row.reason) for row in check.problems] == [(2, True)]


def test_the_token_view_tells_sounds_apart(sound_folder: Path, sound_set: Path) -> None:
    encoder = Encoder(sound_folder, settings(sound_set, sound_folder))
    example = open_rows("tones", sound_set).example(3)
    assert isinstance(example, Example)
    pieces = encoder.pieces(example)
    assert "".join(piece.text for piece in pieces) == encoder.encode(example).text
    heard = encoder.tokenizer.backend.token_to_id("<|AUDIO|>")
    assert {piece.id for piece in pieces if piece.part == "sound"} == {heard}
    assert [piece.part for piece in pieces].count("sound") == 15 + 37
    assert "picture" not in {piece.part for piece in pieces}


def test_openai_turns_bring_their_sounds(tmp_path: Path) -> None:
    parts = [
        {"type": "audio", "path": "a.wav"},
        {"type": "input_audio", "input_audio": {"path": "b.wav"}},
        {"type": "audio_url", "audio_url": {"url": "file:///c.wav"}},
        {"type": "text", "text": "?"},
    ]
    row = {"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": "x"}]}
    (tmp_path / "a.json").write_text(json.dumps([row]))
    registry = {"a": {"file_name": "a.json", "formatting": "openai"}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(registry))
    example = open_rows("a", tmp_path).example(0)
    assert isinstance(example, Example)
    assert example.messages[0].content == "<audio><audio><audio>?"
    assert example.media == tuple(Medium("audio", n) for n in ("a.wav", "b.wav", "/c.wav"))


def test_columns_of_sounds_are_made_out(sound_set: Path) -> None:
    draft = detect(sound_set / "tones.json")
    assert draft.columns["audios"] == "audios"
    seen = look(draft, sound_set)
    assert not [line for line in seen.warnings if "sounds" in line]
    lost = look(draft, sound_set / "nowhere")
    assert any("sounds are not in" in line for line in lost.warnings)


def test_a_sound_is_shown_with_its_seconds_and_rate(sound_set: Path, tiny_sound: Any) -> None:
    shown = preview(sound_set / "middle.flac", 30, 10, kind="audio")
    assert shown.title == "[sound 1.0 s, 44,100 Hz, stereo]" and shown.kind == "audio"
    (line,) = shown.lines
    assert len(line) == 30 and {cell.text for cell in line} == {"▄"}
    bad = preview(sound_set / "tones.json", 30, 10, kind="audio")
    assert bad.title.startswith("[tones.json is no sound that can be read") and not bad.lines


def test_looking_at_a_sound_needs_no_torch(sound_set: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from pathlib import Path; from engine.datasets.medium import Medium; "
        "from engine.datasets.media.looks import look_at; "
        f"look_at(Path({str(sound_set)!r}), Medium('audio', 'low.wav')); "
        "print(sorted({'torch', 'transformers', 'soxr'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    look_at(sound_set, Medium("audio", "low.wav"))
