"""A hub of one repository: the few endpoints that huggingface_hub asks, over a folder. GET /asked is what it was asked."""

from __future__ import annotations

import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34
REPO = "someone/tiny-gpt-oss"


class Hub(ThreadingHTTPServer):
    """Listens on a free port of 127.0.0.1 until closed. asked: METHOD and path of every request."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.folder = folder
        self.asked: list[str] = []
        Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(f"{self.command} {path}")
        files = {str(each.relative_to(self.server.folder)): each for each in sorted(self.server.folder.rglob("*")) if each.is_file()}
        words = path.strip("/").split("/")
        if words[:2] == ["api", "models"] and "/".join(words[2:4]) == REPO:
            revision = words[5] if words[4:5] in (["revision"], ["tree"]) else "main"
            if revision not in ("main", COMMIT):
                return self.refuse("RevisionNotFound")
            if words[4:5] == ["tree"]:
                listed: object = [{"type": "file", "path": name, "size": file.stat().st_size, "oid": etag(file)} for name, file in files.items()]
            else:
                listed = {"id": REPO, "modelId": REPO, "sha": COMMIT, "private": False, "tags": [], "downloads": 0, "likes": 0,
                          "siblings": [{"rfilename": name, "size": file.stat().st_size} for name, file in files.items()]}  # fmt: skip
            return self.give(json.dumps(listed).encode(), {"Content-Type": "application/json"})
        name = "/".join(words[4:])
        if "/".join(words[:2]) == REPO and words[2:3] == ["resolve"] and name in files:
            return self.give(files[name].read_bytes(), {"ETag": f'"{etag(files[name])}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"})
        return self.refuse("EntryNotFound" if "/".join(words[:2]) == REPO else "RepoNotFound")

    def give(self, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(200)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def refuse(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def etag(file: Path) -> str:
    return hashlib.sha1(file.read_bytes(), usedforsecurity=False).hexdigest()
