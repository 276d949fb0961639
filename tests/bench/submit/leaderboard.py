"""A leaderboard on this machine that speaks Gradio's protocol, with faults to order."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Leaderboard:
    """rows: what it took, exactly as sent. posts, gets: how often it was asked. fault: see ``Handler``; cleared after ``times`` uses."""

    def __init__(self, fault: str = "", times: int = 10_000) -> None:
        self.fault, self.times = fault, times
        self.rows: list[list[Any]] = []
        self.events: dict[str, list[Any]] = {}
        self.posts = self.gets = 0
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"board": self}))
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def now(self, *faults: str) -> bool:
        """Whether one of these faults is due now."""
        with self.lock:
            if self.fault not in faults or self.times <= 0:
                return False
            self.times -= 1
            return True

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Handler(BaseHTTPRequestHandler):
    """The application takes a row when its function runs: as soon as the call is accepted, whoever listens."""

    board: Leaderboard

    def do_POST(self) -> None:
        board = self.board
        board.posts += 1
        data = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["data"]
        if board.now("post hangs"):
            time.sleep(3)
            return
        if board.now("post disconnects"):
            board.rows.append(data)
            return
        for status in (500, 429, 503, 422):
            if board.now(f"post {status}"):
                return self.answer(status, b"no")
        if board.now("post without an event"):
            return self.answer(200, b'{"detail": "queued"}')
        event = f"event{board.posts}"
        board.events[event] = data
        if board.fault not in ("error", "error text"):
            board.rows.append(data)
        self.answer(200, json.dumps({"event_id": event}).encode())

    def do_GET(self) -> None:
        self.board.gets += 1
        event = self.path.rsplit("/", 1)[1]
        if self.board.now("stream 404") or event not in self.board.events:
            self.answer(404, b"gone")
        elif self.board.now("stream 500"):
            self.answer(500, b"no")
        else:
            self.stream(event)

    def stream(self, event: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.event("heartbeat", "null")
        if self.board.now("stream disconnects"):
            return
        if self.board.now("stream hangs"):
            for _ in range(40):
                time.sleep(0.1)
                self.event("heartbeat", "null")
        elif self.board.now("error"):
            self.event("error", "null")
        elif self.board.now("error text"):
            self.event("complete", json.dumps(["❌ team unknown"]))
        elif self.board.now("complete without data"):
            self.event("complete", "not json")
        else:
            self.event("generating", json.dumps(["..."]))
            self.event("complete", json.dumps([f"taken: {self.board.events[event][0]}"], ensure_ascii=False))

    def event(self, kind: str, data: str) -> None:
        with contextlib.suppress(OSError):
            self.wfile.write(f"event: {kind}\ndata: {data}\n\n".encode())
            self.wfile.flush()

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        return
