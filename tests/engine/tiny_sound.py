"""Tiny models that hear, at random weights, each with its processor, and sounds of one tone."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

RATE = 16000
TONES = {"low": 220, "middle": 880, "high": 3520}
# As the family's published template writes a turn.
_TEMPLATE = (
    "{% set count = namespace(value=0) %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}<|im_end|>\n{% else %}"
    "{% for c in m['content'] %}"
    "{% if 'audio' in c or 'audio_url' in c or m['type'] == 'audio' or c['type'] == 'audio' %}"
    "{% set count.value = count.value + 1 %}"
    "Audio {{ count.value }}: <|audio_bos|><|AUDIO|><|audio_eos|>\n"
    "{% elif 'text' in c %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


FAMILIES = ("qwen2_audio", "audioflamingo3")


def save_sound_model(family: str, folder: Path, tokenizer: Any, seed: int = 0) -> Path:
    """Write a model of `family` (about 0.1 million weights) that reads text as `tokenizer` does."""
    import torch
    from transformers import (
        AudioFlamingo3Config,
        AudioFlamingo3ForConditionalGeneration,
        AudioFlamingo3Processor,
        Qwen2AudioConfig,
        Qwen2AudioForConditionalGeneration,
        Qwen2AudioProcessor,
        WhisperFeatureExtractor,
    )

    tokens = ["<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>", "<|im_start|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": tokens})
    tokenizer.chat_template = _TEMPLATE
    tokenizer.save_pretrained(folder)
    ear = {"num_mel_bins": 16, "max_source_positions": 100, "dropout": 0.0}
    text: dict[str, Any] = {
            "model_type": "qwen2", "vocab_size": len(tokenizer), "hidden_size": 32,
            "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "max_position_embeddings": 1024,
            "pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id,
            "bos_token_id": tokenizer.eos_token_id, "tie_word_embeddings": False,
    }  # fmt: skip
    heard = tokenizer.convert_tokens_to_ids("<|AUDIO|>")
    # Two seconds at the most: 200 frames of the spectrum, 50 places after the encoder.
    extractor = WhisperFeatureExtractor(feature_size=16, sampling_rate=RATE, chunk_length=2)
    torch.manual_seed(seed)
    if family == "qwen2_audio":
        ear |= {"encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 64}
        ear |= {"d_model": 32}
        model = Qwen2AudioForConditionalGeneration(
            Qwen2AudioConfig(audio_config=ear, text_config=text, audio_token_index=heard)
        )
        processor = Qwen2AudioProcessor(extractor, tokenizer, chat_template=_TEMPLATE)
    else:
        ear |= {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
        ear |= {"hidden_size": 32}
        model = AudioFlamingo3ForConditionalGeneration(
            AudioFlamingo3Config(audio_config=ear, text_config=text, audio_token_id=heard)
        )
        processor = AudioFlamingo3Processor(
            extractor, tokenizer, chat_template=_TEMPLATE, audio_token="<|AUDIO|>", max_audio_len=6
        )
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(0, 0.1)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def save_tone(
    path: Path, hertz: float, seconds: float, rate: int = RATE, channels: int = 1
) -> Path:
    """A file of one tone, in the format that its name says."""
    import numpy
    import soundfile

    times = numpy.arange(round(seconds * rate)) / rate
    wave = (0.5 * numpy.sin(2 * math.pi * hertz * times)).astype("float32")
    soundfile.write(str(path), numpy.stack([wave] * channels, axis=1), rate)
    return path


def save_sound_set(folder: Path) -> Path:
    """A dataset folder: three tones in three formats, rates and lengths, as conversations and as
    pairs; only the sound tells the rows apart."""
    save_tone(folder / "low.wav", TONES["low"], 0.6, 8000)
    save_tone(folder / "middle.flac", TONES["middle"], 1.0, 44100, 2)
    save_tone(folder / "high.ogg", TONES["high"], 1.5)
    names = {"low": "low.wav", "middle": "middle.flac", "high": "high.ogg"}

    def turn(role: str, content: str) -> dict[str, str]:
        return {"role": role, "content": content}

    talks, pairs = [], []
    for tone, name in names.items():
        asked = turn("user", "<audio>Which tone?")
        talks.append({"messages": [asked, turn("assistant", tone)], "audios": [name]})
        other = next(one for one in names if one != tone)
        pairs.append(
            {
                "messages": [asked],
                "chosen": turn("assistant", tone),
                "rejected": turn("assistant", other),
                "audios": [name],
            }
        )
    both = [turn("user", "One <audio> and two <audio>?"), turn("assistant", "low and high")]
    talks.append({"messages": both, "audios": ["low.wav", "high.ogg"]})
    talks.append({"messages": [turn("user", "Hello."), turn("assistant", "Hello!")], "audios": []})
    tags = {
        "role_tag": "role", "content_tag": "content", "user_tag": "user",
        "assistant_tag": "assistant",
    }  # fmt: skip
    columns = {"messages": "messages", "audios": "audios"}
    answers = {"chosen": "chosen", "rejected": "rejected"}
    shape = {"formatting": "sharegpt", "tags": tags}
    registry = {
        "tones": {"file_name": "tones.json", "columns": columns, **shape},
        "better": {
            "file_name": "better.json", "ranking": True, "columns": columns | answers, **shape
        },
    }  # fmt: skip
    files = {"tones.json": talks, "better.json": pairs, "dataset_info.json": registry}
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder
