"""One typed description of a run: every setting, once; read, checked, shown and written flat."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from engine.config.catalogue import (
    Section,
    SettingInfo,
    applies,
    empty_means,
    sections,
    settings,
    usual_of,
)
from engine.config.check import CHAT_RULES, EXPORT_RULES, RULES, check, remarks
from engine.config.declare import Setting
from engine.config.presets import (
    Preset,
    apply_preset,
    apply_stage,
    changed,
    defaults_for_form,
    form_base,
    preset_changes,
    preset_of,
    presets,
)
from engine.config.run_config import RunConfig, split_names
from engine.config.stages import stage_dataset, stage_values
from engine.config.steps import Steps, steps_of
from engine.config.values import (
    format_number,
    format_value,
    parse_value,
    with_value,
    written_settings,
)
from engine.config.writing import to_flat, write_yaml

if TYPE_CHECKING:
    from engine.config.reading import Read, parse_overrides, read_file, read_flat, read_text
    from engine.config.reference import reference_page
    from engine.config.treatment import Treatment, treatments

# The screen's first frame needs none of these: they are imported when asked for.
_LATER = {
    "Read": "reading",
    "parse_overrides": "reading",
    "read_file": "reading",
    "read_flat": "reading",
    "read_text": "reading",
    "reference_page": "reference",
    "Treatment": "treatment",
    "treatments": "treatment",
}

__all__ = [
    "CHAT_RULES",
    "EXPORT_RULES",
    "RULES",
    "Preset",
    "Read",
    "RunConfig",
    "Section",
    "Setting",
    "SettingInfo",
    "Steps",
    "Treatment",
    "applies",
    "apply_preset",
    "apply_stage",
    "changed",
    "check",
    "defaults_for_form",
    "empty_means",
    "form_base",
    "format_number",
    "format_value",
    "parse_overrides",
    "parse_value",
    "preset_changes",
    "preset_of",
    "presets",
    "read_file",
    "read_flat",
    "read_text",
    "reference_page",
    "remarks",
    "sections",
    "settings",
    "split_names",
    "stage_dataset",
    "stage_values",
    "steps_of",
    "to_flat",
    "treatments",
    "usual_of",
    "with_value",
    "write_yaml",
    "written_settings",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    globals()[name] = value
    return value
