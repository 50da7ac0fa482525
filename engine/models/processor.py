"""A vision-language model's processor: pictures into pixels, and into the tokens they stand for.

transformers 5.24 needs torchvision for the video half of some processors (Qwen2-VL, SmolVLM, …),
and torchvision from PyPI breaks transformers beside a CPU build of torch. Pictures need none of
it: their processors have a form that works on PIL. So a processor is loaded without its video
half where torchvision is missing, and that half's settings are carried along on saving.
"""

from __future__ import annotations

import inspect
import json
import shutil
import types
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.datasets.formats.fields import RowFault
from engine.datasets.media import Limits, find_picture, media_root, open_picture
from engine.datasets.picture_rows import Laid, laid_out
from engine.installed import install_command
from engine.models.folder import read_json
from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    from engine.datasets import Encoder
    from engine.datasets.tokenizer import FastTokenizer

_VIDEO = "video_processor"
_VIDEO_FILE = "video_preprocessor_config.json"


class Pictures:
    """How the model in `folder` reads pictures.

    `placeholder` is what stands in its text for a picture. `model` may be given later, by
    `reads_for`: it tells which inputs the forward pass takes. Raises BadInput for a processor that
    can't be loaded.
    """

    def __init__(self, folder: Path, config: Any, tokenizer: FastTokenizer) -> None:
        self.folder = folder
        self._tokenizer = tokenizer
        self.processor = load_processor(folder, config)
        self.placeholder = str(self.processor.image_token)
        self.root = media_root(config)
        self.limits = Limits.of(config)
        self._options = _image_options(self.processor, config)
        self._takes: frozenset[str] | None = None

    @property
    def token_ids(self) -> tuple[int, ...]:
        """The tokens whose places the pictures' features take."""
        return tuple(token for token in self.processor.image_token_ids if token is not None)

    def reads_for(self, model: Any) -> None:
        """From now on `inputs` gives what this model's forward pass takes, and nothing else."""
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._takes = frozenset(inspect.signature(inner.forward).parameters)

    def lay_out(self, text: str, names: Sequence[str]) -> Laid:
        """`text` as tokens, each placeholder as the tokens of its picture. Raises RowFault."""
        pieces = text.split(self.placeholder)
        if len(pieces) != len(names) + 1:
            raise RowFault(
                f"the model's template writes {len(pieces) - 1} of its {len(names)} pictures"
            )
        pictures = [self._open(name) for name in names]
        return laid_out(self._tokenizer, pieces, self.words(pictures), self.placeholder)

    def words(self, pictures: Sequence[Any]) -> list[str]:
        """What the processor writes in place of each picture's placeholder. Raises RowFault."""
        found: list[str] = []
        replace = self.processor.get_text_with_replacements

        def listening(*args: Any, **kwargs: Any) -> Any:
            texts, replaced = replace(*args, **kwargs)
            found.extend(one["replacement"] for one in replaced[0])
            return texts, replaced

        # An attribute of this processor alone: every family's expansion goes through it.
        self.processor.get_text_with_replacements = listening
        try:
            self.processor(
                text=[self.placeholder * len(pictures)],
                images=[list(pictures)],
                images_kwargs=self._options,
            )
        except (ValueError, IndexError, TypeError) as error:
            raise RowFault(f"the model's processor refuses it: {_first_line(error)}") from None
        finally:
            del self.processor.get_text_with_replacements
        if len(found) != len(pictures):
            raise RowFault("the model's processor does not tell what a picture becomes")
        return found

    def inputs(self, ids: Any, rows: Sequence[Sequence[str]]) -> dict[str, Any]:
        """What the forward pass takes beside `ids` (rows, length): the pixels of all pictures of
        `rows`, in the form of this family, and the kind of each token where it is asked for.

        Raises BadInput for a picture that can't be read any more.
        """
        found = self._kinds(ids)
        named = [list(names) for names in rows if names]
        if not named:
            return found
        try:
            pictures = [[self._open(name) for name in names] for names in named]
        except RowFault as fault:
            raise BadInput(
                Problem(
                    f"A picture can't be read any more: {fault}.",
                    "dataset",
                    "Put the file back, then resume.",
                    "media_dir",
                )
            ) from None
        out = self.processor(
            text=[self.placeholder * len(names) for names in named],
            images=pictures,
            images_kwargs=self._options,
            text_kwargs={"padding": True},
            return_tensors="pt",
        )
        texts = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")
        found |= {
            name: value
            for name, value in out.items()
            if name not in texts and (self._takes is None or name in self._takes)
        }
        return found

    def save(self, folder: Path, tokenizer: Any) -> None:
        """Write the processor's files beside a model's weights, with `tokenizer` as it was used."""
        processor = self.processor
        processor.tokenizer = tokenizer
        processor.chat_template = tokenizer.chat_template
        processor.save_pretrained(folder)
        _carry_video(self.folder, folder)

    def _open(self, name: str) -> Any:
        return self.limits.fitted(open_picture(find_picture(self.root, name)))

    def _kinds(self, ids: Any) -> dict[str, Any]:
        """Which tokens are a picture's, for families that attend or count positions by it."""
        import torch

        takes = self._takes
        name = next(
            (n for n in ("mm_token_type_ids", "token_type_ids") if takes and n in takes), ""
        )
        if not name or not self.processor.return_mm_token_type_ids:
            return {}
        return {name: torch.tensor(self.processor.create_mm_token_type_ids(ids.tolist()))}


def see_through(encoder: Encoder, folder: Path, config: Any) -> Pictures | None:
    """Let `encoder` read pictures by the processor of the model in `folder`; returns it.

    None for a model that reads only text. Raises BadInput for a processor that can't be loaded.
    """
    if encoder.pictures is None:
        return None
    pictures = Pictures(folder, config, encoder.tokenizer)
    encoder.read_pictures_by(pictures)
    return pictures


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
    if not hasattr(processor, "image_processor") or not getattr(processor, "image_token", None):
        raise BadInput(
            Problem(
                "The model's processor has no place for pictures in its text.",
                str(folder),
                "Copy the model's preprocessor_config.json, or take a model such as Qwen2-VL, "
                "LLaVA, Gemma 3 or SmolVLM.",
                "model_name_or_path",
            )
        )
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
    return type(base.__name__, (base,), body)


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


def _image_options(processor: Any, config: Any) -> dict[str, Any]:
    """What the settings change of the way pictures are cut, where the family knows of it."""
    options: dict[str, Any] = {}
    known = vars(processor.image_processor)
    if config.image_do_pan_and_scan and "do_pan_and_scan" in known:
        options["do_pan_and_scan"] = True
    if config.crop_to_patches and "crop_to_patches" in known:
        options["crop_to_patches"] = True
    return options


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
