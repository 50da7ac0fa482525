"""From a RunConfig back to flat keys; secrets are never written."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

from engine.config.catalogue import settings
from engine.config.run_config import RunConfig


def to_flat(config: RunConfig, only_changed: bool = False) -> dict[str, Any]:
    """The run as one flat mapping, passed-on keys among the others, without secrets.

    `only_changed` leaves out what stands at the default of published files. Reading the result
    gives the same run again (but for secrets).
    """
    flat = {
        name: copy.deepcopy(_plain(getattr(config, name)))
        for name, info in settings().items()
        if not info.setting.secret and not (only_changed and getattr(config, name) == info.default)
    }
    flat.update(copy.deepcopy(config.trainer_extra))
    return flat


def _plain(value: Any) -> Any:
    """Whole numbers without a point, as people write them."""
    if isinstance(value, float) and value == int(value) and abs(value) < 2**53:
        return int(value)
    return value


def write_yaml(config: RunConfig) -> str:
    """The YAML of `training_args.yaml`: it reruns the run with `finetui train`.

    Holds the settings that differ from the defaults of published files, and those a reader looks
    for first.
    """
    import yaml

    always = ("model_name_or_path", "stage", "finetuning_type", "dataset", "learning_rate")
    flat = to_flat(config)
    defaults = {name: info.default for name, info in settings().items()}
    kept = {
        key: value
        for key, value in flat.items()
        if key != "preset" and (key in always or key not in defaults or value != defaults[key])
    }
    return str(
        yaml.dump(
            kept, Dumper=_dumper(), sort_keys=False, allow_unicode=True, default_flow_style=False
        )
    )


@cache
def _dumper() -> Any:
    """A safe YAML writer that puts a text in quotes where our reader would see a number."""
    import yaml

    from engine.config.sources import EXPONENT, NUMBER_STARTS

    class Dumper(yaml.SafeDumper):
        """Kept apart, so that PyYAML's own stays as it is."""

    Dumper.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list(NUMBER_STARTS))
    return Dumper
