"""A stand-in for Hugging Face's hub on 127.0.0.1 that serves ranges of files and counts bytes."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "org/far"


class FarHub:
    """`files` of the one repository; `asked` are (file, first byte, bytes sent) in order. While
    `down`, the hub answers with errors."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.asked: list[tuple[str, int, int]] = []
        self.down = False

    def sent(self, name: str) -> int:
        """Bytes of a file that went out."""
        return sum(count for asked, _, count in self.asked if asked == name)


@contextmanager
def serving(hub: FarHub) -> Iterator[str]:
    """The hub's address while it serves."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _handler(hub: FarHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_arguments: Any) -> None:
            """Nothing is printed."""

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            if hub.down:
                return self._send(500, b"")
            if path.startswith(f"/datasets/{REPO}/resolve/"):
                return self._file(path.split("/", 6)[6])
            if not path.startswith(f"/api/datasets/{REPO}"):
                return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            if "/tree/" in path:
                return self._json([_entry(name, data) for name, data in hub.files.items()])
            siblings = [{"rfilename": name} for name in hub.files]
            return self._json({"id": REPO, "sha": COMMIT, "siblings": siblings, "private": False})

        do_HEAD = do_GET

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            asked = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body)["paths"]
            found = [_entry(name, data) for name, data in hub.files.items() if name in asked]
            self._json(found)

        def _file(self, name: str) -> None:
            data = hub.files.get(name)
            if data is None:
                return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            first, last = 0, len(data) - 1
            wanted = self.headers.get("Range", "").removeprefix("bytes=")
            if wanted:
                begin, _, end = wanted.partition("-")
                first, last = int(begin), min(int(end or last), last)
            part = data[first : last + 1]
            if self.command == "GET":
                hub.asked.append((name, first, len(part)))
            told = {
                "ETag": f'"{hashlib.sha1(data).hexdigest()}"',
                "X-Repo-Commit": COMMIT,
                "Accept-Ranges": "bytes",
                "Content-Range": f"bytes {first}-{last}/{len(data)}",
            }
            self._send(206 if wanted else 200, part, told)

        def _json(self, told: Any) -> None:
            self._send(200, json.dumps(told).encode(), {"Content-Type": "application/json"})

        def _send(self, code: int, data: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

    return Handler


def _entry(name: str, data: bytes) -> dict[str, Any]:
    return {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
