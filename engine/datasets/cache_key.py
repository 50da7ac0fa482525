"""What prepared rows are made of, in parts that can be compared, and the key that makes of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.config.media import MediaGroup
from engine.datasets.content import Contents
from engine.datasets.dataset_info import DatasetInfo
from engine.datasets.local import local_files
from engine.datasets.stage_rows import RowForm
from engine.problem import BadInput

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.datasets.encode import Encoder
    from engine.datasets.hub import Fetched

# Raise it when rows are made differently: what was kept before is then made anew.
VERSION = 2
# The settings that rows depend on. Those of data.py that are missing here stand in UNRELATED.
MATTERING = (
    "stage",
    "distill_on",
    "cutoff_len",
    "train_on_prompt",
    "mask_history",
    "default_system",
    "template",
    "enable_thinking",
    "preserve_thinking",
    "tool_format",
    "identity_name",
    "identity_author",
    "max_samples",
    "val_size",
    "packing",
    "neat_packing",
    "mix_strategy",
    "interleave_probs",
    "preprocessing_batch_size",
    "split_special_tokens",
    "add_tokens",
    "add_special_tokens",
    "bad_rows",
)
UNRELATED = (
    "dataset",  # by the content of its sets
    "eval_dataset",
    "dataset_dir",
    "disable_shuffling",
    "eval_on_each_dataset",
    "overwrite_cache",
    "preprocessing_num_workers",
    "tokenized_path",
    "streaming",
    "buffer_size",
    "seed",  # unless rows are drawn by it
)
_WORDS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "config.json",
    *("tokenizer.model", "spiece.model", "vocab.json", "merges.txt", "tekken.json", "vocab.txt"),
)
# Of a model that reads media, beside those: how it cuts them.
_PROCESSOR = (
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "config.json",
    "chat_template.json",
    "chat_template.jinja",
)
_READ_BY = ("transformers", "pillow", "av", "soundfile", "soxr", "torchvision")
# Settings of media that change no token: where they lie, and what of the model is trained.
_NO_TOKENS = ("media_dir", "freeze_")


def made_of(
    config: RunConfig,
    encoder: Encoder,
    form: RowForm,
    train: list[DatasetInfo],
    evaluation: list[DatasetInfo],
    check_stop: Callable[[], None] | None = None,
    fetched: Mapping[str, Fetched] | None = None,
    with_media: bool = False,
) -> dict[str, Any] | None:
    """What the rows of a run are made of; None where that can't be known: sets of a hub that are
    not in `fetched` (by name), and rows with media, whose files are none of the parts, unless
    `with_media`."""
    infos = [*train, *evaluation]
    fetched = fetched or {}
    reads = encoder.media is not None
    if (reads and not with_media) or (not reads and any(info.has_media for info in infos)):
        return None
    contents = Contents()
    try:
        data = [_set_of(info, contents, fetched, check_stop) for info in train]
        held = [_set_of(info, contents, fetched, check_stop) for info in evaluation]
        if None in data or None in held:
            return None
        words = _digests(encoder.tokenizer.folder, _WORDS, contents)
        media = _media_of(config, encoder, contents) if reads else None
    except (OSError, BadInput):
        return None  # reading the rows says what is wrong
    with suppress(OSError):
        contents.save()  # an unwritable cache only costs time
    from engine.config.vocabulary import new_tokens

    settings = {name: getattr(config, name) for name in MATTERING}
    new = new_tokens(config)
    settings["new tokens"] = [list(new.plain), list(new.special)]
    settings["form"] = form
    if config.val_size or config.mix_strategy != "concat" or any(i.num_samples for i in infos):
        settings["seed"] = config.seed
    settings["rendered"] = encoder.render_prompt([{"role": "user", "content": "u"}])
    parts = {
        "version": VERSION,
        "data": data,
        "evaluation": held,
        "tokenizer": words,
        "template": [encoder.chat.source, encoder.chat.chosen.tool_source],
        "settings": settings,
    }
    return parts if media is None else {**parts, "media": media}


def key_of(parts: Mapping[str, Any]) -> str:
    """The name of a prepared set in the cache."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _set_of(
    info: DatasetInfo,
    contents: Contents,
    fetched: Mapping[str, Fetched],
    check_stop: Callable[[], None] | None,
) -> list[Any] | None:
    """How a set is read, and what is there; not where it lies. None where that is unknown."""
    read = f"{info.formatting} {info.ranking} {info.num_samples} {info.columns} {info.tags}"
    read = f"{read} {info.said_columns} {info.split}"
    if info.path is not None:
        files: Sequence[Path] = local_files(info)
        base, kind = (info.path if info.path.is_dir() else info.path.parent), info.path.suffix
    else:
        held = fetched.get(info.name)
        if held is None or not held.files:
            return None
        files, base, kind = held.files, held.files[0].parent, str(len(held.rows))
    names = [_relative(path, base) for path in files] if len(files) > 1 else [""]
    digests = [contents.digest(path, check_stop) for path in files]
    return [info.name, kind, read, [list(pair) for pair in zip(names, digests, strict=True)]]


def _relative(path: Path, base: Path) -> str:
    return str(path.relative_to(base)) if path.is_relative_to(base) else path.name


def _digests(folder: Path, names: Sequence[str], contents: Contents) -> dict[str, str]:
    return {name: contents.digest(folder / name) for name in names if (folder / name).is_file()}


def _media_of(config: RunConfig, encoder: Encoder, contents: Contents) -> dict[str, Any]:
    """What decides how many tokens a medium becomes, beside the medium itself."""
    assert encoder.media is not None
    settings = [name for name in MediaGroup.__annotations__ if not name.startswith(_NO_TOKENS)]
    versions = {}
    for package in _READ_BY:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return {
        "processor": _digests(encoder.media.folder, _PROCESSOR, contents),
        "reader": type(encoder.media).__name__,
        "settings": {name: getattr(config, name) for name in settings},
        "packages": versions,
    }
