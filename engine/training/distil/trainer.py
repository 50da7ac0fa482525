"""Distillation on data: the student's predictions at trained positions are drawn to a teacher's."""

from __future__ import annotations

from typing import Any

import torch

from engine.models.head import forward_at
from engine.training.distil.divergence import generalised_jsd
from engine.training.distil.teacher import Teacher
from engine.training.losses.tokens import forward_kl
from engine.training.trainer import SftTrainer


class DistilTrainer(SftTrainer):
    """Learns a teacher's next-token distribution on given answers (GKD with `lmbda` 0).

    The loss is the generalised Jensen-Shannon divergence of `beta` and `temperature` at the trained
    positions, their mean over the optimiser step. Both models see the same batch, and both heads
    multiply those positions only. Logs `kl`, the mean KL(teacher || student) in nats at temperature
    1, also where the loss is another divergence.
    """

    def __init__(self, *, teacher: Teacher, beta: float, temperature: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.teacher = teacher
        self.beta = beta
        self.temperature = temperature

    def summed_loss(
        self, model: Any, inputs: dict[str, Any], positions: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, Any]:
        with self.teacher.reference.of(model) as teacher, self.forward_autocast():
            wanted = forward_at(teacher, inputs, positions).logits
        outputs = self.student_outputs(model, inputs, positions)
        width = self.teacher.width
        theirs, ours = wanted[:, :width].float(), outputs.logits[:, :width].float()
        losses = generalised_jsd(ours, theirs, self.beta, self.temperature)
        total = losses.sum()
        if self.beta == 0 and self.temperature == 1:
            kl = total.detach()
        else:
            with torch.no_grad():
                kl = forward_kl(theirs, ours).sum()
        self.note(model.training, targets.numel(), kl=kl)
        if not model.training:
            self.measure(outputs.logits, targets, total)
        return total, outputs
