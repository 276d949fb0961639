"""The builtin client: its answer passes the checks of the real client's, its definitions are vLLM's, its failures are told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tunefork.base.errors import ServeError
from tunefork.base.ports import free_port
from tunefork.bench.ab import client
from tunefork.bench.load.checks import check
from tunefork.bench.records.schema import Scenario
from tunefork.bench.records.schema import Server as ServerRecord
from tunefork.bench.server.target import Target

STREAMER = Path(__file__).with_name("streamer.py")


def scenario(conc: int = 2, prompts: int = 6, ratio: float = 1.0) -> Scenario:
    return Scenario(isl=16, osl=8, conc=conc, num_prompts=prompts, warmups=2, range_ratio=ratio, seed=3)


@contextmanager
def serving(tmp_path: Path, pace_ms: float, fault: str = "good") -> Iterator[Target]:
    port = free_port("127.0.0.1")
    with subprocess.Popen([sys.executable, str(STREAMER), str(port), str(pace_ms), fault]) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(600):
                try:
                    httpx.get(url + "/health", trust_env=False)
                    break
                except httpx.HTTPError:
                    continue

            def alive() -> None:
                if process.poll() is not None:
                    raise ServeError(f"the server ended with exit code {process.returncode}")

            described = ServerRecord(own=True, base_url=url, model="fake", served_name="fake", target="unknown", version="unknown", gpus=1,
                                     argv=(), env={}, seconds_to_ready=0.0, log=None)
            yield Target(described, (), {}, Path(sys.executable), {}, tmp_path, "t", alive)
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


@pytest.mark.parametrize(("fault", "message"), [("error", "HTTP 500"), ("cut", "the stream ended without"), ("nousage", "without tokens or usage")])
def test_failed_requests_are_counted_and_refused(tmp_path: Path, fault: str, message: str) -> None:
    with serving(tmp_path, 1, fault) as target:
        _, answer, _ = client.measure(target, scenario(), tmp_path)
    assert answer is not None
    problems = check(answer, scenario())
    assert any("requests failed" in one.message or "arithmetic" in one.kind for one in problems)
    assert answer["failed"] >= 2 and answer["completed"] + answer["failed"] == 6
    assert any(message in text for text in answer["errors"])


def test_a_hanging_server_is_given_up(tmp_path: Path) -> None:
    with serving(tmp_path, 1, "hang") as target:
        done, answer, problems = client.measure(target, scenario(), tmp_path, 1.0)
    assert (done.exit_code, answer) == (None, None)
    assert problems[0].kind == "client-hangs"


def test_a_dead_server_is_its_own_error(tmp_path: Path) -> None:
    with serving(tmp_path, 100, "dies") as target, pytest.raises(ServeError, match="exit code 4"):
        client.measure(target, Scenario(isl=16, osl=64, conc=1, num_prompts=600, warmups=4, range_ratio=1.0, seed=1), tmp_path)
        target.check()


def test_the_same_seed_draws_the_same_prompts() -> None:
    one = scenario(ratio=0.5)
    assert [request.prompt for request in client.draw(one, 20, 1)] == [request.prompt for request in client.draw(one, 20, 1)]
    lengths = [len(request.prompt) for request in client.draw(one, 200, 1)]
    assert (min(lengths), max(lengths)) == (8, 16)
    assert client.draw(one, 1, 1)[0].prompt != client.draw(one, 1, 2)[0].prompt
