"""What the open screen has imported, and how much memory it takes, before the first job."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
HEAVY = {
    *("torch", "transformers", "trl", "peft", "datasets", "accelerate", "bitsandbytes"),
    *("numpy", "pandas", "pyarrow", "matplotlib", "scipy", "plotext", "typer", "jieba"),
}
OPEN = """
import asyncio, json, sys
from pathlib import Path

from tui.app import FinetuiApp
from tui.remembered import Remembered


async def look():
    app = FinetuiApp(None, None, Remembered())
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        first = sorted(sys.modules)
        # The engine is there, and has answered every question of the first picture.
        await asyncio.wrap_future(app.works.engine.lookup(int))
        for key in "1234mcex":
            await pilot.press(*(["escape"] if key == "e" else []), key)
            await pilot.pause()
        await asyncio.wrap_future(app.works.engine.lookup(int))
        await pilot.pause()
    app.works.close(5)
    # The kernel's own high-water mark of this program: getrusage's would be the test runner's, as
    # a forked child begins with it.
    status = Path("/proc/self/status").read_text()
    rss = int(status.split("VmHWM:")[1].split()[0]) * 1024
    print(json.dumps({"first": first, "later": sorted(sys.modules), "rss": rss}))


asyncio.run(look())
"""


def test_no_library_of_training_is_imported_before_a_job(tmp_path: Path) -> None:
    places = {f"FINETUI_{name}": str(tmp_path / name) for name in ("STATE", "CACHE", "CONFIG")}
    done = subprocess.run(
        [sys.executable, "-c", OPEN],
        cwd=tmp_path,
        env=os.environ | places | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert not HEAVY & set(seen["first"])
    # Every pane has been looked at; a row may need a set's reader, never the trainer's libraries.
    assert not HEAVY & set(seen["later"])
    assert seen["rss"] <= 100e6
