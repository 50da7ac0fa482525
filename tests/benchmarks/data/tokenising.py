"""Tokenising 50,000 conversations: finetui's `prepare` beside mapping a tokenizer call over rows.

The baselines are `datasets.map` over rows, one by one, with transformers' own chat template and
tokenizer, in this one process: `ids` makes token ids alone; `ids and labels` makes what training
needs, the answers marked by rendering up to each of them, as people write it. Then a second run
of `prepare`, which starts from the cache. Results are compared row by row. The ratio in processor
time tells more on a machine with neighbours.

    python tests/benchmarks/data/tokenising.py [--rows 50000] [--workers N] [--model FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

# Half of them before `prepare` and half after it, as neighbours come and go.
BASELINE_ROWS = 5_000


def vocabulary(source: random.Random, size: int = 30_000) -> list[str]:
    """Made-up words of two to nine letters and more, as many as people use."""
    parts = [c + v for c in "bcdfghjklmnprstvwz" for v in "aeiou"] + ["ing", "er", "tion", "st"]
    return [
        "".join(source.choices(parts, k=source.choice((1, 2, 2, 3, 3, 4)))) for _ in range(size)
    ]


def conversations(count: int, seed: int = 7) -> list[dict[str, Any]]:
    """Rows of one to three questions with answers, words as often as in real text (Zipf)."""
    source = random.Random(seed)
    words = vocabulary(source)
    common = ["the", "of", "and", "to", "a", "in", "is", "that", "it", "for", "you", "on", "with"]
    words = common + words
    weights = [1 / (rank + 2) for rank in range(len(words))]
    stream = source.choices(words, weights, k=2_000_000)

    def text(least: int, most: int) -> str:
        length = source.randint(least, most)
        start = source.randrange(len(stream) - length)
        chosen = stream[start : start + length]
        for place in range(0, length, 11):
            chosen[place] = source.choice(
                (
                    "3.14",
                    "2024,",
                    "it's",
                    "(see",
                    "x = y + 1;",
                    "\n- item:",
                    "café",
                    "end.\n\n",
                    "你好",
                )
            )
        return " ".join(chosen).capitalize() + "."

    rows = []
    for _ in range(count):
        messages = []
        for _ in range(source.choice((1, 1, 2, 3))):
            messages.append({"role": "user", "content": text(8, 40)})
            messages.append({"role": "assistant", "content": text(20, 120)})
        rows.append({"messages": messages})
    return rows


def baselines(model: Path, rows: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """Rows a second of both baselines, and the rows that the second makes."""
    import datasets
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    datasets.disable_progress_bars()
    data = datasets.Dataset.from_list(rows)

    def ids_alone(row: dict[str, Any]) -> dict[str, Any]:
        text = tokenizer.apply_chat_template(row["messages"], tokenize=False)
        return {"input_ids": tokenizer(text, add_special_tokens=False)["input_ids"]}

    def ids_and_labels(row: dict[str, Any]) -> dict[str, Any]:
        messages = row["messages"]
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        found = tokenizer(text, add_special_tokens=False)
        labels = [-100] * len(found["input_ids"])
        for turn, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            asked = tokenizer.apply_chat_template(
                messages[:turn], tokenize=False, add_generation_prompt=True
            )
            answered = tokenizer.apply_chat_template(messages[: turn + 1], tokenize=False)
            start = len(tokenizer(asked, add_special_tokens=False)["input_ids"])
            stop = len(tokenizer(answered, add_special_tokens=False)["input_ids"])
            labels[start:stop] = found["input_ids"][start:stop]
        return {"input_ids": found["input_ids"], "labels": labels}

    folder.mkdir()
    speeds: dict[str, Any] = {}
    for name, function in (("ids", ids_alone), ("ids and labels", ids_and_labels)):
        begin, worked = time.perf_counter(), time.process_time()
        made = data.map(
            function, remove_columns=["messages"], cache_file_name=str(folder / f"{name}.arrow")
        )
        speeds[name] = len(rows) / (time.perf_counter() - begin)
        speeds[f"{name}, work"] = len(rows) / (time.process_time() - worked)
    speeds["rows"] = made
    return speeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument(
        "--model", type=Path, default=Path.home() / ".cache/finetui/models/SmolLM2-135M-Instruct"
    )
    parser.add_argument("--workers", type=int)
    options = parser.parse_args()
    rows = conversations(options.rows)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["FINETUI_CACHE"] = str(folder / "cache")
        (folder / "talk.jsonl").write_text(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
        )
        columns = {"messages": "messages"}
        tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user"}
        tags |= {"assistant_tag": "assistant", "system_tag": "system"}
        entry = {"file_name": "talk.jsonl", "formatting": "openai", "columns": columns}
        (folder / "dataset_info.json").write_text(json.dumps({"talk": {**entry, "tags": tags}}))
        from engine.config import RunConfig
        from engine.datasets import Encoder, prepare

        config = RunConfig(
            dataset="talk",
            dataset_dir=str(folder),
            cutoff_len=8192,
            preprocessing_num_workers=options.workers,
        )
        half = BASELINE_ROWS // 2
        before = baselines(options.model, rows[:half], folder / "before")
        seconds, work = [], []
        for _ in range(2):
            begin, worked = time.perf_counter(), time.process_time()
            prepared = prepare(config, Encoder(options.model, config))
            seconds.append(time.perf_counter() - begin)
            work.append((time.process_time() - worked) / len(rows))
        after = baselines(options.model, rows[half : 2 * half], folder / "after")
        theirs = [*before.pop("rows"), *after.pop("rows")]
        speeds = {name: 2 / (1 / before[name] + 1 / after[name]) for name in before}
        same = all(prepared.train[place] == row for place, row in enumerate(theirs))
    ours = len(rows) / seconds[0]
    load = os.getloadavg()[0]
    print(f"machine: {os.cpu_count()} cores, load {load:.1f}")
    print(f"prepare: {seconds[0]:.1f} s, {ours:,.0f} rows/s, {prepared.tokens:,} tokens")
    for name in ("ids", "ids and labels"):
        print(
            f"map, {name}: {speeds[name]:,.0f} rows/s; prepare is {ours / speeds[name]:.1f} x, "
            f"in processor time {1 / (speeds[f'{name}, work'] * work[0]):.1f} x"
        )
    print(f"the same rows: {same}")
    print(f"from the cache: {seconds[1]:.2f} s")


if __name__ == "__main__":
    main()
