"""Videos of plain colours, and tiny models at random weights that read videos."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "llava_next_video", "video_llava",
            "llava_onevision", "smolvlm")  # fmt: skip
_QWEN_TOKENS = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
_LLAVA_TOKENS = ["<image>", "<video>"]
# As the published templates write a turn.
_TEMPLATE = (
    "{%% for m in messages %%}<|im_start|>{{ m['role'] }}\n"
    "{%% if m['content'] is string %%}{{ m['content'] }}{%% else %%}{%% for c in m['content'] %%}"
    "{%% if c['type'] == 'image' %%}%s{%% elif c['type'] == 'video' %%}%s"
    "{%% elif 'text' in c %%}{{ c['text'] }}{%% endif %%}{%% endfor %%}{%% endif %%}<|im_end|>\n"
    "{%% endfor %%}{%% if add_generation_prompt %%}<|im_start|>assistant\n{%% endif %%}"
)
_CLIP = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
    "image_size": 32, "patch_size": 8,
}  # fmt: skip


def save_video_model(family: str, folder: Path, tokenizer: Any, seed: int = 0) -> Path:
    """Write a model of `family` (about 0.1 million weights) that reads text as `tokenizer` does."""
    import torch

    torch.manual_seed(seed)
    qwen = family.startswith("qwen")
    tokens = _QWEN_TOKENS if qwen else _LLAVA_TOKENS
    if family == "smolvlm":
        tokens = [*_LLAVA_TOKENS, "<fake_token_around_image>", "<global-img>"]
    tokenizer.add_special_tokens({"additional_special_tokens": [*tokens, "<|im_start|>"]})
    shown = [f"<|vision_start|>{pad}<|vision_end|>" for pad in tokens[2:]] if qwen else tokens[:2]
    tokenizer.chat_template = _TEMPLATE % tuple(shown)
    tokenizer.save_pretrained(folder)
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.eos_token_id,
        "tie_word_embeddings": False,
    }
    build = _qwen if qwen else _smolvlm if family == "smolvlm" else _llava
    model, processor = build(family, tokenizer, text)
    # Weights large enough that a frame reaches the head, and is learnt within a few steps.
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(0, 0.1)
    model.save_pretrained(folder)
    processor.chat_template = tokenizer.chat_template
    processor.save_pretrained(folder)
    return folder


Colour = tuple[int, int, int]
RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 200, 30), (30, 30, 220), (250, 250, 250)


def write_video(
    path: Path,
    colours: Sequence[Colour],
    fps: int = 8,
    size: tuple[int, int] = (64, 48),
    codec: str = "mpeg4",
) -> Path:
    """A video with one frame for each colour."""
    import av
    from PIL import Image

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for colour in colours:
            frame = av.VideoFrame.from_image(Image.new("RGB", size, colour))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def save_video_set(folder: Path) -> Path:
    """A dataset folder: videos of one colour each and one of two, as conversations (`clips`) and
    as pairs (`better`). Their frames differ in size and number."""

    def turn(role: str, content: str) -> dict[str, str]:
        return {"role": role, "content": content}

    colours = {"red": RED, "green": GREEN, "blue": BLUE}
    talks, pairs = [], []
    for place, (name, colour) in enumerate(colours.items()):
        write_video(folder / f"{name}.mp4", [colour] * 16, size=(64, 48 + 16 * place))
        asked = turn("user", "<video>Which colour?")
        talks.append({"messages": [asked, turn("assistant", name)], "videos": [f"{name}.mp4"]})
        other = next(one for one in colours if one != name)
        answers = {"chosen": turn("assistant", name), "rejected": turn("assistant", other)}
        pairs.append({"messages": [asked], **answers, "videos": [f"{name}.mp4"]})
    write_video(folder / "both.avi", [RED] * 16 + [BLUE] * 16)
    both = [turn("user", "<video>What comes after what?"), turn("assistant", "blue after red")]
    talks.append({"messages": both, "videos": ["both.avi"]})
    talks.append({"messages": [turn("user", "Hello."), turn("assistant", "Hello!")]})
    columns = {"messages": "messages", "videos": "videos"}
    registry = {
        "clips": {"file_name": "clips.json", "formatting": "openai", "columns": columns},
        "better": {
            "file_name": "better.json",
            "formatting": "openai",
            "ranking": True,
            "columns": {**columns, "chosen": "chosen", "rejected": "rejected"},
        },
    }
    for file, content in (("clips", talks), ("better", pairs), ("dataset_info", registry)):
        (folder / f"{file}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def _qwen(family: str, tokenizer: Any, text: dict[str, Any]) -> tuple[Any, Any]:
    import transformers

    name = {"qwen2_vl": "Qwen2VL", "qwen2_5_vl": "Qwen2_5_VL", "qwen3_vl": "Qwen3VL"}[family]
    ids = tokenizer.convert_tokens_to_ids
    vision = {"depth": 2, "num_heads": 4, "patch_size": 8, "spatial_merge_size": 2}
    vision |= {
        "qwen2_vl": {"embed_dim": 32, "mlp_ratio": 2, "hidden_size": 32},
        "qwen2_5_vl": {"hidden_size": 32, "out_hidden_size": 32, "intermediate_size": 64,
                       "fullatt_block_indexes": [1], "window_size": 32, "tokens_per_second": 2},
        "qwen3_vl": {"hidden_size": 32, "out_hidden_size": 32, "intermediate_size": 64,
                     "deepstack_visual_indexes": [0], "num_position_embeddings": 64},
    }[family]  # fmt: skip
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}
    if family == "qwen3_vl":
        text = {**text, "head_dim": 8}
        rope |= {"mrope_interleaved": True}
    config = getattr(transformers, f"{name}Config")(
        vision_config=vision,
        text_config={**text, "rope_parameters": rope},
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
        tie_word_embeddings=False,
    )
    pixels = transformers.Qwen2VLImageProcessorPil(
        size={"shortest_edge": 16 * 16, "longest_edge": 64 * 64 * 8}, patch_size=8, merge_size=2
    )
    model = getattr(transformers, f"{name}ForConditionalGeneration")(config)
    return model, _without_video(f"{name}Processor")(pixels, tokenizer)


def _llava(family: str, tokenizer: Any, text: dict[str, Any]) -> tuple[Any, Any]:
    import transformers

    name = {"llava_next_video": "LlavaNextVideo", "video_llava": "VideoLlava",
            "llava_onevision": "LlavaOnevision"}[family]  # fmt: skip
    ids = tokenizer.convert_tokens_to_ids
    pictures = {"image_token_index": ids("<image>"), "video_token_index": ids("<video>")}
    if family == "video_llava":
        pictures |= {"image_seq_length": 16, "video_seq_length": 17 * 8}
    else:
        pictures |= {"image_grid_pinpoints": [[32, 32]]}
    vision = transformers.CLIPVisionConfig(**_CLIP, projection_dim=32)
    settings: dict[str, Any] = {
        "size": {"shortest_edge": 32},
        "crop_size": {"height": 32, "width": 32},
    }
    options: dict[str, Any] = {"patch_size": 8, "vision_feature_select_strategy": "default"}
    if family == "llava_onevision":
        vision = transformers.SiglipVisionConfig(**_CLIP)
        vision.vision_use_head = False
        settings = {"size": {"height": 32, "width": 32}, "do_center_crop": False}
        options = {"num_image_tokens": 16, "vision_feature_select_strategy": "full"}
        pictures |= {"vision_feature_select_strategy": "full", "vision_feature_layer": -1}
    config = getattr(transformers, f"{name}Config")(
        vision_config=vision,
        text_config=transformers.LlamaConfig(**text)
        if family != "llava_onevision"
        else transformers.Qwen2Config(**text),
        **pictures,
    )
    pixels = transformers.CLIPImageProcessorPil(**settings)
    processor = _without_video(f"{name}Processor")(
        image_processor=pixels, tokenizer=tokenizer, **options
    )
    return getattr(transformers, f"{name}ForConditionalGeneration")(config), processor


def _smolvlm(family: str, tokenizer: Any, text: dict[str, Any]) -> tuple[Any, Any]:
    import transformers

    config = transformers.SmolVLMConfig(
        vision_config={"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
                       "num_attention_heads": 4, "image_size": 32, "patch_size": 8},
        text_config={"model_type": "llama", **text},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )  # fmt: skip
    pixels = transformers.SmolVLMImageProcessorPil(
        size={"longest_edge": 64}, max_image_size={"longest_edge": 32}, do_image_splitting=True
    )
    processor = _without_video("SmolVLMProcessor")(
        image_processor=pixels, tokenizer=tokenizer, image_seq_len=4
    )
    return transformers.SmolVLMForConditionalGeneration(config), processor


def _without_video(name: str) -> Any:
    import transformers

    from engine.models.processor import has_torchvision, without_video

    kind = getattr(transformers, name)
    return kind if has_torchvision() else without_video(kind)
