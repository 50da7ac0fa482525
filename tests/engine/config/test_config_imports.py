"""The settings come without any heavy library, so that the screen opens at once."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
import engine.config as config
form = config.defaults_for_form()
config.sections(form, "all"), config.check(form), config.steps_of(91, form), config.to_flat(form)
print(" ".join(sorted({name.split(".")[0] for name in sys.modules})))
print("engine.config.reading" in sys.modules)
"""


def test_the_forms_settings_import_no_heavy_library() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    modules, reading = done.stdout.splitlines()
    heavy = {"torch", "transformers", "numpy", "yaml", "datasets", "peft", "rich", "textual"}
    assert not (heavy | {"pydantic"}) & set(modules.split())
    # The reader is not needed for the first frame.
    assert reading == "False"
