"""`trainer_log.jsonl` in every variant that people have on disk."""

from __future__ import annotations

import json
import math

import pytest

from engine.runs.curves import read_curves
from engine.runs.trainer_log import LogPoint, TrainerLog, parse_point, read_trainer_log


def _write(folder, *lines: str, end: str = "\n") -> None:
    (folder / "trainer_log.jsonl").write_text("\n".join(lines) + end, encoding="utf-8")


def test_the_usual_tools_line():
    point = parse_point(
        '{"current_steps": 10, "total_steps": 685, "loss": 1.25, "lr": 0.0001, "epoch": 0.5, '
        '"percentage": 1.46, "elapsed_time": "0:00:05", "remaining_time": "1 day, 2:03:04", '
        '"throughput": 412.5, "total_tokens": 9000, "accuracy": 0.7, "vram_allocated": 3.5}'
    )
    assert point is not None
    assert (point.step, point.total_steps, point.loss, point.lr) == (10, 685, 1.25, 0.0001)
    assert point.elapsed == 5 and point.remaining == 86400 + 7384
    assert point.total_tokens == 9000 and point.vram_allocated == 3.5
    assert point.watched == {}


def test_the_other_spelling_and_what_it_watches():
    point = parse_point(
        '{"step": 3, "total_steps": 9, "loss": 0.5, "learning_rate": "1.0e-04", '
        '"grad_norm": 0.7, "epoch": 0.1, "rewards/margins": 0.25, "note": "x", "flag": true}'
    )
    assert point is not None
    assert (point.step, point.lr, point.grad_norm) == (3, 1e-4, 0.7)
    assert point.watched == {"rewards/margins": 0.25}


@pytest.mark.parametrize(
    "line", ["", "   ", "[1, 2]", "3", '{"current_steps": 5, "los', "\x00\x00", "{" * 5000]
)
def test_what_is_no_point(line):
    assert parse_point(line) is None


def test_a_bare_nan_is_a_gap_and_a_half_last_line_is_left_out(tmp_path):
    _write(
        tmp_path,
        '{"current_steps": 1, "total_steps": 4, "loss": 2.0, "lr": 0.1}',
        '{"current_steps": 2, "total_steps": 4, "loss": NaN, "lr": 0.1}',
        "",
        '{"current_steps": 3, "total_steps": 4, "lo',
        end="",
    )
    curves = read_curves(tmp_path)
    assert curves.steps == (1, 2) and curves.total_steps == 4
    assert curves.losses[0] == 2.0 and math.isnan(curves.losses[1])


def test_steps_repeated_after_a_resume_count_once(tmp_path):
    lines = [{"current_steps": s, "total_steps": 6, "loss": 10.0 + s, "lr": 1} for s in range(1, 6)]
    lines.insert(4, {"current_steps": 4, "total_steps": 6, "eval_loss": 9.0})
    # Resumed from step 2: the abandoned steps 3 to 5 and their validation give way.
    lines += [{"current_steps": s, "total_steps": 6, "loss": 20.0 + s, "lr": 1} for s in (3, 4)]
    lines += [{"current_steps": 4, "total_steps": 6, "eval_loss": 8.0}]
    lines += [{"current_steps": 6, "total_steps": 6, "percentage": 100.0}]
    _write(tmp_path, *map(json.dumps, lines))
    curves = read_curves(tmp_path)
    assert curves.steps == (1, 2, 3, 4)
    assert curves.losses == (11.0, 12.0, 23.0, 24.0)
    assert (curves.eval_steps, curves.eval_losses) == ((4,), (8.0,))


def test_gradient_norms_come_from_the_trainers_state(tmp_path):
    _write(tmp_path, '{"current_steps": 5, "total_steps": 10, "loss": 1.0}')
    state = {"max_steps": 10, "log_history": [{"step": 5, "loss": 1.0, "grad_norm": 0.25}]}
    (tmp_path / "trainer_state.json").write_text(json.dumps(state))
    assert read_curves(tmp_path).grad_norms == (0.25,)


def test_a_folder_with_only_a_checkpoints_state(tmp_path):
    state = {
        "max_steps": 10,
        "log_history": [
            {"step": 5, "loss": 1.5, "learning_rate": 1e-4, "epoch": 1.0},
            {"step": 5, "eval_loss": 1.25, "eval_runtime": 3.0},
            {"step": 10, "train_runtime": 9.0, "train_loss": 1.4},
        ],
    }
    (tmp_path / "checkpoint-5").mkdir()
    (tmp_path / "checkpoint-5" / "trainer_state.json").write_text(json.dumps(state))
    curves = read_curves(tmp_path)
    assert (curves.steps, curves.losses, curves.lrs) == ((5,), (1.5,), (1e-4,))
    assert (curves.eval_steps, curves.eval_losses, curves.total_steps) == ((5,), (1.25,), 10)


def test_what_is_written_is_what_the_field_reads(tmp_path):
    log = TrainerLog(tmp_path)
    log.append(
        LogPoint(
            step=5, total_steps=20, loss=1.5, lr=1e-4, epoch=0.25, elapsed=93784.6, remaining=61.0,
            throughput=412.345, total_tokens=1000, grad_norm=0.5, watched={"entropy": 2.0},
        )
    )  # fmt: skip
    log.append(LogPoint(step=5, total_steps=20, eval_loss=math.nan))
    log.close()
    first, second = (tmp_path / "trainer_log.jsonl").read_text().splitlines()
    assert json.loads(first) == {
        "current_steps": 5, "total_steps": 20, "loss": 1.5, "lr": 1e-4, "grad_norm": 0.5,
        "epoch": 0.25, "percentage": 25.0, "elapsed_time": "1 day, 2:03:04",
        "remaining_time": "0:01:01", "throughput": 412.35, "total_tokens": 1000, "entropy": 2.0,
    }  # fmt: skip
    assert '"eval_loss": NaN' in second
    points = read_trainer_log(tmp_path)
    assert points[0].elapsed == 93784 and points[0].watched == {"entropy": 2.0}


def test_appending_after_a_killed_writer_keeps_lines_whole(tmp_path):
    _write(tmp_path, '{"current_steps": 1, "total_steps": 2, "loss": 1.0}', '{"curr', end="")
    log = TrainerLog(tmp_path)
    log.append(LogPoint(step=2, total_steps=2, loss=0.5))
    log.close()
    assert [p.loss for p in read_trainer_log(tmp_path)] == [1.0, 0.5]
