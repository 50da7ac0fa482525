"""Weights held in fewer bits while an adapter is trained on them."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from engine.config.declare import group, setting
from engine.config.preference import uses_reference
from engine.installed import install_command
from engine.problem import Problem

if TYPE_CHECKING:
    from engine.config.run_config import RunConfig

# What each library holds weights in. hqq puts 6 and 5 bits into whole bytes, as it does 8.
BITS: dict[str, tuple[int, ...]] = {"bnb": (8, 4), "hqq": (8, 6, 5, 4, 3, 2, 1)}
UNPACKED_BITS = (6, 5)
SECOND_BITS = (8, 4)


def quantises(config: Any) -> bool:
    """Whether the weights are quantised on loading."""
    return config.quantization_bit is not None


def _bnb_4bit(config: Any) -> bool:
    return bool(config.quantization_bit == 4 and config.quantization_method == "bnb")


def _names_reference(config: Any) -> bool:
    return uses_reference(config) and bool(config.ref_model)


def _whole_reward(config: Any) -> bool:
    rewarded = config.stage in ("ppo", "grpo", "rloo") and bool(config.reward_model)
    return rewarded and config.reward_model_type == "full"


@group
class QuantisationGroup:
    """How many bits, by which library."""

    quantization_bit: int | None = setting(
        None,
        label="Bits of the frozen weights",
        section="Quantisation",
        level="basic",
        help="Holds the linear layers in this many bits while an adapter is trained on them "
        "(QLoRA); empty leaves them as they are.",
        higher="8 is nearer to the model as it was",
        lower="less memory; below 4 the answers suffer",
        usual="empty where the model fits; 4 where it does not",
        goes_with=("quantization_method", "quantization_type", "finetuning_type"),
    )
    quantization_method: Literal["bnb", "hqq"] = setting(
        "bnb",
        label="Quantised by",
        section="Quantisation",
        level="basic",
        help="The library that does it on loading: bitsandbytes (bnb) in 8 or 4 bits, HQQ (hqq) "
        "from 8 down to 1.",
        usual="bnb; hqq for 3 bits and fewer",
        goes_with=("quantization_bit",),
        applies=quantises,
    )
    quantization_type: Literal["fp4", "nf4"] = setting(
        "nf4",
        label="4-bit number type",
        section="Quantisation",
        help="nf4 spaces its 16 values as normally distributed weights need them, fp4 as small "
        "floating-point numbers do.",
        usual="nf4",
        goes_with=("quantization_bit", "double_quantization"),
        applies=_bnb_4bit,
    )
    double_quantization: bool = setting(
        True,
        label="Double quantisation",
        section="Quantisation",
        help="Quantises the scales of 4-bit groups too: about 0.4 bits a weight less.",
        usual="on",
        goes_with=("quantization_bit", "quantization_type"),
        applies=_bnb_4bit,
    )
    quantization_device_map: Literal["auto"] | None = setting(
        None,
        label="Spread over devices",
        section="Quantisation",
        help="auto spreads a 4-bit model over all GPUs and the CPU for chat and evaluation.",
        usual="empty",
        goes_with=("quantization_bit",),
        applies=_bnb_4bit,
    )
    ref_model_quantization_bit: int | None = setting(
        None,
        label="Bits of the reference",
        section="Quantisation",
        help="Holds a named reference model in 8 or 4 bits.",
        usual="empty; 8 where both models don't fit",
        goes_with=("ref_model", "quantization_bit"),
        applies=_names_reference,
    )
    reward_model_quantization_bit: int | None = setting(
        None,
        label="Bits of the reward model",
        section="Quantisation",
        help="Holds a whole reward model in 8 or 4 bits.",
        usual="empty; 8 where both models don't fit",
        goes_with=("reward_model", "reward_model_type"),
        applies=_whole_reward,
    )


def bits_of_second_models(config: RunConfig) -> Problem | None:
    """Rule 9: a reference or reward model is held in 8 or 4 bits, by bitsandbytes."""
    for name in ("ref_model_quantization_bit", "reward_model_quantization_bit"):
        bits = getattr(config, name)
        if bits is not None and bits not in SECOND_BITS:
            return Problem(
                f"{name} is {bits}: a second model is held in 8 or 4 bits.",
                hint="Set 8 or 4, or leave it empty.",
                setting=name,
            )
    return None


def nothing_merged_into_second_models(config: RunConfig) -> Problem | None:
    """On few bits an adapter stays beside the weights, and that is one."""
    for kind in ("ref", "reward"):
        name, bits = f"{kind}_model_adapters", getattr(config, f"{kind}_model_quantization_bit")
        if bits is not None and "," in (getattr(config, name) or "").strip(", "):
            return Problem(
                f"{name} names several adapters, which can't be merged into {bits}-bit weights.",
                hint=f"Keep one, merge the others with finetui export, or leave "
                f"{kind}_model_quantization_bit empty.",
                setting=name,
            )
    return None


def quantised_is_an_adapters_base(config: RunConfig) -> Problem | None:
    """Rule 17: quantised weights can't be trained, merged into, resized or split by PiSSA."""
    bits = config.quantization_bit
    if bits is None:
        return None
    if config.do_train and config.finetuning_type in ("full", "freeze"):
        return Problem(
            f"The method {config.finetuning_type} trains the weights themselves, which {bits}-bit "
            "weights don't allow.",
            hint="Set finetuning_type: lora, or leave quantization_bit empty.",
            setting="quantization_bit",
        )
    if config.do_train and getattr(config, "pissa_init", False):
        return Problem(
            "pissa_init takes the adapter's start out of the weights, which quantised weights "
            "don't allow.",
            hint="Switch pissa_init off, or leave quantization_bit empty.",
            setting="pissa_init",
        )
    if getattr(config, "resize_vocab", False):
        return Problem(
            "resize_vocab changes the shape of a model whose weights are quantised.",
            hint="Add the tokens to the model's folder first, or leave quantization_bit empty.",
            setting="resize_vocab",
        )
    return _nothing_merged(config)


def _nothing_merged(config: RunConfig) -> Problem | None:
    merged = "With quantised weights an adapter can't be merged first"
    if config.create_new_adapter and config.adapters:
        return Problem(
            f"{merged}, as create_new_adapter does.",
            hint="Merge it with finetui export and train on the result, or leave "
            "quantization_bit empty.",
            setting="create_new_adapter",
        )
    if len(config.adapters) > 1:
        return Problem(
            f"{merged}, as several adapters ask for.",
            hint="Keep one adapter, merge the others with finetui export, or leave "
            "quantization_bit empty.",
            setting="adapter_name_or_path",
        )
    return None


def nothing_merged_into_bits(config: RunConfig) -> Problem | None:
    """Rule 17, the part that chat and evaluation share."""
    return _nothing_merged(config) if quantises(config) else None


def spread_only_to_ask(config: RunConfig) -> Problem | None:
    """Rule 25: a model in training stays on one device."""
    if config.quantization_device_map is not None and config.do_train:
        return Problem(
            "quantization_device_map: auto spreads a model for chat and evaluation; training "
            "keeps it on one device.",
            hint="Leave quantization_device_map empty.",
            setting="quantization_device_map",
        )
    return None


def not_both_fp8(config: RunConfig) -> Problem | None:
    """Rule 30: FP8 multiplies weights that are there in full."""
    if quantises(config) and getattr(config, "fp8", False):
        return Problem(
            "fp8 and quantization_bit are both set: FP8 needs the weights in full.",
            hint="Keep one of them; quantization_bit saves more memory.",
            setting="quantization_bit",
        )
    return None


def bits_that_the_library_has(config: RunConfig) -> Problem | None:
    """Rule 40: which bits each library has, and what can be spread."""
    bits, method = config.quantization_bit, config.quantization_method
    if bits is None:
        return None
    known = BITS[method]
    if bits not in known:
        listed = ", ".join(map(str, known[:-1]))
        others = [name for name, theirs in BITS.items() if bits in theirs]
        other = f" or set quantization_method: {others[0]}," if others else ""
        return Problem(
            f"quantization_bit is {bits}: {method} has {listed} and {known[-1]}.",
            hint=f"Take one of these,{other} or leave it empty.",
            setting="quantization_bit",
        )
    if config.quantization_device_map is not None and (method, bits) != ("bnb", 4):
        return Problem(
            "quantization_device_map: auto spreads 4-bit models of bnb only.",
            hint="Set quantization_bit: 4, or leave quantization_device_map empty.",
            setting="quantization_device_map",
        )
    return None


def library_is_there(config: RunConfig) -> Problem | None:
    """Rule 32, for hqq: its package is an extra."""
    if quantises(config) and config.quantization_method == "hqq" and find_spec("hqq") is None:
        return Problem(
            "quantization_method: hqq needs the package hqq, which is not installed.",
            hint=f"Install it with: {install_command('hqq')}",
            setting="quantization_method",
        )
    return None


RULES: tuple[tuple[str, Any], ...] = (
    ("9", bits_of_second_models),
    ("o91", nothing_merged_into_second_models),
    ("17", quantised_is_an_adapters_base),
    ("25", spread_only_to_ask),
    ("30", not_both_fp8),
    ("40", bits_that_the_library_has),
    ("32", library_is_there),
)
CHAT_RULES: tuple[tuple[str, Any], ...] = (
    ("17", nothing_merged_into_bits),
    ("40", bits_that_the_library_has),
    ("32", library_is_there),
)


def bits_in_whole_bytes(config: RunConfig) -> Problem | None:
    """hqq stores 6 and 5 bits in a byte each, so they cost what 8 do and are less exact."""
    if config.quantization_bit in UNPACKED_BITS and config.quantization_method == "hqq":
        return Problem(
            f"hqq stores {config.quantization_bit} bits in a whole byte, as it does 8.",
            hint="quantization_bit: 8 is more exact at the same size; 4 takes half.",
            setting="quantization_bit",
        )
    return None


def norms_in_sixteen_bits(config: RunConfig) -> Problem | None:
    """w2, its first part: norms of a quantised model are usually computed in fp32."""
    if (
        quantises(config)
        and config.do_train
        and not getattr(config, "upcast_layernorm", True)
        and config.bf16 is not False
    ):
        return Problem(
            "The norms of the quantised model stay in 16 bits.",
            hint="upcast_layernorm: true holds them in fp32, which is steadier and costs little.",
            setting="upcast_layernorm",
        )
    return None


def measured_in_few_bits(config: RunConfig) -> Problem | None:
    """w2, its third part: a quantised model is measured, not the model as it will be merged."""
    if quantises(config) and not config.do_train and (config.do_eval or config.do_predict):
        return Problem(
            f"The {config.quantization_bit}-bit model is measured: in full precision the numbers "
            "are as a rule a little better.",
            hint="Leave quantization_bit empty to measure the model in full precision.",
            setting="quantization_bit",
        )
    return None


REMARKS: tuple[Any, ...] = (bits_in_whole_bytes, norms_in_sixteen_bits, measured_in_few_bits)
