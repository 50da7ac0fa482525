"""What the preference stages (dpo, kto) do with their answers: loss, strength, reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from engine.config.declare import group, setting
from engine.problem import Problem

if TYPE_CHECKING:
    from engine.config.run_config import RunConfig

# These losses judge the answers by the trained model alone.
WITHOUT_REFERENCE = frozenset({"orpo", "simpo"})
# The losses that dpo_label_smoothing acts in.
SMOOTHED = frozenset({"sigmoid", "robust"})


def _dpo(config: Any) -> bool:
    return bool(config.stage == "dpo")


def _kto(config: Any) -> bool:
    return bool(config.stage == "kto")


def _dpo_or_kto(config: Any) -> bool:
    return _dpo(config) or _kto(config)


def _simpo(config: Any) -> bool:
    return _dpo(config) and config.pref_loss == "simpo"


def _smoothed(config: Any) -> bool:
    # One that is set stays in sight, as a rule may ask for it to be taken away.
    return _dpo(config) and (config.pref_loss in SMOOTHED or config.dpo_label_smoothing > 0)


def _dpo_reference(config: Any) -> bool:
    return _dpo(config) and config.pref_loss not in WITHOUT_REFERENCE


def uses_reference(config: Any) -> bool:
    """Whether the run compares with a reference model, which may be named."""
    if config.stage in ("grpo", "rloo"):
        # rloo has a weight of its own where none is given.
        usual = 0.05 if config.stage == "rloo" else 0.0
        return bool(usual if config.kl_beta is None else config.kl_beta)
    anchored = config.stage == "sft" and config.use_asft_loss
    return anchored or _dpo_reference(config) or config.stage in ("kto", "ppo")


def _names_reference(config: Any) -> bool:
    return uses_reference(config) and bool(config.ref_model)


@group
class PreferenceGroup:
    """Losses on pairs and on labelled answers."""

    pref_loss: Literal["sigmoid", "hinge", "ipo", "robust", "kto_pair", "orpo", "simpo"] = setting(
        "sigmoid",
        label="Preference loss",
        section="Preference",
        level="basic",
        help="How a pair becomes a loss: sigmoid is DPO itself, orpo and simpo need no reference "
        "model, the others are DPO with another curve.",
        usual="sigmoid; simpo or orpo to save the reference's time",
        goes_with=("pref_beta", "simpo_gamma", "dpo_label_smoothing"),
        applies=_dpo,
    )
    pref_beta: float = setting(
        0.1,
        label="Beta",
        section="Preference",
        level="basic",
        help="How strongly the model is held near its reference while it learns what is better; "
        "in orpo the weight of the preference against the plain loss.",
        higher="stays closer to the reference; learns the preference more slowly (in orpo, faster)",
        lower="moves further for the same pairs; below 0.05 answers may turn odd",
        usual="0.05 … 0.5; 2 … 2.5 for simpo",
        goes_with=("pref_loss", "learning_rate"),
        applies=_dpo_or_kto,
        gt=0,
    )
    simpo_gamma: float = setting(
        0.5,
        label="SimPO margin",
        section="Preference",
        level="basic",
        help="How far the better answer's reward should lie above the worse one's in SimPO.",
        higher="asks for a wider gap between the two answers",
        lower="is content with a small gap; 0 asks for none",
        usual="0.5 … 1.5",
        goes_with=("pref_beta", "pref_loss"),
        applies=_simpo,
        ge=0,
    )
    dpo_label_smoothing: float = setting(
        0.0,
        label="Share of wrong pairs",
        section="Preference",
        level="basic",
        help="The share of pairs whose better answer is thought to be marked wrongly; robust "
        "needs it above 0.",
        higher="trusts each pair less",
        lower="trusts the pairs; 0 takes all as right",
        usual="0; 0.1 … 0.3 for robust",
        goes_with=("pref_loss",),
        applies=_smoothed,
        ge=0,
        # At a half no pair would tell anything; robust divides by 1 − 2·x.
        lt=0.5,
    )
    pref_ftx: float = setting(
        0.0,
        label="Share of plain loss",
        section="Preference",
        help="Adds the plain loss on the better answers, times this weight.",
        higher="keeps the better answers likely in themselves, not only against the worse ones",
        lower="0 adds none",
        usual="0 … 1",
        goes_with=("pref_loss",),
        applies=_dpo_or_kto,
        ge=0,
    )
    pref_bco_weight: float = setting(
        0.0,
        label="BCO weight",
        section="Preference",
        help="Adds the loss of binary classifier optimisation, which also pulls each answer's own "
        "reward to its side, times this weight.",
        higher="rewards move apart from zero, not only from each other",
        lower="0 adds none",
        usual="0, or 0.5 … 1",
        goes_with=("pref_loss",),
        applies=_dpo_reference,
        ge=0,
    )
    ld_alpha: float | None = setting(
        None,
        label="Length weight (LD-DPO)",
        section="Preference",
        help="Weighs the tokens of the longer answer beyond the shorter one's length; empty "
        "weighs all alike.",
        higher="at 1 all tokens count alike, as in plain DPO",
        lower="length decides less; at 0 only the shared length counts",
        usual="empty, or 0.3 … 0.6",
        goes_with=("pref_loss",),
        applies=_dpo_reference,
        ge=0,
        le=1,
    )
    kto_chosen_weight: float = setting(
        1.0,
        label="Weight of good answers",
        section="Preference",
        level="basic",
        help="How much the answers marked good count in KTO.",
        higher="good answers count more, for sets with few of them",
        lower="good answers count less",
        usual="so that weight × rows is about the same for good and bad ones",
        goes_with=("kto_rejected_weight",),
        applies=_kto,
        ge=0,
    )
    kto_rejected_weight: float = setting(
        1.0,
        label="Weight of bad answers",
        section="Preference",
        level="basic",
        help="How much the answers marked bad count in KTO.",
        higher="bad answers count more, for sets with few of them",
        lower="bad answers count less",
        usual="so that weight × rows is about the same for good and bad ones",
        goes_with=("kto_chosen_weight",),
        applies=_kto,
        ge=0,
    )
    ref_model: str | None = setting(
        None,
        label="Reference model",
        section="Model",
        help="The model that the trained one is compared with; empty is the model as it was "
        "before training, which LoRA needs no second copy for.",
        usual="empty",
        goes_with=("ref_model_adapters", "pref_beta", "kl_beta"),
        applies=uses_reference,
    )
    ref_model_adapters: str | None = setting(
        None,
        label="Reference adapters",
        section="Model",
        help="Adapters that are merged into the reference model, as a comma list.",
        usual="empty",
        goes_with=("ref_model",),
        applies=_names_reference,
    )


def smoothing_has_its_loss(config: RunConfig) -> Problem | None:
    """Rule 11: only two of the losses know wrong pairs."""
    if _dpo(config) and config.dpo_label_smoothing > 0 and config.pref_loss not in SMOOTHED:
        return Problem(
            f"dpo_label_smoothing acts in the losses sigmoid and robust, but pref_loss is "
            f"{config.pref_loss}.",
            hint="Set dpo_label_smoothing: 0, or pref_loss: robust.",
            setting="dpo_label_smoothing",
        )
    return None


def robust_knows_a_share(config: RunConfig) -> Problem | None:
    """Robust DPO with no wrong pairs would be plain DPO under another name."""
    if _dpo(config) and config.pref_loss == "robust" and config.dpo_label_smoothing == 0:
        return Problem(
            "pref_loss robust corrects for pairs that are marked wrongly, but "
            "dpo_label_smoothing, their share, is 0.",
            hint="Set dpo_label_smoothing: 0.1, or pref_loss: sigmoid.",
            setting="dpo_label_smoothing",
        )
    return None


RULES = (
    ("11", smoothing_has_its_loss),
    ("o14", robust_knows_a_share),
)


def reference_is_used(config: RunConfig) -> Problem | None:
    """orpo and simpo compare with no reference, so what belongs to one does nothing."""
    if not _dpo(config) or config.pref_loss not in WITHOUT_REFERENCE:
        return None
    given = {
        "ref_model": config.ref_model,
        "ref_model_adapters": config.ref_model_adapters,
        "pref_bco_weight": config.pref_bco_weight,
        "ld_alpha": config.ld_alpha,
    }
    idle = [name for name, value in given.items() if value not in (None, "", 0)]
    if idle:
        return Problem(
            f"{', '.join(idle)} changes nothing with pref_loss {config.pref_loss}, which needs no "
            "reference model.",
            hint="Leave it out, or choose pref_loss: sigmoid.",
            setting=idle[0],
        )
    return None


REMARKS = (reference_is_used,)
