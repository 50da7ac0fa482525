"""Tokens that are added to the vocabulary, and how their embeddings start."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from engine.config.declare import group, setting
from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    from engine.config.run_config import RunConfig

_SECTION = "New tokens"


def _special(config: Any) -> bool:
    return bool(config.add_special_tokens or config.new_special_tokens_config)


@group
class VocabularyGroup:
    """New tokens."""

    add_tokens: str | None = setting(
        None,
        label="New words",
        section=_SECTION,
        help="Plain tokens to add to the vocabulary, as a comma list; the tokenizer then never "
        "splits them.",
        usual="empty",
        goes_with=("resize_vocab", "additional_target"),
    )
    add_special_tokens: str | None = setting(
        None,
        label="New special tokens",
        section=_SECTION,
        help="Special tokens to add, as a comma list: marks of a format, left out of answers "
        "unless special tokens are shown.",
        usual="empty",
        goes_with=("resize_vocab", "additional_target", "init_special_tokens"),
    )
    new_special_tokens_config: str | None = setting(
        None,
        label="File of special tokens",
        section=_SECTION,
        help="A YAML file of new special tokens, each with a description in words; it takes the "
        "place of the list of new special tokens.",
        usual="empty",
        goes_with=("init_special_tokens",),
    )
    init_special_tokens: Literal["noise_init", "desc_init", "desc_init_w_noise"] = setting(
        "noise_init",
        label="Start of special tokens",
        section=_SECTION,
        help="How new special tokens start: noise round the mean of all embeddings, the mean of "
        "their description's tokens, or that with noise.",
        usual="noise_init; desc_init_w_noise with a file of descriptions",
        goes_with=("new_special_tokens_config",),
        applies=_special,
    )
    resize_vocab: bool = setting(
        False,
        label="Grow the embeddings",
        section=_SECTION,
        help="Gives every token of the tokenizer a row of the embeddings, to a multiple of 64; "
        "new tokens switch it on by themselves.",
        usual="off",
        goes_with=("add_tokens", "add_special_tokens", "additional_target"),
    )
    split_special_tokens: bool = setting(
        False,
        label="Split special tokens",
        section=_SECTION,
        help="Reads special tokens as ordinary text, the marks of the chat template among them.",
        usual="off",
        goes_with=("template",),
    )


@dataclass(frozen=True)
class NewTokens:
    """What a run adds to the vocabulary: `plain` and `special` tokens, in the order they are
    added, and the descriptions of special ones."""

    plain: tuple[str, ...] = ()
    special: tuple[str, ...] = ()
    descriptions: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.plain or self.special)


def new_tokens(config: Any) -> NewTokens:
    """The tokens that the settings add; reads the file of descriptions where one is named.

    Raises BadInput for a file that is not a mapping of tokens to descriptions.
    """
    plain = _tokens(config.add_tokens)
    if config.new_special_tokens_config:
        descriptions = read_descriptions(config.new_special_tokens_config)
        return NewTokens(plain, tuple(descriptions), descriptions)
    return NewTokens(plain, _tokens(config.add_special_tokens))


def adds_tokens(config: Any) -> bool:
    """Whether the settings add tokens, told without reading a file."""
    return bool(
        _tokens(config.add_tokens)
        or _tokens(config.add_special_tokens)
        or config.new_special_tokens_config
    )


def read_descriptions(name: str) -> dict[str, str]:
    """Token -> description, from a YAML file. Raises BadInput."""
    import yaml

    path = Path(name).expanduser()
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        raise _bad_file(path, "There is no file of special tokens that can be read.") from None
    except yaml.YAMLError as error:
        line = str(error).splitlines()[0]
        raise _bad_file(path, f"The file of special tokens is not valid YAML: {line}.") from None
    fits = isinstance(content, dict) and all(
        isinstance(token, str) and isinstance(text, str) and token.strip() and text.strip()
        for token, text in content.items()
    )
    if not fits or not content:
        raise _bad_file(path, "The file of special tokens is no mapping of tokens to descriptions.")
    return dict(content)


def _bad_file(path: Path, what: str) -> BadInput:
    hint = 'Write a line a token: "<|think|>": a place to think before the answer.'
    return BadInput(Problem(what, str(path), hint, "new_special_tokens_config"))


def _tokens(text: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in (text or "").split(",") if part.strip()))


def new_tokens_keep_the_bits(config: RunConfig) -> Problem | None:
    """Rule 17, for new tokens: they resize the embeddings, as resize_vocab does."""
    if getattr(config, "quantization_bit", None) is not None and adds_tokens(config):
        name = next(
            key
            for key in ("add_tokens", "add_special_tokens", "new_special_tokens_config")
            if getattr(config, key)
        )
        return Problem(
            f"{name} changes the shape of a model whose weights are quantised.",
            hint="Add the tokens to the model's folder first, or leave quantization_bit empty.",
            setting=name,
        )
    return None


def descriptions_can_be_read(config: RunConfig) -> Problem | None:
    """A file of special tokens that is not there, or says nothing."""
    if not config.new_special_tokens_config:
        return None
    try:
        read_descriptions(config.new_special_tokens_config)
    except BadInput as fault:
        return fault.problem
    return None


RULES: tuple[tuple[str, Any], ...] = (
    ("17", new_tokens_keep_the_bits),
    ("o48", descriptions_can_be_read),
)


def new_rows_are_trained(config: RunConfig) -> Problem | None:
    """w1: a LoRA adapter leaves the embeddings alone, those of new tokens too."""
    grows = config.resize_vocab or adds_tokens(config)
    if grows and config.finetuning_type == "lora" and not config.additional_target:
        return Problem(
            "The embeddings grow, but LoRA trains none of them: new tokens keep the values they "
            "start with.",
            hint="Add additional_target: embed_tokens,lm_head.",
            setting="additional_target",
        )
    return None


def descriptions_are_there(config: RunConfig) -> Problem | None:
    """w4: without descriptions there is nothing to start from but noise."""
    if config.init_special_tokens != "noise_init" and not config.new_special_tokens_config:
        return Problem(
            f"init_special_tokens: {config.init_special_tokens} starts from descriptions, but "
            "there is no file of them: new tokens start as noise round the mean.",
            hint="Name one in new_special_tokens_config, or set init_special_tokens: noise_init.",
            setting="init_special_tokens",
        )
    return None


def template_marks_are_split(config: RunConfig) -> Problem | None:
    """The end of an answer is a special token in most templates."""
    if config.split_special_tokens and config.stage != "pt":
        return Problem(
            "split_special_tokens also splits the marks of the chat template, so the end of an "
            "answer is no longer one token, and answers may not end.",
            hint="Use it in pre-training (stage: pt); for rows that hold such texts add a space "
            "inside them.",
            setting="split_special_tokens",
        )
    return None


REMARKS: tuple[Any, ...] = (
    new_rows_are_trained,
    descriptions_are_there,
    template_marks_are_split,
)
