"""A PiSSA adapter written again as a plain LoRA on the unchanged base (Meng et al., 2024).

W − s·B₀·A₀ + s·B·A is W + s·[B, −B₀]·[A; A₀]: a LoRA of twice the rank that any tool loads.
"""

from __future__ import annotations

import math
from pathlib import Path

from engine.models.adapter_start import CONVERTED, read_start, write_adapter
from engine.models.folder import read_json


def write_converted(run: Path) -> Path | None:
    """Write the PiSSA adapter saved in `run` as a plain LoRA into its folder `pissa_converted`.

    Whole modules, and the row lengths of DoRA, are the same in both forms. Returns the folder,
    None where `run` holds no PiSSA adapter.
    """
    import torch
    from safetensors.torch import load_file

    start = read_start(run)
    if start is None or start.kind != "pissa":
        return None
    config = read_json(run / "adapter_config.json")
    tensors = load_file(run / "adapter_model.safetensors")
    # Plain scaling, so that the file means the same to a tool that has never heard of rsLoRA.
    factor = math.sqrt(config["r"]) if config.get("use_rslora") else 1.0
    for module, (a, b) in start.halves.items():
        key = f"base_model.model.{module}"
        for ending, first, along in ((".lora_A.weight", a, 0), (".lora_B.weight", -b, 1)):
            both = torch.cat([tensors[key + ending], first], dim=along)
            tensors[key + ending] = both * factor if along else both
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
