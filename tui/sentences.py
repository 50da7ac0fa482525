"""Texts matched against the sentences of a catalogue, and put into another language.

The engine speaks English and knows of no screen: what it says arrives as a finished text, in an
event, a problem or a finding. A catalogue of its own (`engine.mo`, gathered from the engine's
source by `tui.locales.engine_sentences`) holds each sentence with numbered places, such as
`{0} holds no rows.`; a text is matched against them, what stands in the places is looked up in
turn, and the translation is filled in. What is not known stays English.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from pathlib import Path

from tui.language import _

PLACE = re.compile(r"\{(\d+)\}")

_WORD = re.compile(r"[A-Za-z_]{2,}")
_SENTENCE_END = re.compile(r"(?<=[.!?…]) (?=\S)")
# A problem in one line (engine.problem.Problem) has its place between what is wrong and the hint.
_PLACE_OF_PROBLEM = re.compile(r"\[([^\]]*)\] (.*)", re.DOTALL)
# Chinese characters and full-width signs, beside which no blank stands.
_WIDE = re.compile(r"[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef“”]")
_NAME = re.compile(r"[^\s,;:()]+")
# Blanks of a list of names, between a number and its unit, and of two numbers.
_NAMES_BLANKS = re.compile(
    r"(?<=,) |(?<=[0-9]) (?=[A-Za-z%]{1,3}\b)|(?<=[0-9]) (?=and [0-9])|(?<=[0-9] and) (?=[0-9])"
)
_FULL_STOP = re.compile(r"[。？！]")
# Beside Chinese, letters and digits stand apart.
_CHINESE = re.compile(r"[\u4e00-\u9fff]")
_LATIN = re.compile(r"[A-Za-z0-9_]")
# A template of fewer letters says little.
_FEW, _VERY_FEW = 12, 6
# Texts are no longer than this (a traceback is not looked through), and have few parts.
_LONGEST, _MOST_PARTS = 4000, 12
_MOST_TEMPLATES = 4
# A name before what is said of it has at most so many words.
_LONGEST_NAME = 2


def read_messages(path: Path) -> dict[str, str]:
    """All messages of a compiled catalogue with their translations (gettext's manual, "The Format
    of GNU MO Files"). `gettext` itself only answers for a message that one knows."""
    data = path.read_bytes()
    count, originals, translations = struct.unpack_from("<8x3I", data)

    def texts(table: int) -> list[str]:
        spans = (struct.unpack_from("<2I", data, table + 8 * number) for number in range(count))
        return [data[start : start + size].decode() for size, start in spans]

    return {
        one: other for one, other in zip(texts(originals), texts(translations), strict=True) if one
    }


class Template:
    """A sentence with places, and its translation with the same places."""

    def __init__(self, source: str, translation: str) -> None:
        self.pieces = PLACE.split(source)
        self.translation = PLACE.split(translation)
        kept = "".join(self.pieces[::2])
        self.letters = sum(map(str.isalpha, kept))
        self.signs = _signs(kept)
        # `{0} is empty`: too little to go by, unless what it holds is clear in itself.
        self.is_vague = self.letters < _FEW and not source[0].isupper() and ":" not in kept
        # `stage {0}`, `{0} or {1}`: a few words of a sentence, which hold a name or a number.
        self.holds_names = self.letters < _VERY_FEW and not re.search("[.:;]", kept)

    def words(self) -> list[str]:
        """The words that every text of this template holds; none that touches a place."""
        found: list[str] = []
        last = len(self.pieces) - 1
        for number in range(0, last + 1, 2):
            piece = self.pieces[number]
            for word in _WORD.finditer(piece):
                touches = (word.start() == 0 and number > 0) or (
                    word.end() == len(piece) and number < last
                )
                if not touches:
                    found.append(word.group())
        return found

    def matches(self, text: str) -> list[tuple[str, ...]]:
        """What may stand in the places of `text`; nothing where it is another sentence. It takes
        time in proportion to the text, whatever others wrote into it."""
        first, *between, last = self.pieces[::2]
        start, end = len(first), len(text) - len(last)
        if start > end or not (text.startswith(first) and text.endswith(last)):
            return []
        values = []
        for piece in between:
            found = text.find(piece, start, end)
            if found < 0:
                return []
            values.append(text[start:found])
            start = found + len(piece)
        values.append(text[start:end])
        matches = [tuple(values)]
        if "" in between:
            # Of two places side by side the first may hold a name.
            place = between.index("")
            name = _NAME.match(values[place + 1])
            if name is not None:
                values[place : place + 2] = name.group(), values[place + 1][name.end() :]
                matches.append(tuple(values))
        return matches


class Sentences:
    """The engine's sentences in one language. `messages` maps each to its translation."""

    def __init__(self, messages: dict[str, str]) -> None:
        self._exact = {one: other for one, other in messages.items() if not PLACE.search(one)}
        self._by_word: dict[str, list[Template]] = {}
        templates = [Template(*pair) for pair in messages.items() if PLACE.search(pair[0])]
        words = {template: template.words() for template in templates}
        counts = Counter(word for held in words.values() for word in set(held))
        for template, held in words.items():
            rarest = min(held, key=lambda word: (counts[word], -len(word)), default="")
            self._by_word.setdefault(rarest, []).append(template)
        self._known: dict[str, tuple[int, str]] = {}

    def translated(self, text: str) -> str:
        """The translation of a text as far as its sentences are known."""
        if len(text) > _LONGEST:
            return text
        ends = len(text.lstrip()), len(text.rstrip())
        inner = text.strip()
        return text[: len(text) - ends[0]] + self._best(inner)[1] + text[ends[1] :]

    def _best(self, text: str) -> tuple[int, str]:
        """How many signs of `text` are known, and its translation."""
        known = self._known.get(text)
        if known is None:
            if len(self._known) > 4000:
                self._known.clear()
            known = self._known[text] = self._found(text)
        return known

    def _found(self, text: str) -> tuple[int, str]:
        found = [self._whole(text)]
        if found[0][0] * 2 < _signs(text):
            found.append(self._behind_a_name(text))
            if ", " in text:
                found.append(self._in_parts(text, ", ", "，"))
        ends = [one.end() for one in _SENTENCE_END.finditer(text)]
        for end in ends if len(ends) < _MOST_PARTS else ():
            first, rest = self._best(text[: end - 1]), self._best(text[end:])
            blank = "" if _FULL_STOP.match(first[1][-1:]) else " "
            found.append((first[0] + rest[0], _after(first[1] + blank, rest[1])))
        place = _PLACE_OF_PROBLEM.fullmatch(text)
        if place is not None:
            known, words = self._best(place.group(2))
            found.append((known, f"[{self._value(place.group(1))[1]}] {words}"))
        if "; " in text:
            found.append(self._in_parts(text, "; ", "；"))
        best = max(found, key=lambda one: one[0])
        for sign, wide in ((": ", "："), (" and ", "和")):
            if not best[0] and 0 < text.count(sign) < _MOST_PARTS:
                best = self._in_parts(text, sign, wide)
        if not best[0] and text.endswith("."):
            known, words = self._best(text[:-1])
            best = (known, words + "。") if known else best
        return best

    def _whole(self, text: str) -> tuple[int, str]:
        """A text as one sentence of the catalogue."""
        exact = self._exact.get(text)
        if exact is not None:
            return _signs(text), exact
        found = [self._filled(*one) for one in self._matching(text)]
        return max((one for one in found if one), key=lambda one: one[0], default=(0, text))

    def _behind_a_name(self, text: str) -> tuple[int, str]:
        """`rows.json.gz can't be unpacked: it is damaged.`: a name and what is said of it."""
        stop = text.endswith(".")
        for blank in list(re.finditer(" (?!an? |the )", text))[:_LONGEST_NAME]:
            known, words = self._whole(text[blank.end() :].removesuffix("."))
            if known >= _FEW:
                return known, _after(text[: blank.end()], words) + ("。" if stop else "")
        return 0, text

    def _matching(self, text: str) -> list[tuple[Template, tuple[str, ...]]]:
        found = []
        for word in {"", *_WORD.findall(text)}:
            for template in self._by_word.get(word, ()):
                found += [(template, values) for values in template.matches(text)]
        found.sort(key=lambda one: -one[0].signs)
        return found[:_MOST_TEMPLATES]

    def _filled(self, template: Template, values: tuple[str, ...]) -> tuple[int, str] | None:
        signs, filled = template.signs, []
        for value in values:
            known, words = self._value(value, lone=not template.holds_names)
            if " " in _NAMES_BLANKS.sub("", value) and (
                template.holds_names or (template.is_vague and not known)
            ):
                return None
            signs += known
            filled.append(words)
        text = ""
        for number, piece in enumerate(template.translation):
            text = _after(text, filled[int(piece)] if number % 2 else piece)
        return signs, text

    def _value(self, value: str, lone: bool = True) -> tuple[int, str]:
        """What stands in a place: a name or number as it is, words in the screen's language; a
        lone word only where it is none that a person types, such as a setting's value."""
        bare = value.strip()
        if not any(map(str.isalpha, bare)) or not (lone or " " in bare):
            return 0, value
        known, words = self._best(bare)
        if not known and " " in bare:  # a label of the screen's own catalogue
            words = _(bare)
            known = len(bare) if words != bare else 0
        return (known, words) if known else (0, value)

    def _in_parts(self, text: str, sign: str, wide: str) -> tuple[int, str]:
        """A list of sentences or words, or a name and what is said of it."""
        stop = text.endswith(".") and sign in ("; ", ": ")
        parts = (text.removesuffix(".") if stop else text).split(sign, 1 if sign == ": " else -1)
        told = [self._value(part, lone=sign != ", ") for part in parts]
        # A sentence with a comma is rather one than two parts of others.
        known = sum(one for one, _words in told) - (2 * len(parts) if sign == ", " else 0)
        is_list = sign in (", ", " and ")
        strange = any(not one and " " in words for one, words in told)
        if known <= 0 or (is_list and strange):
            return 0, text
        return known, wide.join(words for _known, words in told) + ("。" if stop else "")


def _signs(text: str) -> int:
    return len("".join(text.split()))


def _after(text: str, more: str) -> str:
    """Two texts one behind the other: no blank between Chinese and Chinese, one between Chinese
    and letters or digits."""
    last, first = text[-1:], more[:1]
    if (_CHINESE.match(last) and _LATIN.match(first)) or (
        _LATIN.match(last) and _CHINESE.match(first)
    ):
        return f"{text} {more}"
    if last == " " and _WIDE.match(first) and _WIDE.match(text.rstrip()[-1:]):
        text = text.rstrip()
    elif first == " " and _WIDE.match(last) and _WIDE.match(more.lstrip()[:1]):
        more = more.lstrip()
    return text + more
