"""Variants of LoRA, OFT, added blocks (LLaMA Pro), shifted attention (LongLoRA)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.config.declare import group, setting
from engine.config.method import WRITING_STAGES, writes_answers
from engine.config.preference import uses_reference
from engine.problem import Problem

if TYPE_CHECKING:
    from engine.config.run_config import RunConfig

# Methods that LLaMA Pro goes with: they choose which blocks are trained.
PRO_METHODS = ("lora", "freeze")
# The learning rate that PiSSA's and LoRA's papers stay below; above, the start is forgotten.
_PISSA_RATE = 5e-4
_LONGEST_PLAIN = 1024


def _lora(config: Any) -> bool:
    return bool(config.finetuning_type == "lora")


# A switch that is on stays in sight with other methods, as a rule asks for it to be taken away.
def _rslora(config: Any) -> bool:
    return _lora(config) or bool(config.use_rslora)


def _dora(config: Any) -> bool:
    return _lora(config) or bool(config.use_dora)


def _pissa(config: Any) -> bool:
    return _lora(config) or bool(config.pissa_init)


def _pissa_on(config: Any) -> bool:
    return bool(config.pissa_init)


def _pissa_converted(config: Any) -> bool:
    return bool(config.pissa_init or config.pissa_convert)


def _loftq(config: Any) -> bool:
    four_bits = _lora(config) and config.quantization_bit == 4
    return four_bits or bool(config.loftq_init)


def _pro(config: Any) -> bool:
    return config.finetuning_type in PRO_METHODS or bool(config.use_llama_pro)


def _oft(config: Any) -> bool:
    return bool(config.finetuning_type == "oft")


def _oft_sized(config: Any) -> bool:
    return _oft(config) and config.oft_rank == 0


def _oft_drops(config: Any) -> bool:
    # These stages compare exact log-probabilities, and switch it off.
    off = config.stage in ("dpo", "kto", *WRITING_STAGES)
    return _oft(config) and (not off or config.module_dropout > 0)


@group
class VariantGroup:
    """Where an adapter starts, how it is scaled, what is added, and how far attention looks."""

    use_rslora: bool = setting(
        False,
        label="rsLoRA",
        section="LoRA variants",
        help="Scales the adapter by alpha ÷ √rank instead of alpha ÷ rank, so that a high rank "
        "learns as fast as a low one (rank-stabilised LoRA).",
        usual="off; on from rank 64",
        goes_with=("lora_rank", "lora_alpha", "learning_rate"),
        applies=_rslora,
    )
    use_dora: bool = setting(
        False,
        label="DoRA",
        section="LoRA variants",
        help="Learns the length of each weight row apart from its direction, which comes nearer "
        "to full training at low rank and costs about a third more time.",
        usual="off; on with a rank of 4 … 16",
        goes_with=("lora_rank",),
        applies=_dora,
    )
    pissa_init: bool = setting(
        False,
        label="PiSSA start",
        section="LoRA variants",
        help="Starts the adapter as the largest singular directions of each weight, taken out of "
        "the base, so that it learns faster from the first step.",
        usual="off",
        goes_with=("pissa_iter", "pissa_convert", "learning_rate"),
        applies=_pissa,
    )
    pissa_iter: int = setting(
        16,
        label="PiSSA rounds",
        section="LoRA variants",
        help="Rounds of the fast singular value decomposition; −1 computes the exact one, which "
        "takes minutes for billions of weights.",
        higher="closer to the exact directions",
        lower="faster start",
        usual="16",
        goes_with=("pissa_init",),
        applies=_pissa_on,
        ge=-1,
    )
    pissa_convert: bool = setting(
        False,
        label="Convert PiSSA at the end",
        section="LoRA variants",
        help="Writes the result also as a plain LoRA of twice the rank on the unchanged base, in "
        "the folder pissa_converted.",
        usual="on to share the adapter or serve it with other tools",
        goes_with=("pissa_init",),
        applies=_pissa_converted,
    )
    loftq_init: bool = setting(
        False,
        label="LoftQ start",
        section="LoRA variants",
        help="Starts the adapter as the best low-rank correction of what 4-bit quantisation lost, "
        "so that the first step begins nearer to the unquantised model.",
        usual="off; on with 4 bits and a rank of 16 or more",
        goes_with=("quantization_bit", "lora_rank"),
        applies=_loftq,
        own=True,
    )
    oft_block_size: int = setting(
        32,
        label="Block size",
        section="OFT",
        level="basic",
        help="OFT turns the inputs of each target in blocks of so many features; a size that does "
        "not divide a layer's inputs becomes the nearest that does.",
        higher="learns more, with more trained weights",
        lower="smaller and steadier",
        usual="32",
        goes_with=("oft_rank", "learning_rate"),
        applies=_oft_sized,
        ge=0,
    )
    oft_rank: int = setting(
        0,
        label="Blocks",
        section="OFT",
        help="How many blocks each target's inputs are cut into, in place of a block size; 0 goes "
        "by the block size.",
        higher="smaller blocks, fewer trained weights",
        lower="larger blocks, more trained weights",
        usual="0",
        goes_with=("oft_block_size",),
        applies=_oft,
        ge=0,
    )
    oft_target: str = setting(
        "all",
        label="Targets",
        section="OFT",
        level="basic",
        help="The modules whose inputs are turned, as a comma list; all means every linear layer "
        "but the output head.",
        usual="all",
        goes_with=("oft_block_size", "additional_target"),
        applies=_oft,
    )
    module_dropout: float = setting(
        0.0,
        label="Block dropout",
        section="OFT",
        level="basic",
        help="The share of OFT's blocks that are left unturned at random while training.",
        higher="overfits a small set less; learns slower",
        lower="learns faster",
        usual="0 … 0.1",
        goes_with=("oft_block_size", "num_train_epochs"),
        applies=_oft_drops,
        ge=0,
        lt=1,
    )
    use_llama_pro: bool = setting(
        False,
        label="LLaMA Pro",
        section="Freeze",
        help="Adds new blocks that change nothing at first (as many as trainable layers, spread "
        "evenly) and trains only them, so that nothing known is overwritten.",
        usual="off",
        goes_with=("freeze_trainable_layers", "finetuning_type"),
        applies=_pro,
    )
    shift_attn: bool = setting(
        False,
        label="Shifted attention",
        section="Context and kernels",
        help="While training, each token attends within a quarter of the sequence, half of the "
        "heads shifted by half a quarter (LongLoRA); for long rows on Llama models.",
        usual="off; on for rows of 8,192 tokens and more",
        goes_with=("cutoff_len", "rope_scaling"),
    )


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
