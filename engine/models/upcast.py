"""Parts of a 16-bit model that are held and computed in fp32: the norms, the output head."""

from __future__ import annotations

from typing import Any


def upcast_norms(model: Any) -> int:
    """Hold the weights of all norms in fp32, in place; returns how many norms that are.

    A norm's output goes on in the type that came in, so that nothing behind it changes.
    """
    import torch

    found = 0
    for module in model.modules():
        own = dict(module.named_parameters(recurse=False))
        if not own or not _is_norm(module, own):
            continue
        for weight in own.values():
            weight.data = weight.data.to(torch.float32)
        module.register_forward_hook(_as_it_came)
        found += 1
    return found


def _is_norm(module: Any, own: dict[str, Any]) -> bool:
    named = "norm" in type(module).__name__.lower()
    return named and all(w.ndim == 1 and w.is_floating_point() for w in own.values())


def _as_it_came(_: Any, inputs: tuple[Any, ...], output: Any) -> Any:
    return output.to(inputs[0].dtype)


def head_in_fp32(model: Any) -> None:
    """Let the output head multiply in fp32, whatever it is held in and whatever autocast says.

    A head that is no plain linear layer (a quantised one) gives its logits in fp32. Nothing happens
    to a model without one.
    """
    import torch

    head = model.get_output_embeddings()
    if head is None:
        return
    if type(head) is torch.nn.Linear:
        head.__class__ = _fp32_head()
    else:
        head.register_forward_hook(_as_fp32)


def _as_fp32(_: Any, inputs: tuple[Any, ...], output: Any) -> Any:
    return output.float()


def _fp32_head() -> Any:
    import torch

    class Fp32Head(torch.nn.Linear):
        """A linear layer that multiplies in fp32; it is saved and copied as any other."""

        def forward(self, input: torch.Tensor) -> torch.Tensor:
            with torch.autocast(input.device.type, enabled=False):
                bias = None if self.bias is None else self.bias.float()
                return torch.nn.functional.linear(input.float(), self.weight.float(), bias)

    return Fp32Head
