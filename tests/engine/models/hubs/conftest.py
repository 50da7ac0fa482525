"""A stand-in for both hubs on 127.0.0.1: it lists and sends files, and breaks off when told to."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
README = "---\nlicense: apache-2.0\nlanguage: en\n---\n# Tiny\n"


@dataclass
class StandIn:
    """What the hubs have and how they behave. `break_after` ends the next answers for weights after
    so many bytes, one entry an answer; `asked` keeps (path, Range) of every file that was asked."""

    files: dict[str, bytes]
    url: str = ""
    gated: bool = False
    card: dict[str, Any] = field(default_factory=lambda: {"license": "apache-2.0"})
    break_after: list[int] = field(default_factory=list)
    ignore_range: bool = False
    damage: bool = False
    asked: list[tuple[str, str]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)

    @property
    def weights(self) -> bytes:
        return self.files["model.safetensors"]


class Handler(BaseHTTPRequestHandler):
    hub: StandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, *_arguments: Any) -> None:
        """Nothing is printed."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path)
        query = parse_qs(url.query)
        self.hub.tokens.add(self.headers.get("Authorization") or self.headers.get("Cookie") or "")
        if "org/tiny" not in path:
            return self._refuse(404, "RepoNotFound")
        if self.hub.gated:
            return self._refuse(403, "GatedRepo")
        if path.startswith("/api/models/") and not path.endswith(("/revision/main", COMMIT)):
            return self._refuse(404, "RevisionNotFound")
        if path.startswith("/api/models/"):
            return self._json(self._hf_listing())
        if path.endswith("/repo/files"):
            if query["Revision"] != ["master"]:
                return self._refuse(404, "RevisionNotFound")
            return self._json({"Code": 200, "Success": True, "Data": {"Files": self._ms_files()}})
        if path.endswith("/repo"):
            return self._file(query["FilePath"][0])
        if path.startswith("/org/tiny/resolve/"):
            return self._file(path.split(f"/{COMMIT}/", 1)[1])
        return self._json({"Code": 200, "Success": True, "Data": {"License": "apache-2.0"}})

    do_HEAD = do_GET

    def _hf_listing(self) -> dict[str, Any]:
        rows = []
        for name, data in self.hub.files.items():
            row: dict[str, Any] = {"rfilename": name, "size": len(data)}
            git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            row["blobId"] = git
            if name.endswith(".safetensors"):
                sha = hashlib.sha256(data).hexdigest()
                row["lfs"] = {"sha256": sha, "size": len(data), "pointerSize": 130}
            rows.append(row)
        return {"id": "org/tiny", "sha": COMMIT, "siblings": rows, "cardData": self.hub.card,
                "tags": [], "downloads": 0}  # fmt: skip

    def _ms_files(self) -> list[dict[str, Any]]:
        return [
            {
                "Path": name,
                "Name": name,
                "Size": len(data),
                "Sha256": hashlib.sha256(data).hexdigest(),
                "Type": "blob",
            }
            for name, data in self.hub.files.items()
        ]

    def _file(self, name: str) -> None:
        data = self.hub.files[name]
        wanted = self.headers.get("Range") or ""
        self.hub.asked.append((name, wanted))
        start = 0
        if wanted and not self.hub.ignore_range:
            start = int(wanted.removeprefix("bytes=").split("-")[0])
        body = data[start:]
        if self.hub.damage and name.endswith(".safetensors"):
            body = bytes(len(body))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if name.endswith(".safetensors") and self.hub.break_after:
            self.wfile.write(body[: self.hub.break_after.pop(0)])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
            return
        self.wfile.write(body)

    def _json(self, content: Any) -> None:
        raw = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def _refuse(self, status: int, code: str) -> None:
        raw = json.dumps({"error": code, "Code": 10010205001, "Message": code}).encode()
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


@pytest.fixture
def stand_in(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StandIn]:
    """Both hubs with one model, org/tiny; the network is on, and it is the only place to go."""
    files = {file.name: file.read_bytes() for file in tiny_llama.iterdir()}
    files |= {"README.md": README.encode(), "pytorch_model.bin": b"no", "onnx/model.onnx": b"no"}
    hub = StandIn(files)
    handler = type("OfThisTest", (Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    for name in ("HF_ENDPOINT", "MODELSCOPE_ENDPOINT"):
        monkeypatch.setenv(name, hub.url)
    monkeypatch.setenv("MODELSCOPE_HOME", str(tmp_path / "ms-home"))
    monkeypatch.setenv("INTRA_CLOUD_ACCELERATION", "0")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("engine.datasets.fetching.WAITS", (0.0, 0.0))
    for name in ("HF_TOKEN", "MODELSCOPE_API_TOKEN", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield hub
    server.shutdown()
    server.server_close()
    shutil.rmtree(tmp_path / "ms-home", ignore_errors=True)


@pytest.fixture(autouse=True)
def modelscope_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ModelScope's cache lies in the test's own folder."""
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "ms"))
    return tmp_path / "ms"


class Told:
    """Keeps what a download tells, and can stop it at a byte."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, float, float, str]] = []

    def progress(self, activity: str, done: float, total: float, unit: str) -> None:
        self.lines.append((activity, done, total, unit))


@pytest.fixture
def told() -> Told:
    return Told()
