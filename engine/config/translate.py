"""Old and renamed keys: what they become today, with one line saying so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# What a translation yields: today's keys with their values (none: the key is left out), and the
# line that says so.
Result = tuple[dict[str, Any], str]


class CantTranslate(ValueError):
    """An old key with a value that has no counterpart; the message ends "it is …: "."""


@dataclass(frozen=True)
class Translation:
    """An old key: `text` says what becomes of it, `become` turns a value into today's keys."""

    text: str
    become: Callable[[Any], Result]


def _is_true(value: Any) -> bool:
    return value is True or str(value).strip().lower() in ("true", "yes", "on", "1")


def _renamed(new: str) -> Translation:
    def become(value: Any) -> Result:
        if value is None:
            return {}, "is empty"
        return {new: value}, f"is read as {new}"

    return Translation(f"Today's name is {new}.", become)


def _left_out(why: str) -> Translation:
    return Translation(f"Not needed: {why}.", lambda value: ({}, f"is not needed: {why}"))


def _group_by_length(value: Any) -> Result:
    if _is_true(value):
        return (
            {"train_sampling_strategy": "group_by_length"},
            "is read as train_sampling_strategy: group_by_length",
        )
    return {}, "is the default today"


def _checkpointing(value: Any) -> Result:
    if value is None:
        return {}, "is on unless disable_gradient_checkpointing is set"
    off = not _is_true(value)
    return (
        {"disable_gradient_checkpointing": off},
        f"is read as disable_gradient_checkpointing: {str(off).lower()}",
    )


def _safetensors(value: Any) -> Result:
    if value is not None and not _is_true(value):
        raise CantTranslate(
            "weights are always saved as safetensors, the old format runs code on loading"
        )
    return {}, "is not needed: weights are always saved as safetensors"


def _padding(value: Any) -> Result:
    if value is not None and not _is_true(value):
        raise CantTranslate("padding can't be trained on; leave it out")
    return {}, "is always so"


def _local_rank(value: Any) -> Result:
    if str(value) not in ("-1", "0", "None"):
        raise CantTranslate("a run has one process here; leave it out")
    return {}, "is not needed: a run has one process"


def _inputs_for_metrics(value: Any) -> Result:
    if _is_true(value):
        return {"include_for_metrics": ["inputs"]}, "is read as include_for_metrics: [inputs]"
    return {}, "is the default today"


def _dispatch_batches(value: Any) -> Result:
    if value is None:
        return {}, "is the default today"
    return (
        {"accelerator_config": {"dispatch_batches": _is_true(value)}},
        "is read as accelerator_config: {dispatch_batches}",
    )


def _torchdynamo(value: Any) -> Result:
    if value in (None, "", "no"):
        return {}, "is the default today"
    return (
        {"torch_compile": True, "torch_compile_backend": str(value)},
        f"is read as torch_compile_backend: {value}",
    )


_GC = "finetui picks the variant of gradient checkpointing itself, the results are the same"
_LOADER = "rows are encoded before the first step, so no loader process is needed"
_EVAL = "evaluation has the run's own precision"
_BATCH = "the batches have the names and lengths that finetui gives them"
_OWN_LOG = "finetui keeps its own log in the run's folder"

TRANSLATIONS: dict[str, Translation] = {
    "evaluation_strategy": _renamed("eval_strategy"),
    "per_gpu_train_batch_size": _renamed("per_device_train_batch_size"),
    "per_gpu_eval_batch_size": _renamed("per_device_eval_batch_size"),
    "checkpoint_dir": _renamed("adapter_name_or_path"),
    "hub_token": _renamed("hf_hub_token"),
    "generation_num_beams": _renamed("num_beams"),
    "eval_num_beams": _renamed("num_beams"),
    "no_cuda": _renamed("use_cpu"),
    "use_liger_kernel": _renamed("enable_liger_kernel"),
    "group_by_length": Translation(
        "Today's name is train_sampling_strategy: group_by_length.", _group_by_length
    ),
    "gradient_checkpointing": Translation(
        "Becomes disable_gradient_checkpointing, the other way round.", _checkpointing
    ),
    "activation_checkpointing": Translation(
        "Becomes disable_gradient_checkpointing, the other way round.", _checkpointing
    ),
    "gradient_checkpointing_kwargs": _left_out(_GC),
    "activation_checkpointing_kwargs": _left_out(_GC),
    "use_reentrant_gc": _left_out(_GC),
    "save_safetensors": Translation("Not needed: weights are always safetensors.", _safetensors),
    "logging_dir": _left_out(_OWN_LOG),
    "logging_nan_inf_filter": _left_out(
        "losses that are not finite are never hidden, the run ends and says why"
    ),
    "dataloader_prefetch_factor": _left_out(_LOADER),
    "dataloader_persistent_workers": _left_out(_LOADER),
    "dataloader_multiprocessing_context": _left_out(_LOADER),
    "dataloader_pin_memory": _left_out(_LOADER),
    "dataloader_in_order": _left_out(_LOADER),
    "ignore_pad_token_for_loss": Translation("Padding is never trained on.", _padding),
    "bf16_full_eval": _left_out(_EVAL),
    "fp16_full_eval": _left_out(_EVAL),
    "label_names": _left_out(_BATCH),
    "length_column_name": _left_out(_BATCH),
    "restore_callback_states_from_checkpoint": _left_out("a resumed run restores its own state"),
    "disable_tqdm": _left_out("finetui shows the progress itself"),
    "remove_unused_columns": _left_out("the batches hold only what training needs"),
    "include_tokens_per_second": _left_out("throughput is always logged"),
    "include_effective_tokens_per_second": _left_out(
        "throughput always counts real tokens, without padding"
    ),
    "low_cpu_mem_usage": _left_out("weights are always loaded lean"),
    "use_fast_tokenizer": _left_out("tokenizers are always the fast ones"),
    "data_shared_file_system": _left_out("one process prepares the data"),
    "local_rank": Translation("Not needed: a run has one process.", _local_rank),
    "include_inputs_for_metrics": Translation(
        "Today's name is include_for_metrics: [inputs].", _inputs_for_metrics
    ),
    "dispatch_batches": Translation("Part of accelerator_config today.", _dispatch_batches),
    "torchdynamo": Translation(
        "Today's names are torch_compile and torch_compile_backend.", _torchdynamo
    ),
}

# Keys that keep their name while one form of their value is an old one.
_OLD_ATTENTION = {"off": "disabled", "false": "disabled", "true": "auto", "on": "auto"}
_OLD_OPTIMISERS = {
    "adamw_hf": "adamw_torch",
    "adamw_8bit": "adamw_bnb_8bit",
    "paged_adamw": "paged_adamw_32bit",
    "lion": "lion_32bit",
}


def today(key: str, value: Any) -> tuple[dict[str, Any], str] | None:
    """Today's form of a key with a value; None where it is today's already.

    `warmup_steps` below 1 is a share of the run, which the form calls warmup_ratio. Raises
    CantTranslate for a value that has no counterpart.
    """
    if key in TRANSLATIONS:
        return TRANSLATIONS[key].become(value)
    if key == "flash_attn":
        word = str(value).lower()
        if word in _OLD_ATTENTION:
            return {key: _OLD_ATTENTION[word]}, f"{value} is read as {_OLD_ATTENTION[word]}"
    if key == "optim" and str(value) in _OLD_OPTIMISERS:
        new = _OLD_OPTIMISERS[str(value)]
        return {key: new}, f"{value} is read as {new}"
    if key == "stage" and str(value) in ("orpo", "simpo"):
        became = {key: "dpo", "pref_loss": value}
        return became, f"{value} is read as stage: dpo, pref_loss: {value}"
    if key == "warmup_steps" and not isinstance(value, bool):
        try:
            share = float(value)
        except (TypeError, ValueError):
            return None
        if 0 < share < 1:
            return {"warmup_ratio": share}, f"{share:g} is a share: read as warmup_ratio"
    if key == "warmup_ratio":
        return {key: value}, "is given to the trainer as warmup_steps below 1, its name today"
    return None
