"""Variants of LoRA, OFT, added blocks (LLaMA Pro), shifted attention (LongLoRA)."""

from __future__ import annotations

from typing import Any

from engine.config.declare import group, setting
from engine.config.method import WRITING_STAGES

# Methods that LLaMA Pro goes with: they choose which blocks are trained.
PRO_METHODS = ("lora", "freeze")


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
