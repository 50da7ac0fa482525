"""The predictions on disk: a line as each row is answered, so that a stopped job can go on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.evaluation.questions import Question
from engine.runs.atomic import write_atomic
from engine.runs.eventlog import LineFile

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.models.inference import Sources

PREDICTIONS = "generated_predictions.jsonl"
# What the unfinished file was made with; gone once the job has ended well.
_UNFINISHED = ".generated_predictions.json"
_SHAPING = (
    "template", "enable_thinking", "preserve_thinking", "tool_format", "default_system",
    "infer_dtype", "do_sample", "temperature", "top_p", "top_k", "num_beams",
    "max_new_tokens", "max_length", "repetition_penalty", "length_penalty",
    "skip_special_tokens", "seed",
)  # fmt: skip


class Journal:
    """`generated_predictions.jsonl` in `folder`: `prompt`, `predict`, `label` a line.

    Made with the same model and settings as an unfinished file, it takes that one up: `done` are
    the answers already there. Anything else begins a new file, and not before the first answer.
    """

    def __init__(
        self, folder: Path, config: RunConfig, sources: Sources, rows: Sequence[Question]
    ) -> None:
        self._folder = folder
        self._rows = rows
        self._file = LineFile(folder / PREDICTIONS)
        self._made_with = {
            "model": _weights(sources.folder),
            "adapters": [_weights(adapter) for adapter in sources.adapters],
            "settings": {name: getattr(config, name) for name in _SHAPING},
        }
        self._open = False
        self.done: list[str] = self._earlier()

    def add(self, predict: str) -> None:
        """Append the answer of the next row. Raises OSError on a full disk."""
        if not self._open:
            self._begin()
        self._file.append(_line(self._rows[len(self.done)], predict))
        self.done.append(predict)

    def finish(self) -> None:
        """All rows are answered: the file is complete."""
        if not self._open:
            self._begin()
        (self._folder / _UNFINISHED).unlink(missing_ok=True)

    def close(self) -> None:
        self._file.close()

    def _begin(self) -> None:
        lines = [_line(self._rows[i], predict) for i, predict in enumerate(self.done)]
        # The mark first: a file that lies here without it would count as finished.
        write_atomic(self._folder / _UNFINISHED, json.dumps(self._made_with))
        write_atomic(self._file.path, "".join(line + "\n" for line in lines))
        self._open = True

    def _earlier(self) -> list[str]:
        try:
            made_with = json.loads((self._folder / _UNFINISHED).read_text(encoding="utf-8"))
            text = self._file.path.read_text(encoding="utf-8")
        except (OSError, ValueError):
            return []
        if made_with != self._made_with:
            return []
        answers: list[str] = []
        # A last line without its end was cut in half.
        for line, row in zip(text.split("\n")[:-1], self._rows, strict=False):
            try:
                found = json.loads(line)
                same = found["prompt"] == row.prompt and found["label"] == row.label
                answers.append(str(found["predict"]))
            except (ValueError, KeyError, TypeError):
                break
            if not same:
                return []
        return answers


def _line(row: Question, predict: str) -> str:
    record = {"prompt": row.prompt, "predict": predict, "label": row.label}
    return json.dumps(record, ensure_ascii=False)


def _weights(folder: Path) -> list[Any]:
    """What tells one set of weights from another without reading them."""
    files = [(path.name, path.stat()) for path in sorted(folder.glob("*.safetensors"))]
    return [str(folder.resolve()), [[name, s.st_size, s.st_mtime_ns] for name, s in files]]
