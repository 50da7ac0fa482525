"""How the families of chat templates show in rendered text, and the plain formats.

A name in a run description is the model's own template where that writes the marks of the named
family, so that a published file runs without looking anywhere else. `default` and `empty` are
formats of their own, for base models.
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
