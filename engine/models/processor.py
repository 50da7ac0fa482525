"""The processor of a model that reads media: into numbers, and into the tokens they stand for.

transformers 5.24 needs torchvision for the video half of some processors (Qwen2-VL, SmolVLM, …),
and torchvision from PyPI breaks transformers beside a CPU build of torch. Pictures need none of
it: their processors have a form that works on PIL. So a processor is loaded without its video
half where torchvision is missing, and that half's settings are carried along on saving;
`engine.models.videos` does its work.
"""

from __future__ import annotations

import inspect
import itertools
import json
import shutil
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.datasets.formats.fields import RowFault
from engine.datasets.media import find_medium, media_root
from engine.datasets.media.chat_parts import reads_in
from engine.datasets.media_rows import Laid, in_text_order, laid_out
from engine.datasets.medium import Kind, Medium, kinds_of, word
from engine.installed import install_command
from engine.models.folder import read_json
from engine.models.media_readers import READERS, KindReader
from engine.models.videos import joined
from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    from engine.datasets import Encoder
    from engine.datasets.tokenizer import FastTokenizer

_VIDEO = "video_processor"
_VIDEO_FILE = "video_preprocessor_config.json"


class Media:
    """How the model in `folder` reads media, by its processor.

    `placeholders` has what stands in its text for one of each kind that it reads. The model may be
    given later, by `reads_for`: it tells which inputs the forward pass takes. Raises BadInput for a
    processor that can't be loaded.
    """

    def __init__(self, folder: Path, config: Any, tokenizer: FastTokenizer) -> None:
        self.folder = folder
        self._tokenizer = tokenizer
        self.processor = load_processor(folder, config)
        self.root = media_root(config)
        self.readers: dict[Kind, KindReader] = {}
        for kind in reads_in(folder):
            reader = READERS[kind](self.processor, folder, config)
            if reader is not None:
                self.readers[kind] = reader
        if not self.readers:
            raise _without_media(folder)
        self._takes: frozenset[str] | None = None
        self._dtype: Any = None

    @property
    def placeholders(self) -> dict[Kind, str]:
        """What stands in the model's text for one of each kind."""
        return {kind: reader.placeholder for kind, reader in self.readers.items()}

    @property
    def token_ids(self) -> tuple[int, ...]:
        """The tokens whose places the media's features take."""
        return tuple(token for reader in self.readers.values() for token in reader.token_ids)

    def reads_for(self, model: Any) -> None:
        """From now on `inputs` gives what this model's forward pass takes, and nothing else."""
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._takes = frozenset(inspect.signature(inner.forward).parameters)
        self._dtype = getattr(inner, "dtype", None)

    def lay_out(self, text: str, media: Sequence[Medium]) -> Laid:
        """`text` as tokens, each placeholder as the tokens of its medium. Raises RowFault."""
        placeholders = self.placeholders
        if self._frames_are_pictures and {"image", "video"} <= set(kinds_of(media)):
            raise RowFault(
                "it has pictures and videos, and the model takes only one of both in a row"
            )
        pieces, ordered = in_text_order(text, media, placeholders)
        words: dict[int, str] = {}
        for kind in kinds_of(ordered):
            places = [place for place, one in enumerate(ordered) if one.kind == kind]
            opened = [self._open(ordered[place]) for place in places]
            words |= zip(places, self.readers[kind].words(opened), strict=True)
        tokens = [placeholders[one.kind] for one in ordered]
        in_order = [words[place] for place in range(len(ordered))]
        return laid_out(self._tokenizer, pieces, in_order, tokens)

    def inputs(self, ids: Any, rows: Sequence[Sequence[Medium]]) -> dict[str, Any]:
        """What the forward pass takes beside `ids` (rows, length): all media of `rows`, in the
        form of this family, and the kind of each token where it is asked for.

        Raises BadInput for a file that can't be read any more.
        """
        if self._frames_are_pictures:
            # One array has them all, in the order of the rows.
            made = [self._of_each_kind([row]) for row in rows if row]
            return self._kinds(ids) | joined(made)
        return self._kinds(ids) | self._of_each_kind(rows)

    @property
    def _frames_are_pictures(self) -> bool:
        return bool(getattr(self.readers.get("video"), "among_pictures", False))

    def _of_each_kind(self, rows: Sequence[Sequence[Medium]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for kind, reader in self.readers.items():
            held = [[one for one in row if one.kind == kind] for row in rows]
            # A pair's rows have the same media twice: each is read once.
            once = {one: self._again(one) for one in dict.fromkeys(itertools.chain(*held))}
            opened = [[once[one] for one in row] for row in held if row]
            if opened:
                taken = self._taken(reader.inputs(opened))
                # Vision towers convert by themselves; not all that hear do.
                found |= self._converted(taken) if kind == "audio" else taken
        return found

    def save(self, folder: Path, tokenizer: Any) -> None:
        """Write the processor's files beside a model's weights, with `tokenizer` as it was used."""
        processor = self.processor
        processor.tokenizer = tokenizer
        processor.chat_template = tokenizer.chat_template
        processor.save_pretrained(folder)
        _carry_video(self.folder, folder)

    def _taken(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        texts = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")
        return {
            name: value
            for name, value in inputs.items()
            if name not in texts and (self._takes is None or name in self._takes)
        }

    def _converted(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        dtype = self._dtype
        if dtype is None:
            return dict(inputs)
        return {
            name: value.to(dtype) if value.is_floating_point() else value
            for name, value in inputs.items()
        }

    def _open(self, medium: Medium) -> Any:
        return self.readers[medium.kind].open(find_medium(self.root, medium))

    def _again(self, medium: Medium) -> Any:
        try:
            return self._open(medium)
        except RowFault as fault:
            raise BadInput(
                Problem(
                    f"A {word(medium.kind)} can't be read any more: {fault}.",
                    "dataset",
                    "Put the file back, then resume.",
                    "media_dir",
                )
            ) from None

    def _kinds(self, ids: Any) -> dict[str, Any]:
        """Which tokens are a medium's, for families that attend or count positions by it."""
        import torch

        takes = self._takes
        name = next(
            (n for n in ("mm_token_type_ids", "token_type_ids") if takes and n in takes), ""
        )
        if not name or not self.processor.return_mm_token_type_ids:
            return {}
        return {name: torch.tensor(self.processor.create_mm_token_type_ids(ids.tolist()))}


def see_through(encoder: Encoder, folder: Path, config: Any) -> Media | None:
    """Let `encoder` read media by the processor of the model in `folder`; returns it.

    None for a model that reads only text. Raises BadInput for a processor that can't be loaded.
    """
    if encoder.media is None:
        return None
    media = Media(folder, config, encoder.tokenizer)
    encoder.read_media_by(media)
    return media


def load_processor(folder: Path, config: Any) -> Any:
    """The processor of a model folder, on PIL. Raises BadInput where it can't be loaded."""
    from transformers import AutoProcessor

    trusted = bool(config.trust_remote_code)
    kind = _processor_class(folder)
    loader: Any = AutoProcessor
    if kind is not None and _VIDEO in kind.get_attributes() and not has_torchvision():
        loader = without_video(kind)
    try:
        processor: Any = loader.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=trusted
        )
    except (OSError, ValueError, KeyError, ImportError, TypeError, AttributeError) as error:
        raise BadInput(
            Problem(
                f"The model's processor can't be loaded: {_first_line(error)}",
                str(folder),
                _hint(error),
                "model_name_or_path",
            )
        ) from error
    return processor


def has_torchvision() -> bool:
    """Whether transformers may use torchvision here."""
    from transformers.utils import is_torchvision_available

    return bool(is_torchvision_available())


def without_video(kind: type) -> Any:
    """The processor class `kind` without its video half.

    A class of the same name, as it is written into the files. transformers 5.24 gathers a
    processor's halves by `get_attributes`.
    """
    from transformers.processing_utils import ProcessorMixin

    base: Any = kind

    def get_attributes(cls: Any) -> list[str]:
        return [name for name in base.get_attributes() if name != _VIDEO]

    body: dict[str, Any] = {"get_attributes": classmethod(get_attributes)}
    begun: Any = base.__init__
    if inspect.signature(begun).parameters[_VIDEO].default is inspect.Parameter.empty:
        # transformers reads the names of the settings off this function's code: it stays the same,
        # with the last of its required parameters made optional.
        body["__init__"] = types.FunctionType(
            begun.__code__,
            begun.__globals__,
            begun.__name__,
            (None, *(begun.__defaults__ or ())),
            begun.__closure__,
        )

    class WithoutVideo(ProcessorMixin):
        """Stands behind the processor's class, and takes the video half out of what that hands on
        by place."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            names = base.get_attributes()
            given = [one for name, one in zip(names, args, strict=False) if name != _VIDEO]
            super().__init__(*given, *args[len(names) :], **kwargs)

    return _ByName(base.__name__, (base, WithoutVideo), body)


class _ByName(type):
    """Classes that are given their halves by name: the video half may stand before the others
    (LLaVA-NeXT-Video), and transformers gives those that it loaded by place."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        names = cls.get_attributes()  # type: ignore[attr-defined]
        return super().__call__(**dict(zip(names, args, strict=False)), **kwargs)


def _processor_class(folder: Path) -> Any:
    """The class that the folder's files name, or that its architecture has; None if unknown."""
    from transformers.models.auto.processing_auto import (
        PROCESSOR_MAPPING_NAMES,
        processor_class_from_name,
    )

    names = ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json")
    for file in (folder / name for name in names):
        named = read_json(file).get("processor_class") if file.is_file() else None
        if named:
            return processor_class_from_name(named)
    architecture = str(read_json(folder / "config.json").get("model_type"))
    known = PROCESSOR_MAPPING_NAMES.get(architecture)
    return processor_class_from_name(known) if known else None


def _without_media(folder: Path) -> BadInput:
    return BadInput(
        Problem(
            "The model's processor has no place for pictures in its text."
            if "image" in reads_in(folder)
            else "The model's processor has no place for sounds in its text.",
            str(folder),
            "Copy the model's preprocessor_config.json, or take a model such as Qwen2-VL, LLaVA, "
            "Gemma 3, SmolVLM or Qwen2-Audio.",
            "model_name_or_path",
        )
    )


def _carry_video(source: Path, into: Path) -> None:
    """The video half's settings, which a processor without it can't write."""
    if (source / _VIDEO_FILE).is_file() and source != into:
        shutil.copyfile(source / _VIDEO_FILE, into / _VIDEO_FILE)
    held = source / "processor_config.json"
    video = read_json(held).get(_VIDEO) if held.is_file() else None
    target = into / "processor_config.json"
    if video is None or not target.is_file():
        return
    written = read_json(target)
    if _VIDEO not in written:
        written[_VIDEO] = video
        target.write_text(json.dumps(written, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _hint(error: BaseException) -> str:
    text = str(error)
    if "num2words" in text:
        return f"Run {install_command('vision')}, then start again."
    if "trust_remote_code" in text:
        return "The model brings code of its own: read it, then set trust_remote_code: true."
    return "Copy the model's preprocessor_config.json and processor_config.json again."


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    line = text.splitlines()[0] if text else type(error).__name__
    return line[:300]
