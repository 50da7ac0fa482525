"""Scores from a reward model: an adapter on the trained model's base, a model, or a service.

| `reward_model_type` | what scores | memory beside the policy |
| --- | --- | --- |
| lora | a second adapter on the policy's own base, and its head | the adapter |
| full | a model of its own, `reward_model_adapters` merged into it | the model |
| api | an HTTP service (`engine.training.rewards.service`) | none |

A row is a prompt and its answer as tokens; its score is read at its last token
(`engine.models.score_head`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from engine.models.changed_base import changes_its_base
from engine.models.precision import torch_dtype
from engine.problem import BadInput, Problem
from engine.training.second_model import blamed_on, find_second, load_frozen, merged

if TYPE_CHECKING:
    import torch

    from engine.training.parts import Parts

Check = Callable[[], object]
# The name that the reward's adapter goes by on the policy's base.
ADAPTER = "reward"
_SETTING = "reward_model"


class RewardModel(Protocol):
    """Whatever gives rows a score."""

    def score(self, rows: Sequence[Sequence[int]], check: Check = ...) -> torch.Tensor:
        """The scores (rows,) of prompts with their answers, as tokens: fp32, on the CPU.

        `check` is asked between batches and may raise, to stop.
        """
        ...


def load_reward_model(parts: Parts) -> RewardModel:
    """The reward model that a run's settings name.

    For type lora the policy (`parts.model`) gets a second, frozen adapter, which only works while
    scores are computed. Raises BadInput for what is no reward model, or does not fit.
    """
    kind = parts.config.reward_model_type
    if kind == "api":
        from engine.training.rewards.service import RewardService

        return RewardService((parts.config.reward_model or "").strip(), parts.tokenizer)
    with blamed_on(_SETTING):
        return _shared(parts) if kind == "lora" else _own(parts)


@dataclass(frozen=True)
class _Scorer:
    """What the two models in memory have in common: rows in batches, padded on the right."""

    forward: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    pad_id: int
    batch: int
    device: str
    autocast: str | None

    def score(self, rows: Sequence[Sequence[int]], check: Check = lambda: None) -> torch.Tensor:
        import torch

        found = []
        for start in range(0, len(rows), self.batch):
            check()
            part = rows[start : start + self.batch]
            longest = max(len(row) for row in part)
            ids = torch.full((len(part), longest), self.pad_id)
            mask = torch.zeros_like(ids)
            for line, row in enumerate(part):
                ids[line, : len(row)] = torch.tensor(row)
                mask[line, : len(row)] = 1
            with torch.no_grad(), self._autocast():
                scores = self.forward(ids.to(self.device), mask.to(self.device))
            found.append(scores.float().cpu())
        return torch.cat(found) if found else torch.zeros(0)

    def _autocast(self) -> Any:
        import torch

        if self.autocast is None:
            return nullcontext()
        return torch.autocast(torch.device(self.device).type, dtype=torch_dtype(self.autocast))


def _scorer(parts: Parts, forward: Callable[[Any, Any], Any]) -> _Scorer:
    return _Scorer(
        forward,
        pad_id=parts.tokenizer.pad_token_id or 0,
        batch=max(1, parts.config.per_device_train_batch_size),
        device=parts.device,
        autocast=parts.precision.autocast,
    )


# -- lora ------------------------------------------------------------------------------------


def _shared(parts: Parts) -> RewardModel:
    from engine.models import check_adapter

    folder = _finished(Path((parts.config.reward_model or "").strip()).expanduser())
    if not (folder / "adapter_config.json").is_file() and (folder / "config.json").is_file():
        raise _bad(
            "The reward model is a whole model, and reward_model_type is lora.",
            folder,
            "Set reward_model_type: full, or name the run of an adapter.",
        )
    check_adapter(folder)
    _check_same_tokens(parts, folder)
    _note_other_base(parts, folder)
    weight, bias = read_head(folder)
    model = parts.model
    add_frozen_adapter(model, folder)
    weight, bias = weight.to(parts.device).float(), bias.to(parts.device).float()
    inner = model.get_base_model()
    wide = inner.config.get_text_config().hidden_size
    if weight.shape[1] != wide:
        raise _bad(
            f"The reward model's head is {weight.shape[1]} wide and the model {wide}.",
            folder,
            "Take a reward adapter that was trained on this base model.",
        )

    def forward(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        import torch

        with only_adapter(model, ADAPTER):
            out = inner.base_model(input_ids=ids, attention_mask=mask, use_cache=False)
        last = mask.sum(1) - 1
        states = out.last_hidden_state[torch.arange(len(ids), device=ids.device), last]
        with torch.autocast(states.device.type, enabled=False):
            return torch.nn.functional.linear(states.float(), weight, bias).squeeze(-1)

    return _scorer(parts, forward)


def read_head(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """An adapter's head: weight (1, hidden) and bias (1,), from the file beside it or its `score`.

    Raises BadInput where there is none.
    """
    from safetensors import safe_open

    from engine.models.value_head import read_value_head

    stored = read_value_head(folder)
    if stored is not None:
        return stored
    with safe_open(str(folder / "adapter_model.safetensors"), "pt") as opened:
        for name in opened.keys():  # noqa: SIM118 (no mapping)
            if name.endswith(".score.weight"):
                weight = opened.get_tensor(name)
                return weight, weight.new_zeros(1)
    raise _bad(
        "The adapter is no reward model: it has no head that scores.",
        folder,
        "Name the folder of a run of stage rm.",
    )


def add_frozen_adapter(model: Any, folder: Path, name: str = ADAPTER) -> None:
    """Lay the adapter in `folder` over a PeftModel, frozen and not active; its head is left out.

    Raises BadInput for one that does not fit the model.
    """
    from peft import PeftConfig, set_peft_model_state_dict
    from safetensors.torch import load_file

    changed = changes_its_base(folder)
    if changed:
        raise _bad(
            f"The reward's adapter changed its base ({changed}), so it can't be laid over the "
            "trained model's.",
            folder,
            "Export it and set reward_model_type: full; of a PiSSA run, pissa_converted fits too.",
        )
    trained = {n: p.requires_grad for n, p in model.named_parameters()}
    described: Any = PeftConfig.from_pretrained(str(folder))
    # The head is read apart: a language model has no module of that name.
    described.task_type = "CAUSAL_LM"
    described.inference_mode = True
    whole = [m for m in described.modules_to_save or () if m not in ("score", "classifier")]
    described.modules_to_save = whole or None
    weights = load_file(str(folder / "adapter_model.safetensors"))
    weights = {key: value for key, value in weights.items() if ".score." not in key}
    try:
        model.add_adapter(name, described)
        result: Any = set_peft_model_state_dict(model, weights, adapter_name=name)
    except (RuntimeError, ValueError, KeyError) as error:
        raise _misfit(folder, str(error).splitlines()[0]) from error
    lacking = [key for key in result.missing_keys if f".{name}." in key]
    odd = next(iter([*result.unexpected_keys, *lacking]), None)
    if odd is not None:
        raise _misfit(folder, f"they differ in {odd}, for one")
    for key, weight in model.named_parameters():
        weight.requires_grad_(trained.get(key, False))


@contextmanager
def only_adapter(model: Any, name: str) -> Iterator[None]:
    """Inside, `name` is the PeftModel's one active adapter, in evaluation mode; before and after,
    the model is as it was, down to which weights are trained."""
    active, training = list(model.active_adapters), model.training
    trained = [(weight, weight.requires_grad) for weight in model.parameters()]
    model.eval()
    try:
        # A list, as modules that are trained whole then fall back where this adapter has none.
        model.base_model.set_adapter([name], inference_mode=True)
        yield
    finally:
        model.base_model.set_adapter(active)
        for weight, flag in trained:
            weight.requires_grad_(flag)
        model.train(training)


def _note_other_base(parts: Parts, folder: Path) -> None:
    from engine.models import adapter_base

    named = adapter_base(folder) or ""
    same = named in ("", str(parts.model_folder.path), parts.config.model_name_or_path or "")
    if not same and Path(named).name != parts.model_folder.path.name:
        parts.session.say(
            f"The reward model was trained on {named}, the policy starts from "
            f"{parts.model_folder.name}: its scores mean something only where these are the same.",
            "note",
        )


# -- full ------------------------------------------------------------------------------------


def _own(parts: Parts) -> RewardModel:
    from engine.models import adapter_folders, attach_adapters, check_adapter
    from engine.models.score_head import holds_head, scores

    config = parts.config
    given = (config.reward_model or "").strip()
    local = _finished(Path(given).expanduser())
    if (local / "adapter_config.json").is_file() and not (local / "config.json").is_file():
        raise _bad(
            "The reward model is an adapter, and reward_model_type is full.",
            local,
            "Set reward_model_type: lora; or name its base in reward_model, and the adapter in "
            "reward_model_adapters.",
        )
    path = find_second(parts, str(local) if local.is_dir() else given).path
    adapters = [_finished(folder) for folder in adapter_folders(config.reward_model_adapters or "")]
    with blamed_on("reward_model_adapters"):
        for adapter in adapters:
            check_adapter(adapter)
    _check_same_tokens(parts, path)
    if not any(holds_head(folder) for folder in (path, *adapters)):
        raise _bad(
            f"{path.name} is no reward model: it has no head that scores.",
            path,
            "Name the folder of a run of stage rm.",
        )
    bits = config.reward_model_quantization_bit
    model = load_frozen(parts, path, head="score", bits=bits)
    if adapters:
        with blamed_on("reward_model_adapters"):
            model = attach_adapters(model, adapters, parts.precision, trainable=False)
            model = merged(model, bits)
    model.requires_grad_(False)
    model.eval()
    return _scorer(parts, lambda ids, mask: scores(model, ids, mask))


# -- both ------------------------------------------------------------------------------------


def _finished(folder: Path) -> Path:
    """The folder itself where it holds weights; of a run that did not end, its last checkpoint."""
    from engine.runs.checkpoints import newest_complete

    if not folder.is_dir():
        return folder
    if any((folder / name).is_file() for name in ("adapter_config.json", "config.json")):
        return folder
    checkpoint = newest_complete(folder, resumable=False)
    return folder if checkpoint is None else checkpoint.path


def _check_same_tokens(parts: Parts, folder: Path) -> None:
    from engine.models import load_tokenizer

    if not (folder / "tokenizer.json").is_file():
        return
    theirs = load_tokenizer(folder, bool(parts.config.trust_remote_code))
    if theirs.get_vocab() != parts.tokenizer.get_vocab():
        raise _bad(
            "The reward model has another vocabulary than the model, so it can't read its answers.",
            folder,
            "Train a reward model of the same family, or offer it as a service "
            "(reward_model_type: api), which is sent text.",
        )


def _misfit(folder: Path, why: str) -> BadInput:
    return _bad(
        f"The reward model's adapter does not fit this model: {why.rstrip('.')}.",
        folder,
        "Take a reward adapter that was trained on this base model.",
    )


def _bad(what: str, folder: Path, hint: str) -> BadInput:
    return BadInput(Problem(what, where=str(folder), hint=hint, setting=_SETTING))
