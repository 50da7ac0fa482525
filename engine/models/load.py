"""A checked folder turned into a tokenizer and a model. torch and transformers live in here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from engine.models.adapter_start import (
    Start,
    read_start,
    remember_start,
    same_decomposition,
    take_out,
)
from engine.models.blocks import expand_as, read_expansion, remember_expansion
from engine.models.folder import check_adapter
from engine.models.load_problems import code_hint, first_line, model_problem
from engine.models.precision import Precision, torch_dtype
from engine.models.score_head import (
    SCORE,
    has_score_head,
    put_head,
    refuse_reward_model,
    score_layer,
)
from engine.models.value_head import read_value_head
from engine.models.vocabulary import fit_vocabulary
from engine.models.weights_fit import refuse_unfit
from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


def load_tokenizer(
    folder: Path, trust_remote_code: bool = False, split_special_tokens: bool = False
) -> PreTrainedTokenizerFast:
    """The tokenizer of a model folder; one without a padding token pads with its end token.

    With `split_special_tokens` it reads special tokens in a text as ordinary text.
    Raises `BadInput` where the tokenizer's files can't be used.
    """
    from transformers import AutoTokenizer

    more = {"split_special_tokens": True} if split_special_tokens else {}
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=trust_remote_code, **more
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise BadInput(
            Problem(
                f"The tokenizer can't be loaded: {first_line(error)}",
                str(folder),
                code_hint(error) or "Copy tokenizer.json and tokenizer_config.json again.",
                "model_name_or_path",
            )
        ) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    loaded: PreTrainedTokenizerFast = tokenizer
    return loaded


def load_model(
    folder: Path,
    config: Any,
    precision: Precision,
    device: str,
    for_training: bool,
    head: Literal["language", "score"] = "language",
    adapters: Sequence[Path] = (),
) -> PreTrainedModel:
    """The model in `precision.weights` on `device`, in eval mode, from safetensors only.

    Weights that are stored in the wanted type stay mapped to the file on a CPU. Which weights are
    trained is the method's business: `requires_grad` is left as it comes. With `head` "score" it is
    a reward model (`engine.models.score_head`): its head is the folder's, from the weights or from
    `value_head.safetensors`, or a new random one, and always in fp32. `adapters` are those that
    will be laid over it: they may have been trained on scaled positions. Raises `BadInput` for an
    architecture that transformers does not know, one whose code is not trusted, weights that lack
    what config.json describes, and for a reward model where a language model is asked for.
    """
    from engine.models.computing import from_scratch, plan_computing, ready_to_compute
    from engine.models.kinds import model_class
    from engine.models.mapped import exact_memory, let_file_go
    from engine.models.quantise import quantisation_options, quantise_linears

    plan = plan_computing(folder, config, device, for_training, adapters)
    options: dict[str, Any] = {
        "dtype": torch_dtype(precision.weights),
        **plan.options,
        **quantisation_options(folder, config, precision, device, for_training),
        "use_safetensors": True,
        "local_files_only": True,
        "trust_remote_code": bool(config.trust_remote_code),
    }
    if device != "cpu":
        options.setdefault("device_map", {"": device})
    if head == "score":
        options["num_labels"] = 1
    else:
        refuse_reward_model(folder)
    packs = config.quantization_bit is not None and device == "cpu"
    with exact_memory(packs):
        try:
            kind: Any = model_class(folder, head)
            if for_training and config.train_from_scratch:
                model: Any = from_scratch(kind, folder, options, device)
            else:
                # transformers raises without saying where; `refuse_unfit` names the place.
                told = {"output_loading_info": True, "ignore_mismatched_sizes": True}
                model, fits = kind.from_pretrained(str(folder), **options, **told)
                refuse_unfit(model, fits, folder)
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise BadInput(model_problem(error, folder)) from error
        if head == "score":
            _ready_to_score(model, folder)
        model = quantise_linears(model, config, precision, device, for_training)
        if packs:
            let_file_go(model)
    ready_to_compute(model, config, for_training, plan)
    model.config.use_cache = bool(config.use_kv_cache) and not for_training
    model.eval()
    loaded: PreTrainedModel = model
    return loaded


def _ready_to_score(model: Any, folder: Path) -> None:
    """The head in fp32, the folder's own where it lies beside the weights; a padding token."""
    import torch

    layer = score_layer(model)
    layer.to(torch.float32)
    stored = read_value_head(folder)
    if stored is not None:
        put_head(model, *stored)
    text = model.config.get_text_config()
    if text.pad_token_id is None:
        ends = text.eos_token_id
        text.pad_token_id = ends[0] if isinstance(ends, list) else ends


def load_with_adapter(
    folder: Path,
    adapters: str | Path | list[Path],
    config: Any,
    precision: Precision,
    device: str,
    trainable: bool,
) -> Any:
    """Base plus adapter as a `PeftModel`; several adapters are merged in order but for the last.

    `adapters` is a path, several, or a comma list of them. With `trainable` the last one's weights
    train on, in fp32 unless `precision.trained` is bf16. Raises `BadInput` for a folder that is no
    adapter, or one that does not fit this base.
    """
    folders = adapter_folders(adapters)
    for adapter in folders:
        check_adapter(adapter)
    model: Any = load_model(
        folder, config, precision, device, for_training=trainable, adapters=folders
    )
    return attach_adapters(model, folders, precision, trainable)


def attach_adapters(model: Any, folders: list[Path], precision: Precision, trainable: bool) -> Any:
    """The adapters in `folders` put onto a loaded base; all but the last are merged into it.

    What an adapter was trained on beside the plain base is made again first: a base without
    PiSSA's start, or with LLaMA Pro's new blocks. On a reward model an adapter brings its head
    too, in its weights or as `value_head.safetensors`; without one the base's is trained on.
    Raises BadInput for a reward model's adapter on a model that is none, and as
    `load_with_adapter` does.
    """
    from peft import PeftModel

    scores = has_score_head(model)
    start: Start | None = None
    places: tuple[int, ...] | None = None
    for position, adapter in enumerate(folders):
        last = position == len(folders) - 1
        if not scores:
            refuse_reward_model(adapter)
        fit_vocabulary(model, adapter)
        start = read_start(adapter)
        places = _ready_base(model, adapter, start) or places
        try:
            widened = precision.trained == "fp32" and trainable
            if scores:
                model = _attach_scoring(model, adapter, start, trainable and last, widened)
            else:
                with same_decomposition():
                    model = PeftModel.from_pretrained(
                        model,
                        str(adapter),
                        is_trainable=trainable and last,
                        autocast_adapter_dtype=widened,
                        config=_description(adapter, start),
                        local_files_only=True,
                    )
        except (RuntimeError, ValueError, KeyError, OSError, TypeError) as error:
            if "size mismatch" in str(error) or "not found in the base model" in str(error):
                what = "The adapter does not fit this base model: its shapes or modules differ."
            else:
                what = f"The adapter can't be loaded: {first_line(error)}"
            raise BadInput(
                Problem(
                    what,
                    str(adapter),
                    "Use the base named in its adapter_config.json.",
                    "adapter_name_or_path",
                )
            ) from error
        if not last:
            model = model.merge_and_unload()
    if start is not None:
        remember_start(model, start)
    if places is not None:
        remember_expansion(model, places)
    if not trainable:
        model.eval()
    return model


def _ready_base(model: Any, adapter: Path, start: Start | None) -> tuple[int, ...] | None:
    """Make the base what the adapter was trained on: with new blocks (whose places it returns),
    or without the adapter's start."""
    places = read_expansion(adapter)
    if places is not None:
        expand_as(model, places, adapter)
    if start is not None:
        take_out(model, start, adapter)
    return places


def _description(adapter: Path, start: Start | None) -> Any:
    """What peft is told of the adapter; one whose start is out of the base has no other start."""
    from peft import PeftConfig

    described: Any = PeftConfig.from_pretrained(str(adapter))
    if start is not None:
        described.init_lora_weights = True
    return described


def _attach_scoring(
    model: Any, adapter: Path, start: Start | None, trainable: bool, widened: bool
) -> Any:
    """An adapter on a reward model, the head among what it holds.

    The usual tool trains reward models as language models, with the head in a file beside the
    adapter; peft takes such adapters only with their head in place.
    """
    from peft import PeftModelForSequenceClassification, set_peft_model_state_dict
    from safetensors.torch import load_file

    described = _description(adapter, start)
    described.task_type = "SEQ_CLS"
    described.inference_mode = not trainable
    # peft adds these two for such a task, each time anew.
    whole = [name for name in described.modules_to_save or () if name not in ("classifier", SCORE)]
    described.modules_to_save = whole or None
    head = score_layer(model)
    weights = load_file(str(adapter / "adapter_model.safetensors"))
    weights.setdefault(f"base_model.model.{SCORE}.weight", head.weight.detach().cpu())
    if head.bias is not None:
        weights.setdefault(f"base_model.model.{SCORE}.bias", head.bias.detach().cpu())
    with same_decomposition():
        wrapped: Any = PeftModelForSequenceClassification(
            model, described, autocast_adapter_dtype=widened
        )
    set_peft_model_state_dict(wrapped, weights)
    stored = read_value_head(adapter)
    if stored is not None:
        put_head(wrapped, *stored)
    return wrapped


def adapter_folders(adapters: str | Path | list[Path]) -> list[Path]:
    """Paths from what adapter_name_or_path holds: one, several by comma, or a list."""
    if isinstance(adapters, Path):
        return [adapters]
    if isinstance(adapters, str):
        return [Path(part.strip()).expanduser() for part in adapters.split(",") if part.strip()]
    return list(adapters)
