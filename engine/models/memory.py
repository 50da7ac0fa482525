"""What a run will take of memory and disk, by arithmetic over the model's tensors: no torch.

The parts follow what finetui's trainer holds: weights, gradients and optimiser state of what is
trained, the activations kept for the backward pass (one vector a token and block with gradient
checkpointing, and one block in full while it is recomputed), and the logits at trained positions.
A stage that compares pairs holds two sequences a row, one that writes answers holds prompt and
answer; a reference or a teacher that is not the same base model is held beside it.
See Rajbhandari et al., "ZeRO" (2020) section 3, and Korthikanti et al. (2022) for activations.

Measured against the demo model (LoRA, fp32, no gradient checkpointing, two micro-batch sizes of
400-token rows): peaks of 3.90 and 6.43 GB on a CPU where this says 4.12 and 6.91; full fine-tuning
4.95 where this says 4.72.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from engine.config.method import WRITING_STAGES
from engine.config.preference import uses_reference
from engine.models.architecture import count, layer_of
from engine.models.card import ModelCard, read_card
from engine.models.device import expected_device
from engine.models.locate import resolve
from engine.models.precision import Precision, expected_precision
from engine.models.trainable import frozen_exceptions, trainable_parameters
from engine.problem import BadInput
from engine.telemetry import Machine, memory_left, read_machine

# Resident after importing torch, transformers, TRL and peft; a CUDA context on the GPU.
_RUNTIME_CPU = 750_000_000
_RUNTIME_GPU = 600_000_000
# Share of a row's tokens that are trained on where only answers are.
_ANSWER_SHARE = 0.6
_TOKENIZER = 5_000_000


@dataclass(frozen=True)
class Forecast:
    """Bytes a run takes on its device at the peak of a step, and per checkpoint on disk.

    `total` includes `runtime` (the libraries, or the CUDA context). `limit` is what the device
    has, None where unknown. `tokens` is the size of a micro-batch. `checkpointing` tells whether
    activations are computed again instead of kept.
    """

    total: int
    weights: int
    gradients: int
    optimiser: int
    activations: int
    logits: int
    runtime: int
    trainable_parameters: int
    parameters: int
    tokens: int
    checkpoint: int
    device: str
    precision: str
    limit: int | None
    checkpointing: bool

    @property
    def fits(self) -> bool:
        """Whether the device has that much in all (not whether it is free now)."""
        return self.limit is None or self.total <= self.limit


@lru_cache(maxsize=1)
def _this_machine() -> Machine:
    return read_machine()


def forecast(
    card: ModelCard, config: Any, rows_tokens: int | None = None, machine: Machine | None = None
) -> Forecast:
    """The forecast for `config` on this machine (or `machine`).

    `rows_tokens` is the length of the longest row; None stands for rows as long as cutoff_len. On
    a CPU the run keeps its activations where they fit into the memory that is left (a machine
    given here counts as empty), as that is faster: so does the forecast.
    """
    left = memory_left() if machine is None else machine.ram_total
    machine = machine or _this_machine()
    if not config.disable_gradient_checkpointing and expected_device(config, machine) == "cpu":
        without = replace(config, disable_gradient_checkpointing=True)
        kept = _forecast(card, without, rows_tokens, machine)
        if kept.total < left - int(config.memory_reserve_gb * (1 << 30)):
            return kept
    return _forecast(card, config, rows_tokens, machine)


def _forecast(card: ModelCard, config: Any, rows_tokens: int | None, machine: Machine) -> Forecast:
    device = expected_device(config, machine)
    precision = expected_precision(config, machine, device)
    trainable = trainable_parameters(card.shapes, config)
    length = int(config.cutoff_len)
    if rows_tokens is not None:
        length = min(length, rows_tokens)
    if config.stage in WRITING_STAGES:
        length += int(config.max_new_tokens)
    sequences = 2 if config.stage in ("rm", "dpo") else 1
    tokens = length * int(config.per_device_train_batch_size) * sequences

    weights = _weights(card, config, precision, trainable)
    weights += _second_model(card, config, precision)
    gradients = trainable * precision.trained_bytes
    optimiser = optimiser_bytes(str(config.optim), trainable, precision.trained_bytes)
    activations = _activations(card, config, precision, tokens, length, trainable)
    logits = _logits(card, config, precision, tokens)
    runtime = _RUNTIME_CPU if device == "cpu" else _RUNTIME_GPU
    held = weights + gradients + optimiser
    return Forecast(
        total=held + activations + logits + runtime,
        weights=weights,
        gradients=gradients,
        optimiser=optimiser,
        activations=activations,
        logits=logits,
        runtime=runtime,
        trainable_parameters=trainable,
        parameters=card.parameters + (trainable if config.finetuning_type == "lora" else 0),
        tokens=tokens,
        checkpoint=checkpoint_bytes(card, config, precision, trainable),
        device=device,
        precision=precision.name,
        limit=_limit(machine, device),
        checkpointing=not config.disable_gradient_checkpointing,
    )


def checkpoint_bytes(
    card: ModelCard, config: Any, precision: Precision, trainable: int | None = None
) -> int:
    """Bytes of one checkpoint: what is saved of the model, optimiser state unless left out."""
    if trainable is None:
        trainable = trainable_parameters(card.shapes, config)
    if config.finetuning_type == "lora":
        saved = trainable * precision.trained_bytes
    else:
        saved = _weights(card, config, precision, trainable)
    if not config.save_only_model:
        saved += optimiser_bytes(str(config.optim), trainable, precision.trained_bytes)
    return saved + _TOKENIZER


def disk_bytes(card: ModelCard, config: Any, total_steps: int, checkpoint: int) -> int:
    """Bytes that a run leaves on disk: the checkpoints that are kept and the final weights."""
    strategy = str(config.save_strategy)
    saves = 1
    if strategy == "steps" and config.save_steps:
        every = config.save_steps if config.save_steps >= 1 else config.save_steps * total_steps
        saves = max(int(total_steps // max(every, 1)), 1)
    elif strategy == "epoch":
        saves = max(int(config.num_train_epochs), 1)
    if config.save_total_limit:
        # The best one is kept besides the newest, and the new one is written before an old goes.
        saves = min(saves, int(config.save_total_limit) + 1)
    # The final weights lie in the run's folder too, at most as large as a checkpoint.
    return (saves + 1) * checkpoint


def optimiser_bytes(optimiser: str, trainable: int, number_bytes: int) -> int:
    """State of an optimiser over `trainable` weights. AdamW keeps two numbers a weight."""
    name = optimiser.lower()
    if "adafactor" in name or name == "sgd":
        return 0
    states = 1 if any(word in name for word in ("lion", "rmsprop", "adagrad")) else 2
    if "4bit" in name:
        return states * trainable // 2
    if "8bit" in name:
        return states * trainable
    return states * trainable * number_bytes


def _weights(card: ModelCard, config: Any, precision: Precision, trainable: int) -> int:
    frozen = precision.weight_bytes
    method = config.finetuning_type
    if method == "lora":
        return card.parameters * frozen + trainable * precision.trained_bytes
    if method == "freeze":
        trained = sum(count(card.shapes[name]) for name in frozen_exceptions(card.shapes, config))
        return (card.parameters - trained) * frozen + trained * precision.trained_bytes
    return card.parameters * precision.trained_bytes


def _second_model(card: ModelCard, config: Any, precision: Precision) -> int:
    """Weights of a frozen model beside the trained one: a reference or a teacher.

    With LoRA the base is its own reference, and its own teacher; freeze keeps the start of the
    blocks it trains. A reward model is left out: it
    is an adapter as a rule. Another model that is not on this disk counts as large as this one.
    """
    named = config.teacher_model if config.stage == "distill" else config.ref_model
    if config.stage != "distill" and not uses_reference(config):
        return 0
    own = named in (None, config.model_name_or_path)
    if own and config.finetuning_type == "lora":
        return 0
    if own and config.finetuning_type == "freeze" and config.stage != "distill":
        # The trained blocks as they were at the start are all that is needed.
        trained = trainable_parameters(card.shapes, config)
        return trained * precision.trained_bytes
    parameters = card.parameters
    if named:
        with contextlib.suppress(BadInput):
            parameters = read_card(resolve(named, config).path).parameters
    return parameters * precision.weight_bytes


def _activations(
    card: ModelCard, config: Any, precision: Precision, tokens: int, length: int, trainable: int
) -> int:
    number = precision.compute_bytes
    # The stream between the blocks has the type of the weights, also under autocast.
    stream = precision.weight_bytes
    queries, keys = card.heads * card.head_dim, card.kv_heads * card.head_dim
    block = number * (8 * card.hidden + 4 * queries + 4 * keys + 4 * card.intermediate)
    block += 2 * 4 * card.hidden  # norms compute in fp32
    if config.finetuning_type == "lora":
        block += number * _block_features(card)
    if config.flash_attn == "disabled":
        block += 3 * 4 * card.heads * length  # scores, masked scores and their softmax
    if config.disable_gradient_checkpointing:
        kept = card.layers * block
    else:
        # While a block is run again its gradients need about as much once more.
        kept = card.layers * card.hidden * stream + int(1.6 * block)
    total = tokens * kept
    if precision.autocast and precision.weights == "fp32":
        # Autocast keeps a rounded copy of each trained weight during the forward pass.
        total += trainable * number
    return total


def _block_features(card: ModelCard) -> int:
    """Inputs and outputs of the linear layers of one block: what LoRA's second path holds."""
    first = min((n for n in map(layer_of, card.shapes) if n is not None), default=0)
    return sum(
        shape[0] + shape[1]
        for name, shape in card.shapes.items()
        if len(shape) == 2 and layer_of(name) == first and ".experts." not in name
    )


def _logits(card: ModelCard, config: Any, precision: Precision, tokens: int) -> int:
    if config.stage == "rm":
        return 0
    share = 1.0 if config.train_on_prompt or config.stage == "pt" else _ANSWER_SHARE
    # The head's output and its gradient, the log-softmax in fp32 and its gradient.
    return int(tokens * share * card.vocab * (2 * precision.compute_bytes + 2 * 4))


def _limit(machine: Machine, device: str) -> int | None:
    if device == "cpu":
        return machine.ram_total
    index = int(device.partition(":")[2] or 0)
    return machine.gpus[index].total if index < len(machine.gpus) else None
