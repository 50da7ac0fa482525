"""Conversations with media: their tokens, and answers to them.

Families differ in what a forward pass needs once a picture stands in the cache (Qwen2-VL goes on
counting positions where the picture's rows ended, and remembers where that was for whoever asks
next), so transformers' own `generate` writes all answers of a model that reads media. It runs on a
thread of its own and ends as soon as nobody takes its tokens any more.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from engine.datasets.formats.fields import RowFault
from engine.datasets.medium import KINDS, PLACEHOLDERS, Kind, Medium, kinds_of, times, word
from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.datasets import Encoder
    from engine.models.inference import Loaded


# Where a message has its files of each kind.
_FILES: dict[Kind, str] = {"image": "pictures", "video": "videos", "audio": "sounds"}


def media_in(message: Any) -> tuple[Medium, ...]:
    """The files that a message names, kind by kind."""
    return tuple(
        Medium(kind, name) for kind in KINDS for name in getattr(message, _FILES[kind], ())
    )


def shown_turns(messages: Sequence[Any]) -> tuple[list[dict[str, str]], tuple[Medium, ...]]:
    """The turns as dicts, and all their media. A turn that names files and does not say where
    they stand has them before its text. Raises BadInput where both don't agree."""
    turns: list[dict[str, str]] = []
    media: list[Medium] = []
    for message in messages:
        named = media_in(message)
        content = str(message.content)
        before = ""
        for kind in kinds_of(named):
            token, count = PLACEHOLDERS[kind], sum(one.kind == kind for one in named)
            if token not in content:
                before += token * count
            elif content.count(token) != count:
                raise _refused(
                    f"the message holds {content.count(token)} {token} and has "
                    f"{times(count, kind)}",
                    kind,
                )
        turns.append({"role": message.role, "content": before + content})
        media += named
    return turns, tuple(media)


def prompt_tokens(encoder: Encoder, text: str, media: Sequence[Medium]) -> list[int]:
    """The rendered conversation as tokens. Raises BadInput for a file that can't be read."""
    try:
        return encoder.prompt_ids(text, media)
    except RowFault as fault:
        raise _refused(str(fault), kinds_of(media)[0] if media else "image") from None


def seeing_ids(
    loaded: Loaded,
    prompt: list[int],
    media: Sequence[Medium],
    sampling: RunConfig,
    limit: int,
    check: Callable[[], object],
) -> Iterator[int]:
    """The answer's token ids as they are chosen. `check` is asked before each, and may raise."""
    import torch

    from engine.models.inference import generation_config

    assert loaded.media is not None
    device = loaded.model.device
    ids = torch.tensor([prompt])
    inputs = {name: value.to(device) for name, value in
              loaded.media.inputs(ids, [list(media)]).items()}  # fmt: skip
    chosen = generation_config(sampling, loaded, limit)
    stream = _Stream(len(prompt))

    def write() -> None:
        try:
            torch.manual_seed(sampling.seed)
            with torch.inference_mode():
                out = loaded.model.generate(
                    input_ids=ids.to(device),
                    attention_mask=torch.ones_like(ids).to(device),
                    generation_config=chosen,
                    # Beams are compared to their end: their answer comes as a whole.
                    streamer=stream if chosen.num_beams == 1 else None,
                    **inputs,
                )
            if chosen.num_beams > 1:
                for token in out[0, len(prompt) :].tolist():
                    stream.tokens.put(token)
            stream.tokens.put(None)
        except _NobodyTakes:
            stream.tokens.put(None)
        except BaseException as error:
            stream.tokens.put(error)

    writer = threading.Thread(target=write, name="answer", daemon=True)
    writer.start()
    try:
        while True:
            check()
            try:
                found = stream.tokens.get(timeout=0.05)
            except queue.Empty:
                continue
            if found is None:
                return
            if isinstance(found, BaseException):
                raise found
            yield found
    finally:
        stream.ended = True
        writer.join()


class _NobodyTakes(Exception):
    """The answer was stopped."""


class _Stream:
    """What `generate` hands its tokens to: `put` first gets the prompt, then each token."""

    def __init__(self, prompt: int) -> None:
        self.tokens: queue.Queue[int | BaseException | None] = queue.Queue()
        self.ended = False
        self._begun = False
        self._prompt = prompt

    def put(self, value: Any) -> None:
        if self.ended:
            raise _NobodyTakes
        flat = value.reshape(-1).tolist()
        if not self._begun:
            self._begun = True
            if len(flat) == self._prompt:
                return
        for token in flat:
            self.tokens.put(int(token))

    def end(self) -> None:
        """Nothing more comes."""


_HINTS: dict[Kind, str] = {
    "image": "Give a picture file (PNG, JPEG, WebP, …) that is on this machine.",
    "video": "Give a video file (MP4, WebM, …) that is on this machine.",
    "audio": "Give a sound file (WAV, FLAC, MP3, Ogg) that is on this machine.",
}


def _refused(what: str, kind: Kind) -> BadInput:
    return BadInput(Problem(f"The {word(kind)} can't be used: {what}.", "chat", _HINTS[kind]))
