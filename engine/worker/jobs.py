"""What can be asked of the engine: one frozen dataclass a kind of job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from engine.config import RunConfig

JobKind = Literal["train", "evaluate", "predict", "export", "chat"]


@dataclass(frozen=True)
class TrainJob:
    """Train as `config` says, or go on from its `resume_from_checkpoint`."""

    config: RunConfig
    kind: ClassVar[JobKind] = "train"


@dataclass(frozen=True)
class EvaluateJob:
    """Score a model on rows: with `do_predict` an answer for each row, else the loss over them."""

    config: RunConfig

    @property
    def kind(self) -> JobKind:
        return "predict" if self.config.do_predict else "evaluate"


@dataclass(frozen=True)
class ExportJob:
    """Merge the adapter of `config` and write a plain model folder to its `export_dir`."""

    config: RunConfig
    kind: ClassVar[JobKind] = "export"


@dataclass(frozen=True)
class ChatMessage:
    """One turn of a conversation; `role` is user, assistant, system or tool.

    `pictures`, `videos` and `sounds` are files, one for each `<image>`, `<video>` and `<audio>` in
    the text.
    """

    role: str
    content: str
    pictures: tuple[str, ...] = ()
    videos: tuple[str, ...] = ()
    sounds: tuple[str, ...] = ()


@dataclass(frozen=True)
class ChatJob:
    """Answer the last of `messages`. The model stays loaded for the next ChatJob."""

    config: RunConfig
    messages: tuple[ChatMessage, ...]
    system: str | None = None
    kind: ClassVar[JobKind] = "chat"


Job = TrainJob | EvaluateJob | ExportJob | ChatJob
