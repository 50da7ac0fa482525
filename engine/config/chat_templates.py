"""The names that run descriptions give to chat templates, by what their models read.

They are the names of LLaMA-Factory (0.9.6.dev0). Where the text of each comes from is the matter of
`engine.datasets.templates`; the names alone stand here, so that a form can refuse a wrong one.
"""

from __future__ import annotations

_TEXT = """
alpaca bailing bailing_v2 breeze chatglm3 chatml chatml_de cohere cpm4 dbrx deepseek deepseek3
deepseekr1 deepseekcoder default empty ernie ernie_nothink exaone falcon falcon_h1 fewshot gemma
gemma2 glm4 glm4_moe glm4_7 glmz1 gpt_oss granite3 granite4 hunyuan hunyuan_small hy3 hy_dense_1_8b
hy_dense_7b index intern2 lfm2 llama2 llama2_zh llama3 mimo mimo_v2 minimax1 minimax2 ministral
mistral moonlight olmo openchat openchat-3.6 opencoder phi phi_small phi4 phi4_mini qwen qwen3
qwen3_nothink sailor seed_coder seed_oss smollm smollm2 solar starchat telechat2 vicuna xuanyuan yi
youtu yuan zephyr aeva
"""
_IMAGE = """
gemma3 granite3_vision kimi_vl lfm2_vl llama4 llava llava_next llava_next_llama3 llava_next_mistral
llava_next_qwen llava_next_yi ministral3 mistral_small mllama paligemma paligemma_chat pixtral yi_vl
"""
_IMAGE_VIDEO = """
dots_ocr ernie_vl gemma4 glm4v glm4_5v glm_ocr intern_vl intern_s1 keye_vl llava_next_video
llava_next_video_mistral llava_next_video_yi mimo_vl minicpm_v minicpm_v_4_6 moss_vl qwen2_vl
qwen3_vl qwen3_vl_nothink qwen3_5 qwen3_5_nothink qwen3_6 video_llava youtu_vl
"""
_IMAGE_VIDEO_AUDIO = "gemma4n minicpm_o qwen2_omni qwen3_omni qwen3_omni_nothink"

# Name -> what its models read.
TEMPLATES: dict[str, tuple[str, ...]] = {
    **{name: ("text",) for name in _TEXT.split()},
    **{name: ("text", "image") for name in _IMAGE.split()},
    **{name: ("text", "image", "video") for name in _IMAGE_VIDEO.split()},
    **{name: ("text", "image", "video", "audio") for name in _IMAGE_VIDEO_AUDIO.split()},
    "gemma3n": ("text", "image", "audio"),
    "qwen2_audio": ("text", "audio"),
}

# Those whose models write their thoughts before an answer.
_THINKING = """
aeva deepseekr1 ernie_vl gemma4 gemma4n glm4_moe glm4v glm4_5v glm4_7 glmz1 gpt_oss hy3 keye_vl
kimi_vl mimo mimo_v2 mimo_vl minimax2 qwen3 qwen3_omni qwen3_vl qwen3_5 qwen3_6 seed_oss youtu
"""
THINKING = frozenset(_THINKING.split())

# Further names that finetui takes, each for a model's own template only.
FURTHER = ("falcon3", "gpt", "internlm2", "marco", "olmo2", "tulu")


def known(name: str) -> bool:
    """Whether a name may stand in `template`."""
    return name in TEMPLATES or name in FURTHER


def meant(name: str) -> str:
    """The nearest known name, as the beginning of a hint; empty where none is near."""
    import difflib

    near = difflib.get_close_matches(name, [*TEMPLATES, *FURTHER], 1)
    return f"Did you mean {near[0]}? " if near else ""
