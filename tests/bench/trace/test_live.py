"""Profiling a stand-in that streams fast: the profiler begins while all streams decode, and none has ended when it stops."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tunefork.base.errors import BadInput, ServeError
from tunefork.bench.records.schema import Scenario, ServerRecord
from tunefork.bench.server.target import Target
from tunefork.bench.trace import live

PACE_S = 0.0005


class Vllm(ThreadingHTTPServer):
    """Streams tokens, and notes where its streams stood when the profiler was begun and ended."""

    daemon_threads = True

    def __init__(self, folder: Path, fault: str = "") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.fault = folder, fault
        self.sent: list[list[int]] = []  # per stream [tokens sent, tokens asked for]
        self.at: dict[str, list[int]] = {}


class Handler(BaseHTTPRequestHandler):
    server: Vllm

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path in ("/start_profile", "/stop_profile"):
            time.sleep(0.05)
            self.server.at[self.path] = [sent for sent, _ in self.server.sent]
            if self.path == "/stop_profile" and self.server.fault != "no trace":
                (self.server.folder / "x-rank-0.1.pt.trace.json.gz").write_bytes(b"trace")
            self.send_response(404 if self.server.fault == "no profiler" else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        stream = [0, json.loads(body)["max_tokens"]]
        self.server.sent.append(stream)
        self.send_response(200)
        self.end_headers()
        try:
            while stream[0] < stream[1]:
                time.sleep(PACE_S)
                self.wfile.write(b'data: {"choices": [{"text": "x"}]}\n\n')
                stream[0] += 1
        except OSError:
            return  # cut off, as it should be

    def log_message(self, *_args: object) -> None:
        return


@pytest.fixture
def vllm(tmp_path: Path) -> Iterator[Vllm]:
    server = Vllm(tmp_path)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def target(server: Vllm, check: Any = lambda: None) -> Target:
    said = ServerRecord(own=True, base_url=f"http://127.0.0.1:{server.server_port}", model="m", served_name="m", target="cpu", version="v", gpus=1, argv=(), env={},
                  seconds_to_ready=1.0, log="the.log")
    return Target(server=said, trees=(), versions={}, python=Path(sys.executable), env={}, cwd=server.folder, trial="t", check=check)


LOAD = Scenario(isl=16, osl=8, conc=3, num_prompts=3, warmups=0, range_ratio=1.0, seed=0)


def test_all_streams_decode_from_the_start_of_the_profile_to_its_end(vllm: Vllm, tmp_path: Path) -> None:
    traces = live.decode(target(vllm), LOAD, 10, tmp_path, longest=4096)
    assert [path.name for path in traces] == ["x-rank-0.1.pt.trace.json.gz"]
    begun, ended = vllm.at["/start_profile"], vllm.at["/stop_profile"]
    assert len(begun) == len(ended) == 3
    assert all(sent >= live.SETTLE_TOKENS for sent in begun)
    assert all(after - before >= 10 for before, after in zip(begun, ended, strict=True))
    assert all(asked == 4096 - 16 for _, asked in vllm.sent), "what the prompt leaves of the model's length"
    assert all(sent < asked for sent, (_, asked) in zip(ended, vllm.sent, strict=True)), "and no stream had ended"


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "says"), [("no profiler", "did not profile: HTTPStatusError"), ("no trace", "left no trace")])
def test_what_goes_wrong_is_a_serve_error(vllm: Vllm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, says: str) -> None:
    monkeypatch.setattr(live, "STEP_S", 1.0)
    vllm.fault = fault
    with pytest.raises(ServeError, match=says):
        live.decode(target(vllm), LOAD, 10, tmp_path, longest=4096)


def test_a_server_that_dies_is_told_as_itself(vllm: Vllm, tmp_path: Path) -> None:
    def dead() -> None:
        raise ServeError("the server ended by itself (exit code 7)", "")

    with pytest.raises(ServeError, match="ended by itself"):
        live.decode(target(vllm, dead), LOAD, 10, tmp_path, longest=4096)


def test_what_does_not_fit_into_the_model_is_refused() -> None:
    live.check_length(LOAD, 10, 62)
    with pytest.raises(BadInput, match="needs 62 positions, the server has 61"):
        live.check_length(LOAD, 10, 61)


def test_the_profilers_arguments_are_one_json_option(tmp_path: Path) -> None:
    flag, value = live.server_arguments(tmp_path, 8)
    said = json.loads(value)
    assert flag == "--profiler-config"
    assert (said["profiler"], said["torch_profiler_dir"], said["max_iterations"], said["ignore_frontend"]) == ("torch", str(tmp_path), 8, True)
