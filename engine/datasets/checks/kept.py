"""What a check found, kept in the user's cache: the same rows, model and settings give the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any

from engine.datasets.cache_key import key_of, made_of
from engine.datasets.checks.facts import DataCheck, Finding
from engine.datasets.checks.near import Alike
from engine.datasets.dataset_info import DatasetInfo
from engine.datasets.example import RowProblem
from engine.datasets.stage_rows import form_of
from engine.paths import cache_dir
from engine.runs.atomic import write_atomic
from engine.runs.json_object import read_object

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.datasets.encode import Encoder

# Raise it when a check finds something else in the same rows.
VERSION = 1
_MOST_KEPT = 300


class KeptCheck:
    """Where the check of a set is kept, for a model and the settings of `config`, whose stage is
    what its rows are checked for. Nothing is kept where the content of the set can't be known."""

    def __init__(
        self,
        config: RunConfig,
        encoder: Encoder | None,
        info: DatasetInfo,
        batch: int = 2,
        limit: int | None = None,
        check_stop: Callable[[], None] | None = None,
    ) -> None:
        self._asked = config, encoder, info, batch, limit, check_stop
        self._path = None
        if encoder is None:
            return
        # What a check does not depend on.
        alone = replace(
            config,
            dataset=info.name,
            eval_dataset=None,
            val_size=0.0,
            max_samples=None,
            mix_strategy="concat",
            interleave_probs=None,
        )
        form = form_of(str(config.stage))
        parts = made_of(alone, encoder, form, [replace(info, num_samples=None)], [], check_stop)
        if parts is not None:
            parts |= {"check": VERSION, "batch": batch, "limit": limit, "source": info.source}
            parts |= {"part": [info.split, info.subset, info.hub_folder]}
            self._path = cache_dir() / "checks" / f"{key_of(parts)}.json"

    @property
    def possible(self) -> bool:
        """Whether what is found can be kept."""
        return self._path is not None

    @property
    def unchanged(self) -> bool:
        """Whether the set still holds what it held when this was made."""
        return KeptCheck(*self._asked)._path == self._path

    def find(self) -> DataCheck | None:
        """What was found before; None where nothing was kept, or it can't be read."""
        told = self._read()
        with suppress(KeyError, TypeError):
            return _check_of(told["found"])
        return None

    def find_alike(self, most: int) -> list[Alike] | None:
        """The nearly equal rows among the first `most`, if they were kept."""
        told = self._read()
        with suppress(KeyError, TypeError):
            return [Alike(*one) for one in told["alike"]] if told["most"] == most else None
        return None

    def keep(self, found: DataCheck) -> None:
        """Keep what was found, unless the set was written to meanwhile; a cache that can't be
        written only costs time."""
        if self.unchanged:
            self._write({"found": asdict(found)})

    def keep_alike(self, alike: Sequence[Alike], most: int) -> None:
        """Add the nearly equal rows among the first `most`."""
        told = self._read()
        if "found" not in told or not self.unchanged:
            return
        rows = [[getattr(one, field.name) for field in fields(Alike)] for one in alike]
        self._write({**told, "alike": rows, "most": most})

    def _read(self) -> dict[str, Any]:
        return {} if self._path is None else read_object(self._path)

    def _write(self, told: dict[str, Any]) -> None:
        if self._path is None:
            return
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self._path, json.dumps(told))
            kept = sorted(self._path.parent.glob("*.json"), key=lambda one: one.stat().st_mtime)
            for old in kept[:-_MOST_KEPT]:
                old.unlink(missing_ok=True)


def _check_of(told: dict[str, Any]) -> DataCheck:
    values = {name: _frozen(value) for name, value in told.items()}
    values["problems"] = tuple(RowProblem(**one) for one in told["problems"])
    values["findings"] = tuple(
        Finding(**{**one, "rows": tuple(one["rows"])}) for one in told["findings"]
    )
    return DataCheck(**values)


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
