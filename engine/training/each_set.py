"""Evaluation set by set (`eval_on_each_dataset`): `eval_<set>_loss`, and `eval_loss` over all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from engine.datasets.encoded import IGNORED

if TYPE_CHECKING:
    import datasets

    from engine.config import RunConfig
    from engine.datasets import Prepared
    from engine.datasets.streaming import StreamedRows
    from engine.runs.session import JobSession


def sets_of(
    config: RunConfig, prepared: Prepared, evaluation: datasets.Dataset | None
) -> dict[str, datasets.Dataset]:
    """The parts of the validation set that come from each set, if each is to be measured."""
    if not config.eval_on_each_dataset or evaluation is None:
        return {}
    found, start = {}, 0
    for name, count in prepared.eval_counts.items():
        found[name] = evaluation.select(range(start, start + count))
        start += count
    return found


def stream_of(prepared: Prepared, session: JobSession) -> StreamedRows | None:
    """The rows that are encoded while the run trains, their bad ones told in its log."""
    from engine.datasets.stream_windows import WindowedRows
    from engine.datasets.streaming import StreamedRows

    if not isinstance(prepared.train, StreamedRows):
        return None
    prepared.train.tell = lambda text: session.say(text, "note")
    if isinstance(prepared.train, WindowedRows) and session.folder is not None:
        prepared.train.keep_marks(session.folder / "stream.jsonl")
    return prepared.train


def evaluate_each(
    trainer: Any, evaluate: Callable[..., dict[str, float]], **kwargs: Any
) -> dict[str, float]:
    """The measures of each of `trainer.eval_sets`, by its name, and those over all sets.

    `evaluate` is transformers' own, of one set. A measure over all is the mean of the sets' by what
    they weigh: trained tokens where rows have labels, else rows.
    """
    prefix = kwargs.pop("metric_key_prefix", "eval")
    kwargs.pop("eval_dataset", None)
    found: dict[str, float] = {}
    sums: dict[str, float] = {}
    weights = {name: _weight(rows) for name, rows in trainer.eval_sets.items()}
    total = sum(weights.values())
    for name, rows in trainer.eval_sets.items():
        own = f"{prefix}_{name}"
        measured = evaluate(eval_dataset=rows, metric_key_prefix=own, **kwargs)
        for key, value in measured.items():
            if key.startswith(f"{own}_"):
                found[key] = value
                measure = key.removeprefix(f"{own}_")
                part = value if _is_sum(measure) else value * weights[name] / total
                sums[measure] = sums.get(measure, 0.0) + part
    whole = {f"{prefix}_{measure}": value for measure, value in sums.items()}
    metrics = {**whole, **found}
    trainer.log(dict(metrics))
    trainer.control = trainer.callback_handler.on_evaluate(
        trainer.args, trainer.state, trainer.control, metrics
    )
    return metrics


def _is_sum(measure: str) -> bool:
    return measure.endswith(("runtime", "_preparation_time"))


def _weight(rows: datasets.Dataset) -> int:
    """What a set weighs among others."""
    if "labels" not in rows.column_names:
        return len(rows)
    # The first token of a row has nothing before it to be predicted from.
    return max(1, sum(label != IGNORED for labels in rows["labels"] for label in labels[1:]))
