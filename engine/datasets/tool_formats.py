"""How tools and calls are written: which published format a template writes, by its marks."""

from __future__ import annotations

# Format -> marks that all stand in a text with a tool and a call.
_MARKS: dict[str, tuple[str, ...]] = {
    "qwen3_5": ("<tool_call>\n<function=",),
    "seed_oss": ("<seed:tool_call>",),
    "minimax2": ("<minimax:tool_call>",),
    "minimax1": ("<tool_calls>",),
    "glm4_moe": ("<arg_key>", "<arg_value>"),
    "gemma4": ("<|tool_call>call:",),
    "lfm2": ("<|tool_call_start|>",),
    "mistral": ("[AVAILABLE_TOOLS]", "[TOOL_CALLS]"),
    "ling": ("<role>SYSTEM</role>", "<tools>", "<tool_call>"),
    "qwen": ("<tools>", "<tool_call>\n{"),
    "glm4": ("[gMASK]", "<|observation|>"),
    "llama3": ("<|start_header_id|>ipython", '"parameters"'),
    "default": ("Action:", "Action Input:"),
}


def tool_format_of(text: str) -> str | None:
    """The first format all of whose marks stand in `text`, or None."""
    for name, marks in _MARKS.items():
        if all(mark in text for mark in marks):
            return name
    return None
