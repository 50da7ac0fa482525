"""A GGUF turned into a normal Hugging Face folder: bf16 safetensors, tokenizer, chat template.

This is the one place that works around what transformers 5.24 does with a GGUF: it keeps the
quantizer's state on the model, reads norms' epsilon with float32's digits, and knows only the
GPT-2 splitting of text, whatever `tokenizer.ggml.pre` says.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.problem import JobFault, Problem

Progress = Callable[[str, float, float, str], None]

_CONVERTING = "Converting the demo model"
_STEPS = 5


def convert_gguf(
    gguf: Path, folder: Path, progress: Progress, check_stop: Callable[[], object]
) -> None:
    """Write the model in `gguf` to the new `folder`.

    Weights are unpacked in fp32 and rounded to bf16 once. Raises `JobFault` where the result does
    not hang together (vocabulary against embedding, tied embeddings).
    """

    def step(done: int) -> None:
        check_stop()
        progress(_CONVERTING, done, _STEPS, "steps")

    step(0)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    step(1)
    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    _split_like_llama_cpp(tokenizer, _pre_tokenizer_name(gguf))
    step(2)
    model: Any = AutoModelForCausalLM.from_pretrained(
        str(gguf.parent),
        gguf_file=gguf.name,
        dtype=torch.float32,
        # Asked for by name: otherwise a machine with `kernels` installed looks for one on the hub.
        quantization_config=GgufConfig(dequantize=True),
    )
    _strip_quantizer(model)
    _check(model, tokenizer, gguf)
    model.to(torch.bfloat16)
    step(3)
    model.config.rms_norm_eps = float(f"{model.config.rms_norm_eps:.3g}")
    model.generation_config.bos_token_id = tokenizer.bos_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(str(folder))
    step(4)
    tokenizer.model_max_length = model.config.max_position_embeddings
    tokenizer.save_pretrained(str(folder))
    _tidy_json(folder)
    step(_STEPS)


def _pre_tokenizer_name(gguf: Path) -> str:
    """`tokenizer.ggml.pre` of the file: which splitting of text its vocabulary was made with."""
    from gguf import GGUFReader

    field = GGUFReader(gguf).get_field("tokenizer.ggml.pre")
    return "" if field is None else str(field.contents())


def _split_like_llama_cpp(tokenizer: Any, name: str) -> None:
    """Put back the splitting of digits that SmolLM was trained with (llama.cpp: `smollm`).

    Without it two spaces before a digit become two tokens where training saw one.
    """
    if name != "smollm":
        return
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

    tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False, use_regex=True)]
    )


def _strip_quantizer(model: Any) -> None:
    """Take off what would make `save_pretrained` refuse, or write a quantisation that is gone."""
    for name in ("hf_quantizer", "quantization_method"):
        if hasattr(model, name):
            delattr(model, name)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.is_quantized = False


def _check(model: Any, tokenizer: Any, gguf: Path) -> None:
    rows = model.get_input_embeddings().weight.shape[0]
    if rows < len(tokenizer) or rows != model.config.vocab_size:
        raise JobFault(
            Problem(
                f"The model has {rows} embeddings, its config says {model.config.vocab_size} and "
                f"the tokenizer knows {len(tokenizer)} tokens.",
                gguf.name,
                "Another version of transformers may read this file wrongly.",
            )
        )
    shared = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    if model.config.tie_word_embeddings and not shared:
        raise JobFault(
            Problem(
                "The output layer should share the embedding's weights and does not.",
                gguf.name,
                "Another version of transformers may read this file wrongly.",
            )
        )
    if tokenizer.chat_template is None:
        raise JobFault(Problem("The GGUF carries no chat template.", gguf.name))


def _tidy_json(folder: Path) -> None:
    """Remove keys that tell of this conversion and not of the model; name the tokenizer's class.

    `TokenizersBackend` is what transformers 5 calls `PreTrainedTokenizerFast`; version 4 and other
    tools know only the older name.
    """
    for name, unwanted in (
        ("config.json", ("_name_or_path", "_model_name_or_path", "quantization_config")),
        ("tokenizer_config.json", ("is_local", "local_files_only")),
    ):
        file = folder / name
        content = json.loads(file.read_text(encoding="utf-8"))
        for key in unwanted:
            content.pop(key, None)
        if content.get("tokenizer_class") == "TokenizersBackend":
            content["tokenizer_class"] = "PreTrainedTokenizerFast"
        text = json.dumps(content, indent=2, ensure_ascii=False)
        file.write_text(text + "\n", encoding="utf-8")
