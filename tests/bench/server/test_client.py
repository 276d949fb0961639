"""The client against a server that answers, is mute, or answers nonsense."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import httpx
import pytest

from tunefork.base.errors import ServeError
from tunefork.base.ports import free_port
from tunefork.bench.server.client import Client

SCORED = {"choices": [{"text": "ab", "finish_reason": "length",
                       "logprobs": {"tokens": ["a", "b"], "token_logprobs": [None, -0.5]}}],
          "usage": {"prompt_tokens": 1, "completion_tokens": 1}}


class Script(BaseHTTPRequestHandler):
    """Answers with what the test put there, and keeps what was asked."""

    status, body = 200, b"{}"
    asked: dict[str, object]

    def do_GET(self) -> None:
        self.reply()

    def do_POST(self) -> None:
        type(self).asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.reply()

    def reply(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_args: object) -> None:
        return


@pytest.fixture
def script() -> Iterator[tuple[type[Script], Client]]:
    class Own(Script):
        pass

    with HTTPServer(("127.0.0.1", 0), Own) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        with Client(f"http://127.0.0.1:{server.server_port}", "tiny", timeout_s=5) as client:
            yield Own, client
        server.shutdown()


def test_a_scored_prompt(script: tuple[type[Script], Client]) -> None:
    page, client = script
    page.body = json.dumps(SCORED).encode()
    answer = client.complete("a", 1, echo=True, logprobs=True)
    assert (answer.tokens, answer.logprobs, answer.prompt_tokens) == (("a", "b"), (None, -0.5), 1)
    assert page.asked == {"model": "tiny", "prompt": "a", "max_tokens": 1, "temperature": 0.0, "echo": True, "logprobs": 1}


@pytest.mark.parametrize(("status", "body", "says"), [
    (500, b"engine dead", "answered 500: engine dead"),
    (200, b"<html>", "JSONDecodeError"),
    (200, b'{"choices": []}', "not a completion"),
    (200, b'{"choices": [{"text": "a"}]}', "not a completion"),
    (200, b"[]", "not a completion"),
])
def test_what_is_not_an_answer_is_an_error(script: tuple[type[Script], Client], status: int, body: bytes, says: str) -> None:
    page, client = script
    page.status, page.body = status, body
    with pytest.raises(ServeError, match=says):
        client.complete("a", 1)


def test_health(script: tuple[type[Script], Client]) -> None:
    page, client = script
    assert client.healthy()
    page.status = 503
    assert not client.healthy()


def test_nobody_there() -> None:
    with Client(f"http://127.0.0.1:{free_port('127.0.0.1')}", "tiny") as client:
        assert not client.healthy()
        with pytest.raises(ServeError, match="ConnectError"):
            client.models()


def test_a_proxy_of_the_shell_is_not_used(script: tuple[type[Script], Client], monkeypatch: pytest.MonkeyPatch) -> None:
    _, client = script
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with Client(client.base_url, "tiny") as fresh:
        assert fresh.healthy()


@pytest.mark.parametrize(("text", "found"), [
    ('vllm:cache_config_info{block_size="16",enable_prefix_caching="True",engine="0"} 1.0\n', True),
    ('vllm:cache_config_info{enable_prefix_caching="False",engine="0"} 1.0\n', False),
    ('# HELP x\nvllm:prefix_cache_hits_total{engine="0"} 128.0\n', True), ("sglang:cached_tokens_total 0.0\n", None), ("sglang:cached_tokens_total 12\n", True),
    ("process_cpu_seconds_total 1\n", None),
])
def test_whether_prefixes_are_cached(text: str, found: bool | None) -> None:
    with Client("http://h", "m") as client:
        client._http = httpx.Client(base_url="http://h", transport=httpx.MockTransport(lambda _request: httpx.Response(200, text=text)))
        assert client.prefix_cache() is found
        client._http = httpx.Client(base_url="http://h", transport=httpx.MockTransport(lambda _request: httpx.Response(404)))
        assert client.prefix_cache() is None


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"data":[{}]}', b'{"data":null}', b'"x"', b"[" * 200_000])
def test_no_list_of_models_is_an_error(script: tuple[type[Script], Client], body: bytes) -> None:
    page, client = script
    page.body = body
    with pytest.raises(ServeError, match="/v1/models"):
        client.models()
