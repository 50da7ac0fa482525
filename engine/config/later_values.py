"""Values of settings that are here, whose meaning is not here, or not yet."""

from __future__ import annotations

_AS_STORED = (
    "weights aren't put into this form on loading: leave quantization_method out for a checkpoint "
    "that is in it already (its config.json says so), else set bnb with quantization_bit 4 or 8"
)

# setting → value → the end of the sentence "it is …: ".
LATER_VALUES: dict[str, dict[str, str]] = {
    "fp8_backend": {
        "te": "Transformer Engine puts layers of its own in the model, which LoRA and safetensors "
        "files don't know; torchao computes in FP8 too",
        "msamp": "MS-AMP is no longer kept up; torchao computes in FP8 too",
    },
    "quantization_method": {
        **{name: _AS_STORED for name in ("gptq", "awq", "aqlm", "mxfp4", "fp8")},
        "quanto": "quanto isn't used here: set bnb with quantization_bit 4 or 8, or hqq",
        "eetq": "EETQ has no distribution that installs: set bnb with quantization_bit 8",
    },
    "optim": {"adamw_apex_fused": "transformers no longer has it: adamw_torch_fused does the same"},
    "train_sampling_strategy": {
        "batch_rebalance": "it isn't in the trainer of this version; group_by_length is near"
    },
}
