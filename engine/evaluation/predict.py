"""An answer of the model to each row, beside the reference and with its scores."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from engine.evaluation.course import describe
from engine.evaluation.journal import Journal
from engine.evaluation.questions import Question, questions
from engine.evaluation.scores import Scorer, means
from engine.events import PredictionMade
from engine.runs.results import write_results
from engine.runs.session import JobSession

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.models.inference import Loaded


def run_prediction(config: RunConfig, session: JobSession) -> dict[str, Any]:
    """Answer each row of `eval_dataset`, or of the held-out part of `dataset`, and score it.

    Rows are answered in their order, `per_device_eval_batch_size` at once, filled up on the left;
    a `PredictionMade` tells each, and `generated_predictions.jsonl` in the session's folder gets
    its line. Stopped and started again into the same folder, with nothing changed, it goes on
    where it ended. At the end `predict_results.json` holds the means, which are returned too:
    `predict_bleu-4`, `predict_rouge-1`, `-2`, `-l` and `predict_exact_match` (0 to 100, see
    `engine.evaluation.scores`), with several sets also each one's own, and of this sitting
    `predict_runtime` (seconds), `predict_samples_per_second` and `predict_tokens_per_second`.
    Raises BadInput for rows that can't be answered, Stopped once asked to stop.
    """
    from engine.models.inference import interruptible, load_for_inference

    if session.folder is None:
        raise ValueError("a prediction needs a folder")
    loaded = load_for_inference(config, session)
    rows, notes = questions(config, loaded.encoder, loaded.context, session.progress, session.check)
    for note in notes:
        session.say(note, "note")
    describe(session.folder, config)
    session.progress("loading the scores", 0, 0)
    scorer = Scorer()
    journal = Journal(session.folder, config, loaded.sources, rows)
    scores: list[dict[str, float]] = []

    def tell(predict: str) -> None:
        index = len(scores)
        row = rows[index]
        scores.append(scorer.score(predict, row.label))
        session.publish(
            PredictionMade(
                index=index,
                total=len(rows),
                prompt=row.asked,
                predict=predict,
                label=row.label,
                scores={name: round(value, 4) for name, value in scores[-1].items()},
            )
        )

    earlier = list(journal.done)
    if earlier:
        session.say(f"Going on after row {len(earlier):,} of {len(rows):,}.", "note")
    for predict in earlier:
        tell(predict)
    began = time.monotonic()
    tokens = 0
    size = config.per_device_eval_batch_size
    try:
        with interruptible(loaded.model, session.check):
            for start in range(len(earlier), len(rows), size):
                session.progress("generating", start, len(rows), "rows")
                for predict, count in answers(loaded, rows[start : start + size], config, start):
                    tokens += count
                    journal.add(predict)
                    tell(predict)
        session.progress("generating", len(rows), len(rows), "rows")
        journal.finish()
    finally:
        journal.close()
    seconds = max(time.monotonic() - began, 1e-9)
    result: dict[str, Any] = means(scores)
    names = list(dict.fromkeys(row.dataset for row in rows))
    for name in names if len(names) > 1 else ():
        own = [score for score, row in zip(scores, rows, strict=True) if row.dataset == name]
        for measure, value in means(own).items():
            result[measure.replace("predict_", f"predict_{name}_", 1)] = value
    answered = len(rows) - len(earlier)
    result |= {
        "predict_samples": len(rows),
        "predict_runtime": round(seconds, 4),
        "predict_samples_per_second": round(answered / seconds, 3),
        "predict_tokens_per_second": round(tokens / seconds, 3),
    }
    write_results(session.folder, "predict_results.json", result)
    return result


def answers(
    loaded: Loaded, rows: Sequence[Question], config: RunConfig, first: int = 0
) -> list[tuple[str, int]]:
    """The text answered to each of `rows` at once, and how many tokens it has.

    `first` is the number of the first row: with sampling, a row's draw depends on it and the
    seed, not on what was answered before.
    """
    import torch

    from engine.models.inference import generation_config

    pad, ends = loaded.encoder.pad_id, frozenset(loaded.eos_ids)
    longest = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), longest), pad)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for line, row in enumerate(rows):
        ids[line, longest - len(row.ids) :] = torch.tensor(row.ids)
        mask[line, longest - len(row.ids) :] = 1
    device = loaded.model.device
    seen: dict[str, Any] = {}
    if loaded.media is not None:
        found_inputs = loaded.media.inputs(ids, [row.media for row in rows])
        seen = {name: value.to(device) for name, value in found_inputs.items()}
    torch.manual_seed(config.seed + first)
    with torch.inference_mode():
        out = loaded.model.generate(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            generation_config=generation_config(config, loaded, _limit(loaded, longest, config)),
            **seen,
        )
    found = []
    for line in out[:, longest:].tolist():
        end = next((place for place, token in enumerate(line) if token in ends), len(line))
        text = loaded.encoder.tokenizer.decode(
            line[: end if config.skip_special_tokens else end + 1],
            skip_special_tokens=config.skip_special_tokens,
        )
        found.append((text, min(end + 1, len(line))))
    return found


def _limit(loaded: Loaded, prompt: int, config: RunConfig) -> int:
    """The most new tokens after a prompt (padding included, which the context counts too)."""
    wanted = config.max_new_tokens or max(1, config.max_length - prompt)
    return wanted if loaded.context is None else max(1, min(wanted, loaded.context - prompt))
