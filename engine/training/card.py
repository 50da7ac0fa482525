"""The model card of a run: README.md with the front matter that the hub reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.config.method import ADAPTER_METHODS, WRITING_STAGES

if TYPE_CHECKING:
    from engine.config import RunConfig


_VARIANTS = ("use_rslora", "use_dora", "pissa_init", "loftq_init", "use_llama_pro")


def model_card(
    config: RunConfig, name: str, base: str, counts: Mapping[str, int], results: Mapping[str, Any]
) -> str:
    """The card of the run called `name` on the model `base`.

    `counts` are the rows of each set, `results` the numbers of `all_results.json`.
    """
    import yaml

    lora, scores = config.finetuning_type == "lora", config.stage == "rm"
    adapter = config.finetuning_type in ADAPTER_METHODS
    front: dict[str, Any] = {
        "library_name": "peft" if adapter else "transformers",
        "base_model": base,
        "tags": ["finetui", config.stage, config.finetuning_type],
        # The hub has no task for a score of one number; classification is how they are served.
        "pipeline_tag": "text-classification" if scores else "text-generation",
    }
    settings = {
        "learning rate": f"{config.learning_rate:g}",
        "scheduler": config.lr_scheduler_type,
        "epochs": f"{config.num_train_epochs:g}" if config.max_steps < 0 else None,
        "steps": None if config.max_steps < 0 else str(config.max_steps),
        "micro-batch × accumulation": f"{config.per_device_train_batch_size} × "
        f"{config.gradient_accumulation_steps}",
        "optimiser": config.optim,
        "cutoff": f"{config.cutoff_len} tokens",
        "LoRA rank, alpha": f"{config.lora_rank}, {config.alpha}" if lora else None,
        "variants of LoRA": ", ".join(name for name in _VARIANTS if getattr(config, name)) or None,
        "OFT blocks": _oft_blocks(config) if config.finetuning_type == "oft" else None,
        "preference loss": config.pref_loss if config.stage == "dpo" else None,
        "beta": f"{config.pref_beta:g}" if config.stage in ("dpo", "kto") else None,
        "reward functions": config.reward_funcs if config.stage in WRITING_STAGES else None,
        "seed": str(config.seed),
    }
    lines = [
        "---",
        yaml.safe_dump(front, sort_keys=False, allow_unicode=True).strip(),
        "---",
        "",
        f"# {_plain(name)}",
        "",
        f"{_plain(base)}, fine-tuned with {config.stage} ({config.finetuning_type}) by finetui.",
    ]
    if adapter:
        lines.append("This is an adapter: it is loaded on top of the base model.")
    if lora and config.use_llama_pro:
        lines.append(
            "Its base first gets new blocks (block_expansion.json): finetui adds them itself; for "
            "other tools, export it to a whole model."
        )
    if config.pissa_init:
        lines.append(
            "Its start was taken out of the base (PiSSA): finetui does that again from pissa_init; "
            "for other tools, take pissa_converted (pissa_convert) or export it to a whole model."
        )
    if scores:
        lines.append("It is a reward model: it gives a conversation one number and writes none.")
    lines += ["", "## Data", "", "| set | rows |", "| --- | --- |"]
    lines += [f"| {_plain(set_name)} | {rows} |" for set_name, rows in counts.items()]
    lines += ["", "## Settings", "", "| setting | value |", "| --- | --- |"]
    lines += [f"| {key} | {_plain(value)} |" for key, value in settings.items() if value]
    lines += ["", "All of them stand in `training_args.yaml`.", ""]
    if results:
        lines += ["## Results", "", "| measure | value |", "| --- | --- |"]
        lines += [
            f"| {key} | {value:.6g} |" if isinstance(value, float) else f"| {key} | {value} |"
            for key, value in results.items()
        ]
        lines.append("")
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Text from outside in one line of a Markdown table, nothing of it read as markup."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    for mark in "\\`*_{}[]<>|#":
        flat = flat.replace(mark, f"\\{mark}")
    return flat


def _oft_blocks(config: RunConfig) -> str:
    if config.oft_rank:
        return f"{config.oft_rank} a layer"
    return f"of {config.oft_block_size} features"
