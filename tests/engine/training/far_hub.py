"""A stand-in for Hugging Face's hub on 127.0.0.1 that serves ranges of files and counts bytes."""

from __future__ import annotations

import hashlib
import json
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.engine.local_server import Answers, served

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


def serving(hub: FarHub) -> AbstractContextManager[str]:
    """The hub's address while it serves."""
    return served(_handler(hub))


def _handler(hub: FarHub) -> type[Answers]:
    class Handler(Answers):
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

    return Handler


def _entry(name: str, data: bytes) -> dict[str, Any]:
    return {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
