"""Other losses of supervised fine-tuning: DFT, ASFT, EAFT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.config.declare import group, setting
from engine.problem import Problem

if TYPE_CHECKING:
    from engine.config.run_config import RunConfig


def _sft(config: Any) -> bool:
    return bool(config.stage == "sft")


def _dft(config: Any) -> bool:
    # One that is on stays in sight in other stages, as a rule asks for it to be taken away.
    return _sft(config) or bool(config.use_dft_loss)


def _asft(config: Any) -> bool:
    return _sft(config) or bool(config.use_asft_loss)


def _eaft(config: Any) -> bool:
    return _sft(config) or bool(config.use_eaft_loss)


def _asft_on(config: Any) -> bool:
    return _sft(config) and bool(config.use_asft_loss)


def _eaft_on(config: Any) -> bool:
    return _sft(config) and bool(config.use_eaft_loss)


@group
class LossGroup:
    """At most one of them takes the place of plain cross-entropy."""

    use_dft_loss: bool = setting(
        False,
        label="DFT loss",
        section="Loss",
        help="Weighs each token's loss by the model's own probability of it, so that rare words "
        "pull less (dynamic fine-tuning).",
        usual="off; on where plain fine-tuning forgets too much",
        goes_with=("learning_rate",),
        applies=_dft,
    )
    use_asft_loss: bool = setting(
        False,
        label="ASFT loss",
        section="Loss",
        help="The DFT loss, held near the starting model by a KL term (anchored fine-tuning).",
        usual="off",
        goes_with=("asft_alpha",),
        applies=_asft,
    )
    asft_alpha: float = setting(
        0.1,
        label="ASFT KL weight",
        section="Loss",
        help="How strongly ASFT holds the model near its start.",
        higher="stays closer to the start",
        lower="free to move; 0 is DFT alone",
        usual="0.03 … 0.1",
        goes_with=("use_asft_loss",),
        applies=_asft_on,
        ge=0,
    )
    use_eaft_loss: bool = setting(
        False,
        label="EAFT loss",
        section="Loss",
        help="Weighs each token's loss by the model's uncertainty there, so that it learns where "
        "it is unsure and keeps what it is sure of.",
        usual="off",
        goes_with=("eaft_alpha",),
        applies=_eaft,
    )
    eaft_alpha: float = setting(
        1.0,
        label="EAFT exponent",
        section="Loss",
        help="The power that EAFT raises the uncertainty to.",
        higher="only the least certain tokens count",
        lower="closer to the plain loss; 0 is the plain loss",
        usual="1",
        goes_with=("use_eaft_loss",),
        applies=_eaft_on,
        ge=0,
    )


def _losses(config: RunConfig) -> list[str]:
    return [
        name for name in ("use_dft_loss", "use_asft_loss", "use_eaft_loss") if getattr(config, name)
    ]


def one_loss(config: RunConfig) -> Problem | None:
    """Each of them takes the place of the plain loss."""
    on = _losses(config)
    if len(on) > 1:
        return Problem(
            f"{' and '.join(on)} each take the place of the plain loss: a run has one of them.",
            hint="Switch all but one off; asft holds dft within it.",
            setting=on[1],
        )
    return None


def loss_is_of_sft(config: RunConfig) -> Problem | None:
    """The other stages have losses of their own."""
    on = _losses(config)
    if config.do_train and on and config.stage != "sft":
        return Problem(
            f"{on[0]} is a loss of stage sft, but the stage is {config.stage}.",
            hint="Switch it off, or set stage: sft.",
            setting=on[0],
        )
    return None


RULES = (
    ("o24", one_loss),
    ("o25", loss_is_of_sft),
)
