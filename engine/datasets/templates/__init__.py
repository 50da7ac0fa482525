"""Chat templates by name: which there are, where their texts come from, how they suit a model."""

from engine.datasets.templates.comparison import disagreements, same_text
from engine.datasets.templates.find import FoundTemplate, find_template
from engine.datasets.templates.names import NamedTemplate, named_templates
from engine.datasets.templates.package import NotHere
from engine.datasets.templates.record import TemplateRecord

__all__ = [
    "FoundTemplate",
    "NamedTemplate",
    "NotHere",
    "TemplateRecord",
    "disagreements",
    "find_template",
    "named_templates",
    "same_text",
]
