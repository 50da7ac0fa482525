"""Bytes sent over the line: with a run and every reading live, and with nothing changing.

    python tests/benchmarks/screen/bytes_sent.py [--model demo] [--seconds 60] [--quiet 30]

The promise at 120×40: at most 1 KiB/s mean over 60 s with a run; 0 with nothing changing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from line import Line, form, scratch


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", default="demo")
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--quiet", type=float, default=30.0)
    options.add_argument("--steps", type=int, default=0, help="planned steps; 0: the form's own")
    chosen = options.parse_args()
    with scratch() as folder:
        settings = {"max_steps": chosen.steps} if chosen.steps else {"num_train_epochs": 20}
        plan = form(chosen.model, val_size=0.1, eval_strategy="steps", eval_steps=10, **settings)
        with Line(Path(folder) / "live", plan) as line:
            print(f"first frame: {line.open():.2f} s, {line.bytes} bytes")
            line.press("t")
            line.wait_for("● training")
            line.read_for(5)
            before = line.bytes
            each = []
            for _second in range(round(chosen.seconds)):
                at = line.bytes
                line.read_for(1.0)
                each.append(line.bytes - at)
            assert "● training" in line.text(), "the run ended too soon: give it more --steps"
            mean = (line.bytes - before) / chosen.seconds
            print(line.screen.display[0].strip())
            print(f"with a run: mean {mean:.0f} bytes/s = {mean / 1024:.2f} KiB/s over "
                  f"{chosen.seconds:g} s; most in a second {max(each)}")  # fmt: skip
        with Line(Path(folder) / "still", plan) as line:
            line.open()
            line.press("3")  # a form: nothing on it moves by itself
            line.read_for(4)
            before = line.bytes
            line.read_for(chosen.quiet)
            print(f"nothing changing: {line.bytes - before} bytes in {chosen.quiet:g} s")


if __name__ == "__main__":
    main()
