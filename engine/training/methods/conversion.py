"""A PiSSA adapter written again as a plain LoRA on the unchanged base (Meng et al., 2024).

W − s·B₀·A₀ + s·B·A is W + s·[B, −B₀]·[A; A₀]: a LoRA of twice the rank that any tool loads.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from engine.models.adapter_start import CONVERTED, Start, write_adapter


def write_converted(model: Any, start: Start, run: Path) -> Path:
    """Write the trained adapter of `model` as a plain LoRA into the run's `pissa_converted`.

    Whole modules, and the row lengths of DoRA, are the same in both forms. Returns the folder.
    """
    import torch
    from peft import get_peft_model_state_dict

    (name,) = model.active_adapters
    tensors = dict(get_peft_model_state_dict(model, adapter_name=name))
    # Plain scaling, so that the file means the same to a tool that has never heard of rsLoRA.
    factor = math.sqrt(model.peft_config[name].r) if start.config.get("use_rslora") else 1.0
    for module, (a, b) in start.halves.items():
        key = f"base_model.model.{module}"
        for ending, first, along in ((".lora_A.weight", a, 0), (".lora_B.weight", -b, 1)):
            trained = tensors[key + ending].detach().cpu()
            both = torch.cat([trained, first.to(trained.dtype)], dim=along)
            tensors[key + ending] = both * factor if along else both
    config = model.peft_config[name].to_dict()
    config |= {
        "init_lora_weights": True,
        "use_rslora": False,
        "inference_mode": True,
        "r": 2 * config["r"],
        "lora_alpha": 2 * config["lora_alpha"],
    }
    folder = run / CONVERTED
    write_adapter(folder, tensors, config)
    return folder
