"""Keys that a later version brings: refused for now, saying what to do meanwhile."""

from __future__ import annotations

from engine.config.absent_keys import Absent

NOT_YET: tuple[Absent, ...] = (
    Absent(
        "the sound track of videos",
        "Meanwhile give the sound as a file of its own, in the column audios.",
        {"use_audio_in_video": False},
    ),
    Absent(
        "vLLM and other chat engines",
        "Meanwhile chat and prediction run on transformers (infer_backend: huggingface).",
        {
            "infer_backend": "huggingface",
            "vllm_maxlen": 4096,
            "vllm_gpu_util": 0.7,
            "vllm_enforce_eager": False,
            "vllm_max_lora_rank": 32,
            "vllm_config": None,
        },
    ),
    Absent(
        "the export of quantised models",
        "Meanwhile export in full precision.",
        {
            "export_quantization_bit": None,
            "export_quantization_dataset": None,
            "export_quantization_nsamples": 128,
            "export_quantization_maxlen": 1024,
        },
    ),
    Absent(
        "publishing to the hub",
        "Meanwhile export to a folder and upload it with the hub's own command.",
        {
            "export_hub_model_id": None,
            "push_to_hub": False,
            "hub_model_id": None,
            "push_to_hub_model_id": None,
            "push_to_hub_organization": None,
            "push_to_hub_token": None,
            "hub_strategy": "every_save",
            "hub_private_repo": None,
            "hub_always_push": False,
            "hub_revision": None,
        },
    ),
    Absent(
        "variants of LoRA",
        "Meanwhile plain LoRA with a higher rank or learning rate comes near.",
        {},
    ),
    Absent(
        "several GPUs",
        "Meanwhile a run takes one: choose it with device: cuda:1.",
        {
            "deepspeed": None,
            "fsdp": None,
            "fsdp_config": None,
            "parallelism_config": None,
            "fp8_enable_fsdp_float8_all_gather": False,
        },
    ),
    Absent(
        "the search for a batch size that fits",
        "Meanwhile lower per_device_train_batch_size.",
        {"auto_find_batch_size": False},
    ),
    Absent(
        "generation settings from a file",
        "Meanwhile set temperature, top_p and the others by name.",
        {"generation_config": None},
    ),
    Absent(
        "profiles of a run",
        "Meanwhile the screen shows throughput and memory.",
        {
            "enable_torch_profiler": False,
            "profiler_output_dir": None,
            "profiler_wait_steps": 1,
            "profiler_warmup_steps": 1,
            "profiler_active_steps": 1,
            "profiler_repeat": 1,
            "profiler_record_shapes": True,
            "profiler_profile_memory": True,
            "profiler_with_stack": True,
            "profile_modules": None,
        },
    ),
    Absent(
        "benchmarks",
        "Meanwhile evaluate on your own rows with do_eval or do_predict.",
        {
            "task": None,
            "task_dir": "evaluation",
            "batch_size": 4,
            "lang": "en",
            "n_shot": 5,
            "save_dir": None,
            "download_mode": "reuse_dataset_if_exists",
        },
    ),
)
