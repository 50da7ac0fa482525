"""`finetui version`."""

from __future__ import annotations

from engine.cli.output import output


def version() -> int:
    """Print the version."""
    from engine import __version__

    output().say(f"finetui {__version__}")
    return 0
