"""`finetui export`: an adapter merged into a plain model folder."""

from __future__ import annotations

from engine.cli.output import output, visible
from engine.cli.train import WORDS


def export(words: list[str] = WORDS) -> int:
    """Merge an adapter (or a checkpoint) into a folder that plain transformers loads."""
    from engine.cli.display import display_for
    from engine.cli.follow import follow
    from engine.cli.read import check_inputs, checked, read_words
    from engine.worker import ExportJob

    config = checked(read_words(words), "export")
    check_inputs(config)
    out = output()
    out.divert()
    outcome = follow(ExportJob(config), display_for(out))
    if outcome.code == 0:
        for key, value in outcome.result.items():
            out.say(f"{visible(key)}: {visible(str(value))}")
    return outcome.code
