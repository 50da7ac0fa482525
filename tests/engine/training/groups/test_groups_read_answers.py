"""Log-probabilities and entropies on a CPU equal TRL's own, padding and all."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")


def test_as_trl_reads_them(model_folder: Path) -> None:
    from contextlib import nullcontext

    from transformers import AutoModelForCausalLM
    from trl import GRPOTrainer
    from trl.trainer.utils import add_fused_lm_head

    from engine.training.groups.trainer import GroupTrainer

    loaded: Any = AutoModelForCausalLM.from_pretrained(str(model_folder))
    model = loaded.eval()
    add_fused_lm_head(model, temperature=0.7, outputs=("log_probs", "entropy"))
    torch.manual_seed(1)
    ids = torch.randint(3, 250, (4, 15))
    mask = torch.ones_like(ids)
    for line, (left, right) in enumerate([(0, 0), (4, 2), (9, 1), (2, 4)]):
        mask[line, :left] = 0
        mask[line, 15 - right :] = 0
    ids = ids * mask
    trainer = GroupTrainer.__new__(GroupTrainer)
    trainer.temperature = 0.7
    trainer.sampling = SimpleNamespace(pad_id=0)
    trainer.autocast_type = None
    trainer.args = SimpleNamespace(device=torch.device("cpu"))
    trainer.accelerator = SimpleNamespace(autocast=nullcontext, is_main_process=False)
    for batch in (None, 3, 1):
        with torch.no_grad():
            theirs = GRPOTrainer._get_per_token_logps_and_entropies(
                trainer, model, ids, mask, 5, batch, compute_entropy=True
            )
            ours = trainer._get_per_token_logps_and_entropies(
                model, ids, mask, 5, batch, compute_entropy=True
            )
        real = mask[:, -5:].bool()
        for left, right in zip(ours[:2], theirs[:2], strict=True):
            assert left.shape == right.shape == (4, 5)
            torch.testing.assert_close(left[real], right[real], atol=1e-5, rtol=1e-5)
            assert not left[~real].any()
