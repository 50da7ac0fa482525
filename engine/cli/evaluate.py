"""`finetui evaluate`: the loss over rows, or an answer for each row with its scores."""

from __future__ import annotations

from dataclasses import replace

from engine.cli.output import output, visible
from engine.cli.train import WORDS


def evaluate(words: list[str] = WORDS) -> int:
    """Score a model on rows: do_eval for loss and accuracy, do_predict for answers and scores."""
    from engine.cli.display import display_for
    from engine.cli.follow import follow
    from engine.cli.read import check_inputs, checked, read_words
    from engine.worker import EvaluateJob

    config = read_words(words)
    wanted = [name for name in ("do_eval", "do_predict") if getattr(config, name)] or ["do_eval"]
    out = output()
    jobs = []
    for name in wanted:
        # One job measures one thing; what a training needs is of no concern here.
        predict = name == "do_predict"
        one = replace(
            config,
            do_train=False,
            do_eval=not predict,
            do_predict=predict,
            predict_with_generate=predict or config.predict_with_generate,
        )
        checked(one, "predict" if predict else "evaluate")
        jobs.append(EvaluateJob(one))
    data = config.eval_dataset or config.dataset
    check_inputs(config, data)
    out.divert()
    for job in jobs:
        outcome = follow(job, display_for(out))
        if outcome.code != 0:
            return outcome.code
        for key, value in outcome.result.items():
            shown = f"{value:.4f}" if isinstance(value, float) else visible(str(value))
            out.say(f"{visible(key)}: {shown}")
    return 0
