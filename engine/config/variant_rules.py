"""What variants of LoRA, OFT, added blocks and shifted attention don't go with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.config.method import WRITING_STAGES, writes_answers
from engine.config.preference import uses_reference
from engine.config.variants import PRO_METHODS
from engine.problem import Problem

if TYPE_CHECKING:
    from engine.config.run_config import RunConfig

# The learning rate that PiSSA's and LoRA's papers stay below; above, the start is forgotten.
_PISSA_RATE = 5e-4
_LONGEST_PLAIN = 1024


def pro_adds_what_is_trained(config: RunConfig) -> Problem | None:
    """Rule 12: LLaMA Pro with full trains more than the new blocks; with oft it isn't defined."""
    if config.use_llama_pro and config.finetuning_type not in PRO_METHODS:
        return Problem(
            "use_llama_pro trains the blocks that it adds and no others, but the method is "
            f"{config.finetuning_type}.",
            hint="Set finetuning_type: freeze (or lora), or switch use_llama_pro off.",
            setting="use_llama_pro",
        )
    return None


def pissa_has_no_reference(config: RunConfig) -> Problem | None:
    """Rule 14: with the adapter off, a PiSSA base is no reference: its best part is missing."""
    if not (config.do_train and config.pissa_init):
        return None
    loss = f" ({config.pref_loss})" if config.stage == "dpo" else ""
    if uses_reference(config):
        return Problem(
            f"pissa_init takes the adapter's start out of the base, and {config.stage}{loss} "
            "compares with that base.",
            hint="Switch pissa_init off; with stage dpo, orpo and simpo need no reference.",
            setting="pissa_init",
        )
    return None


def variants_are_of_lora(config: RunConfig) -> Problem | None:
    """Rule 15: ways to start and scale a LoRA adapter (`loraplus_lr_ratio` among them)."""
    if config.finetuning_type == "lora":
        return None
    for name in ("use_rslora", "use_dora", "pissa_init", "loftq_init", "loraplus_lr_ratio"):
        if getattr(config, name, None):
            return Problem(
                f"{name} is a variant of LoRA, but the method is {config.finetuning_type}.",
                hint=f"Set finetuning_type: lora, or switch {name} off.",
                setting=name,
            )
    return None


def shifted_attention_not_in_ppo(config: RunConfig) -> Problem | None:
    """Rule 21, a part: PPO compares what it wrote, with full attention, with what it trains."""
    if config.shift_attn and config.do_train and writes_answers(config):
        return Problem(
            f"shift_attn changes attention in training only, and {config.stage} compares training "
            "with the answers it wrote.",
            hint="Switch shift_attn off.",
            setting="shift_attn",
        )
    return None


def start_is_one(config: RunConfig) -> Problem | None:
    """PiSSA and LoftQ each set the adapter's first values; LoftQ corrects 4-bit weights."""
    if config.loftq_init and config.pissa_init:
        return Problem(
            "pissa_init and loftq_init both set the adapter's first values.",
            hint="Keep one of them: loftq_init with 4 bits, pissa_init without.",
            setting="loftq_init",
        )
    four_bits = config.quantization_bit == 4 and config.quantization_method == "bnb"
    if config.do_train and config.loftq_init and not four_bits:
        return Problem(
            "loftq_init makes up for what 4-bit quantisation loses, but the weights are not held "
            "in 4 bits by bitsandbytes.",
            hint="Set quantization_bit: 4 (quantization_method: bnb), or switch loftq_init off.",
            setting="loftq_init",
        )
    return None


def conversion_needs_pissa(config: RunConfig) -> Problem | None:
    """There is nothing to convert in an adapter that began as plain LoRA."""
    if config.pissa_convert and not config.pissa_init:
        return Problem(
            "pissa_convert turns a PiSSA adapter into a plain one, but pissa_init is off.",
            hint="Switch pissa_init on, or pissa_convert off.",
            setting="pissa_convert",
        )
    return None


def exact_or_some_rounds(config: RunConfig) -> Problem | None:
    """−1 is the exact decomposition; 0 rounds would be a random guess."""
    if config.pissa_init and config.pissa_iter == 0:
        return Problem(
            "pissa_iter is 0: without a round the directions would be random.",
            hint="Set 16, or −1 for the exact decomposition.",
            setting="pissa_iter",
        )
    return None


def oft_has_a_size(config: RunConfig) -> Problem | None:
    """Either the number of blocks or their size says how OFT cuts a layer's inputs."""
    if config.finetuning_type == "oft" and not config.oft_rank and config.oft_block_size < 2:
        return Problem(
            f"oft_rank is 0 and oft_block_size is {config.oft_block_size}: a block needs at "
            "least 2 features to turn.",
            hint="Set oft_block_size: 32.",
            setting="oft_block_size",
        )
    return None


def pro_adds_blocks(config: RunConfig) -> Problem | None:
    """LLaMA Pro adds a positive number of blocks."""
    if config.use_llama_pro and config.freeze_trainable_layers < 1:
        return Problem(
            f"use_llama_pro adds freeze_trainable_layers new blocks, and that is "
            f"{config.freeze_trainable_layers}.",
            hint="Set a number that divides the model's blocks, such as 2.",
            setting="freeze_trainable_layers",
        )
    return None


def pro_needs_plain_weights(config: RunConfig) -> Problem | None:
    """A copy of a quantised block can't be made silent."""
    if config.use_llama_pro and config.do_train and config.quantization_bit is not None:
        return Problem(
            "use_llama_pro copies blocks and sets parts of them to zero, which quantised weights "
            "don't allow.",
            hint="Leave quantization_bit empty, or switch use_llama_pro off.",
            setting="use_llama_pro",
        )
    return None


def base_stays_for_the_reward(config: RunConfig) -> Problem | None:
    """A reward adapter lies over the base that it was trained on: not one that was changed."""
    shared = (
        config.do_train
        and config.stage in WRITING_STAGES
        and bool((config.reward_model or "").strip())
        and config.reward_model_type == "lora"
    )
    for name in ("pissa_init", "use_llama_pro"):
        if shared and getattr(config, name):
            return Problem(
                f"reward_model_type lora lays the reward's adapter over the base, and {name} "
                "changes that base.",
                hint=f"Set reward_model_type: full with a whole reward model, or switch {name} "
                "off.",
                setting=name,
            )
    return None


def shifted_attention_has_no_reference(config: RunConfig) -> Problem | None:
    """A reference computes with full attention: the two would differ before the first step."""
    writes = writes_answers(config)
    if config.shift_attn and config.do_train and not writes and uses_reference(config):
        return Problem(
            f"shift_attn changes attention in training only, and {config.stage} compares with a "
            "reference that attends in full.",
            hint="Switch shift_attn off.",
            setting="shift_attn",
        )
    return None


def shifted_attention_is_its_own_kernel(config: RunConfig) -> Problem | None:
    """It computes attention itself, in pieces of PyTorch's fused one."""
    if config.shift_attn and config.flash_attn not in ("auto", "sdpa"):
        return Problem(
            f"shift_attn computes attention itself, but flash_attn is {config.flash_attn}.",
            hint="Set flash_attn: auto, or switch shift_attn off.",
            setting="shift_attn",
        )
    return None


RULES: tuple[tuple[str, Any], ...] = (
    ("12", pro_adds_what_is_trained),
    ("14", pissa_has_no_reference),
    ("15", variants_are_of_lora),
    ("21", shifted_attention_not_in_ppo),
    ("o60", start_is_one),
    ("o61", conversion_needs_pissa),
    ("o62", exact_or_some_rounds),
    ("o63", oft_has_a_size),
    ("o64", pro_adds_blocks),
    ("o65", base_stays_for_the_reward),
    ("o68", pro_needs_plain_weights),
    ("o66", shifted_attention_is_its_own_kernel),
    ("o67", shifted_attention_has_no_reference),
)


def pissa_learns_fast(config: RunConfig) -> Problem | None:
    """PiSSA starts in the weights' main directions: a LoRA's high rate breaks them."""
    if config.do_train and config.pissa_init and config.learning_rate > _PISSA_RATE:
        return Problem(
            f"learning_rate is {config.learning_rate:g}: PiSSA moves the largest directions of "
            "the weights from the first step, and a rate like that may break them.",
            hint="Usual with pissa_init is 2e-5 … 2e-4.",
            setting="learning_rate",
        )
    return None


def high_rank_learns_slowly(config: RunConfig) -> Problem | None:
    """Plain scaling divides by the rank, so a rank of some hundred hardly moves."""
    plain = config.finetuning_type == "lora" and not config.use_rslora
    if config.do_train and plain and config.lora_rank >= 128 and config.alpha <= config.lora_rank:
        return Problem(
            f"With rank {config.lora_rank} and alpha {config.alpha} the adapter learns slowly.",
            hint="Switch use_rslora on, or raise lora_alpha.",
            setting="use_rslora",
        )
    return None


def short_rows_lose(config: RunConfig) -> Problem | None:
    """Shifted attention saves nothing on short rows, and hides context from them."""
    if config.do_train and config.shift_attn and config.cutoff_len <= _LONGEST_PLAIN:
        return Problem(
            f"cutoff_len is {config.cutoff_len}: shift_attn lets a token see a quarter of its row, "
            "which saves little on short rows and hides most of them.",
            hint="Switch shift_attn off, or raise cutoff_len.",
            setting="shift_attn",
        )
    return None


REMARKS: tuple[Any, ...] = (pissa_learns_fast, high_rank_learns_slowly, short_rows_lose)
