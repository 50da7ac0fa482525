"""The row index on a large generated file: first rows, speed of indexing, any row, memory.

    python tests/benchmarks/data/index.py [--rows 2000000] [--form jsonl|json|csv] [--folder /tmp]

The promise: first rows in ≤ 1 s, indexing at ≥ 300 MB/s per core or the disk's speed, any row in
≤ 50 ms p99, ≤ 150 MB resident. 10,000,000 rows are about 5 GB. The file is deleted at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from pathlib import Path

import psutil

BLOCK = 20_000


def write(path: Path, rows: int, form: str) -> None:
    """Rows of about 500 bytes, in blocks that repeat but for their numbers."""
    words = [f"word{n}" for n in range(3000)]
    source = random.Random(1)
    talks = [" ".join(source.choices(words, k=source.randrange(10, 62))) for _ in range(BLOCK)]
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write({"json": "[", "csv": "number,instruction,output\n"}.get(form, ""))
        for start in range(0, rows, BLOCK):
            lines = []
            for number in range(start, min(start + BLOCK, rows)):
                question, answer = talks[number % BLOCK], talks[(number * 7) % BLOCK]
                if form == "csv":
                    lines.append(f'{number},"{question}\nand ""more"", too",{answer}\n')
                    continue
                row = {"number": number, "instruction": question, "output": f"{answer}\n"}
                comma = ",\n" if form == "json" and number + 1 < rows else "\n"
                lines.append(json.dumps(row) + comma)
            file.write("".join(lines))
        file.write("]" if form == "json" else "")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=2_000_000)
    options.add_argument("--form", choices=("jsonl", "json", "csv"), default="jsonl")
    options.add_argument("--folder", default=tempfile.gettempdir())
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        os.environ["FINETUI_CACHE"] = f"{folder}/cache"
        path = Path(folder) / f"rows.{chosen.form}"
        write(path, chosen.rows, chosen.form)
        measure(path, chosen.rows)


def measure(path: Path, count: int) -> None:
    from engine.datasets.files import open_file

    me, size = psutil.Process(), path.stat().st_size
    print(f"{count:,} rows, {size / 1e9:.2f} GB; load {os.getloadavg()[0]:.1f} on "
          f"{os.cpu_count()} cores")  # fmt: skip
    print(f"resident before: {me.memory_info().rss / 1e6:.0f} MB")
    begun = time.perf_counter()
    rows = open_file(path)
    _first = [rows[i] for i in range(20)]
    print(f"first 20 rows after {time.perf_counter() - begun:.3f} s")
    waits = []
    while not rows.done:  # type: ignore[attr-defined]
        at = time.perf_counter()
        rows[random.randrange(rows.known)]  # type: ignore[attr-defined]
        waits.append(time.perf_counter() - at)
        time.sleep(0.05)
    took = time.perf_counter() - begun
    assert len(rows) == count
    print(f"indexed after {took:.2f} s: {size / took / 1e6:.0f} MB/s by the clock")
    told("a row while indexing", waits)
    waits = []
    for _turn in range(2000):
        number = random.randrange(count)
        at = time.perf_counter()
        row = rows[number]
        waits.append(time.perf_counter() - at)
        assert int(row["number"]) == number
    told("any row", waits)
    cache = Path(os.environ["FINETUI_CACHE"]) / "rows"
    kept = sum(item.stat().st_size for item in cache.iterdir())
    print(f"resident at most: {peak() / 1e6:.0f} MB; the index takes {kept / 1e6:.1f} MB")
    del rows
    begun = time.perf_counter()
    again = open_file(path)
    again[count - 1]
    print(f"opened again, last row after {time.perf_counter() - begun:.3f} s")
    # The scan alone, by processor time: what a core of its own would do.
    from engine.datasets.index.blocks import Blocks
    from engine.datasets.index.detect import find_layout
    from engine.datasets.index.source import PlainSource

    source, blocks = PlainSource(path), Blocks()
    layout = find_layout(path, path.suffix, source.pread)
    blocks.add(0, *layout.begin(source.pread))
    begun = time.process_time()
    layout.scan(source.pread, blocks, lambda place: None)
    took = time.process_time() - begun
    print(f"the scan alone: {size / took / 1e6:.0f} MB/s of processor time")


def told(what: str, waits: list[float]) -> None:
    waits.sort()
    if waits:
        p99 = waits[min(len(waits) - 1, len(waits) * 99 // 100)]
        print(f"{what}: p50 {waits[len(waits) // 2] * 1e3:.2f} ms, p99 {p99 * 1e3:.2f} ms, "
              f"most {waits[-1] * 1e3:.2f} ms of {len(waits)}")  # fmt: skip


def peak() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
