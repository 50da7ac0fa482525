"""The loss of a model over rows, with perplexity and token accuracy, set by set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.datasets.encode import IGNORED
from engine.datasets.stage_rows import media_of
from engine.evaluation.course import Tally, measured
from engine.problem import Problem
from engine.runs.session import JobSession

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.datasets import Prepared, TokenRows
    from engine.models.inference import Loaded

# Logits held at once: a billion of them in fp32 would be 4 GB.
_MOST_LOGITS = 1 << 27


@dataclass
class Sums(Tally):
    """Sums over the trained tokens of some rows; `loss` in nats."""

    tokens: int = 0
    loss: float = 0.0
    right: int = 0

    def numbers(self, prefix: str) -> dict[str, float]:
        """Mean loss a token, e^loss, and the share of tokens the model would have picked first."""
        if not self.tokens:
            return {}
        loss = self.loss / self.tokens
        return {
            f"{prefix}_loss": loss,
            f"{prefix}_perplexity": math.exp(loss) if loss < 700 else math.inf,
            f"{prefix}_accuracy": self.right / self.tokens,
            f"{prefix}_samples": self.rows,
            f"{prefix}_tokens": self.tokens,
        }


def run_evaluation(config: RunConfig, session: JobSession) -> dict[str, Any]:
    """Measure the model of `config` on `eval_dataset`, or on the held-out part of `dataset`.

    Every mean is over trained tokens (those of the answers, as in training), not over batches.
    Writes `eval_results.json` and `all_results.json` into the session's folder and returns the
    same numbers: `eval_loss`, `eval_perplexity`, `eval_accuracy` (0 to 1), `eval_samples`,
    `eval_tokens`, `eval_runtime` (seconds), `eval_samples_per_second`; with several sets also each
    one's own, as `eval_<set>_loss`. Raises BadInput for what can't be measured, Stopped once asked
    to stop. With stage rm it is a reward model that is measured: see `scoring`.
    """
    if config.stage == "rm":
        from engine.evaluation.scoring import run_scoring

        return run_scoring(config, session)
    nothing = Problem(
        "There are no rows to measure on.",
        "eval_dataset",
        "Name an eval_dataset, or set val_size.",
        "eval_dataset",
    )
    result = measured(
        config, session, head="language", form="tokens", measure=_measure, nothing=nothing
    )
    if not math.isfinite(result["eval_loss"]):
        session.say(
            "The loss is not a finite number: the weights overflow or are damaged.", "warning"
        )
    return result


def _measure(
    loaded: Loaded, prepared: Prepared, config: RunConfig, session: JobSession
) -> dict[str, Sums]:
    import torch

    from engine.datasets import TokenRows

    rows = prepared.eval
    assert isinstance(rows, TokenRows)
    # Rows stand set after set, so their number tells the set.
    owner = [name for name, count in prepared.eval_counts.items() for _ in range(count)]
    sums = {name: Sums() for name in prepared.eval_counts}
    vocabulary = int(loaded.model.get_output_embeddings().weight.shape[0])
    done = 0
    for batch in batches(rows, config.per_device_eval_batch_size, vocabulary):
        session.check()
        session.progress("measuring", done, len(rows), "rows")
        with torch.inference_mode():
            losses, right, line = _losses(loaded, [rows[i] for i in batch])
        for place, row in enumerate(batch):
            mine = line == place
            part = sums[owner[row]]
            part.rows += 1
            part.tokens += int(mine.sum())
            part.loss += float(losses[mine].sum())
            part.right += int(right[mine].sum())
        done += len(batch)
    session.progress("measuring", done, len(rows), "rows")
    return sums


def batches(rows: TokenRows, size: int, vocabulary: int) -> list[list[int]]:
    """Row numbers in batches of at most `size` rows of like length, the longest first.

    So memory runs out at once or not at all. A batch also holds no more trained tokens than its
    logits leave room for.
    """
    lengths = rows.lengths()
    order = sorted(range(len(rows)), key=lambda i: -lengths[i])
    most = max(1, _MOST_LOGITS // vocabulary)
    found: list[list[int]] = []
    for row in order:
        fits = (
            found and len(found[-1]) < size and (len(found[-1]) + 1) * lengths[found[-1][0]] <= most
        )
        if fits:
            found[-1].append(row)
        else:
            found.append([row])
    return found


def _losses(loaded: Loaded, rows: Sequence[dict[str, Any]]) -> tuple[Any, Any, Any]:
    """Of each trained token in the batch: its loss (float64), whether it is the first choice,
    and the line it stands in. All (trained,), on the CPU.

    The head multiplies trained positions only.
    """
    import torch

    from engine.models.head import forward_at

    longest = max(len(row["input_ids"]) for row in rows)
    ids = torch.full((len(rows), longest), loaded.encoder.pad_id)
    targets = torch.full((len(rows), longest), IGNORED)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for line, row in enumerate(rows):
        length = len(row["input_ids"])
        ids[line, :length] = torch.tensor(row["input_ids"])
        # Each place predicts the token after it.
        targets[line, : length - 1] = torch.tensor(row["labels"][1:])
        mask[line, :length] = 1
    flat = targets.reshape(-1)
    places = (flat != IGNORED).nonzero().squeeze(1)
    device = loaded.model.device
    inputs = {"input_ids": ids, "attention_mask": mask}
    if loaded.media is not None:
        inputs |= loaded.media.inputs(ids, [media_of(row) for row in rows])
    inputs = {name: value.to(device) for name, value in inputs.items()}
    logits = forward_at(loaded.model, inputs, places.to(device)).logits
    wanted = flat[places].to(device)
    losses = torch.nn.functional.cross_entropy(logits.float(), wanted, reduction="none")
    right = logits.argmax(-1) == wanted
    return losses.double().cpu(), right.cpu(), places // longest
