"""Every method and variant: trains, is saved, is loaded again, and answers.

A tiny Llama of three blocks. `.pictures/cells.py` runs these tests and writes their results as the
README's table.
"""

from __future__ import annotations

import math
import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.events import JobFailed, StepLogged
from engine.training import run_training

_LIST = runpy.run_path(str(Path(__file__).with_name("cases.py")))
CASES: dict[str, dict[str, Any]] = _LIST["CASES"]
STEPS = 3


@pytest.mark.parametrize("name", _LIST["parameters"]())
def test_trains_saves_and_comes_back(
    name: str,
    make_config: Callable[..., Any],
    make_session: Callable[..., Any],
    model_folder: Path,
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    config = make_config(**{**CASES[name], "max_steps": STEPS, "save_strategy": "no"})
    session, listener = make_session(run)
    result = run_training(config, session)
    logged = listener.of(StepLogged)
    assert [event.step for event in logged] == [1, 2, 3]
    assert all(math.isfinite(event.loss) for event in logged)
    assert not listener.of(JobFailed)
    assert result["method"] == config.finetuning_type
    comes_back(config, model_folder, run)
    if config.pissa_convert:
        comes_back(config, model_folder, run / "pissa_converted")


def comes_back(config: Any, base: Path, run: Path) -> None:
    """A fresh load of what was saved is another model than the start, and answers."""
    import torch

    from engine.models import load_tokenizer
    from engine.models.inference import load_for_inference
    from engine.runs.session import JobSession

    adapter = str(run) if config.finetuning_type in ("lora", "oft") else None
    asked = replace(config, do_train=False, infer_dtype="float32")
    start = load_for_inference(asked, JobSession("base", None, lambda _: None)).model
    asked = (
        replace(asked, adapter_name_or_path=adapter)
        if adapter
        else replace(asked, model_name_or_path=str(run))
    )
    back = load_for_inference(asked, JobSession("back", None, lambda _: None)).model
    inputs = load_tokenizer(base)("Who are you?", return_tensors="pt")
    with torch.no_grad():
        before, after = start(**inputs).logits, back(**inputs).logits
        answer = back.generate(**inputs, max_new_tokens=3, do_sample=False)
    assert (before - after).abs().max() > 1e-4
    assert torch.isfinite(after).all()
    assert answer.shape[1] > inputs["input_ids"].shape[1]
