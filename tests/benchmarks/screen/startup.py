"""Process start to the first full frame, and resident memory before the first job.

    python tests/benchmarks/screen/startup.py [--count 11] [--idle 5]

The promise: median at most 0.5 s on a warm disk, at most 100 MB, no torch.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import psutil
from line import COLUMNS, LINES, Line, scratch


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--count", type=int, default=11)
    options.add_argument("--idle", type=float, default=5.0, help="seconds before memory is read")
    options.add_argument("--columns", type=int, default=COLUMNS)
    options.add_argument("--lines", type=int, default=LINES)
    chosen = options.parse_args()
    seconds, sent, resident = [], [], []
    torch = False
    with scratch() as folder:
        # The first start compiles and fills the disk's cache: it is not counted.
        for number in range(chosen.count + 1):
            place = Path(folder) / str(number)
            size = {"columns": chosen.columns, "lines": chosen.lines}
            with Line(place, None, **size) as line:
                took = line.open()
                first = line.bytes
                line.read_for(chosen.idle)
                process = psutil.Process(line.process.pid)
                if number:
                    seconds.append(took)
                    sent.append(first)
                    resident.append(process.memory_info().rss / 1e6)
                torch |= any("torch" in Path(one.path).parts for one in process.memory_maps())
    print(f"first full frame at {chosen.columns}×{chosen.lines}, {chosen.count} starts, s:")
    print(
        f"  median {statistics.median(seconds):.3f}  min {min(seconds):.3f}  max {max(seconds):.3f}"
    )
    print("  " + " ".join(f"{one:.3f}" for one in seconds))
    print(f"bytes until then: median {statistics.median(sent):.0f}")
    print(f"resident after {chosen.idle:g} s: median {statistics.median(resident):.1f} MB, "
          f"max {max(resident):.1f} MB")  # fmt: skip
    print(f"a library of torch mapped: {'yes' if torch else 'no'}")


if __name__ == "__main__":
    main()
