"""Tiny vision-language models at random weights, each with a processor of its own family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

FAMILIES = ("llava", "qwen2_vl", "gemma3", "smolvlm")
# How each family's published template writes a turn: a picture's token, then the text.
_PARTS = (
    "{%% for m in messages %%}<|im_start|>{{ m['role'] }}\n"
    "{%% if m['content'] is string %%}{{ m['content'] }}{%% else %%}{%% for c in m['content'] %%}"
    "{%% if c['type'] == 'image' %%}%s{%% else %%}{{ c['text'] }}{%% endif %%}{%% endfor %%}"
    "{%% endif %%}<|im_end|>\n{%% endfor %%}"
    "{%% if add_generation_prompt %%}<|im_start|>assistant\n{%% endif %%}"
)
_TOKENS = {
    "llava": ["<image>"],
    "qwen2_vl": ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"],
    "gemma3": ["<start_of_image>", "<end_of_image>", "<image_soft_token>"],
    "smolvlm": ["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"]
    + [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)],
}
_SHOWN = {
    "llava": "<image>",
    "qwen2_vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "gemma3": "<start_of_image>",
    "smolvlm": "<image>",
}


def save_vision(family: str, folder: Path, tokenizer: Any, seed: int = 0) -> Path:
    """Write a model of `family` (about 0.1 million weights) that reads text as `tokenizer` does."""
    import torch

    torch.manual_seed(seed)
    tokens = _TOKENS[family]
    extra = {}
    if family == "gemma3":
        extra = {
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
            "image_token": "<image_soft_token>",
        }
        from transformers import PreTrainedTokenizerFast

        tokenizer = PreTrainedTokenizerFast.from_pretrained(
            tokenizer.name_or_path or folder, extra_special_tokens=extra
        )
    else:
        tokenizer.add_special_tokens({"additional_special_tokens": [*tokens, "<|im_start|>"]})
    tokenizer.chat_template = _PARTS % _SHOWN[family]
    tokenizer.save_pretrained(folder)
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.eos_token_id,
        "tie_word_embeddings": False,
    }
    model, processor = _BUILDERS[family](tokenizer, text)
    # Weights large enough that a picture reaches the head, and is learnt within a few steps.
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(0, 0.1)
    model.save_pretrained(folder)
    processor.chat_template = tokenizer.chat_template
    processor.save_pretrained(folder)
    return folder


def _llava(tokenizer: Any, text: dict[str, Any]) -> tuple[Any, Any]:
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
        image_size=32, patch_size=8, projection_dim=32,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=vision,
        text_config=LlamaConfig(**text),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
    )
    pixels = CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    processor = LlavaProcessor(
        pixels, tokenizer, patch_size=8, vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )  # fmt: skip
    return LlavaForConditionalGeneration(config), processor


def _qwen2_vl(tokenizer: Any, text: dict[str, Any]) -> tuple[Any, Any]:
    from transformers import (
        Qwen2VLConfig,
        Qwen2VLForConditionalGeneration,
        Qwen2VLImageProcessorPil,
        Qwen2VLProcessor,
    )

    from engine.models.processor import has_torchvision, without_video

    ids = tokenizer.convert_tokens_to_ids
    config = Qwen2VLConfig(
        vision_config={"depth": 2, "embed_dim": 32, "num_heads": 4, "mlp_ratio": 2,
                       "hidden_size": 32, "patch_size": 8, "spatial_merge_size": 2},
        text_config={**text, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0,
                                                 "mrope_section": [1, 1, 2]}},
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
        tie_word_embeddings=False,
    )  # fmt: skip
    pixels = Qwen2VLImageProcessorPil(
        size={"shortest_edge": 16 * 16, "longest_edge": 64 * 64}, patch_size=8, merge_size=2
    )
    kind = Qwen2VLProcessor if has_torchvision() else without_video(Qwen2VLProcessor)
    return Qwen2VLForConditionalGeneration(config), kind(pixels, tokenizer)


def _gemma3(tokenizer: Any, text: dict[str, Any]) -> tuple[Any, Any]:
    from transformers import (
        Gemma3Config,
        Gemma3ForConditionalGeneration,
        Gemma3ImageProcessorPil,
        Gemma3Processor,
        SiglipVisionConfig,
    )

    vision = SiglipVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        image_size=32, patch_size=8,
    )  # fmt: skip
    config = Gemma3Config(
        vision_config=vision.to_dict(),
        text_config={**text, "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 512},
        mm_tokens_per_image=4,
        boi_token_index=tokenizer.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=tokenizer.convert_tokens_to_ids("<end_of_image>"),
        image_token_index=tokenizer.convert_tokens_to_ids("<image_soft_token>"),
    )
    pixels = Gemma3ImageProcessorPil(size={"height": 32, "width": 32})
    return Gemma3ForConditionalGeneration(config), Gemma3Processor(
        pixels, tokenizer, image_seq_length=4
    )


def _smolvlm(tokenizer: Any, text: dict[str, Any]) -> tuple[Any, Any]:
    from transformers import (
        SmolVLMConfig,
        SmolVLMForConditionalGeneration,
        SmolVLMImageProcessorPil,
        SmolVLMProcessor,
    )

    from engine.models.processor import has_torchvision, without_video

    config = SmolVLMConfig(
        vision_config={"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
                       "num_attention_heads": 4, "image_size": 32, "patch_size": 8},
        text_config={"model_type": "llama", **text},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )  # fmt: skip
    pixels = SmolVLMImageProcessorPil(
        size={"longest_edge": 64}, max_image_size={"longest_edge": 32}, do_image_splitting=True
    )
    kind = SmolVLMProcessor if has_torchvision() else without_video(SmolVLMProcessor)
    return SmolVLMForConditionalGeneration(config), kind(pixels, tokenizer, image_seq_len=4)


_BUILDERS = {"llava": _llava, "qwen2_vl": _qwen2_vl, "gemma3": _gemma3, "smolvlm": _smolvlm}
