"""Rows into tokens, with the trained part marked. What the token view shows is what is trained."""

from __future__ import annotations

import bisect
import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.datasets.answers import Span, Tools, Turns, header_start, rendered_answers
from engine.datasets.chat_format import RENDER_ERRORS, ChatFormat
from engine.datasets.cutoff import kept
from engine.datasets.encoded import (
    IGNORED,
    Answered,
    Encoded,
    Marked,
    Plan,
    TokenPiece,
    token_pieces,
)
from engine.datasets.endings import end_ids, prompt_untrained
from engine.datasets.example import Example, Message, RowProblem
from engine.datasets.formats.fields import RowFault
from engine.datasets.marking import starts_of
from engine.datasets.media.chat_parts import MediaFormat, config_of, media_words
from engine.datasets.media.counts import counted
from engine.datasets.media_rows import MediaReader, check_placeholders, kept_around, unread
from engine.datasets.medium import Medium
from engine.datasets.packing import packs
from engine.datasets.shapes import Shapes
from engine.datasets.thoughts import with_empty_thoughts
from engine.datasets.tokenizer import FastTokenizer
from engine.datasets.word_memo import WordMemo, word_memo
from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    from engine.config import RunConfig

__all__ = ["IGNORED", "Answered", "Encoded", "Encoder", "TokenPiece", "packs"]

# Ids, where each begins, and whether that is counted in bytes (else in characters).
Found = tuple[list[int], list[int], bool]


class Encoder:
    """Encodes rows for the model in `model_folder`, by the settings of `config`: template,
    default_system, cutoff_len, train_on_prompt, mask_history, enable_thinking, preserve_thinking,
    tool_format, trust_remote_code.

    `weights_folder` is the model's own where `model_folder` only holds its texts (an adapter's).
    `notes` are sentences for a person, `eos_ids` every id that ends an answer. Thread-safe.
    Raises BadInput for a tokenizer or template that can't be used.
    """

    def __init__(
        self, model_folder: Path, config: RunConfig, weights_folder: Path | None = None
    ) -> None:
        self.tokenizer = FastTokenizer(model_folder, bool(config.trust_remote_code))
        self.tokenizer.add_new(config)
        weights_folder = weights_folder or model_folder
        words = media_words(config_of(weights_folder), self.tokenizer)
        format_of = partial(MediaFormat, words) if words else ChatFormat
        self.chat: ChatFormat = format_of(
            self.tokenizer,
            config.template,
            config.enable_thinking,
            bool(config.preserve_thinking),
            config.tool_format,
        )
        if config.train_on_prompt and self.chat.efficient_eos:
            raise prompt_untrained(config.template or "")
        # How media become tokens; None for a model that reads only text.
        self.media: MediaReader | None = (
            counted(weights_folder, words, self.tokenizer, config) if words else None
        )
        self.notes: tuple[str, ...] = tuple(self.chat.notes)
        self.cutoff = config.cutoff_len
        self._default_system: str | None = config.default_system
        self._train_on_prompt = bool(config.train_on_prompt)
        self._mask_history = bool(config.mask_history)
        # Packed text is cut into rows afterwards, and nothing of it is lost.
        self._cuts_text = not packs(config)
        self.eos_ids = end_ids(self.tokenizer, self.chat)
        self._shapes = Shapes(self.chat)

    @cached_property
    def _memo(self) -> WordMemo | None:
        return word_memo(self.tokenizer.backend)

    @property
    def template_source(self) -> str:
        """The Jinja template in use, to be saved with the trained model."""
        return self.chat.saved_source

    def thinking(self, thinking: bool | None) -> Encoder:
        """The same encoder under another `enable_thinking`."""
        other = copy.copy(self)
        other.chat = self.chat.with_thinking(thinking)
        other._shapes = Shapes(other.chat)
        other.__dict__.pop("opening_tokens", None)
        return other

    @property
    def pad_id(self) -> int:
        return self.tokenizer.pad_id or 0

    def encode(self, example: Example) -> Encoded:
        """One row as tokens. Raises BadInput where the model's template can't express it."""
        row = self._marked([self._plan_or_raise(example)], [example])[0]
        return self._encoded(row, example.media)

    def encode_batch(
        self, examples: Sequence[Example], dataset: str = ""
    ) -> list[Encoded | RowProblem]:
        """Many rows at once, the same result as one by one; bad rows come back as RowProblem."""
        plans: list[Plan | RowProblem] = []
        for example in examples:
            try:
                plans.append(self._plan(example))
            except RowFault as fault:
                plans.append(RowProblem(dataset, example.source_row, str(fault)))
        good = [
            (plan, example)
            for plan, example in zip(plans, examples, strict=True)
            if isinstance(plan, Plan)
        ]
        marked = iter(
            self._marked([plan for plan, _ in good], [example for _, example in good], many=True)
        )
        return [
            plan if isinstance(plan, RowProblem) else self._encoded(next(marked), example.media)
            for plan, example in zip(plans, examples, strict=True)
        ]

    def pieces(self, example: Example) -> list[TokenPiece]:
        """The row's tokens, those that the cutoff takes included. Raises BadInput as encode."""
        plan = self._plan_or_raise(example)
        row = self._marked([plan], [example])[0]
        placeholders = self.media.placeholders if self.media is not None else {}
        return token_pieces(row, plan.laid, placeholders)

    def render_prompt(
        self,
        messages: Sequence[Any],
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> str:
        """The text that asks the model for the next answer.

        `messages` are Messages, or anything with role and content (attributes or keys); a first
        system message is the system text, else `default_system` holds. Raises BadInput where the
        template refuses them.
        """
        turns = [_message(message) for message in messages]
        system = turns.pop(0).content if turns and turns[0].role == "system" else ""
        try:
            history = self.chat.in_history(turns)
            prepared, given = self.chat.turns(history, self._system(system), tools or ())
            return self.chat.render(prepared, given, add_generation_prompt)
        except (*RENDER_ERRORS, RowFault) as error:
            raise BadInput(
                Problem(
                    f"The model's template refuses this conversation: {error}.",
                    "chat template",
                    "Let user and assistant take turns, the user first.",
                )
            ) from None

    def prompt_and_answer(self, example: Example) -> tuple[str, str]:
        """The text up to the last answer, and that answer, for prediction beside a reference.

        Raises BadInput for a row without an answer.
        """
        if all(message.role != "assistant" for message in self._conversation(example)):
            raise self._refused(example, RowFault("there is no answer"))
        try:
            return self.asked(example)
        except RowFault as fault:
            raise self._refused(example, fault) from None
        except RENDER_ERRORS as error:
            raise self._refused(example, RowFault(f"the template refuses it: {error}")) from None

    def asked(self, example: Example) -> tuple[str, str]:
        """The text that asks for the last answer, and that answer; without one, an empty text.

        Raises what templates raise (RENDER_ERRORS), and RowFault for a row that asks nothing.
        """
        messages = self._conversation(example)
        places = [i for i, message in enumerate(messages) if message.role == "assistant"]
        before = messages[: places[-1]] if places else messages
        if not before and not example.system:
            raise RowFault("nothing stands before its answer")
        history = self.chat.in_history(before)
        turns, tools = self.chat.turns(history, self._system(example.system), example.tools)
        text = self.chat.render(turns, tools, True)
        if not places:
            return text, ""
        answer, _ = self.chat.turns([messages[places[-1]]])
        return text, str(answer[0]["content"])

    def answered(self, example: Example) -> Answered:
        """The row as tokens up to the end of its last answer, nothing cut. Raises RowFault."""
        plan = self._plan(example)
        if not plan.spans:
            raise RowFault("there is no answer")
        if plan.laid is None:
            encoding = self.tokenizer.backend.encode(plan.text, add_special_tokens=False)
            ids, starts, inside = list(encoding.ids), starts_of(encoding), None
        else:
            ids, starts, inside = plan.laid.ids, plan.laid.starts, plan.laid.inside
        span = plan.spans[-1]
        start = bisect.bisect_left(starts, span.start)
        stop = bisect.bisect_left(starts, span.end)
        opens = header_start(self.chat, plan.turns, plan.tools, span)
        header = start - bisect.bisect_left(starts, opens)
        return Answered(ids[:stop], start, stop, header, inside)

    def whole_text(self, example: Example) -> str:
        """The row as the template writes it. Raises RowFault."""
        return self._plan(example).text

    @cached_property
    def opening_tokens(self) -> int:
        """How many tokens open the turn of an answer."""
        turns = [{"role": "user", "content": "u"}]
        asked, plain = (self.chat.render(turns, None, opening) for opening in (True, False))
        return len(self.tokenizer.encode(asked.removeprefix(plain)))

    def _plan_or_raise(self, example: Example) -> Plan:
        try:
            return self._plan(example)
        except RowFault as fault:
            raise self._refused(example, fault) from None

    def _refused(self, example: Example, fault: RowFault) -> BadInput:
        return BadInput(
            Problem(
                f"The row can't be written for this model: {fault}.",
                f"row {example.source_row}",
                "Correct the row, or choose a model whose template fits.",
                "dataset",
            )
        )

    def _plan(self, example: Example) -> Plan:
        if example.kind == "text":
            return Plan(example.text, [], [], None)
        messages = self.chat.in_training(self._conversation(example), self._mask_history)
        turns, tools = self.chat.turns(messages, self._system(example.system), example.tools)
        if self.media is None and not example.media:
            text, spans = self._with_answers(turns, tools)
            return Plan(text, spans, turns, tools)
        refused = unread(example.media, self.media)
        if refused or self.media is None:
            raise RowFault(refused)
        check_placeholders(example, self.media.placeholders)
        text, spans = self._with_answers(turns, tools)
        plan = Plan(text, spans, turns, tools)
        if not example.media:
            return plan
        laid = self.media.lay_out(text, example.media)
        plan = replace(plan, media=example.media)
        return replace(plan, laid=laid, marked=self._mark(laid.ids, laid.starts, plan, laid.inside))

    def _with_answers(self, turns: Turns, tools: Tools) -> tuple[str, list[Span]]:
        """The text of a conversation, its answers in it, and the thoughts they are given."""
        quick = None if tools or self.media else self._shapes.answers(turns)
        text, spans = quick or rendered_answers(self.chat, turns, tools)
        if self.chat.way is None or self.chat.thinking is None:
            return text, spans
        return with_empty_thoughts(text, spans, self.chat.way, self.chat.thinking)

    def prompt_ids(self, text: str, media: Sequence[Medium] = ()) -> list[int]:
        """`text`, rendered by this encoder, as tokens, with those of its media. Raises RowFault
        for media that can't be read."""
        if not media:
            return self.tokenizer.encode(text)
        refused = unread(media, self.media)
        if refused or self.media is None:
            raise RowFault(refused)
        return self.media.lay_out(text, media).ids

    def read_media_by(self, reader: MediaReader) -> None:
        """From now on media become tokens as `reader`, the model's own processor, has them."""
        self.media = reader
        if isinstance(self.chat, MediaFormat):
            self.chat.write_as(reader.placeholders)

    def _conversation(self, example: Example) -> tuple[Message, ...]:
        """The turns with their answer: of a pair of answers, the better one."""
        return (*example.messages, example.chosen) if example.chosen else example.messages

    def _system(self, system: str) -> str:
        return system or self._default_system or ""

    def _marked(
        self, plans: Sequence[Plan], examples: Sequence[Example], many: bool = False
    ) -> list[Marked]:
        """`many` takes the quick way where there is one; starts are then counted in bytes."""
        texts = [plan.text for plan in plans if plan.marked is None]
        memo = self._memo if many else None
        found = iter(self._quickly(memo, texts) if memo else self._slowly(texts))
        rows: list[Marked] = []
        for plan, example in zip(plans, examples, strict=True):
            if plan.marked is not None:
                rows.append(plan.marked)
                continue
            ids, starts, in_bytes = next(found)
            if example.kind == "text":
                rows.append(self._mark_text(ids, starts, plan))
            else:
                rows.append(self._mark(ids, starts, plan, in_bytes=in_bytes))
        return rows

    def _slowly(self, texts: Sequence[str]) -> list[Found]:
        encodings = self.tokenizer.backend.encode_batch(texts, add_special_tokens=False)
        return [(list(encoding.ids), starts_of(encoding), False) for encoding in encodings]

    def _quickly(self, memo: WordMemo, texts: Sequence[str]) -> list[Found]:
        found = []
        for text, ids in zip(texts, memo.encode(texts), strict=True):
            starts = memo.starts(ids, text)
            if starts is None:
                found += self._slowly([text])
            else:
                found.append((ids, starts, not text.isascii()))
        return found

    def _mark(
        self,
        ids: list[int],
        starts: list[int],
        plan: Plan,
        inside: Sequence[bool] | None = None,
        in_bytes: bool = False,
    ) -> Marked:
        """`inside` tells which tokens are of media: they train nothing, and are never cut.
        Raises RowFault where the cutoff leaves them no room."""

        def token_at(place: int) -> int:
            if in_bytes:
                place = len(plan.text[:place].encode())
            return bisect.bisect_left(starts, place)

        ranges = [(token_at(span.start), token_at(span.end)) for span in plan.spans]
        trained = [self._train_on_prompt] * len(ids)
        for start, stop in ranges[-1:] if self._mask_history else ranges:
            trained[start:stop] = [True] * (stop - start)
        stays = None
        if self.cutoff is not None and len(ids) > self.cutoff:

            def header(k: int) -> int:
                place = header_start(self.chat, plan.turns, plan.tools, plan.spans[k])
                return ranges[k][0] - token_at(place)

            if inside is None:
                stays = kept(ranges, len(ids), self.cutoff, header, self._mask_history)
            else:
                stays = kept_around(
                    plan.media, inside, ranges, self.cutoff, header, self._mask_history
                )
        if inside is not None:
            trained = [mark and not within for mark, within in zip(trained, inside, strict=True)]
        return Marked(ids, starts, trained, stays, plan.text)

    def _mark_text(self, ids: list[int], starts: list[int], plan: Plan) -> Marked:
        """Plain text: all of it is learnt, and that it ends."""
        text = plan.text
        bos, opening = self.tokenizer.bos_id, self.tokenizer.bos_token or ""
        if bos is not None and self.tokenizer.adds_bos:
            text = opening + text
            ids, starts = [bos, *ids], [0, *(start + len(opening) for start in starts)]
        if self.tokenizer.eos_ids:
            ids, starts = [*ids, self.tokenizer.eos_ids[0]], [*starts, len(text)]
            text += self.tokenizer.eos_token or ""
        stays = None
        if self._cuts_text and self.cutoff is not None and len(ids) > self.cutoff:
            stays = [place < self.cutoff for place in range(len(ids))]
        return Marked(ids, starts, [True] * len(ids), stays, text)

    def _encoded(self, row: Marked, media: tuple[Medium, ...]) -> Encoded:
        if row.stays is None:
            return Encoded(row.ids, row.trained, 0, row.text, media)
        ids = [token for token, stays in zip(row.ids, row.stays, strict=True) if stays]
        trained = [mark for mark, stays in zip(row.trained, row.stays, strict=True) if stays]
        return Encoded(ids, trained, len(row.ids) - len(ids), row.text, media)


def _message(value: Any) -> Message:
    if isinstance(value, Message):
        return value
    if isinstance(value, Mapping):
        calls = tuple(value.get("tool_calls") or ())
        return Message(value["role"], str(value.get("content") or ""), calls)
    return Message(value.role, value.content)
