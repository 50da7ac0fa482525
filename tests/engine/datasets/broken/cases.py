"""Broken data sets, each with what must be said of it."""

from __future__ import annotations

import gzip
import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Write = Callable[[Path], Any]
GOOD = {"instruction": "What is light?", "output": "A wave."}
TURNS = {"from": "human", "value": "Hi?"}, {"from": "gpt", "value": "Hello."}
OPENAI = {"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hello."}
PAIR = {"columns": {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"},
        "ranking": True}  # fmt: skip
FEEDBACK = {"columns": {"prompt": "instruction", "response": "output", "kto_tag": "label"}}
TALK = {"formatting": "sharegpt"}
CHAT = {"formatting": "openai"}
PICTURES = {"columns": {"prompt": "instruction", "response": "output", "images": "images"}}


@dataclass(frozen=True)
class Case:
    """A broken set. `content` is what stands in `file` (text, bytes, rows) or writes the folder.

    Either `fatal`, a pattern of the message for a set that can't be used at all, or `usable` rows
    and, for each of the `bad` ones, a pattern of its reason.
    """

    name: str
    content: Any
    file: str = "mine.json"
    fatal: str = ""
    usable: int = 0
    bad: dict[int, str] = field(default_factory=dict)
    entry: dict[str, Any] = field(default_factory=dict)
    registry: Any = None

    def write(self, folder: Path) -> Path:
        folder.mkdir()
        registry = self.registry
        if registry is None:
            registry = {"mine": {"file_name": self.file, **self.entry}}
        text = registry if isinstance(registry, str) else json.dumps(registry)
        (folder / "dataset_info.json").write_text(text, encoding="utf-8")
        path = folder / self.file if "/" not in self.file and "\0" not in self.file else None
        if callable(self.content):
            self.content(folder)
        elif path is not None and isinstance(self.content, bytes):
            path.write_bytes(self.content)
        elif path is not None and isinstance(self.content, str):
            path.write_text(self.content, encoding="utf-8")
        elif path is not None and self.content is not None:
            path.write_text(json.dumps(self.content, ensure_ascii=False), encoding="utf-8")
        return folder


def lines(*rows: Any) -> str:
    """JSON Lines; a text stands as it is."""
    texts = (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
    return "".join(text + "\n" for text in texts)


def whole(*rows: Any) -> str:
    return json.dumps(rows)


def table(folder: Path, name: str, rows: list[dict[str, Any]], cut: int = 0) -> None:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist(rows)
    path = folder / name
    if name.endswith(".parquet"):
        pyarrow.parquet.write_table(table, path)
    else:
        with pyarrow.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
    if cut:
        path.write_bytes(path.read_bytes()[:-cut])


def _link(to: str, name: str = "mine.json") -> Write:
    return lambda folder: os.symlink(to, folder / name)


def _outside(folder: Path) -> None:
    (folder.parent / "secret.json").write_text(whole(GOOD))
    os.symlink("../secret.json", folder / "mine.json")


def _beside(folder: Path) -> None:
    (folder.parent / "beside.json").write_text(whole(GOOD))


def _folder_of(**files: Any) -> Write:
    def write(folder: Path) -> None:
        inner = folder / "mine.json"
        inner.mkdir()
        for name, content in files.items():
            (inner / name.replace("_", ".")).write_text(content)

    return write


def _pipe_in_folder(folder: Path) -> None:
    (folder / "mine.json").mkdir()
    os.mkfifo(folder / "mine.json" / "a.json")


def _locked(folder: Path) -> None:
    path = folder / "mine.json"
    path.write_text(whole(GOOD))
    path.chmod(0)


def _bomb(folder: Path) -> None:
    """Two gigabytes of blanks in two megabytes: many members, each of zeros' size once packed."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as file:
        file.write(b" " * (1 << 24))
    with (folder / "mine.json.gz").open("wb") as file:
        for _ in range(128):
            file.write(packed.getvalue())


def _picture(data: bytes) -> Write:
    def write(folder: Path) -> None:
        (folder / "cat.png").write_bytes(data)
        row = {"instruction": "<image>What is it?", "output": "A cat.", "images": ["cat.png"]}
        (folder / "mine.json").write_text(json.dumps([row]))

    return write


def _huge_picture() -> bytes:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 200_000, 200_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def talk(*turns: Any, **more: Any) -> dict[str, Any]:
    return {"conversations": [*turns], **more}


def chat(*turns: Any) -> dict[str, Any]:
    return {"messages": [*turns]}


def _files() -> Iterator[Case]:
    """Files that can't be read, or only in part."""
    good, deep = json.dumps(GOOD), "[" * 100_000 + "]" * 100_000
    yield Case("bracket open", "[" + good, fatal=r"not valid JSON.*line 1")
    yield Case("bracket wrong", "[" + good[:-1] + "]", fatal=r"not valid JSON.*line 1")
    yield Case("comma at the end", "[\n" + good + ",\n]", fatal=r"not valid JSON.*line")
    yield Case("single quotes", "[{'instruction': 'q'}]", fatal="not valid JSON")
    yield Case("a comment", "// rows\n[" + good + "]", fatal=r"not valid JSON.*line 1")
    yield Case("cut in a string", "[" + good[:20], fatal="not valid JSON")
    yield Case("a bare zero byte", '[{"instruction": "q\0"}]', fatal="control character[.]")
    yield Case("two documents", "[" + good + "][" + good + "]", fatal="not valid JSON")
    yield Case("empty json", "", fatal="mine.json is empty")
    yield Case("blank json", " \n\t\n", fatal="mine.json is empty")
    yield Case("empty jsonl", "", "mine.jsonl", fatal="no rows")
    yield Case("blank jsonl", "\n \n\n", "mine.jsonl", fatal="no rows")
    yield Case("empty list", [], fatal="no rows")
    yield Case("null", "null", fatal="null")
    yield Case("a number", "7", fatal="a number")
    yield Case("a text", '"rows"', fatal="text")
    yield Case("columns, not rows", json.dumps({"instruction": ["q"]}, indent=1), fatal="object")
    yield Case("utf-16 le", whole(GOOD).encode("utf-16"), fatal="UTF-16")
    yield Case("utf-16 be lines", b"\xfe\xff" + good.encode("utf-16-be"), "mine.jsonl",
               fatal="UTF-16")  # fmt: skip
    yield Case("utf-16 unmarked", whole(GOOD).encode("utf-16-le"), fatal="mine.json")
    yield Case("utf-32", whole(GOOD).encode("utf-32"), fatal="is UTF-32, not")
    yield Case("latin-1", '[{"instruction": "été"}]'.encode("latin-1"), fatal=r"UTF-8.*line 1")
    half = '{"instruction": "é"}\n'.encode("latin-1")
    yield Case("latin-1 in a line", lines(GOOD).encode() + half, "mine.jsonl", usable=1,
               bad={2: "not UTF-8.*line 2"})  # fmt: skip
    yield Case("bom", b"\xef\xbb\xbf" + whole(GOOD, GOOD).encode(), usable=2)
    yield Case("bom in lines", b"\xef\xbb\xbf" + lines(GOOD).encode(), "mine.jsonl", usable=1)
    yield Case("nul byte", '[{"instruction": "a\0b", "output": "c"}]', fatal="not valid JSON")
    yield Case("only nul bytes", b"\0" * 4096, "mine.jsonl", fatal="zero bytes")
    yield Case("nul byte in a line", lines(GOOD, '{"instruction": "a\0b"}'), "mine.jsonl", usable=1,
               bad={2: r"not valid JSON.*line 2"})  # fmt: skip
    yield Case("line end in a string", lines(GOOD, '{"instruction": "a\nb"}', GOOD), "mine.jsonl",
               usable=2, bad={2: "line 2", 3: "line 3"})  # fmt: skip
    yield Case("a line cut", lines(GOOD) + good[:25], "mine.jsonl", usable=1, bad={2: "line 2"})
    yield Case("deep", deep, fatal="nested too deeply")
    yield Case("deep line", lines(GOOD, deep), "mine.jsonl", usable=1, bad={2: "nested"})
    yield Case("open brackets", "[" * 100_000, fatal="mine.json")
    yield Case("huge number", '[{"instruction": "q", "output": ' + "9" * 5000 + "}]",
               fatal="mine.json")  # fmt: skip
    yield Case("huge number in a line", lines(GOOD, '{"output": ' + "9" * 5000 + "}"), "mine.jsonl",
               usable=1, bad={2: "line 2"})  # fmt: skip
    yield Case("csv quote open", 'instruction,output\n"a,b\n', "mine.csv", fatal=r"CSV.*line")
    yield Case("csv quote within", 'instruction,output\n"a"b,c\n', "mine.csv", fatal=r"CSV.*line 2")
    yield Case("csv more fields", "instruction,output\na,b\nc,d,e\n", "mine.csv", usable=1,
               bad={2: r"3 fields.*line 3"})  # fmt: skip
    yield Case("csv header alone", "instruction,output\n", "mine.csv", fatal="no rows")
    yield Case("csv empty", "", "mine.csv", fatal="header")
    yield Case("csv of semicolons", "instruction;output\na;b\n", "mine.csv", bad={1: "no question"})
    yield Case(
        "csv same name twice", "output,output,instruction\na,b,c\n", "mine.csv", fatal="output"
    )
    yield Case("csv latin-1", "instruction,output\né,b\n".encode("latin-1"), "mine.csv",
               fatal=r"UTF-8.*line 2")  # fmt: skip
    yield Case("csv nul", "instruction,output\na\0b,c\n", "mine.csv", usable=1)
    yield Case("parquet cut", lambda at: table(at, "mine.parquet", [GOOD] * 50, 40),
               "mine.parquet", fatal="not a valid parquet")  # fmt: skip
    yield Case(
        "parquet of text", "PAR1 is what it says", "mine.parquet", fatal="not a valid parquet"
    )
    yield Case("parquet empty", b"", "mine.parquet", fatal="not a valid parquet")
    nulls = [GOOD, {**GOOD, "output": None}]
    yield Case("parquet nulls", lambda at: table(at, "mine.parquet", nulls), "mine.parquet",
               usable=1, bad={2: "no answer"})  # fmt: skip
    yield Case("arrow cut", lambda at: table(at, "mine.arrow", [GOOD] * 50, 300), "mine.arrow",
               fatal="not a valid arrow")  # fmt: skip
    yield Case("arrow of text", "ARROW1 is what it says", "mine.arrow", fatal="not a valid arrow")
    yield Case("text empty", "", "mine.txt", fatal="no rows")
    yield Case("text of bytes", bytes(range(256)), "mine.txt", fatal="UTF-8")
    yield Case("gzip cut", gzip.compress(whole(GOOD).encode())[:-12], "mine.json.gz",
               fatal="mine.json.gz")  # fmt: skip
    yield Case("gzip of text", "not packed", "mine.json.gz", fatal="mine.json.gz")
    yield Case("zstd of text", "not packed", "mine.jsonl.zst", fatal="mine.jsonl.zst")
    yield Case("gzip bomb", _bomb, "mine.json.gz", fatal="mine.json.gz")


def _paths() -> Iterator[Case]:
    """Files that lie where they should not, or are none."""
    yield Case("climbs out", _beside, "../beside.json", fatal="outside the dataset folder")
    yield Case("climbs out by turns", _beside, "a/../../beside.json", fatal="outside")
    yield Case("absolute", None, "/etc/passwd", fatal="outside the dataset folder")
    yield Case("link out", _outside, fatal="outside the dataset folder")
    yield Case("link to itself", _link("mine.json"), fatal="mine.json")
    yield Case("link to nothing", _link("gone.json"), fatal="mine.json")
    yield Case("link to a device", _link("/dev/zero"), fatal="mine.json")
    yield Case("a pipe", lambda at: os.mkfifo(at / "mine.json"), fatal="mine.json")
    yield Case("a pipe in a folder", _pipe_in_folder, fatal="device or a pipe")
    yield Case("a folder", _folder_of(), fatal="holds no rows")
    yield Case("a folder of notes", _folder_of(readme_md="hello"), fatal="holds no rows")
    yield Case("a folder with a fault", _folder_of(a_json=whole(GOOD), b_json="["), fatal="b.json")
    yield Case("not there", None, fatal="There is no file")
    yield Case("nul in its name", None, "a\0b.json", fatal="mine|a.b.json")
    yield Case("long name", None, "a" * 300 + ".json", fatal="aaa")
    yield Case("no ending", whole(GOOD), "mine", fatal="Rows can't be read")
    yield Case("a program", b"\x7fELF", "mine.exe", fatal="Rows can't be read")
    yield Case("locked", _locked, fatal="can't be read")
    yield Case("registry cut", None, fatal="dataset_info.json", registry='{"mine": ')
    yield Case("registry a list", None, fatal="one object", registry=[{"mine": {}}])
    yield Case("entry a list", None, fatal="not an object", registry={"mine": ["mine.json"]})
    yield Case("entry without a file", None, fatal="no source", registry={"mine": {}})
    yield Case("unknown key", [GOOD], fatal="Did you mean file_name", registry={
        "mine": {"filename": "mine.json"}})  # fmt: skip
    yield Case("a script", [GOOD], fatal="foreign code", entry={"script_url": "x.py"})
    yield Case("unknown format", [GOOD], fatal="formatting", entry={"formatting": "vicuna"})
    yield Case("columns a list", [GOOD], fatal="columns", entry={"columns": ["instruction"]})


def _rows() -> Iterator[Case]:
    """Rows that can't be used, beside others."""
    yield Case("mixed types", [GOOD, 1, "x", None, [GOOD], True], usable=1, bad={
        2: "bare value", 3: "text", 4: "null", 5: "a list", 6: "bare value"})  # fmt: skip
    yield Case("list in a list", [[GOOD], [GOOD]], bad={1: "a list", 2: "a list"})
    yield Case("wrong columns", [{"question": "q", "answer": "a"}] * 2, bad={
        1: "no question", 2: "'instruction'"})  # fmt: skip
    yield Case("nulls", [GOOD, {**GOOD, "output": None}, {**GOOD, "instruction": None}], usable=1,
               bad={2: "no answer", 3: "no question"})  # fmt: skip
    for kind, value in (("number", 7), ("list", ["a"]), ("object", {"a": 1}), ("bool", True)):
        yield Case(f"{kind} for text", [GOOD, {**GOOD, "output": value}], usable=1,
                   bad={2: "'output' holds .* not text"})  # fmt: skip
    yield Case("nan", '[{"instruction": "q", "output": NaN}]', bad={1: "NaN, not text"})
    yield Case("infinity", '[{"instruction": -Infinity, "output": "a"}]', bad={1: "Infinity"})
    yield Case("number too large", '[{"instruction": "q", "output": 1e999}]', bad={1: "not text"})
    yield Case("blank answer", [GOOD, {**GOOD, "output": " \n"}], usable=1, bad={2: "no answer"})
    yield Case("lone surrogate", '[{"instruction": "q", "output": "\\ud83d"}]',
               bad={1: "half of a character"})  # fmt: skip
    yield Case("surrogate in a key", lines(GOOD, '{"\\ud83d": "q", "output": "\\udc00"}'),
               "mine.jsonl", usable=1, bad={2: "question|half"})  # fmt: skip
    yield Case("nul in a text", [{**GOOD, "output": "a\0b"}], usable=1)
    yield Case("same key twice", '[{"instruction": "q", "output": "a", "output": "b"}]', usable=1)
    nested: Any = "x"
    for _ in range(900):
        nested = [nested]
    yield Case("nested for text", [GOOD, {**GOOD, "output": nested}], usable=1, bad={2: "not text"})
    history = {"columns": {"prompt": "instruction", "response": "output", "history": "history"}}
    for name, value, said in (("a text", "x", "list of"), ("a triple", [["a", "b", "c"]], "pair"),
                              ("a null", [["a", None]], "pair")):  # fmt: skip
        yield Case(f"history {name}", [{**GOOD, "history": value}], entry=history, bad={1: said})
    human, gpt = TURNS
    for name, row, said in (
        ("missing role", talk({"value": "Hi"}, gpt), "turn 1 has no role"),
        ("unknown role", talk({"from": "bot", "value": "Hi"}, gpt), 'role "bot"'),
        ("role a list", talk({"from": ["human"], "value": "Hi"}, gpt), "role"),
        ("assistant first", talk(gpt, human, gpt), "first turn is the assistant"),
        ("two users", talk(human, human, gpt), "turn 2"),
        ("odd turns", talk(human, gpt, human), "last turn is the user"),
        ("turns as text", {"conversations": "Hi"}, "not a list"),
        ("turns null", {"conversations": None}, "missing"),
        ("no turns", talk(), "no messages"),
        ("a turn of text", talk("Hi", gpt), "not a message"),
        ("turn null", talk(human, {"from": "gpt", "value": None}), "turn 2 has no text"),
        ("turn a number", talk(human, {"from": "gpt", "value": 7}), "turn 2 holds 7"),
        ("empty answer", talk(human, {"from": "gpt", "value": " "}), "turn 2"),
        ("late system", talk(human, gpt, {"from": "system", "value": "x"}), "turn 3"),
        ("only a system", talk({"from": "system", "value": "x"}), "no messages"),
        ("call no json", talk(human, {"from": "function_call", "value": "{a"}), "valid JSON"),
        ("call of nothing", talk(human, {"from": "function_call", "value": "[[]]"}), "no name"),
    ):
        yield Case(name, [talk(*TURNS), row], entry=TALK, usable=1, bad={2: said})
    tools = {"columns": {"messages": "conversations", "tools": "tools"}, **TALK}
    for name, value in (
        ("no json", "{a"),
        ("deep", "[" * 100_000),
        ("a number", 7),
        ("text", '"x"'),
    ):
        yield Case(f"tools {name}", [talk(*TURNS, tools=value)], entry=tools, bad={1: "'tools'"})
    user, helper = OPENAI
    call = {"role": "assistant", "content": None}
    for name, row, said in (
        ("calls no list", chat(user, {**call, "tool_calls": 7}), "not a list"),
        ("call without a name", chat(user, {**call, "tool_calls": [{"id": "1"}]}), "no name"),
        ("arguments no json", chat(user, {**call, "tool_calls": [{"function": {
            "name": "f", "arguments": "{"}}]}), "arguments"),
        ("unknown chat role", chat({"role": "robot", "content": "x"}, helper), "no known role"),
        ("content a number", chat(user, {"role": "assistant", "content": 7}), "turn 2"),
        ("content of sound", chat({**user, "content": [{"type": "audio"}]}, helper), "1 sound"),
        ("chat null", {"messages": None}, "missing"),
    ):  # fmt: skip
        yield Case(name, [chat(*OPENAI), row], entry=CHAT, usable=1, bad={2: said})
    pair = {"instruction": "q", "chosen": "yes", "rejected": "no"}
    for name, change, said in (("no rejected", {"rejected": None}, "no answer"),
                               ("chosen empty", {"chosen": ""}, "no answer"),
                               ("chosen twice", {"rejected": "yes"}, "the same")):  # fmt: skip
        yield Case(name, [pair, {**pair, **change}], entry=PAIR, usable=1, bad={2: said})
    for name, label in (("label maybe", "maybe"), ("label null", None), ("label two", 2)):
        yield Case(name, [{**GOOD, "label": True}, {**GOOD, "label": label}], entry=FEEDBACK,
                   usable=1, bad={2: "true or false"})  # fmt: skip
    yield Case("no picture", _picture(b"hello"), entry=PICTURES, bad={1: "no picture"})
    yield Case("picture gone", [{**GOOD, "instruction": "<image>?", "images": ["gone.png"]}],
               entry=PICTURES, bad={1: "no picture gone.png"})  # fmt: skip
    yield Case("huge picture", _picture(_huge_picture()), entry=PICTURES, bad={1: "cat.png"})
    yield Case("pictures unplaced", [{**GOOD, "images": ["a.png", "b.png"]}], entry=PICTURES,
               bad={1: "picture"})  # fmt: skip


def cases() -> Iterator[Case]:
    yield from _files()
    yield from _paths()
    yield from _rows()
