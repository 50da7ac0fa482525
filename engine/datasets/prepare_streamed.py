"""The rows of a streamed run: opened, the held-out ones encoded, the others left for the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from engine.datasets.example import Example, RowProblem
from engine.datasets.far_rows import FarRows, far_rows, streams_from_hub
from engine.datasets.fill import Fill
from engine.datasets.hub import Access
from engine.datasets.mixing import Drawing
from engine.datasets.packing import pack, packs, packs_whole
from engine.datasets.parallel import ProgressCall, encoding
from engine.datasets.preparation_words import check_reads
from engine.datasets.rows import RowIndex, open_rows
from engine.datasets.stage_rows import PartRows, RowForm, TokenRows, new_rows
from engine.datasets.stream_windows import WindowedRows, encoded_rows, reads_on
from engine.datasets.streaming import StreamedRows
from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.datasets.dataset_info import DatasetInfo
    from engine.datasets.encode import Encoder


class RowsSeen(Mapping[str, int]):
    """The rows of each set by its name; of one read as it comes, those seen until now."""

    def __init__(self, sets: Sequence[RowIndex]) -> None:
        self._sets = {rows.name: rows for rows in sets}

    def __getitem__(self, name: str) -> int:
        return len(self._sets[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._sets)

    def __len__(self) -> int:
        return len(self._sets)


def open_streamed(
    config: RunConfig,
    infos: Sequence[DatasetInfo],
    progress: ProgressCall | None = None,
    check_stop: Callable[[], None] | None = None,
) -> list[RowIndex]:
    """The sets, those of Hugging Face's hub to be read as they come. Raises BadInput."""
    fill = Fill.of(config)
    access = Access.of(config, progress, check_stop)
    return [
        RowIndex(info, far_rows(info, access), fill)
        if streams_from_hub(info, str(config.hub))
        else open_rows(info, fill=fill, access=access)
        for info in infos
    ]


def streamed(
    config: RunConfig, encoder: Encoder, sets: Sequence[RowIndex]
) -> tuple[StreamedRows, list[str]]:
    """The rows to train on, those that `val_size` holds out left away, and what to say of them.

    Raises BadInput where there is nothing to train on.
    """
    held = int(config.val_size)
    if reads_on(config, sets):
        rows: StreamedRows = WindowedRows(config, encoder, sets, held)
        some = [f"{one.name}{_size(one)}" for one in sets]
        return rows, [
            f"Rows are read on as the run trains, shuffled {config.buffer_size:,} at a time: "
            f"{', '.join(some)}. An epoch is the whole run, {len(rows):,} rows. Bad ones are told "
            "as they are met and left out."
        ]
    rows = StreamedRows(config, encoder, sets, held)
    if not len(rows):
        raise BadInput(
            Problem(
                f"The sets hold {sum(map(len, sets)):,} rows, of which val_size takes {held:,}: "
                "none is left to train on.",
                "dataset",
                "Choose larger sets, or a smaller val_size.",
                "val_size" if held else "dataset",
            )
        )
    names = ", ".join(f"{rows.name} {len(rows):,}" for rows in sets)
    return rows, [
        f"Rows become tokens while the run trains, shuffled {config.buffer_size:,} at a time: "
        f"{names}. Bad ones are told as they are met; the next one stands in for each."
    ]


def first_rows(
    config: RunConfig,
    encoder: Encoder,
    sets: Sequence[RowIndex],
    form: RowForm,
    check_stop: Callable[[], None] | None = None,
) -> tuple[TokenRows | PartRows, list[RowProblem]]:
    """The first `val_size` rows in the order that the sets are joined in, held out, as tokens; and
    those among them that can't be used. Texts are packed where those trained on are.
    """
    shares = [float(share) for share in (config.interleave_probs or "").split(",") if share]
    has = [rows.has for rows in sets]
    drawing = Drawing(has, config.mix_strategy, shares or None, config.seed)
    encode = encoding(encoder, form, config.stage)
    held, dropped = new_rows(form), list[RowProblem]()
    pairs = islice(drawing, int(config.val_size))
    while block := list(islice(pairs, config.preprocessing_batch_size)):
        if check_stop:
            check_stop()
        names = [sets[place].name for place, _ in block]
        examples = [sets[place].example(row) for place, row in block]
        check_reads(
            encoder,
            config.stage,
            [(n, e) for n, e in zip(names, examples, strict=True) if isinstance(e, Example)],
        )
        held = encoded_rows(names, examples, encode, held, dropped.append)
    if isinstance(held, TokenRows) and packs(config):
        held = pack(held, config.cutoff_len)
    return held, dropped


def check_media(config: RunConfig, infos: Sequence[DatasetInfo]) -> None:
    """Raise BadInput for pictures, videos or sounds that can't be streamed."""
    for info in infos:
        if not info.has_media:
            continue
        if streams_from_hub(info, str(config.hub)):
            raise BadInput(
                Problem(
                    f"{info.name} lies on a hub with pictures, videos or sounds inside its files: "
                    "they would have to be kept on the disk, so it can't be streamed.",
                    f"dataset {info.name}",
                    "Switch streaming off, or choose a set of text.",
                    "streaming",
                )
            )
        if packs(config) or packs_whole(config):
            raise BadInput(
                Problem(
                    f"{info.name} holds pictures, videos or sounds: such rows can't be packed.",
                    f"dataset {info.name}",
                    "Leave packing and neat_packing out, or choose a set of text.",
                    "neat_packing" if config.neat_packing else "packing",
                )
            )


def unbounded(infos: Sequence[DatasetInfo]) -> list[str]:
    """What to say of sets whose entry names a number of rows."""
    return [
        f"{info.name}: num_samples bounds no stream; max_steps says how long the run is."
        for info in infos
        if info.num_samples is not None
    ]


def _size(rows: RowIndex) -> str:
    return " (from the hub)" if isinstance(rows.rows, FarRows) else f" {len(rows):,}"
