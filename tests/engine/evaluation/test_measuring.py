"""The loss over rows equals the plain model's own, whatever the batches."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from engine.events import LogLine, Progress
from engine.problem import BadInput, Stopped


def by_hand(folder: Path, config: Any, adapter: Path | None = None) -> dict[str, tuple[float, ...]]:
    """Per set: loss sum, right tokens, tokens, rows; one row at a time with the whole logits."""
    import torch
    from transformers import AutoModelForCausalLM

    from engine.datasets import Encoder
    from engine.datasets.preparation import select

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(adapter)).eval()
    encoder = Encoder(folder, config)
    found: dict[str, tuple[float, ...]] = {}
    for name, example in select(config, config.eval_datasets).examples:
        row = encoder.encode(example)
        labels = torch.tensor(row.labels[1:])
        if (labels == -100).all():
            continue
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([row.ids])).logits[0, :-1]
        loss = torch.nn.functional.cross_entropy(logits, labels, reduction="sum").item()
        mine = labels != -100
        right = (logits.argmax(-1) == labels)[mine].sum().item()
        old = found.get(name, (0.0, 0, 0, 0))
        found[name] = (old[0] + loss, old[1] + right, old[2] + mine.sum().item(), old[3] + 1)
    return found


@pytest.mark.parametrize("size", [1, 3, 16])
def test_loss_and_accuracy_equal_the_plain_models(
    model_folder: Path, tmp_path: Path, make_config: Any, make_session: Any, size: int
) -> None:
    from engine.evaluation import run_evaluation

    config = make_config(per_device_eval_batch_size=size, eval_dataset="small,other")
    session, heard = make_session(tmp_path / "run")
    result = run_evaluation(config, session)
    sets = by_hand(model_folder, config)
    loss, right, tokens, rows = (sum(values) for values in zip(*sets.values(), strict=True))
    assert result["eval_loss"] == pytest.approx(loss / tokens, abs=1e-5)
    assert result["eval_perplexity"] == pytest.approx(math.exp(loss / tokens), rel=1e-4)
    assert result["eval_accuracy"] == pytest.approx(right / tokens)
    assert (result["eval_tokens"], result["eval_samples"]) == (tokens, rows)
    for name, (loss, _, tokens, rows) in sets.items():
        assert result[f"eval_{name}_loss"] == pytest.approx(loss / tokens, abs=1e-5)
        assert result[f"eval_{name}_samples"] == rows
    assert json.loads((tmp_path / "run/eval_results.json").read_text()) == result
    last = [event for event in heard.of(Progress) if event.activity == "measuring"][-1]
    assert last.done == last.total == result["eval_samples"]


def test_an_adapter_is_measured_with_its_base(
    model_folder: Path, adapter_folder: Path, tmp_path: Path, make_config: Any, make_session: Any
) -> None:
    from engine.evaluation import run_evaluation

    config = make_config(adapter_name_or_path=str(adapter_folder))
    result = run_evaluation(config, make_session(tmp_path / "run")[0])
    [(loss, _, tokens, _)] = by_hand(model_folder, config, adapter_folder).values()
    assert result["eval_loss"] == pytest.approx(loss / tokens, abs=1e-5)


def test_the_held_out_part_is_measured_where_no_set_is_named(
    tmp_path: Path, make_config: Any, make_session: Any
) -> None:
    from engine.evaluation import run_evaluation

    config = make_config(eval_dataset=None, dataset="small", val_size=0.3)
    result = run_evaluation(config, make_session(tmp_path / "run")[0])
    assert result["eval_samples"] == 2
    with pytest.raises(BadInput):
        run_evaluation(
            make_config(eval_dataset=None, dataset="small"), make_session(tmp_path / "b")[0]
        )


def test_other_results_and_a_runs_description_stay(
    tmp_path: Path, make_config: Any, make_session: Any
) -> None:
    from engine.evaluation import run_evaluation

    run = tmp_path / "run"
    session, _ = make_session(run)
    (run / "all_results.json").write_text('{"train_loss": 1.5, "eval_loss": 9}')
    (run / "training_args.yaml").write_text("learning_rate: 1.0\n")
    result = run_evaluation(make_config(), session)
    merged = json.loads((run / "all_results.json").read_text())
    assert merged["train_loss"] == 1.5 and merged["eval_loss"] == result["eval_loss"] != 9
    assert (run / "training_args.yaml").read_text() == "learning_rate: 1.0\n"


def test_a_stop_leaves_earlier_results_alone(
    tmp_path: Path, make_config: Any, make_session: Any
) -> None:
    from engine.evaluation import run_evaluation

    session, heard = make_session(tmp_path / "run")
    heard.on = lambda event: (
        isinstance(event, Progress) and event.activity == "measuring" and session.control.stop()
    )
    (tmp_path / "run/eval_results.json").write_text("{}")
    with pytest.raises(Stopped):
        run_evaluation(make_config(), session)
    assert (tmp_path / "run/eval_results.json").read_text() == "{}"


def test_weights_that_are_not_finite_are_told(
    model_folder: Path, tmp_path: Path, make_config: Any, make_session: Any
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from engine.evaluation import run_evaluation

    model = AutoModelForCausalLM.from_pretrained(model_folder)
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    model.save_pretrained(tmp_path / "nan")
    AutoTokenizer.from_pretrained(model_folder).save_pretrained(tmp_path / "nan")
    session, heard = make_session(tmp_path / "run")
    result = run_evaluation(make_config(model_name_or_path=str(tmp_path / "nan")), session)
    assert math.isnan(result["eval_loss"])
    assert [line for line in heard.of(LogLine) if line.level == "warning"]


def test_batches_hold_every_row_once_and_bound_their_logits() -> None:
    from engine.datasets import TokenRows
    from engine.datasets.encode import Encoded
    from engine.evaluation.measure import batches

    rows = TokenRows()
    for length in (3, 50, 7, 90, 20, 20, 1):
        rows.append(Encoded([1] * length, [True] * length, 0, ""))
    found = batches(rows, 3, vocabulary=1000)
    assert sorted(row for batch in found for row in batch) == list(range(7))
    assert found[0][0] == 3 and max(len(batch) for batch in found) == 3
    assert all(len(batch) == 1 for batch in batches(rows, 3, vocabulary=1 << 27))
