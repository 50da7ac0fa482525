"""LongLoRA's shifted attention against a plain mask, on both layouts of a micro-batch."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.problem import BadInput
from engine.training.methods.shifted_attention import cuts, grouped, shifted_attention

SHIFT = {"shift_attn": True}


def allowed(tokens: int, heads: int) -> torch.Tensor:
    """(heads, tokens, tokens): causal, within groups of a quarter, half of the heads shifted."""
    group = max(1, math.ceil(tokens / 4))
    places = torch.arange(tokens)
    still = heads - heads // 2
    masks = []
    for head in range(heads):
        shift = 0 if head < still else group // 2
        own = (places + shift) // group
        masks.append((own[:, None] == own[None, :]) & (places[:, None] >= places[None, :]))
    return torch.stack(masks)


def naive(query: Any, key: Any, value: Any, mask: torch.Tensor) -> torch.Tensor:
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    return torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1) @ value


@pytest.mark.parametrize("tokens", [1, 2, 3, 7, 8, 16, 21, 64])
@pytest.mark.parametrize("heads", [1, 3, 4])
def test_groups_against_a_mask(tokens: int, heads: int) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, heads, tokens, 8) for _ in range(3))
    expected = naive(query, key, value, allowed(tokens, heads))
    assert torch.allclose(grouped(query, key, value, None, None), expected, atol=1e-6)


def test_cuts_cover_all_tokens_once() -> None:
    assert cuts(16, 4, 0) == [(0, 4), (4, 8), (8, 12), (12, 16)]
    # The ends are groups of their own: the paper's roll would let token 0 see token 15.
    assert cuts(16, 4, 2) == [(0, 2), (2, 6), (6, 10), (10, 14), (14, 16)]
    assert cuts(5, 2, 1) == [(0, 1), (1, 3), (3, 5)]
    assert cuts(1, 1, 0) == [(0, 1)]


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_is_not_seen_and_gives_no_nan(side: str) -> None:
    torch.manual_seed(0)
    tokens, real = 16, 10
    query, key, value = (torch.randn(1, 4, tokens, 8) for _ in range(3))
    held = torch.arange(tokens) < real if side == "right" else torch.arange(tokens) >= tokens - real
    causal = torch.ones(tokens, tokens, dtype=torch.bool).tril()
    mask = (causal & held[None, :])[None, None]
    out = grouped(query, key, value, mask, None)
    assert torch.isfinite(out).all()
    seen = allowed(tokens, 4) & mask[0]
    expected = naive(query, key, value, seen | torch.eye(tokens, dtype=torch.bool))
    assert torch.allclose(out[:, :, held], expected[:, :, held], atol=1e-6)


def test_in_evaluation_attention_is_whole() -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 4, 16, 8) for _ in range(3))
    causal = torch.ones(16, 16, dtype=torch.bool).tril()
    for training in (False, True):
        module = SimpleNamespace(training=training, num_key_value_groups=1, is_causal=True)
        out, _ = shifted_attention(module, query, key, value, causal[None, None])
        mask = allowed(16, 4) if training else causal
        assert torch.allclose(out.transpose(1, 2), naive(query, key, value, mask), atol=1e-6)


def test_rows_end_to_end_and_padded_give_the_same(load: Any, strong_folder: Path) -> None:
    """Losses and gradients of one micro-batch of rows of unlike length, on both layouts."""
    from engine.training.collate import EndToEnd, Padded

    rows = [
        {"input_ids": list(range(5, 5 + n)), "labels": list(range(5, 5 + n)), "length": n}
        for n in (40, 23, 9)
    ]
    found = []
    for form in (EndToEnd(), Padded(0)):
        model, _ = load(**SHIFT, lora_target="q_proj,v_proj")
        assert model.config._attn_implementation == "finetui_shifted"
        batch = dict(form(rows))
        targets = batch.pop("shift_labels").reshape(-1)
        batch = {k: v for k, v in batch.items() if k not in ("labels", "tokens")}
        model.train()
        logits = model(**batch, use_cache=False).logits.reshape(-1, 259)
        loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
        loss.backward()
        grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        found.append((loss.item(), grads))
    (one, first), (two, second) = found
    assert one == pytest.approx(two, rel=1e-5)
    assert first.keys() == second.keys()
    for name, grad in first.items():
        assert torch.allclose(grad, second[name], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("layout", ["end_to_end", "padded"])
def test_it_takes_effect_in_a_run_on_both_layouts(layout: str, train: Any) -> None:
    """The first loss differs from whole attention, and is the same on both layouts."""
    from engine.events import StepLogged

    # NEFTune trains padded; a noise this small changes nothing that is compared here.
    more = {"neftune_noise_alpha": 1e-9} if layout == "padded" else {}
    _, shifted = train("shifted", **SHIFT, lora_dropout=0.0, **more)
    _, whole = train("whole", lora_dropout=0.0, **more)
    losses = [run.of(StepLogged)[0].loss for run in (shifted, whole)]
    assert abs(losses[0] - losses[1]) > 1e-3
    _, other = train("other", **SHIFT, lora_dropout=0.0)
    assert other.of(StepLogged)[0].loss == pytest.approx(losses[0], rel=1e-4)


def test_evaluation_of_a_run_attends_in_full(train: Any) -> None:
    from engine.events import Evaluated

    measured = {"val_size": 4, "eval_strategy": "steps", "eval_steps": 3, "eval_on_start": True}
    found = [
        train(name, **changes, **measured)[1].of(Evaluated)[0]
        for name, changes in (("shifted", SHIFT), ("whole", {}))
    ]
    # Before the first step both are the base, measured with the attention it was trained with.
    assert found[0].loss == pytest.approx(found[1].loss, rel=1e-6)


def test_checkpointed_activations_give_the_same(train: Any, monkeypatch: Any) -> None:
    from engine.events import StepLogged

    losses = []
    for name, on in (("off", False), ("on", True)):
        monkeypatch.setattr(
            "engine.training.memory_plan.plan_checkpointing", lambda *_, on=on: (on, "")
        )
        losses.append([e.loss for e in train(name, **SHIFT)[1].of(StepLogged)])
    assert losses[0] == losses[1]


def test_another_family_is_told_before_loading(
    train: Any, tmp_path: Path, strong_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json
    import shutil

    other = Path(shutil.copytree(strong_folder, tmp_path / "other"))
    described = json.loads((other / "config.json").read_text("utf-8"))
    (other / "config.json").write_text(json.dumps({**described, "model_type": "qwen2"}))
    monkeypatch.setattr("engine.models.load_model", None)
    with pytest.raises(BadInput, match="of the family qwen2"):
        train("run", **SHIFT, model_name_or_path=str(other))
