"""RunConfig -> the trainer's own arguments, of whichever class its stage takes."""

from __future__ import annotations

from dataclasses import field, make_dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from engine.config.method import WRITING_STAGES
from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.models.precision import Precision

# Settings that carry the same name and meaning there.
_SAME = (
    "per_device_train_batch_size",
    "per_device_eval_batch_size",
    "gradient_accumulation_steps",
    "num_train_epochs",
    "max_steps",
    "learning_rate",
    "lr_scheduler_type",
    "lr_scheduler_kwargs",
    "optim",
    "optim_args",
    "weight_decay",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "max_grad_norm",
    "label_smoothing_factor",
    "neftune_noise_alpha",
    "logging_steps",
    "logging_first_step",
    "save_strategy",
    "save_steps",
    "save_only_model",
    "eval_strategy",
    "eval_steps",
    "eval_on_start",
    "include_num_input_tokens_seen",
    "load_best_model_at_end",
    "metric_for_best_model",
    "greater_is_better",
    "seed",
    "data_seed",
    "run_name",
)
# Passed-on keys that only mean something with loader workers, or that finetui does itself.
_OURS = (
    "dataloader_prefetch_factor",
    "dataloader_persistent_workers",
    "dataloader_multiprocessing_context",
    "restore_callback_states_from_checkpoint",
    "bf16_full_eval",
    "fp16_full_eval",
    "label_names",
    "length_column_name",
)


@cache
def arguments_class(kind: type) -> Any:
    """A class of arguments (TRL's or transformers') that keeps to one chosen device: never
    several behind the caller's back (DataParallel)."""

    def _setup_devices(self: Any) -> torch.device:
        found: torch.device = kind._setup_devices.func(self)  # type: ignore[attr-defined]
        self._n_gpu = min(getattr(self, "_n_gpu", 1), 1)
        if self.device_name == "cpu":
            return found
        device = torch.device(self.device_name)
        torch.cuda.set_device(device)
        return device

    devices = cached_property(_setup_devices)
    devices.__set_name__(kind, "_setup_devices")
    return make_dataclass(
        kind.__name__,
        [("device_name", str, field(default="cpu"))],
        bases=(kind,),
        namespace={"_setup_devices": devices, "__doc__": kind.__doc__},
    )


def training_arguments(
    kind: type,
    config: RunConfig,
    folder: Path,
    precision: Precision,
    device: str,
    checkpointing: bool,
    **more: Any,
) -> Any:
    """The arguments of a run into `folder`, of class `kind`; `more` is the stage's own.

    bf16 is not asked for here: the trainer opens that autocast itself, around exactly the forward
    pass. fp16 is, as it needs accelerate's gradient scaler. Raises BadInput where they are refused.
    """
    values: dict[str, Any] = {name: getattr(config, name) for name in _SAME}
    values |= {key: value for key, value in config.passed_on.items() if key not in _OURS}
    if config.stage in WRITING_STAGES:
        # The policy would be compared with its reference through the noise.
        values["neftune_noise_alpha"] = None
    watches_best = config.eval_strategy != "no"
    if watches_best and not config.metric_for_best_model:
        values["metric_for_best_model"] = "loss"
    values |= {
        "output_dir": str(folder),
        "warmup_steps": config.warmup,
        "use_cpu": device == "cpu",
        "device_name": device,
        "bf16": False,
        "fp16": precision.autocast == "fp16",
        "activation_checkpointing": checkpointing,
        # transformers' own way of what unsloth made known: checkpoints in pinned CPU memory.
        "activation_checkpointing_kwargs": {"offload": True} if config.use_unsloth_gc else None,
        "gradient_checkpointing": None,
        "logging_nan_inf_filter": False,
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        # Rows are encoded already, so a worker has nothing to do; forked ones would also get the
        # terminal's Ctrl+C and die before the run has saved.
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": device != "cpu",
        "use_cache": True,  # for the saved config; training passes use_cache=False itself
        **more,
    }
    try:
        return arguments_class(kind)(**values)
    except ValueError as error:
        raise BadInput(
            Problem(
                f"The trainer refuses these settings: {str(error).splitlines()[0]}",
                where="settings",
                hint="Change the setting that it names.",
            )
        ) from error
