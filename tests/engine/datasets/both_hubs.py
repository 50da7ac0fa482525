"""A stand-in on 127.0.0.1 for both hubs: one repository, which either of them has."""

from __future__ import annotations

import hashlib
import json
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from tests.engine.local_server import Answers, served

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """What both hubs have. `breaks` cuts the next answers after so many bytes; `asked` keeps each
    file with its Range."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.breaks: list[int] = []
        self.asked: list[tuple[str, str]] = []
        self.status = 200
        self.damage = False


def serving(hub: Hub) -> AbstractContextManager[str]:
    """The hub's address while it serves."""
    return served(_handler(hub))


def _handler(hub: Hub) -> type[Answers]:
    class Handler(Answers):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            path, query = unquote(url.path), parse_qs(url.query)
            if hub.status != 200 or "org/set" not in path:
                return self._send(hub.status if hub.status != 200 else 404, b'{"Code": 404}')
            if path.endswith("/repo/tree") or path.endswith("/repo/files"):
                files = [
                    {
                        "Path": name,
                        "Name": Path(name).name,
                        "Size": len(data),
                        "Type": "blob",
                        "Sha256": hashlib.sha256(data).hexdigest(),
                    }
                    for name, data in hub.files.items()
                ]
                data = {"Files": files, "TotalCount": len(files)}
                if query.get("PageNumber", ["1"])[0] != "1":
                    data["Files"] = []
                return self._send(
                    200, json.dumps({"Code": 200, "Success": True, "Data": data}).encode()
                )
            if path.endswith("/repo"):
                return self._file(query["FilePath"][0])
            if path.startswith("/datasets/org/set/resolve/"):
                return self._file(path.split("/", 6)[6])
            if path.startswith("/api/datasets/org/set/tree/"):
                tree = [
                    {"type": "file", "path": name, "size": len(data), "oid": COMMIT}
                    for name, data in hub.files.items()
                ]
                return self._send(200, json.dumps(tree).encode())
            if path.startswith("/api/datasets/org/set"):
                siblings = [{"rfilename": name} for name in hub.files]
                told = {"id": "org/set", "sha": COMMIT, "siblings": siblings}
                return self._send(200, json.dumps(told).encode())
            return self._send(200, b'{"Code": 200, "Success": true, "Data": {"Id": 1}}')

        do_HEAD = do_GET

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            asked = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body)["paths"]
            told = [
                {"type": "file", "path": name, "size": len(data), "oid": COMMIT}
                for name, data in hub.files.items()
                if name in asked
            ]
            self._send(200, json.dumps(told).encode())

        def _file(self, name: str) -> None:
            asked = self.headers.get("Range", "")
            if self.command == "GET":
                hub.asked.append((name, asked))
            data = hub.files.get(name)
            if data is None:
                return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            etag = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": COMMIT}
            start = int(asked.removeprefix("bytes=").rstrip("-") or 0) if asked else 0
            if hub.damage:
                data = bytes(len(data))
            self._send(206 if asked else 200, data[start:], etag)

        def _body(self, data: bytes) -> None:
            if hub.breaks and b"instruction" in data:
                data = data[: hub.breaks.pop(0)]
                self.close_connection = True
            super()._body(data)

    return Handler
