"""Keys of what finetui does not run, or of dropped libraries: refused, saying what to use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Absent:
    """A group of refused keys: what they belong to, and what does the same meanwhile.

    `defaults` maps each key to its default, at which it is accepted; a tuple holds several values
    that come to the same.
    """

    what: str
    instead: str
    defaults: dict[str, Any]

    @property
    def text(self) -> str:
        """Both in one line, for the reference."""
        return f"Belongs to {self.what}. {self.instead}"


NOT_HERE: tuple[Absent, ...] = (
    Absent(
        "Megatron Bridge",
        "finetui trains with the Hugging Face trainer; leave it out.",
        {
            "use_mca": False,
            "use_megatron_bridge": False,
            "tensor_model_parallel_size": 1,
            "pipeline_model_parallel_size": 1,
            "expert_model_parallel_size": 1,
            "context_parallel_size": 1,
            "virtual_pipeline_model_parallel_size": None,
            "sequence_parallel": False,
            "recompute_granularity": None,
            "recompute_method": None,
            "recompute_num_layers": None,
            "account_for_embedding_in_pipeline_split": None,
            "account_for_loss_in_pipeline_split": None,
            "bias_activation_fusion": None,
            "apply_rope_fusion": None,
            "masked_softmax_fusion": None,
            "cross_entropy_loss_fusion": None,
            "moe_grouped_gemm": None,
            "moe_token_dispatcher_type": None,
            "calculate_per_token_loss": None,
            "use_distributed_optimizer": True,
            "overlap_param_gather": True,
            "overlap_grad_reduce": True,
            "use_packed_sequences": False,
            "mixed_precision": "bf16_mixed",
            "megatron_pretrained_checkpoint": None,
            "export_hf_on_finish": False,
            "extra_config": None,
            "megatron_bridge_args": None,
        },
    ),
    Absent(
        "KTransformers",
        "finetui trains on one GPU or the CPU; leave it out.",
        {
            "use_kt": False,
            "kt_config": None,
            "kt_cpu_activation": None,
            "kt_weight_path": None,
            "kt_non_expert_weight_path": None,
            "kt_expert_checkpoint_path": None,
            "kt_use_lora_experts": None,
            "kt_lora_expert_num": None,
            "kt_lora_expert_intermediate_size": None,
        },
    ),
    Absent(
        "HyperParallel",
        "finetui trains on one GPU or the CPU; leave it out.",
        {
            "use_hyper_parallel": False,
            "hyper_parallel_args": None,
            "hyper_parallel_cp_size": 1,
        },
    ),
    Absent(
        "Ray",
        "Start one finetui a machine instead.",
        {
            "ray_num_workers": 1,
            "ray_init_kwargs": None,
            "master_addr": None,
            "master_port": None,
        },
    ),
    Absent(
        "SGLang",
        "Chat and prediction run on transformers (infer_backend: huggingface).",
        {
            "sglang_maxlen": 4096,
            "sglang_mem_fraction": 0.7,
            "sglang_tp_size": -1,
            "sglang_config": None,
            "sglang_lora_backend": "triton",
        },
    ),
    Absent(
        "mixture-of-depth, a package that is no longer kept up",
        "Train the model as it is.",
        {"mixture_of_depths": None},
    ),
    Absent(
        "a newer trainer that is not the Hugging Face one",
        "PyTorch's fused kernels are used by themselves.",
        {"use_v1_kernels": False},
    ),
    Absent(
        "unsloth, whose newest release asks for older transformers, TRL and datasets than finetui",
        "Its main parts are here: enable_liger_kernel, flash_attn: auto and use_unsloth_gc.",
        {"use_unsloth": False},
    ),
    Absent(
        "models that are left on the disk in part",
        "A model is loaded whole; quantization_bit makes it smaller.",
        {"offload_folder": "offload"},
    ),
    Absent("the Modelers hub", "Download the model and give its folder.", {"om_hub_token": None}),
    Absent(
        "the old weights format, which runs code on loading",
        "Exports are safetensors.",
        {"export_legacy_format": False},
    ),
    Absent(
        "what finetui works out itself",
        "Leave it out.",
        {
            "compute_dtype": None,
            "device_map": None,
            "model_max_length": None,
            "block_diag_attn": False,
        },
    ),
    Absent(
        "encoder-decoder training",
        "The longest answer is max_new_tokens; group_by_length sorts rows.",
        {"sortish_sampler": False, "generation_max_length": None},
    ),
    Absent(
        "the trainer's own key-value cache, which leaks between packed rows",
        "use_kv_cache is the one of generation.",
        {"use_cache": False},
    ),
    Absent(
        "the trainer's own signal handling",
        "finetui saves a checkpoint on SIGTERM, SIGHUP and Ctrl+C by itself.",
        {"enable_jit_checkpoint": False},
    ),
    Absent(
        "hardware or libraries that today's trainer dropped",
        "Leave it out; bf16, fp16 and device choose precision and place.",
        {
            "half_precision_backend": "auto",
            "fp16_backend": "auto",
            "fp16_opt_level": "O1",
            "use_mps_device": False,
            "use_ipex": False,
            "past_index": -1,
            "jit_mode_eval": False,
            "tpu_num_cores": None,
            "tpu_metrics_debug": False,
            "mp_parameters": "",
            "ray_scope": "last",
            "sharded_ddp": "",
            "split_batches": None,
            "fsdp_transformer_layer_cls_to_wrap": None,
            "fsdp_min_num_params": 0,
        },
    ),
)
