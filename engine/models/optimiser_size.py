"""Bytes of an optimiser's state, by arithmetic over the trained tensors' shapes: no torch.

Counted as the libraries hold it (torch, transformers, bitsandbytes, torchao, galore-torch,
apollo-torch, badam, adam-mini, schedulefree, optimi, lomo-optim); a test compares each with the
state of the built optimiser after a step.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from engine.config.optimiser_rules import updates_in_backward
from engine.models.architecture import count, is_embedding, is_output_layer, layer_of
from engine.models.trainable import frozen_exceptions, trainable_parameters

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

_FP32 = 4
_INDEX = 8  # an index into a sparse tensor
# bitsandbytes and torchao keep smaller tensors unquantised, and one scale a block of so many.
_SMALLEST_QUANTISED = 4096
_BLOCK = 256
_MINI_PLAIN = ("bias",)
_MINI_HEADS = ("k_proj", "q_proj", "wq", "wk", "query", "key")
_MINI_ROWS = (
    *("embed", "embd", "wte", "lm_head", "output", "final_layer", "v_proj", "wv", "value"),
    *("feed_forward", "linear", "mlp", "o_proj", "wo", "attn.proj"),
)


def optimiser_state_bytes(
    shapes: Shapes,
    config: Any,
    number_bytes: int,
    trained: Shapes | None = None,
    head_numbers: int = 0,
) -> int:
    """Bytes of state that `config`'s optimiser holds between two steps.

    `shapes` are the model's tensors, `trained` those that the method trains (None: found from the
    method), `number_bytes` the size of a trained number. `head_numbers` is the weights of one
    attention head's query (hidden x head size), which Adam-mini shares a number among.
    """
    if trained is None:
        trained = trained_shapes(shapes, config)
    if config.use_badam:
        if config.badam_mode == "ratio":
            return _badam_ratio(trained, config, number_bytes)
        block = {name: trained[name] for name in largest_block(trained)}
        # A copy of the block's weights in fp32, which the optimiser trains in their place.
        return _plain(block, config, _FP32) + _FP32 * _numbers(block)
    if config.use_adam_mini:
        return sum(_mini(n, s, number_bytes, head_numbers) for n, s in trained.items())
    if config.use_muon:
        return sum(
            count(s) * number_bytes * (1 if trains_by_muon(n, s) else 2) for n, s in trained.items()
        )
    ranks = low_rank(config)
    if ranks is None:
        return _plain(trained, config, number_bytes)
    projected = {n: s for n, s in trained.items() if is_projected(n, s, ranks)}
    rest = {n: s for n, s in trained.items() if n not in projected}
    held = _plain(rest, config, number_bytes, family=ranks.base)
    for shape in projected.values():
        kept, projection = low_rank_shapes(shape, ranks.rank, ranks.side)
        matrix = _FP32 if ranks.base == "adafactor" else number_bytes
        held += projection * matrix
        held += _plain({"low": kept}, config, number_bytes, family=ranks.base)
    return held


def trained_shapes(shapes: Shapes, config: Any) -> dict[str, Shape]:
    """The tensors that the method trains; those of LoRA by the names of its two matrices.

    For a method whose tensors are not known here, one tensor with as many weights.
    """
    method = config.finetuning_type
    if method == "full":
        return dict(shapes)
    if method == "freeze":
        return {name: shapes[name] for name in frozen_exceptions(shapes, config)}
    total = trainable_parameters(shapes, config)
    if method == "lora":
        found = _lora_shapes(shapes, config)
        if _numbers(found) == total:
            return found
    return {"trained": (total,)}


def gradient_weights(trained: Shapes, config: Any) -> int:
    """Weights whose gradients are held at the same time.

    All of them, but for optimisers that update inside the backward pass (one tensor at a time)
    and for BAdam, which trains one block.
    """
    if config.use_badam and config.badam_mode == "layer":
        return sum(count(trained[name]) for name in largest_block(trained))
    if updates_in_backward(config):
        return max((count(shape) for shape in trained.values()), default=0)
    return _numbers(trained)


def largest_block(trained: Shapes) -> list[str]:
    """The tensors of the block with most weights (BAdam trains one at a time; embeddings, the
    last norm and the head stay as they are)."""
    found = blocks(trained).values()
    return max(found, key=lambda names: sum(count(trained[n]) for n in names), default=[])


def blocks(names: Iterable[str]) -> dict[str, list[str]]:
    """The tensors of each block, by the start of their names (`model.layers.0.`), in order."""
    found: dict[str, list[str]] = {}
    for name in names:
        number = layer_of(name)
        if number is not None:
            start = name.index(f".{number}.") + len(f".{number}.")
            found.setdefault(name[:start], []).append(name)
    return found


def trains_by_muon(name: str, shape: Shape) -> bool:
    """Whether Muon trains a tensor: a matrix inside the model, no embedding and no head."""
    words = set(name.split("."))
    outside = is_embedding(name) or is_output_layer(name) or words & {"score", "v_head", "lm_head"}
    return len(shape) == 2 and not outside


class LowRank:
    """How gradients are projected: `rank`, `side` (proj_type), `targets`, and the optimiser that
    trains in the small room: adamw, adamw_8bit or adafactor."""

    def __init__(self, rank: int, side: str, targets: str, base: str) -> None:
        self.rank = rank
        self.side = side
        self.targets = targets
        self.base = base


def low_rank(config: Any) -> LowRank | None:
    """The projection that GaLore or APOLLO is asked for, by its switch or by an `optim` name."""
    name = str(config.optim)
    if config.use_galore:
        base = "adafactor" if name == "adafactor" else "adamw_8bit" if "8bit" in name else "adamw"
        return LowRank(config.galore_rank, config.galore_proj_type, config.galore_target, base)
    if config.use_apollo:
        return LowRank(config.apollo_rank, config.apollo_proj_type, config.apollo_target, "adamw")
    if name.startswith(("galore_", "apollo_")):
        options = optimiser_options(config.optim_args)
        base = "adafactor" if "adafactor" in name else "adamw_8bit" if "8bit" in name else "adamw"
        return LowRank(
            int(options.get("rank", 128)),
            options.get("proj_type", "std"),
            config.optim_target_modules or "all",
            base,
        )
    return None


def is_projected(name: str, shape: Shape, ranks: LowRank) -> bool:
    """Whether a tensor's gradient is projected: a targeted matrix wider than the rank."""
    return len(shape) == 2 and min(shape) > ranks.rank and is_target(name, ranks.targets)


def is_target(name: str, targets: str) -> bool:
    """Whether the tensor `name` is meant by `targets`: `all`, or names by comma, as parts of the
    module's name; a single word may be a regular expression (transformers' optim_target_modules).
    """
    module, _, kind = name.rpartition(".")
    if kind != "weight":
        return False
    words = [word.strip() for word in targets.split(",") if word.strip()]
    if any(word.replace("_", "-") in ("all", "all-linear") for word in words):
        return not (is_embedding(name) or is_output_layer(name)) and layer_of(name) is not None
    if any(word in module for word in words):
        return True
    return len(words) == 1 and _matches(words[0], module)


def _matches(pattern: str, module: str) -> bool:
    try:
        return re.fullmatch(pattern, module) is not None
    except re.error:
        return False


def low_rank_shapes(shape: Shape, rank: int, side: str) -> tuple[Shape, int]:
    """The small gradient's shape, and how many numbers its projection takes.

    The right side keeps the rows (rows x rank), the left one the columns. std projects the
    shorter side away, reverse_std the longer; full both. (galore-torch, GaLoreProjector.)
    """
    rows, columns = shape
    if side == "full":
        return (rank, rank), rank * (rows + columns)
    right = rows >= columns
    if side == "reverse_std":
        right = not right
    elif side in ("right", "left"):
        right = side == "right"
    return ((rows, rank), rank * columns) if right else ((rank, columns), rank * rows)


def optimiser_options(text: str | None) -> dict[str, str]:
    """`optim_args` as the trainer reads it: name=value, with commas between."""
    pairs = (part.partition("=") for part in (text or "").replace(" ", "").split(",") if part)
    return {name: value for name, _, value in pairs}


def _plain(trained: Shapes, config: Any, number_bytes: int, family: str = "") -> int:
    """State of an optimiser by its `optim` name, or by the `family` that stands for it."""
    name = family or str(config.optim)
    options = optimiser_options(config.optim_args)
    if name == "lomo":
        return 0
    if name in ("adafactor", "adalomo"):
        return sum(_factors(shape) for shape in trained.values())
    if name in ("adamw_torch_8bit", "adamw_torch_4bit"):
        bits = 4 if "4bit" in name else 8
        return sum(_torchao(shape, bits, number_bytes) for shape in trained.values())
    states = _states(name, options, number_bytes)
    if name in _BITSANDBYTES:
        if "8bit" not in name:
            return states * _FP32 * _numbers(trained)
        return sum(
            # transformers asks for embeddings in fp32.
            states * (_FP32 * count(s) if is_embedding(n) else _bitsandbytes_8bit(s))
            for n, s in trained.items()
        )
    if name == "adamw_8bit":
        return sum(states * _bitsandbytes_8bit(shape) for shape in trained.values())
    if name == "adamw_anyprecision":
        return states * _FP32 * _numbers(trained)
    return states * number_bytes * _numbers(trained)


_BITSANDBYTES = frozenset(
    {
        "adamw_bnb_8bit",
        "adamw_8bit",
        "paged_adamw_32bit",
        "paged_adamw_8bit",
        "ademamix",
        "ademamix_8bit",
        "paged_ademamix_32bit",
        "paged_ademamix_8bit",
        "lion_32bit",
        "lion_8bit",
        "paged_lion_32bit",
        "paged_lion_8bit",
        "rmsprop_bnb",
        "rmsprop_bnb_8bit",
        "rmsprop_bnb_32bit",
    }
)


def _states(name: str, options: Mapping[str, str], number_bytes: int) -> int:
    """Numbers that an optimiser keeps a weight."""
    if name == "sgd":
        return 1 if float(options.get("momentum", 0)) else 0
    if name == "rmsprop":
        momentum = bool(float(options.get("momentum", 0)))
        return 1 + momentum + (options.get("centered", "").lower() in ("true", "1", "yes"))
    if name == "schedule_free_sgd" or name in ("adagrad",) or "lion" in name or "rmsprop" in name:
        return 1
    if "ademamix" in name or name == "grokadamw":
        return 3
    if name == "stable_adamw" and number_bytes == 2:
        return 3  # the third is what rounding to 16 bits lost (Kahan summation)
    return 2


def _bitsandbytes_8bit(shape: Shape) -> int:
    numbers = count(shape)
    if numbers < _SMALLEST_QUANTISED:
        return _FP32 * numbers
    return numbers + _FP32 * -(-numbers // _BLOCK)


def _torchao(shape: Shape, bits: int, number_bytes: int) -> int:
    numbers = count(shape)
    if numbers < _SMALLEST_QUANTISED or numbers % _BLOCK:
        return 2 * number_bytes * numbers
    table = _FP32 * (1 << bits)
    return 2 * (numbers * bits // 8 + _FP32 * numbers // _BLOCK + table)


def _factors(shape: Shape) -> int:
    """Adafactor: a number a row and a column of each matrix, in fp32 (Shazeer, Stern, 2018)."""
    if len(shape) < 2:
        return _FP32 * count(shape)
    return _FP32 * (count(shape[:-1]) + count(shape[:-2] + shape[-1:]))


def _mini(name: str, shape: Shape, number_bytes: int, head_numbers: int) -> int:
    """Adam-mini: a momentum a weight, and one second moment a head, a row or a tensor."""
    lower = name.lower()
    numbers = count(shape)
    if any(word in lower for word in _MINI_PLAIN):
        second = numbers
    elif any(word in lower for word in _MINI_HEADS):
        second = numbers // head_numbers if head_numbers else shape[0]
    elif any(word in lower for word in _MINI_ROWS):
        second = shape[0]
    else:
        second = 1
    return number_bytes * (numbers + second)


def _badam_ratio(trained: Shapes, config: Any, number_bytes: int) -> int:
    """A share of each tensor has Adam's two numbers; each shape keeps a mask with indices."""
    inside = {n: s for n, s in trained.items() if not (is_embedding(n) or is_output_layer(n))}
    ratio = float(config.badam_update_ratio)
    held = sum(2 * number_bytes * int(count(shape) * ratio) for shape in inside.values())
    for shape in set(inside.values()):
        held += int(count(shape) * ratio) * (_INDEX * len(shape) + number_bytes)
    return held


def _lora_shapes(shapes: Shapes, config: Any) -> dict[str, Shape]:
    from engine.models.trainable import lora_parameters

    rank = int(config.lora_rank)
    found: dict[str, Shape] = {}
    for name, shape in shapes.items():
        if lora_parameters({name: shape}, rank, config.lora_target, None):
            module = name.removesuffix(".weight")
            found[f"{module}.lora_A.weight"] = (rank, shape[1])
            found[f"{module}.lora_B.weight"] = (shape[0], rank)
        if config.additional_target and lora_parameters(
            {name: shape}, rank, "", config.additional_target
        ):
            found[name] = shape
    return found


def _numbers(shapes: Shapes) -> int:
    return sum(count(shape) for shape in shapes.values())
