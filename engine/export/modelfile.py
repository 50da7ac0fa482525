"""Ollama's `Modelfile` (github.com/ollama/ollama, docs/modelfile.md) for an exported folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.datasets.example import Message
from engine.problem import BadInput

if TYPE_CHECKING:
    from engine.datasets import Encoder

_MOST_CONTEXT = 4096  # Ollama reserves memory for all of it
# Go templates that write what the model's own template does, by its family.
_TEMPLATES = {
    "chatml": (
        "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}"
        "<|im_start|>assistant\n"
    ),
    "llama3": (
        "{{- range .Messages }}<|start_header_id|>{{ .Role }}<|end_header_id|>\n\n"
        "{{ .Content }}<|eot_id|>{{ end }}<|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "gemma": (
        '{{- range .Messages }}<start_of_turn>{{ if eq .Role "assistant" }}model'
        "{{ else }}{{ .Role }}{{ end }}\n{{ .Content }}<end_of_turn>\n{{ end }}"
        "<start_of_turn>model\n"
    ),
    "phi": (
        "{{- range .Messages }}<|{{ .Role }}|>\n{{ .Content }}<|end|>\n{{ end }}<|assistant|>\n"
    ),
}
_PROBE = "PrObE"


def modelfile(encoder: Encoder, config: dict[str, Any], system: str | None) -> str:
    """The text of the Modelfile. `config` is the model's config.json.

    TEMPLATE stands there for template families that are known here; for another one Ollama looks
    at the chat template itself. `system` is the setting `default_system`; without it, the system
    text that the model's template writes by itself.
    """
    lines = ["# Made by finetui: ollama create NAME -f Modelfile", "FROM .", ""]
    template = _TEMPLATES.get(encoder.chat.family)
    if template is None:
        lines += ["# The chat template is read from tokenizer_config.json by Ollama.", ""]
    else:
        lines += [f'TEMPLATE """{template}"""', ""]
    said = system or _own_system(encoder)
    if said and '"""' not in said:
        lines += [f'SYSTEM """{said}"""', ""]
    for token in encoder.eos_ids:
        text = encoder.tokenizer.backend.id_to_token(token)
        if text and '"' not in text:
            lines.append(f'PARAMETER stop "{text}"')
    context = config.get("max_position_embeddings")
    limit = min(context, _MOST_CONTEXT) if isinstance(context, int) else _MOST_CONTEXT
    lines.append(f"PARAMETER num_ctx {limit}")
    return "\n".join(lines) + "\n"


def _own_system(encoder: Encoder) -> str | None:
    """The system text that the template puts before a question that comes without one."""
    try:
        alone = encoder.chat.render([{"role": "user", "content": "u"}])
        given = encoder.chat.render(encoder.chat.turns([Message("user", "u")], system=_PROBE)[0])
    except BadInput:
        return None
    head, found, tail = given.partition(_PROBE)
    if not found or not alone.startswith(head) or not alone.endswith(tail):
        return None
    middle = alone[len(head) : len(alone) - len(tail)]
    return middle if middle.strip() and len(head) + len(tail) <= len(alone) else None
