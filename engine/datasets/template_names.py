"""The names that run descriptions give to prompt formats, and how each shows in rendered text.

finetui always renders with the model's own template. A name is accepted when that template writes
the markers of the named family, so that a published file runs and a mistaken one is refused.
`default` and `empty` are formats of their own, for base models.
"""

from __future__ import annotations

# Family -> markers that all stand in a rendered conversation.
FAMILIES: dict[str, tuple[str, ...]] = {
    "chatml": ("<|im_start|>user\n", "<|im_start|>assistant\n", "<|im_end|>"),
    "phi4": ("<|im_start|>user<|im_sep|>", "<|im_end|>"),
    "llama3": ("<|start_header_id|>user<|end_header_id|>", "<|eot_id|>"),
    "llama4": ("<|header_start|>user<|header_end|>", "<|eot|>"),
    "mistral": ("[INST]", "[/INST]"),
    "gemma": ("<start_of_turn>user\n", "<start_of_turn>model\n", "<end_of_turn>"),
    "phi": ("<|user|>\n", "<|assistant|>\n", "<|end|>"),
    "glm4": ("[gMASK]", "<|user|>\n", "<|assistant|>"),
    "granite3": ("<|start_of_role|>user<|end_of_role|>", "<|end_of_text|>"),
    "deepseek3": ("<｜User｜>", "<｜Assistant｜>"),
    "deepseek": ("User: ", "Assistant:"),
    "vicuna": ("USER:", "ASSISTANT:"),
    "cohere": ("<|START_OF_TURN_TOKEN|><|USER_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
    "exaone": ("[|user|]", "[|assistant|]"),
    "gpt_oss": ("<|start|>user<|message|>", "<|end|>"),
    "alpaca": ("### Instruction:", "### Response:"),
    "zephyr": ("<|user|>\n", "<|assistant|>\n"),
}

# Names of run descriptions -> family.
NAMES: dict[str, str] = {
    **{family: family for family in FAMILIES},
    **dict.fromkeys(
        (
            "chatml_de",
            "smollm",
            "smollm2",
            "qwen",
            "qwen3",
            "qwen3_nothink",
            "yi",
            "intern2",
            "internlm2",
            "dbrx",
            "marco",
            "mimo",
            "opencoder",
            "seed_coder",
        ),
        "chatml",
    ),
    **dict.fromkeys(("llama2", "llama2_zh", "ministral", "mistral_small"), "mistral"),
    **dict.fromkeys(("gemma2", "gemma3"), "gemma"),
    **dict.fromkeys(("phi_small", "phi4_mini"), "phi"),
    "glmz1": "glm4",
    "deepseekr1": "deepseek3",
    "granite3_vision": "granite3",
    "gpt": "gpt_oss",
    **dict.fromkeys(("olmo", "olmo2", "tulu", "falcon3"), "zephyr"),
}

# Roles spelled out, each text closed by the end of text: the usual format for base models.
PLAIN = (
    "{% if messages[0]['role'] == 'system' %}{{ 'System: ' + messages[0]['content'] + eos_token"
    " + '\n' }}{% endif %}"
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ 'Human: ' + message['content'] + eos_token + '\n' }}"
    "{% elif message['role'] == 'assistant' %}{{ 'Assistant:' + message['content'] + eos_token"
    " + '\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)

# Texts as they are; each answer closed by the end of text.
EMPTY = (
    "{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
)


def family_of(rendered: str) -> str | None:
    """The first family all of whose markers stand in `rendered`, or None."""
    for family, markers in FAMILIES.items():
        if all(marker in rendered for marker in markers):
            return family
    return None
