"""The builtin client: its answer passes the checks of the real client's, its definitions are vLLM's, its failures are told."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tunefork.base.errors import MissingTool, ServeError
from tunefork.base.ports import free_port
from tunefork.bench.load import client_builtin as client
from tunefork.bench.load import limits
from tunefork.bench.load.checks import check
from tunefork.bench.records.schema import Scenario, ServerRecord
from tunefork.bench.server.target import Target

STREAMER = Path(__file__).parents[1] / "ab" / "streamer.py"


def scenario(conc: int = 2, prompts: int = 6, ratio: float = 1.0) -> Scenario:
    return Scenario(isl=16, osl=8, conc=conc, num_prompts=prompts, warmups=2, range_ratio=ratio, seed=3)


def target_of(process: subprocess.Popen[bytes], port: int, tmp_path: Path) -> Target:
    url = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            httpx.get(url + "/health", trust_env=False)
            break
        except httpx.HTTPError:
            time.sleep(0.05)

    def alive() -> None:
        if process.poll() is not None:
            raise ServeError(f"the server ended with exit code {process.returncode}")

    described = ServerRecord(own=True, base_url=url, model="fake", served_name="fake", target="unknown", version="unknown", gpus=1,
                             argv=(), env={}, seconds_to_ready=0.0, log=None)
    return Target(described, (), {}, Path(sys.executable), {}, tmp_path, "t", alive)


@contextmanager
def serving(tmp_path: Path, pace_ms: float, *fault: str) -> Iterator[Target]:
    port = free_port("127.0.0.1")
    with subprocess.Popen([sys.executable, str(STREAMER), str(port), str(pace_ms), *(fault or ("good",))]) as process:
        try:
            yield target_of(process, port, tmp_path)
        finally:
            process.kill()


@contextmanager
def truth(tmp_path: Path, ttft_ms: float, tpot_ms: float) -> Iterator[Target]:
    port = free_port("127.0.0.1")
    command = [sys.executable, str(Path(__file__).with_name("truth_server.py")), str(port), str(ttft_ms), str(tpot_ms)]
    with subprocess.Popen(command) as process:
        try:
            yield target_of(process, port, tmp_path)
        finally:
            process.kill()


def test_its_answer_passes_the_checks_and_measures_the_pace(tmp_path: Path) -> None:
    with serving(tmp_path, 20) as target:
        done, answer, problems = client.measure(target, scenario(), tmp_path)
    assert (done.exit_code, problems) == (0, [])
    assert answer is not None
    assert check(answer, scenario()) == []
    # A token comes 20 ms after the one before, and a bit more on a loaded machine, never less.
    assert 20 <= answer["median_tpot_ms"] < 60
    assert 20 <= answer["median_itl_ms"] < 60
    assert 160 <= answer["median_e2el_ms"] < 480
    assert answer["total_input_tokens"] == 6 * 16
    assert answer["median_tpot_ms"] == pytest.approx((answer["median_e2el_ms"] - answer["median_ttft_ms"]) / 7, rel=0.15)


def test_concurrency_is_kept(tmp_path: Path) -> None:
    with serving(tmp_path, 10) as target:
        _, answer, _ = client.measure(target, scenario(conc=3, prompts=9), tmp_path)
    assert answer is not None
    spans = [(start, start + ttft + sum(itls)) for start, ttft, itls in zip(answer["start_times"], answer["ttfts"], answer["itls"], strict=True)]
    together = max(sum(first <= at < last for first, last in spans) for at, _ in spans)
    assert together == 3


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "message"), [("error", "HTTP 500"), ("cut", "the stream ended without"), ("nousage", "without tokens or usage")])
def test_failed_requests_are_counted_and_refused(tmp_path: Path, fault: str, message: str) -> None:
    with serving(tmp_path, 1, fault) as target:
        _, answer, _ = client.measure(target, scenario(), tmp_path)
    assert answer is not None
    problems = check(answer, scenario())
    assert any("requests failed" in one.message or "arithmetic" in one.kind for one in problems)
    assert answer["failed"] >= 2 and answer["completed"] + answer["failed"] == 6
    assert any(message in text for text in answer["errors"])


@pytest.mark.slow
@pytest.mark.parametrize("chunk", ["[1]", '"x"', "5", "null", "[" * 60_000, '{"usage": {"completion_tokens": 1e400}, "choices": []}', '{"usage": [1]}', '{"usage": 1}'])
def test_an_odd_chunk_is_that_requests_fault(tmp_path: Path, chunk: str) -> None:
    """Of a server of somebody else's, to which --base-url points."""
    with serving(tmp_path, 1, "odd", chunk) as target:
        _, answer, _ = client.measure(target, scenario(), tmp_path)
    assert answer is not None
    assert answer["failed"] >= 2 and answer["completed"] + answer["failed"] == 6


@pytest.mark.slow
def test_a_hanging_server_is_given_up(tmp_path: Path) -> None:
    with serving(tmp_path, 1, "hang") as target:
        done, answer, problems = client.measure(target, scenario(), tmp_path, 1.0)
    assert (done.exit_code, answer) == (None, None)
    assert problems[0].kind == "client-hangs"


@pytest.mark.slow  # 64 tokens of 600 requests are drawn and asked for, one after another, until it dies
def test_a_dead_server_is_its_own_error(tmp_path: Path) -> None:
    with serving(tmp_path, 5, "dies") as target, pytest.raises(ServeError, match="exit code 4"):
        client.measure(target, Scenario(isl=16, osl=64, conc=1, num_prompts=600, warmups=4, range_ratio=1.0, seed=1), tmp_path)
        target.check()


def test_the_same_seed_draws_the_same_prompts() -> None:
    one = scenario(ratio=0.5)
    assert [request.prompt for request in client.draw(one, 20, 1)] == [request.prompt for request in client.draw(one, 20, 1)]
    lengths = [len(request.prompt) for request in client.draw(one, 200, 1)]
    assert (min(lengths), max(lengths)) == (8, 16)
    assert client.draw(one, 1, 1)[0].prompt != client.draw(one, 1, 2)[0].prompt


def test_text_that_splits_lines_elsewhere_is_one_token(tmp_path: Path) -> None:
    with serving(tmp_path, 1, "separators") as target:
        _, answer, _ = client.measure(target, scenario(), tmp_path)
    assert answer is not None
    assert (answer["completed"], answer["errors"]) == (6, [""] * 6)
    assert [len(gaps) for gaps in answer["itls"]] == [7] * 6


def test_a_proxy_of_the_environment_is_passed_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with serving(tmp_path, 1) as target:
        _, answer, _ = client.measure(target, scenario(), tmp_path)
    assert answer is not None and answer["completed"] == 6


@pytest.mark.slow
def test_it_says_what_it_took_itself(tmp_path: Path) -> None:
    with serving(tmp_path, 5) as target:
        _, short, _ = client.measure(target, scenario(), tmp_path)
        _, answer, _ = client.measure(target, Scenario(isl=16, osl=64, conc=2, num_prompts=24, warmups=2, range_ratio=1.0, seed=3), tmp_path)
    assert short is not None and "client_lag_p99_ms" not in short, "one hiccup would decide"
    assert answer is not None
    assert 0 < answer["client_cpu_share"] <= 1.05 and answer["client_lag_p99_ms"] >= 0


def test_more_connections_than_open_files_is_told_before_any_is_opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tunefork.bench.load.limits.resource.getrlimit", lambda _which: (256, 256))
    with pytest.raises(MissingTool, match="CONC 512 needs 640 open files, this shell allows 256"):
        limits.files(512)
    raised = []
    monkeypatch.setattr("tunefork.bench.load.limits.resource.getrlimit", lambda _which: (256, 4096))
    monkeypatch.setattr("tunefork.bench.load.limits.resource.setrlimit", lambda _which, both: raised.append(both))
    limits.files(100)
    limits.files(512)
    assert raised == [(640, 4096)]


@pytest.mark.parametrize(("data", "sure"), [
    (b'{"choices":[{"index":0,"text":"x"}],"usage":null}', True), (b'{"choices": [{"index": 0, "text": "x"}]}', True),
    (b'{"choices":[{"index":0,"text":"\\"error\\""}],"usage":null}', True), (b'{"choices":[],"usage":{"completion_tokens":3}}', False),
    (b'{"choices":[{"index":0,"text":"x"}],"usage":{"completion_tokens":3}}', False), (b'{"error":{"message":"no"}}', False),
])
def test_what_is_surely_a_token_is_not_parsed(data: bytes, sure: bool) -> None:
    assert client.only_a_token(data) is sure


def test_what_requests_cost_is_paid_before_the_first_goes_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the first tokens of a load wait for the client's own work: at CONC 512 that was most of their time."""
    order: list[str] = []
    encode, ask, opened = client.encode, client.ask, client.Connection.open

    def encoding(*words: Any) -> bytes:
        order.append("encode")
        return encode(*words)

    async def asking(*words: Any) -> None:
        order.append("ask")
        await ask(*words)

    async def opening(url: Any) -> client.Connection:
        order.append("open")
        return await opened(url)

    monkeypatch.setattr(client, "encode", encoding)
    monkeypatch.setattr(client, "ask", asking)
    monkeypatch.setattr(client.Connection, "open", opening)
    with truth(tmp_path, 2, 1) as target:
        _, answer, problems = client.measure(target, scenario(), tmp_path)
    assert problems == [] and answer is not None and answer["failed"] == 0
    assert order == ["encode"] * 2 + ["open"] * 2 + ["ask"] * 2 + ["encode"] * 6 + ["ask"] * 6


@pytest.mark.slow
def test_the_times_of_a_server_of_known_times(tmp_path: Path) -> None:
    """No clock of ours: the server says how late it was itself, and the client how late it was; what is left must be the truth."""
    with truth(tmp_path, 100, 10) as target:
        _, answer, problems = client.measure(target, Scenario(isl=64, osl=32, conc=64, num_prompts=128, warmups=64, range_ratio=1.0, seed=1), tmp_path)
        late = httpx.get(target.server.base_url, trust_env=False).json()["late_ms"]
    assert problems == [] and answer is not None and answer["failed"] == 0
    slack = late + max(answer.get("client_lag_p99_ms", 0.0), 50.0)
    assert 100 <= answer["median_ttft_ms"] <= 100 + slack
    assert 100 + 31 * 10 - slack <= answer["median_e2el_ms"] <= 100 + 31 * 10 + 2 * slack
