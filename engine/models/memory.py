"""What a run will take of memory, by arithmetic over the model's tensors: no torch.

The parts follow what finetui's trainer holds and when. The weights and the optimiser's state are
there all the time. On top of them comes the greatest of these moments, and it is told:

- `loss`: every block's activations are kept (`engine.models.activations`), and the loss over the
  vocabulary stands in fp32 three times: log-softmax, its gradient, and that of the loss. Gradients
  are there too where micro-batches are summed up, as those before have left theirs;
- `head`: the gradient of a trained output layer comes while the activations are still kept;
- `block`: with gradient checkpointing, one block is run again;
- `update`: all gradients, and what the optimiser computes with;
- `answers`: stages that write answers keep keys and values of every token meanwhile;
- `loading`: weights that change their type stand beside the file that they are read from.

On a CPU glibc's allocator cannot give a freed block of aligned memory to a request of the same
size (glibc 2.36, `_int_memalign`), so what a block frees stays in holes between what it keeps:
`holes` counts them. Tensors of 32 MB and more are mapped by themselves and leave none, and neither
does a run on quantised weights, whose tensors all are (`engine.models.mapped`). On a GPU the
figure is what torch has allocated; its allocator reserves some more.

A stage that compares pairs holds two sequences a row, one that writes answers holds prompt and
answer; a reference, a teacher or a reward model that is not the same base is held beside it. See
Rajbhandari et al., "ZeRO" (2020) section 3. Measured by `tests/benchmarks/training/memory.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from engine.config.method import WRITING_STAGES
from engine.models.activations import checkpointed, kept_by_token, rounded_copies
from engine.models.architecture import count, is_embedding, is_output_layer
from engine.models.card import ModelCard
from engine.models.device import expected_device
from engine.models.disk import checkpoint_bytes, disk_bytes
from engine.models.held import optimiser_state, own_weights, second_models
from engine.models.optimiser_size import gradient_weights, trained_shapes
from engine.models.precision import Precision, expected_precision
from engine.models.rows import RowFacts
from engine.models.trainable import trainable_parameters
from engine.telemetry import Machine, read_machine

__all__ = [
    "Forecast",
    "RowFacts",
    "checkpoint_bytes",
    "checkpointing_wanted",
    "disk_bytes",
    "forecast",
    "usable_memory",
]

# Resident after importing torch, transformers, TRL and peft; a CUDA context on the GPU.
_RUNTIME_CPU = 640_000_000
_RUNTIME_GPU = 600_000_000
_FP32 = 4
# Holes that glibc leaves, as a share of what is kept in tensors below its mmap threshold.
_HOLES = 0.65
_MAPPED = 32 << 20
# The share of a device that a run may plan with, and still keep all activations.
_CLEARLY = 0.9


@dataclass(frozen=True)
class Forecast:
    """Bytes a run takes on its device at its peak, and per checkpoint on disk.

    The parts are those of the peak and sum up to `total`: `gradients` is 0 where the peak comes
    before them. `runtime` is the libraries, or the CUDA context; `holes` what the allocator can't
    use. `moment` names the peak. `limit` is what the device has, None where unknown. `tokens` is
    the size of a micro-batch, `length` that of its rows, `rows_known` whether that is the set's own
    longest row or the limit cutoff_len. `checkpointing` tells whether activations are computed
    again instead of kept.
    """

    total: int
    weights: int
    gradients: int
    optimiser: int
    activations: int
    logits: int
    runtime: int
    holes: int
    moment: str
    trainable_parameters: int
    parameters: int
    tokens: int
    length: int
    rows_known: bool
    checkpoint: int
    device: str
    precision: str
    limit: int | None
    checkpointing: bool

    @property
    def fits(self) -> bool:
        """Whether the device has that much in all (not whether it is free now)."""
        return self.limit is None or self.total <= self.limit

    @property
    def assumption(self) -> str:
        """The sentence about what the figure rests on."""
        rows = (
            f"rows of {self.length:,} tokens, the longest of the set"
            if self.rows_known
            else f"rows as long as cutoff_len ({self.length:,} tokens)"
        )
        how = "computed again (gradient checkpointing)" if self.checkpointing else "kept"
        return f"For {rows}; activations are {how}."


@lru_cache(maxsize=1)
def _this_machine() -> Machine:
    return read_machine()


def forecast(
    card: ModelCard,
    config: Any,
    rows: RowFacts | int | None = None,
    machine: Machine | None = None,
) -> Forecast:
    """The forecast for `config` on this machine (or `machine`).

    `rows` is what is known of the rows, or the length of the longest; None stands for rows as long
    as cutoff_len. Activations are kept where they clearly fit into what the device has in all: that
    does not change from one moment to the next, so neither does the forecast.
    """
    machine = machine or _this_machine()
    facts = _facts(rows, config)
    if checkpointing_wanted(card, config, facts, machine):
        return _forecast(card, config, facts, machine, True)
    return _forecast(card, config, facts, machine, False)


def checkpointing_wanted(
    card: ModelCard, config: Any, rows: RowFacts | int | None, machine: Machine
) -> bool:
    """Whether a run computes activations again in its backward pass.

    Never with `disable_gradient_checkpointing`, always without `checkpointing_by_memory`; else
    only where the activations would not clearly fit into the device's memory less the reserve, as
    it costs about a third more time.
    """
    if config.disable_gradient_checkpointing:
        return False
    if not config.checkpointing_by_memory:
        return True
    kept = _forecast(card, config, _facts(rows, config), machine, False)
    usable = usable_memory(config, machine)
    return usable is None or kept.total > _CLEARLY * usable


def usable_memory(config: Any, machine: Machine) -> int | None:
    """What a run may use of its device in all: on a CPU less the reserve. None where unknown."""
    limit = _limit(machine, expected_device(config, machine))
    if limit is None:
        return None
    if expected_device(config, machine) == "cpu":
        return limit - int(config.memory_reserve_gb * (1 << 30))
    return limit


def _facts(rows: RowFacts | int | None, config: Any) -> RowFacts:
    if rows is None:
        return RowFacts(int(config.cutoff_len), known=False)
    facts = RowFacts(rows) if isinstance(rows, int) else rows
    return replace(facts, longest=min(facts.longest, int(config.cutoff_len)))


def _forecast(
    card: ModelCard, config: Any, rows: RowFacts, machine: Machine, again: bool
) -> Forecast:
    device = expected_device(config, machine)
    precision = expected_precision(config, machine, device)
    trainable = trainable_parameters(card.shapes, config)
    length = rows.longest
    if config.stage in WRITING_STAGES:
        length += int(config.max_new_tokens)
    tokens = _tokens(config, rows, length, device)

    weights = own_weights(card, config, precision, trainable)
    weights += second_models(card, config, precision)
    optimiser = optimiser_state(card, config, precision)
    runtime = _RUNTIME_CPU if device == "cpu" else _RUNTIME_GPU
    moments = _moments(card, config, precision, device, rows, length, tokens, trainable, again)
    peak = max(moments, key=lambda moment: moment.total)
    return Forecast(
        total=weights + optimiser + runtime + peak.total,
        weights=weights,
        gradients=peak.gradients,
        optimiser=optimiser,
        activations=peak.activations,
        logits=peak.logits,
        runtime=runtime,
        holes=peak.holes,
        moment=peak.name,
        trainable_parameters=trainable,
        parameters=card.parameters + (trainable if _adapts(config) else 0),
        tokens=tokens,
        length=length,
        rows_known=rows.known,
        checkpoint=checkpoint_bytes(card, config, precision, trainable),
        device=device,
        precision=precision.name,
        limit=_limit(machine, device),
        checkpointing=again,
    )


def _adapts(config: Any) -> bool:
    return config.finetuning_type in ("lora", "oft")


def _tokens(config: Any, rows: RowFacts, length: int, device: str) -> int:
    """Tokens of a micro-batch of the longest rows, those that are laid down once counted once."""
    batch = int(config.per_device_train_batch_size)
    sequences = batch * (2 if config.stage in ("rm", "dpo") else 1)
    once = device == "cpu" and config.flash_attn != "disabled" and not config.neftune_noise_alpha
    shared = min(rows.shared, length) if once and config.stage in ("sft", "pt", "distill") else 0
    return sequences * (length - shared) + shared


@dataclass(frozen=True)
class _Moment:
    name: str
    activations: int = 0
    logits: int = 0
    gradients: int = 0
    holes: int = 0

    @property
    def total(self) -> int:
        return self.activations + self.logits + self.gradients + self.holes


def _moments(
    card: ModelCard,
    config: Any,
    precision: Precision,
    device: str,
    rows: RowFacts,
    length: int,
    tokens: int,
    trainable: int,
    again: bool,
) -> list[_Moment]:
    kept = kept_by_token(card, config, precision, device, length)
    copies = 0 if again else rounded_copies(card, config, precision, trainable)
    at_loss, at_block = kept.all, kept.all
    if again:
        at_loss, at_block = checkpointed(kept, card.layers)

    def holes(size: float) -> int:
        if device != "cpu" or config.quantization_bit is not None:
            return 0  # `engine.models.mapped.exact_memory`
        if tokens * card.hidden * precision.compute_bytes >= _MAPPED:
            return 0
        return int(_HOLES * size)

    number = precision.trained_bytes
    trained = trained_shapes(card.shapes, config)
    gradients = gradient_weights(trained, config) * number
    summed = gradients if config.gradient_accumulation_steps > 1 else 0
    positions = _positions(config, rows, tokens)
    # log-softmax in fp32, its gradient and that of the loss.
    logits = 3 * _FP32 * positions * card.vocab
    activations = int(tokens * at_loss) + copies
    found = [_Moment("loss", activations, logits, summed, holes(tokens * at_loss))]
    head = _trained_head(card, trained)
    if head and positions:
        # Its gradient in the type of the product, rounded up to that of the weight.
        own = head * number + (head * precision.compute_bytes if precision.autocast else 0)
        spread = positions * card.vocab * precision.compute_bytes
        left = max(summed - head * number, 0)
        found.append(_Moment("head", activations, spread, left + own, holes(tokens * at_loss)))
    if again:
        found.append(
            _Moment("block", int(tokens * at_block), 0, gradients, holes(tokens * kept.block))
        )
    found.append(_Moment("update", 0, 0, gradients + _update(config, trained, number, device)))
    if config.stage in WRITING_STAGES:
        keys = 2 * card.layers * card.kv_heads * card.head_dim * precision.compute_bytes
        found.append(_Moment("answers", tokens * keys, 0, 0))
    changes_type = precision.weights == "fp32" and card.dtype not in ("float32", "F32")
    if (changes_type or config.quantization_bit is not None) and device == "cpu":
        # Neither activations nor the optimiser's state are there yet: they are taken off again.
        absent = optimiser_state(card, config, precision)
        found.append(_Moment("loading", max(card.size_bytes - absent, 0)))
    return found


def _positions(config: Any, rows: RowFacts, tokens: int) -> int:
    """Positions that the loss counts, for which the head is computed."""
    if config.stage == "rm":
        return 0
    if config.train_on_prompt or config.stage == "pt":
        return tokens
    share = rows.trained
    if rows.shared and config.stage == "sft":
        # The share is that of whole rows; what they have in common was counted once.
        whole = int(config.per_device_train_batch_size) * rows.longest
        return min(tokens, int(whole * share))
    return int(tokens * share)


def _trained_head(card: ModelCard, trained: dict[str, tuple[int, ...]]) -> int:
    """Weights of the output layer where they are trained; tied to the embeddings or not."""
    for name, shape in trained.items():
        if is_output_layer(name) or (card.tied and is_embedding(name)):
            return count(shape)
    return 0


def _update(config: Any, trained: dict[str, tuple[int, ...]], number: int, device: str) -> int:
    """What the optimiser computes with while it moves the weights.

    On a GPU torch's AdamW goes over all tensors together and holds their denominators; on a CPU
    tensor by tensor: the largest twice. The embeddings' gradient is made beside the old one.
    """
    sizes = [count(shape) for shape in trained.values()]
    largest = max(sizes, default=0)
    if device != "cpu" and str(config.optim) == "adamw_torch":
        return number * sum(sizes)
    return 2 * number * largest


def _limit(machine: Machine, device: str) -> int | None:
    if device == "cpu":
        return machine.ram_total
    index = int(device.partition(":")[2] or 0)
    return machine.gpus[index].total if index < len(machine.gpus) else None
