"""A model made ready to answer or to be measured: base, base plus adapter, or a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from engine.models.adapter_start import read_start
from engine.models.card import stored_dtype, text_config
from engine.models.changed_base import changes_its_base
from engine.models.computing import computing_notes
from engine.models.device import choose_device
from engine.models.folder import adapter_base, check_adapter, read_json
from engine.models.load import adapter_folders, attach_adapters, load_model
from engine.models.locate import resolve
from engine.models.precision import Precision, choose_precision
from engine.models.processor import Media, see_through
from engine.models.quantised.stored import check_stored
from engine.models.rope import context_of
from engine.models.score_head import holds_head, refuse_reward_model
from engine.models.vocabulary import grow_embeddings
from engine.problem import BadInput, Problem
from engine.runs.checkpoints import newest_complete
from engine.runs.session import JobSession

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.datasets import Encoder


@dataclass(frozen=True)
class Sources:
    """Where weights come from: the folder of a whole model, and adapters to lay over it."""

    name: str
    folder: Path
    adapters: tuple[Path, ...]


@dataclass(frozen=True)
class Loaded:
    """A model in eval mode on `device`, and the encoder that writes texts as it was trained on.

    `eos_ids` are all ids that end an answer; `context` is the most tokens the model can attend
    to, None where its config doesn't say. `media` reads the media of a model that takes some.
    """

    sources: Sources
    model: Any
    encoder: Encoder
    device: str
    precision: Precision
    eos_ids: tuple[int, ...]
    context: int | None
    media: Media | None = None


def find_sources(config: RunConfig, session: JobSession) -> Sources:
    """The folders that `model_name_or_path` and `adapter_name_or_path` stand for.

    A run folder whose run never ended stands for its newest whole checkpoint. A full or freeze
    checkpoint given as the adapter takes the place of the model. Raises BadInput.
    """
    given = [_whole(folder, session) for folder in adapter_folders(",".join(config.adapters))]
    if len(given) == 1 and not _is_adapter(given[0]) and (given[0] / "config.json").is_file():
        found = resolve(str(given[0]), config)
        return Sources(given[0].name, found.path, ())
    for adapter in given:
        check_adapter(adapter)
    found = resolve(
        config.model_name_or_path or "",
        config,
        progress=session.progress,
        check_stop=session.control.check,
    )
    return Sources(found.name, found.path, tuple(given))


def load_for_inference(
    config: RunConfig, session: JobSession, head: Literal["language", "score"] = "language"
) -> Loaded:
    """Load what `config` names, in the precision of `infer_dtype`, saying so on the way.

    With `head` "score" it is a reward model. Imports torch, transformers and, for an adapter, peft.
    Raises BadInput for what can't be loaded, and for a model with the other head; Stopped once
    asked to stop.
    """
    sources = find_sources(config, session)
    _check_head(sources, head)
    label = f"loading {sources.name}"
    session.progress(label, 0, 3, "parts")
    for note in check_stored(sources.folder, config, for_training=False):
        session.say(note, "note")
    device = choose_device(config)
    stored = stored_dtype(read_json(sources.folder / "config.json"), sources.folder)
    precision = choose_precision(config, device, for_training=False, stored_dtype=stored)
    for note in precision.notes:
        session.say(note, "note")
    encoder = _encoder(sources, config, session)
    media = see_through(encoder, sources.folder, config)
    session.progress(label, 1, 3, "parts")
    session.control.check()
    model: Any = load_model(
        sources.folder, config, precision, device, False, head, sources.adapters
    )
    for note in computing_notes(model):
        session.say(note)
    session.progress(label, 2, 3, "parts")
    session.control.check()
    if sources.adapters:
        model = attach_adapters(model, list(sources.adapters), precision, trainable=False)
    elif encoder.tokenizer.new_ids:
        for note in grow_embeddings(model, encoder.tokenizer, config):
            session.say(note)
    model.requires_grad_(False)
    if media is not None:
        media.reads_for(model)
    session.progress(label, 3, 3, "parts")
    return Loaded(
        sources,
        model,
        encoder,
        device,
        precision,
        end_ids(encoder.eos_ids, model),
        context_of(model),
        media,
    )


def without_adapter(loaded: Loaded, config: RunConfig, session: JobSession) -> Loaded | None:
    """The base under an adapter, which shares its weights with `loaded`; None where what lies
    under it is not the plain base that `config` names (several adapters, PiSSA's start, new blocks
    or new rows of the vocabulary).

    It answers as the base inside of `loaded.model.disable_adapter()` only.
    """
    sources = loaded.sources
    if len(sources.adapters) != 1 or not hasattr(loaded.model, "disable_adapter"):
        return None
    (adapter,) = sources.adapters
    if changes_its_base(adapter) or read_start(adapter) is not None:
        return None
    rows = loaded.model.get_input_embeddings().num_embeddings
    if rows != text_config(read_json(sources.folder / "config.json")).get("vocab_size"):
        return None
    base = replace(sources, adapters=())
    encoder = _encoder(base, config, session)
    media = see_through(encoder, base.folder, config)
    if media is not None:
        media.reads_for(loaded.model)
    return replace(
        loaded,
        sources=base,
        encoder=encoder,
        eos_ids=end_ids(encoder.eos_ids, loaded.model),
        media=media,
    )


def _encoder(sources: Sources, config: RunConfig, session: JobSession) -> Encoder:
    """What writes texts as the model of `sources` was trained on them."""
    from engine.datasets import Encoder

    encoder = Encoder(text_folder(sources), config, sources.folder)
    if encoder.chat.trained_without_thoughts and config.enable_thinking:
        encoder = encoder.thinking(False)
        session.say("It was trained without thoughts, and is asked without.", "note")
    for note in encoder.notes:
        session.say(note, "note")
    return encoder


def _check_head(sources: Sources, head: str) -> None:
    """Said before any weight is read: what scores can't write, and what writes can't score."""
    folders = (sources.folder, *sources.adapters)
    if head == "language":
        for folder in folders:
            refuse_reward_model(folder)
    elif not any(holds_head(folder) for folder in folders):
        raise BadInput(
            Problem(
                f"{sources.name} is no reward model: it has no head that scores.",
                str(folders[-1]),
                "Name a model or adapter that was trained with stage: rm.",
                "model_name_or_path",
            )
        )


def text_folder(sources: Sources) -> Path:
    """The folder whose tokenizer and chat template are used.

    The model's own, unless the last adapter was trained with another template, with more tokens,
    or with special tokens split.
    """
    for adapter in reversed(sources.adapters):
        if (adapter / "tokenizer.json").is_file():
            from engine.datasets.tokenizer import FastTokenizer

            own, trained = FastTokenizer(sources.folder), FastTokenizer(adapter)
            templates = trained.chat_templates and trained.chat_templates != own.chat_templates
            grown = trained.rows > own.rows
            split = trained.split_special_tokens != own.split_special_tokens
            return adapter if templates or grown or split else sources.folder
    return sources.folder


def end_ids(known: Sequence[int], model: Any) -> tuple[int, ...]:
    """Every id that ends an answer: the encoder's, then those of the model's own configs."""
    found = list(known)
    for source in (getattr(model, "generation_config", None), model.config):
        value = getattr(source, "eos_token_id", None)
        found += [i for i in (value if isinstance(value, list) else [value]) if isinstance(i, int)]
    return tuple(dict.fromkeys(found))


def generation_config(config: RunConfig, loaded: Loaded, max_new_tokens: int) -> Any:
    """transformers' GenerationConfig for these settings.

    Every rule of choice is set here, so that nothing is taken over from the model's own file.
    """
    from transformers import GenerationConfig

    values: dict[str, Any] = {
        "do_sample": bool(config.do_sample),
        "num_beams": config.num_beams,
        "repetition_penalty": config.repetition_penalty,
        "max_new_tokens": max_new_tokens,
        "use_cache": bool(config.use_kv_cache),
        "eos_token_id": list(loaded.eos_ids),
        "pad_token_id": loaded.encoder.pad_id,
    }
    if config.do_sample:
        values |= {
            "temperature": config.temperature,
            "top_p": config.top_p,
            "top_k": config.top_k,
        }
    if config.num_beams > 1:
        values["length_penalty"] = config.length_penalty
    make: Any = GenerationConfig
    return make(**values)


@contextmanager
def interruptible(model: Any, check: Callable[[], object]) -> Iterator[None]:
    """While the block runs, `check` is asked before each decoder layer, and may raise.

    So a stop comes through within one layer's time, in the middle of a long prompt too.
    """

    def ask(*_: Any) -> None:
        check()

    hooks = [layer.register_forward_pre_hook(ask) for layer in _layers(model)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _layers(model: Any) -> list[Any]:
    """The decoder blocks of a model: its longest list of modules that lies in no other list."""
    import torch

    lists: dict[str, Any] = {}
    for name, module in model.named_modules():
        inside = any(name.startswith(outer + ".") for outer in lists)
        if isinstance(module, torch.nn.ModuleList) and len(module) and not inside:
            lists[name] = module
    longest: Any = max(lists.values(), key=len, default=())
    return list(longest)


def _is_adapter(folder: Path) -> bool:
    return adapter_base(folder) is not None


def _whole(folder: Path, session: JobSession) -> Path:
    """The folder itself where it holds weights, else its newest whole checkpoint."""
    if any((folder / name).is_file() for name in ("adapter_config.json", "config.json")):
        return folder
    checkpoint = newest_complete(folder, resumable=False)
    if checkpoint is None:
        return folder
    session.say(f"The run did not end: its checkpoint-{checkpoint.step} is taken.", "note")
    return checkpoint.path
