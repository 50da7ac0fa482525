"""Further broken sets: other encodings, damaged tables, wrong names, common mistakes."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from .cases import CHAT, FEEDBACK, GOOD, PAIR, TALK, TURNS, Case, chat, lines, table, talk

MANY = [{**GOOD, "instruction": f"Question {n}?" + " word" * (n % 40)} for n in range(400)]
TOOLS = {"columns": {"messages": "conversations", "tools": "tools"}, **TALK}


def more_cases() -> Iterator[Case]:
    yield from _encodings()
    yield from _packed()
    yield from _other_kinds()
    yield from _tables()
    yield from _json()
    yield from _mistakes()


def _encodings() -> Iterator[Case]:
    text = '[{"instruction": "你好", "output": "世界"}]'
    for name in ("gbk", "big5", "shift-jis", "euc-jp"):
        yield Case(name, text.replace("你", "日").encode(name), fatal=r"not UTF-8.*line 1.*iconv")
    row = '{"instruction": "世界", "output": "日"}\n'.encode("gbk")
    yield Case("gbk in a line", lines(GOOD).encode() + row + lines(GOOD).encode(), "mine.jsonl",
               usable=2, bad={2: r"not UTF-8.*line 2"})  # fmt: skip
    yield Case("cp1252 csv", "instruction,output\nq,“a”\n".encode("cp1252"), "mine.csv",
               fatal=r"not UTF-8.*line 2")  # fmt: skip
    for name, raw in (("surrogates as bytes", b"\xed\xa0\xbd"), ("overlong", b"\xc0\xaf"),
                      ("cut in a character", b"\xe4\xb8")):  # fmt: skip
        bad = b'{"instruction": "q", "output": "' + raw + b'"}\n'
        yield Case(name, lines(GOOD).encode() + bad, "mine.jsonl", usable=1,
                   bad={2: r"not UTF-8.*line 2"})  # fmt: skip
    crlf = lines(GOOD, {**GOOD, "output": "b"}).replace("\n", "\r\n")
    yield Case("crlf lines", crlf, "mine.jsonl", usable=2)
    yield Case("crlf csv", b"instruction,output\r\na,b\r\n", "mine.csv", usable=1)
    yield Case("crlf text", b"one\r\n\r\ntwo\r\n", "mine.txt", usable=2)
    yield Case("cr lines", lines(GOOD, GOOD).replace("\n", "\r"), "mine.jsonl",
               fatal="carriage returns")  # fmt: skip
    yield Case("cr text", b"one\rtwo\r", "mine.txt", fatal="carriage returns")
    yield Case("line separators in texts", lines({**GOOD, "output": "a\u2028b\u0085c"}, GOOD),
               "mine.jsonl", usable=2)  # fmt: skip
    mark = b"\xef\xbb\xbf"
    yield Case("bom twice", mark + mark + lines(GOOD, GOOD).encode(), "mine.jsonl", usable=1,
               bad={1: r"line 1"})  # fmt: skip
    yield Case("bom where files were joined", lines(GOOD).encode() + mark + lines(GOOD).encode(),
               "mine.jsonl", usable=1, bad={2: r"line 2"})  # fmt: skip
    yield Case("bom in csv", mark + b"instruction,output\na,b\n", "mine.csv", usable=1)


def _packed() -> Iterator[Case]:
    packed = gzip.compress(lines(*MANY).encode())
    middle = len(packed) // 2
    for name, raw in (
        ("gzip cut late", packed[:-50]),
        ("gzip damaged", packed[:middle] + b"\0\1\2\3" + packed[middle + 4 :]),
        ("gzip and more", packed + b"garbage"),
        ("gzip twice", gzip.compress(packed)),
        ("gzip of nothing", gzip.compress(b"")),
        ("gzip of no bytes", b""),
    ):
        yield Case(name, raw, "mine.jsonl.gz", fatal="mine.jsonl.gz|no rows")
    yield Case("zstd cut", _zstd(-40), "mine.jsonl.zst", fatal=r"mine.jsonl.zst can't be unpacked")
    yield Case("zstd of no bytes", b"", "mine.jsonl.zst", fatal="mine.jsonl.zst|no rows")


def _zstd(end: int) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        import pyarrow

        raw = pyarrow.compress(lines(*MANY).encode(), codec="zstd", asbytes=True)
        (folder / "mine.jsonl.zst").write_bytes(raw[:end])

    return write


def _other_kinds() -> Iterator[Case]:
    """Files under the name of another kind."""
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 12345\n"
    for kind in ("json", "jsonl", "txt", "csv"):
        yield Case(f"git lfs pointer as {kind}", pointer, f"mine.{kind}", fatal="Git LFS")
    yield Case("git lfs pointer as parquet", pointer, "mine.parquet", fatal="not a valid parquet")
    yield Case("gzip as jsonl", gzip.compress(lines(GOOD).encode()), "mine.jsonl",
               fatal="packed with gzip")  # fmt: skip
    yield Case("zip as json", b"PK\x03\x04" + bytes(range(200)), fatal="a zip archive")
    yield Case("parquet as json", b"PAR1" + bytes(range(200)), fatal="a parquet file")
    yield Case("a web page", "<!DOCTYPE html>\n<html>404</html>", fatal="not valid JSON.*line 1")
    yield Case("a web page as lines", "<html>", "mine.jsonl", bad={1: "not valid JSON.*line 1"})
    yield Case("tabs", "instruction\toutput\na\tb\n", "mine.tsv", fatal="Rows can't be read")
    yield Case("tabs as csv", "instruction\toutput\na\tb\n", "mine.csv", bad={1: "no question"})


def _tables() -> Iterator[Case]:
    fields = {"instruction": "q", "output": "a"}
    numbers = [{**fields, "output": 3}]
    yield Case("parquet of numbers", lambda at: table(at, "mine.parquet", numbers), "mine.parquet",
               bad={1: "'output' holds 3"})  # fmt: skip
    binary = [{"instruction": b"q", "output": b"\xff"}]
    yield Case("parquet of bytes", lambda at: table(at, "mine.parquet", binary), "mine.parquet",
               bad={1: "not text"})  # fmt: skip
    yield Case("parquet without columns", lambda at: table(at, "mine.parquet", []), "mine.parquet",
               fatal="no rows")  # fmt: skip
    yield Case(
        "parquet same name twice", _twice, "mine.parquet", fatal="two columns named 'output'"
    )
    damaged = dict.fromkeys(range(21, 41), "can't be read: ")
    yield Case("parquet group damaged", _damaged("mine.parquet"), "mine.parquet", usable=60,
               bad=damaged)  # fmt: skip
    yield Case("arrow batch damaged", _damaged("mine.arrow"), "mine.arrow", usable=60, bad=damaged)


def _twice(folder: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    columns = ["instruction", "output", "output"]
    made = pyarrow.Table.from_arrays([["q"], ["a"], ["b"]], names=columns)
    pyarrow.parquet.write_table(made, folder / "mine.parquet")


def _damaged(name: str) -> Callable[[Path], None]:
    """Four groups of 20 rows, bytes of the second one made up."""

    def write(folder: Path) -> None:
        import pyarrow
        import pyarrow.parquet

        source = random.Random(3)
        answers = [{**row, "output": source.randbytes(400).hex()} for row in MANY[:80]]
        made = pyarrow.Table.from_pylist(answers)
        path = folder / name
        if name.endswith(".parquet"):
            pyarrow.parquet.write_table(made, path, row_group_size=20)
            group = pyarrow.parquet.ParquetFile(path).metadata.row_group(1).column(1)
            start = group.dictionary_page_offset or group.data_page_offset
            raw = bytearray(path.read_bytes())
            raw[start + 2000 : start + 5000] = source.randbytes(3000)
        else:
            with pyarrow.ipc.new_file(path, made.schema) as writer:
                writer.write_table(made, max_chunksize=20)
            raw = bytearray(path.read_bytes())
            # The offsets of a batch's answers, the same in each: 21 numbers of 4 bytes, from 0 on.
            offsets = pyarrow.array(answers[:20]).field("output").buffers()[1].to_pybytes()[:84]
            at = raw.index(offsets, raw.index(offsets) + 1)
            raw[at + 20 : at + 60] = source.randbytes(40)
        path.write_bytes(bytes(raw))

    return write


def _json() -> Iterator[Case]:
    good = json.dumps(GOOD)
    yield Case("objects without line ends", good + good + "\n" + good + "\n", "mine.jsonl",
               usable=1, bad={1: "line 1"})  # fmt: skip
    yield Case("objects over several lines", json.dumps(GOOD, indent=1) * 2, fatal="not valid JSON")
    yield Case("rows under a key", json.dumps({"data": [GOOD]}, indent=1), fatal="one object")
    yield Case("splits in a file", json.dumps({"train": [GOOD]}, indent=1), fatal="one object")
    yield Case("a comment line", "# rows\n" + lines(GOOD), "mine.jsonl", usable=1,
               bad={1: "line 1"})  # fmt: skip
    beside = {"deep": '"n": ' + "[" * 5000 + "]" * 5000, "huge": '"n": ' + "9" * 5000}
    for name, field in beside.items():
        row = good[:-1] + ", " + field + "}"
        yield Case(f"{name} beside the text", lines(GOOD, row), "mine.jsonl", usable=1,
                   bad={2: "line 2"})  # fmt: skip
    for name in ("NaN", "1e400", "-Infinity"):
        yield Case(f"{name} beside the text", lines(GOOD, f'{good[:-1]}, "n": {name}}}'),
                   "mine.jsonl", usable=2)  # fmt: skip
    yield Case("many columns", [{**GOOD, **{f"c{n}": n for n in range(5000)}}], usable=1)
    yield Case("empty rows", [GOOD, {}, {"other": 1}], usable=1, bad={
        2: "no question", 3: "no question"})  # fmt: skip


def _mistakes() -> Iterator[Case]:
    human, gpt = TURNS
    own = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
    yield Case("openai turns as sharegpt", [talk(*own)], entry=TALK, bad={1: "turn 1 has no role"})
    yield Case("another column", [{"messages": [human, gpt]}], entry=TALK,
               bad={1: "'conversations' is missing"})  # fmt: skip
    roles = {"Human": "GPT", "user": "assistant", "HUMAN": "gpt"}
    for asks, answers in roles.items():
        row = talk({"from": asks, "value": "q"}, {"from": answers, "value": "a"})
        yield Case(f"roles {asks} and {answers}", [row], entry=TALK, bad={1: f'role "{asks}"'})
    yield Case("turns in a list of turns", [talk([human, gpt])], entry=TALK, bad={1: "turn 1 is"})
    yield Case("turns as a JSON text", [{"conversations": json.dumps([human, gpt])}], entry=TALK,
               bad={1: "not a list"})  # fmt: skip
    yield Case("answered twice", [talk(human, gpt, gpt)], entry=TALK, bad={1: "turn 3"})
    labels = ["true", "False", "1", 0, 1.0, "good", "yes", [True]]
    yield Case("labels of all kinds", [{**GOOD, "label": one} for one in labels], entry=FEEDBACK,
               usable=5, bad=dict.fromkeys((6, 7, 8), "true or false"))  # fmt: skip
    yield Case("no label column", [GOOD], entry=FEEDBACK, bad={1: "true or false"})
    pair = {"instruction": "q", "chosen": "yes", "rejected": "no"}
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    for name, change in (("lists", {"chosen": ["a"]}), ("turns", {"chosen": turns}),
                         ("scores", {"rejected": 0.3})):  # fmt: skip
        yield Case(f"pair of {name}", [pair, {**pair, **change}], entry=PAIR, usable=1,
                   bad={2: "not text"})  # fmt: skip
    for name, tools in (("a number for a name", '[{"name": 3}]'), ("no name", '[{"type": "x"}]'),
                        ("an empty function", [{"function": {}}])):  # fmt: skip
        yield Case(f"tool with {name}", [talk(human, gpt, tools=tools)], entry=TOOLS,
                   bad={1: "has no name"})  # fmt: skip
    yield Case("picture part without a file", [chat(
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "?"}]}, own[1])],
        entry=CHAT, bad={1: "1 picture, and it names 0"})  # fmt: skip
    yield Case("no rows wanted", [GOOD], fatal="num_samples", entry={"num_samples": 0})
    yield Case("a split that is none", [GOOD], fatal="no split", entry={"split": "trian"})
