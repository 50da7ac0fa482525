"""How thoughts and tool calls are written into the text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from engine.config.chat_templates import known, meant
from engine.config.declare import group, setting
from engine.problem import Problem

if TYPE_CHECKING:
    from engine.config.run_config import RunConfig

SECTION = "Thoughts and tools"


def _writes_turns(config: Any) -> bool:
    # Plain text has no turns; a set of conversations may still be read as text.
    return bool(config.stage != "pt") or config.enable_thinking is not True


@group
class ThoughtGroup:
    """Thoughts and tool formats."""

    enable_thinking: bool | None = setting(
        True,
        label="Thinking",
        section=SECTION,
        help="For models that think before they answer: on trains an empty thought before answers "
        "that have none, off puts it into the prompt and strips the data's thoughts, empty "
        "leaves each row as it is.",
        usual="on where the data holds thoughts, off where it holds none",
        goes_with=("template", "preserve_thinking", "mask_history"),
        applies=_writes_turns,
    )
    preserve_thinking: bool = setting(
        False,
        label="Keep earlier thoughts",
        section=SECTION,
        help="Keeps the thoughts of earlier turns in the text; without it the model sees only "
        "those of its newest answer.",
        usual="off, as most models that think are asked without their earlier thoughts",
        goes_with=("enable_thinking", "mask_history"),
        applies=_writes_turns,
    )
    tool_format: (
        Literal[
            "default",
            "gemma4",
            "glm4",
            "glm4_moe",
            "lfm2",
            "ling",
            "llama3",
            "minimax1",
            "minimax2",
            "mistral",
            "qwen",
            "qwen3_5",
            "seed_oss",
        ]
        | None
    ) = setting(
        None,
        label="Tool format",
        section=SECTION,
        help="How tools and calls are written; empty takes the template's own way, and qwen is "
        "the one that finetui can write into any template.",
        usual="empty",
        goes_with=("template",),
        applies=lambda config: config.stage != "pt" or config.tool_format is not None,
    )


def template_is_known(config: RunConfig) -> Problem | None:
    """Rule 48, the half about names."""
    if config.template is None or known(config.template):
        return None
    return Problem(
        f"The template {config.template!r} is not known.",
        hint=f"{meant(config.template)}Leave template out to use the model's own; "
        "finetui templates lists the names.",
        setting="template",
    )


def kept_thoughts_are_there(config: RunConfig) -> Problem | None:
    """Stripped thoughts can't be kept."""
    if not config.preserve_thinking or config.enable_thinking is not False:
        return None
    return Problem(
        "preserve_thinking keeps the thoughts of earlier turns, but enable_thinking: false strips "
        "them all.",
        hint="Switch one of them.",
        setting="preserve_thinking",
    )


RULES: tuple[tuple[str, Any], ...] = (("48", template_is_known),)

REMARKS: tuple[Any, ...] = (kept_thoughts_are_there,)
