"""The check of 50,000 conversations, and what the run after it saves.

Measures: the check in this process and in several; a second check of the same rows; the run's
`prepare` after a check, which finds its tokens; and `prepare` alone, for comparison. With `--near`
also the time of looking for nearly equal rows.

    python tests/benchmarks/data/checking.py [--rows 50000] [--workers N] [--model FOLDER] [--near]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tokenising import conversations


def timed(name: str, work: Callable[[], Any]) -> Any:
    """Do `work`, and print its seconds and those of this process and its children."""
    begin, worked = time.perf_counter(), _processor()
    made = work()
    spent, used = time.perf_counter() - begin, _processor() - worked
    print(f"{name}: {spent:.1f} s, processor {used:.1f} s", flush=True)
    return made


def _processor() -> float:
    own, others = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument(
        "--model", type=Path, default=Path.home() / ".cache/finetui/models/SmolLM2-135M-Instruct"
    )
    parser.add_argument("--near", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["FINETUI_CACHE"] = str(folder / "cache")
        with (folder / "talk.jsonl").open("w", encoding="utf-8") as file:
            for row in conversations(options.rows):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        (folder / "dataset_info.json").write_text(
            '{"talk": {"file_name": "talk.jsonl", "formatting": "openai"}}'
        )
        from engine.config import RunConfig
        from engine.datasets import Encoder, check_dataset, open_rows, prepare
        from engine.datasets.checks import near_duplicates
        from engine.worker.checks import CheckRun

        config = RunConfig(
            model_name_or_path=str(options.model),
            dataset="talk",
            dataset_dir=str(folder),
            preprocessing_num_workers=1,
        )
        rows = open_rows("talk", folder)
        len(rows)
        print(f"machine: {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        encoder = Encoder(options.model, config)
        found = timed("check, one process", lambda: check_dataset(rows, encoder, config=config))
        many = replace(config, preprocessing_num_workers=options.workers)
        again = timed(
            f"check, {options.workers} processes",
            lambda: check_dataset(rows, Encoder(options.model, many), config=many),
        )
        print(f"{found.tokens:,} tokens; the same: {found == again}")

        def quick() -> float:
            """Until the verdict is there; what compares rows is given up."""
            told: list[float] = []
            run = CheckRun("talk", many, lambda: told.append(time.perf_counter()))
            while not told:
                time.sleep(0.01)
            while run.state.activity and not run.state.activity.startswith("Comparing"):
                time.sleep(0.01)
            run.stop()
            run.join(60)
            return told[0]

        timed("check on the screen, its tokens left to the run", quick)
        timed("the run's prepare after it", lambda: prepare(many, Encoder(options.model, many)))
        timed("the check again", quick)
        shutil.rmtree(folder / "cache")
        timed("prepare without a check", lambda: prepare(many, Encoder(options.model, many)))
        if options.near:
            timed("nearly equal rows", lambda: near_duplicates(rows))


if __name__ == "__main__":
    main()
