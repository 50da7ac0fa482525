"""A loaded model and its conversation: text in, an answer as it is written out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from engine.chat.generate import next_ids
from engine.chat.media import prompt_tokens, seeing_ids, shown_turns
from engine.chat.prefix import KeptPrefix
from engine.events import AnswerEnded, AnswerPiece, Event, LogLine
from engine.problem import BadInput, Problem, Stopped
from engine.runs.session import Control, JobSession

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.datasets.medium import Medium
    from engine.models.inference import Loaded

# Pieces are handed on at this pace: a screen draws no faster, and few events cost little.
_PIECE_SECONDS = 0.02
_RESULT = ("text", "tokens", "seconds", "first_token_seconds", "reason")


class Chatter:
    """The model of `config`, loaded: a base, a base with its adapter, or a whole checkpoint.

    Loading takes seconds and is told through `session`. One conversation's keys and values are
    kept, so that a turn reads only what is new. Raises BadInput for what can't be loaded, Stopped
    once asked to stop.
    """

    def __init__(self, config: RunConfig, session: JobSession, under: Loaded | None = None) -> None:
        from engine.models.inference import load_for_inference

        self._session = session
        # `under` is the base under an adapter that is loaded already: `base` gives it.
        self.loaded = under or load_for_inference(config, session)
        self._weights: Callable[[], AbstractContextManager[object]] = (
            under.model.disable_adapter if under else nullcontext
        )
        self._kept = KeptPrefix(self.loaded.model)
        self._random: Any = None
        self._seed: int | None = None

    def base(self, config: RunConfig, session: JobSession) -> Chatter | None:
        """The base under this model's adapter, which `config` names, for answers beside those of
        the adapter: it takes no weights of its own. None where the base must be loaded itself."""
        from engine.models.inference import without_adapter

        under = without_adapter(self.loaded, config, session)
        return None if under is None else Chatter(config, session, under)

    @property
    def cached_tokens(self) -> int:
        """How many tokens of the conversation are remembered."""
        return len(self._kept.ids)

    def answer(
        self,
        messages: Sequence[Any],
        system: str | None,
        sampling: RunConfig,
        publish: Callable[[Event], object],
        control: Control | None = None,
    ) -> dict[str, Any]:
        """Answer the last of `messages` (anything with role and content, and files in `pictures`,
        `videos` and `sounds`, one for each place in the text), publishing pieces.

        `sampling` gives the generation settings and the seed. Random draws go on from answer to
        answer, so that the same question asked again may be answered otherwise, and the whole
        conversation is repeated by the same seed. A stop ends the answer with what is there
        (reason "stopped"; else "end" or "length"). Returns text, tokens, seconds,
        first_token_seconds and reason. Raises BadInput for a conversation that the template
        refuses or the context can't hold.
        """
        from engine.models.inference import interruptible

        if control is None:
            # Each answer is a job of its own: its stop button belongs to whoever publishes it.
            owner = getattr(publish, "__self__", self._session)
            control = getattr(owner, "control", self._session.control)
        prompt = self._prompt(messages, system)
        media = shown_turns(messages)[1]
        limit, by_context = self._limit(len(prompt), sampling)
        began = time.monotonic()
        writer = _Writer(self.loaded.encoder.tokenizer.backend, sampling, publish)
        first = 0.0
        tokens = 0
        reason = "length"
        try:
            with self._weights(), interruptible(self.loaded.model, control.check):
                for token in self._ids(prompt, media, sampling, limit, control):
                    tokens += 1
                    first = first or time.monotonic() - began
                    if token in self.loaded.eos_ids:
                        reason = "end"
                        writer.add_end(token)
                        break
                    writer.add(token)
        except Stopped:
            reason = "stopped"
            self._kept.drop()  # the pass broke off between two layers
        except BaseException:
            self._kept.drop()
            raise
        writer.flush()
        seconds = time.monotonic() - began
        if reason == "length" and by_context:
            publish(LogLine(text=self._full_context_note(), level="note"))
        ended = AnswerEnded(
            text=writer.text,
            tokens=tokens,
            seconds=seconds,
            first_token_seconds=first,
            reason=reason,
        )
        publish(ended)
        return {name: getattr(ended, name) for name in _RESULT}

    def stream(
        self,
        messages: Sequence[Any],
        system: str | None,
        sampling: RunConfig,
        check: Callable[[], object] = lambda: None,
    ) -> Iterator[int]:
        """The answer's token ids alone, as they are chosen (an end id included)."""
        prompt = self._prompt(messages, system)
        limit, _ = self._limit(len(prompt), sampling)
        if shown_turns(messages)[1]:
            raise ValueError("a conversation with media is answered by `answer`")
        with self._weights():
            yield from self._choose(prompt, sampling, limit, check)

    def _ids(
        self,
        prompt: list[int],
        media: Sequence[Medium],
        sampling: RunConfig,
        limit: int,
        control: Control,
    ) -> Iterator[int]:
        if self.loaded.media is not None:
            # What a cache that was cut back holds of a picture is not known by its ids.
            return seeing_ids(self.loaded, prompt, media, sampling, limit, control.check)
        if sampling.num_beams > 1:
            return iter(self._beams(prompt, sampling, limit))
        return self._choose(prompt, sampling, limit, control.check)

    def _choose(
        self, prompt: list[int], sampling: RunConfig, limit: int, check: Callable[[], object]
    ) -> Iterator[int]:
        from engine.models.inference import generation_config

        choice = generation_config(sampling, self.loaded, limit)
        kept = self._kept if sampling.use_kv_cache else None
        return next_ids(
            self.loaded.model, prompt, choice, kept, self._generator(sampling.seed), check
        )

    def _beams(self, prompt: list[int], sampling: RunConfig, limit: int) -> list[int]:
        """Beams are compared to their end, so their answer comes as a whole."""
        import torch

        from engine.models.inference import generation_config

        ids = torch.tensor([prompt], device=self.loaded.model.device)
        torch.manual_seed(sampling.seed)
        with torch.inference_mode():
            out = self.loaded.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                generation_config=generation_config(sampling, self.loaded, limit),
            )
        return [int(token) for token in out[0, len(prompt) :]]

    def _generator(self, seed: int) -> Any:
        import torch

        if self._random is None or seed != self._seed:
            self._random = torch.Generator(device=self.loaded.model.device).manual_seed(seed)
            self._seed = seed
        return self._random

    def _prompt(self, messages: Sequence[Any], system: str | None) -> list[int]:
        turns, media = shown_turns(messages)
        if media:
            from engine.models.vision import check_reads_media

            check_reads_media(self.loaded.sources.folder, media)
        if system and not (turns and turns[0]["role"] == "system"):
            turns.insert(0, {"role": "system", "content": system})
        text = self.loaded.encoder.render_prompt(turns)
        ids = prompt_tokens(self.loaded.encoder, text, media)
        context = self.loaded.context
        if context is not None and len(ids) >= context:
            raise BadInput(
                Problem(
                    f"The conversation has {len(ids):,} tokens, and {self.loaded.sources.name} "
                    f"can read {context:,} at once.",
                    "chat",
                    "Begin a new conversation, or send a shorter message.",
                )
            )
        return ids

    def _limit(self, prompt: int, sampling: RunConfig) -> tuple[int, bool]:
        """The most new tokens, and whether the model's context is what bounds them."""
        wanted = sampling.max_new_tokens
        if wanted == 0:
            wanted = sampling.max_length - prompt
            if wanted < 1:
                raise BadInput(
                    Problem(
                        f"The conversation has {prompt:,} tokens, and max_length "
                        f"{sampling.max_length:,} leaves no room for an answer.",
                        "max_length",
                        "Raise max_length, or set max_new_tokens.",
                        "max_length",
                    )
                )
        context = self.loaded.context
        room = wanted if context is None else context - prompt
        return min(wanted, room), room < wanted

    def _full_context_note(self) -> str:
        return (
            f"The answer ends where the context of {self.loaded.sources.name} does "
            f"({self.loaded.context:,} tokens)."
        )


class _Writer:
    """Turns ids into text without ever showing part of a character, and hands it on in pieces."""

    def __init__(
        self, tokenizer: Any, sampling: RunConfig, publish: Callable[[Event], object]
    ) -> None:
        from tokenizers.decoders import DecodeStream

        self._tokenizer = tokenizer
        self._skip = bool(sampling.skip_special_tokens)
        # It holds back the bytes of a character until the last one is there.
        self._stream = DecodeStream(skip_special_tokens=self._skip)
        self._publish = publish
        self._waiting: list[str] = []
        self._shown = 0.0
        self.text = ""

    def add(self, token: int) -> None:
        piece = self._stream.step(self._tokenizer, token)
        if not piece:
            return
        self.text += piece
        self._waiting.append(piece)
        if time.monotonic() - self._shown >= _PIECE_SECONDS:
            self.flush()

    def add_end(self, token: int) -> None:
        """The end mark is text only for someone who wants to see special tokens."""
        if not self._skip:
            self.add(token)

    def flush(self) -> None:
        if self._waiting:
            self._publish(AnswerPiece(text="".join(self._waiting)))
            self._waiting.clear()
        self._shown = time.monotonic()
