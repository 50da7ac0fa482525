"""What is trained and how much of it: stage, method, LoRA, freeze, adapters to go on from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from engine.config.declare import group, setting
from engine.problem import Problem

if TYPE_CHECKING:
    from engine.config.run_config import RunConfig

# The stages that learn from a reward for answers they write themselves.
WRITING_STAGES = ("ppo", "grpo", "rloo")
# The methods whose result is an adapter beside frozen weights.
ADAPTER_METHODS = ("lora", "oft")


def writes_answers(config: Any) -> bool:
    """Whether the run samples answers of its own while it trains."""
    on_samples = config.stage == "distill" and config.distill_on == "samples"
    return config.stage in WRITING_STAGES or on_samples


def _lora(config: Any) -> bool:
    return bool(config.finetuning_type == "lora")


def _drops(config: Any) -> bool:
    # These stages compare exact log-probabilities, and switch it off.
    off = config.stage in ("dpo", "kto", *WRITING_STAGES)
    return _lora(config) and (not off or config.lora_dropout > 0)


def _adapter(config: Any) -> bool:
    return config.finetuning_type in ADAPTER_METHODS


def _freeze(config: Any) -> bool:
    return bool(config.finetuning_type == "freeze")


def _blocks(config: Any) -> bool:
    # LLaMA Pro adds so many blocks, under LoRA too.
    return _freeze(config) or bool(config.use_llama_pro)


@group
class MethodGroup:
    """Stage, method and the shape of the adapter."""

    stage: Literal["pt", "sft", "rm", "ppo", "dpo", "kto", "grpo", "rloo", "distill"] = setting(
        "sft",
        label="Stage",
        section="Basics",
        level="basic",
        help="What is learned: raw text (pt), answers (sft), scoring answers (rm), more reward "
        "(ppo, grpo, rloo), the better of two (dpo), good from bad (kto), a teacher (distill).",
        usual="sft first; then dpo on pairs, or rm and ppo",
        goes_with=("dataset", "finetuning_type"),
    )
    finetuning_type: Literal["lora", "oft", "freeze", "full"] = setting(
        "lora",
        label="Method",
        section="Basics",
        level="basic",
        help="Which weights are trained: a small adapter that adds (lora) or turns (oft), some "
        "blocks (freeze) or all of them (full).",
        usual="lora, unless there is memory for about 16 bytes a parameter and much data",
        goes_with=("learning_rate", "lora_rank", "oft_block_size", "freeze_trainable_layers"),
    )
    lora_rank: int = setting(
        8,
        label="Rank",
        section="LoRA",
        level="basic",
        help="The width r of the two small matrices that LoRA adds to each target: W + B·A.",
        higher="learns more, with more trainable weights and memory; may overfit a small set",
        lower="smaller and steadier; may be too narrow for a new skill",
        usual="8 … 64",
        goes_with=("lora_alpha", "lora_target", "learning_rate"),
        applies=_lora,
        ge=1,
    )
    lora_alpha: int | None = setting(
        None,
        label="Alpha",
        section="LoRA",
        level="basic",
        help="Scales the adapter's output by alpha ÷ rank; left empty it is twice the rank.",
        higher="a stronger adapter, like a higher learning rate",
        lower="a weaker adapter, steadier training",
        usual="1 to 2 times the rank",
        goes_with=("lora_rank", "learning_rate"),
        applies=_lora,
        ge=1,
    )
    lora_dropout: float = setting(
        0.0,
        label="Dropout",
        section="LoRA",
        level="basic",
        help="The share of the adapter's inputs set to zero at random while training.",
        higher="overfits a small set less; learns slower",
        lower="learns faster",
        usual="0 … 0.1",
        goes_with=("lora_rank", "num_train_epochs"),
        applies=_drops,
        ge=0,
        lt=1,
    )
    lora_target: str = setting(
        "all",
        label="Targets",
        section="LoRA",
        level="basic",
        help="The modules that get an adapter, as a comma list; all means every linear layer "
        "but the output head.",
        higher="more modules learn more and need more memory",
        lower="only q_proj,v_proj, as in the LoRA paper, is lighter and learns less",
        usual="all",
        goes_with=("lora_rank", "additional_target"),
        applies=_lora,
    )
    freeze_trainable_layers: int = setting(
        2,
        label="Trainable layers",
        section="Freeze",
        level="basic",
        help="How many blocks are trained: the last n, or the first n when negative; with LLaMA "
        "Pro, how many new ones are added.",
        higher="learns more, with more memory for gradients and optimiser",
        lower="lighter; forgets less",
        usual="2 … a quarter of the blocks",
        goes_with=("freeze_trainable_modules",),
        applies=_blocks,
    )
    freeze_trainable_modules: str = setting(
        "all",
        label="Trainable modules",
        section="Freeze",
        level="basic",
        help="Which modules inside those blocks are trained, as a comma list of names; all "
        "means every one.",
        usual="all",
        goes_with=("freeze_trainable_layers", "freeze_extra_modules"),
        applies=_freeze,
    )
    freeze_extra_modules: str | None = setting(
        None,
        label="Extra modules",
        section="Freeze",
        level="basic",
        help="Modules outside the blocks that are trained too, as a comma list, such as "
        "embed_tokens,lm_head.",
        usual="empty",
        goes_with=("freeze_trainable_modules",),
        applies=_freeze,
    )
    adapter_name_or_path: str | None = setting(
        None,
        label="Start from adapter",
        section="Adapters, advanced",
        level="basic",
        help="Folders of adapters, as a comma list: merged in order, and training goes on with "
        "the last.",
        usual="empty, or a checkpoint of an earlier run",
        goes_with=("create_new_adapter",),
        applies=_adapter,
    )
    create_new_adapter: bool = setting(
        False,
        label="New adapter on top",
        section="Adapters, advanced",
        level="basic",
        help="Merge every given adapter into the weights and start a fresh one, instead of "
        "training the last one on.",
        usual="off",
        goes_with=("adapter_name_or_path",),
        applies=_adapter,
    )
    additional_target: str | None = setting(
        None,
        label="Modules trained whole",
        section="Adapters, advanced",
        level="basic",
        help="Modules that are trained and saved whole beside the adapter, as a comma list, "
        "such as embed_tokens,lm_head.",
        higher="each costs its full size in the adapter's file, and optimiser memory",
        usual="empty; the embeddings after adding tokens",
        goes_with=("lora_target", "oft_target"),
        applies=_adapter,
    )


def adapter_needs_its_method(config: RunConfig) -> Problem | None:
    """Rule 16: adapters are loaded by the methods lora and oft (which the usual tool can't)."""
    if config.adapter_name_or_path and config.finetuning_type not in ADAPTER_METHODS:
        return Problem(
            f"An adapter is given, but the method is {config.finetuning_type}.",
            hint="Set finetuning_type: lora (or oft for an OFT adapter), or merge the adapter "
            "first with finetui export.",
            setting="adapter_name_or_path",
        )
    return None


def new_adapter_needs_one(config: RunConfig) -> Problem | None:
    """Merging the given adapters first means nothing where none is given."""
    if config.create_new_adapter and not config.adapter_name_or_path:
        return Problem(
            "create_new_adapter merges the given adapters first, but none is given.",
            hint="Name one in adapter_name_or_path, or switch create_new_adapter off.",
            setting="create_new_adapter",
        )
    return None


def freeze_trains_something(config: RunConfig) -> Problem | None:
    """Freeze with zero blocks and no further module leaves nothing to train."""
    if (
        config.finetuning_type == "freeze"
        and config.freeze_trainable_layers == 0
        and not config.freeze_extra_modules
        and not config.use_llama_pro
    ):
        return Problem(
            "With 0 trainable layers and no extra modules nothing would be trained.",
            hint="Set freeze_trainable_layers to 2, or to −2 for the first two blocks.",
            setting="freeze_trainable_layers",
        )
    return None


RULES = (
    ("16", adapter_needs_its_method),
    ("o1", new_adapter_needs_one),
    ("o2", freeze_trains_something),
)


def alpha_follows_rank(config: RunConfig) -> Problem | None:
    """A rank that was raised while alpha stayed weakens the adapter."""
    plain = config.finetuning_type == "lora" and not config.use_rslora
    if plain and config.alpha < config.lora_rank:
        return Problem(
            f"lora_alpha is {config.alpha} with rank {config.lora_rank}: the adapter is scaled "
            f"down to {config.alpha / config.lora_rank:.2g}.",
            hint="Usual is 1 to 2 times the rank; left empty it is twice the rank.",
            setting="lora_alpha",
        )
    return None


REMARKS = (alpha_follows_rank,)
