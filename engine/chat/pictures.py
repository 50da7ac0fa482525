"""Conversations with pictures: their tokens, and answers to them.

Families differ in what a forward pass needs once a picture stands in the cache (Qwen2-VL goes on
counting positions where the picture's rows ended, and remembers where that was for whoever asks
next), so transformers' own `generate` writes all answers of a vision-language model. It runs on a
thread of its own and ends as soon as nobody takes its tokens any more.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from engine.datasets.formats.fields import RowFault
from engine.datasets.picture_rows import PLACEHOLDER
from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.datasets import Encoder
    from engine.models.inference import Loaded


def shown_turns(messages: Sequence[Any]) -> tuple[list[dict[str, str]], tuple[str, ...]]:
    """The turns as dicts, and all their pictures. A turn that names pictures and does not say where
    they stand has them before its text. Raises BadInput where both don't agree."""
    turns: list[dict[str, str]] = []
    pictures: list[str] = []
    for message in messages:
        named = tuple(getattr(message, "pictures", ()))
        content = str(message.content)
        if named and PLACEHOLDER not in content:
            content = PLACEHOLDER * len(named) + content
        if named and content.count(PLACEHOLDER) != len(named):
            raise _refused(
                f"the message holds {content.count(PLACEHOLDER)} {PLACEHOLDER} and has "
                f"{len(named)} pictures"
            )
        turns.append({"role": message.role, "content": content})
        pictures += named
    return turns, tuple(pictures)


def prompt_tokens(encoder: Encoder, text: str, pictures: Sequence[str]) -> list[int]:
    """The rendered conversation as tokens. Raises BadInput for a picture that can't be read."""
    try:
        return encoder.prompt_ids(text, pictures)
    except RowFault as fault:
        raise _refused(str(fault)) from None


def seeing_ids(
    loaded: Loaded,
    prompt: list[int],
    pictures: Sequence[str],
    sampling: RunConfig,
    limit: int,
    check: Callable[[], object],
) -> Iterator[int]:
    """The answer's token ids as they are chosen. `check` is asked before each, and may raise."""
    import torch

    from engine.models.inference import generation_config

    assert loaded.pictures is not None
    device = loaded.model.device
    ids = torch.tensor([prompt])
    inputs = {name: value.to(device) for name, value in
              loaded.pictures.inputs(ids, [list(pictures)]).items()}  # fmt: skip
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


def _refused(what: str) -> BadInput:
    return BadInput(
        Problem(
            f"The picture can't be used: {what}.",
            "chat",
            "Give a picture file (PNG, JPEG, WebP, …) that is on this machine.",
        )
    )
