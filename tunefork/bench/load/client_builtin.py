"""The builtin client: streams completions of random token ids, for servers beside which `vllm bench serve` is not installed.

Its answer has the keys and the definitions of `vllm bench serve --save-detailed`: TTFT to the first chunk, ITL between chunks, E2E to the
last chunk, TPOT = (E2E - TTFT) / (output tokens - 1); rates over the time from the first request to the last answer. Lengths are drawn as
there, uniform in [mean (1 - r), mean (1 + r)]. A prompt is token ids, so no tokenizer is needed and its length is exact.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import numpy as np

from tunefork.base import jsons
from tunefork.base.program import Finished
from tunefork.base.upstream_facts.vllm import COMPLETIONS
from tunefork.base.waiting import Waiting
from tunefork.bench.load import limits
from tunefork.bench.load.connection import Connection
from tunefork.bench.load.lag import Lag
from tunefork.bench.load.load import deadline_s, lengths
from tunefork.bench.records.schema import Problem, Scenario
from tunefork.bench.server.target import Target
from tunefork.bench.sse import Events

WATCH_S = 0.5
CHOICE = re.compile(rb'"choices": ?\[\{')
USAGE_NULL = re.compile(rb'"usage": ?null')
# Ids that every vocabulary has as plain text: beyond the special ids at its start, below the end of a small one.
FIRST_ID, LAST_ID = 64, 255


@dataclass
class Request:
    """One request and what came of it. started: seconds by the performance counter.  ttft_s, itl_s, e2el_s: seconds."""

    prompt: list[int]
    wanted: int
    started: float = 0.0
    ttft_s: float = 0.0
    itl_s: list[float] = field(default_factory=list)
    e2el_s: float = 0.0
    output: int = 0
    error: str = ""


def draw(one: Scenario, count: int, seed: int) -> list[Request]:
    """Requests of a scenario; the same seed draws the same."""
    generator = np.random.default_rng(seed)
    fed, made = lengths(one.isl, one.range_ratio), lengths(one.osl, one.range_ratio)
    inputs = generator.integers(max(1, fed.shortest), fed.longest + 1, count)
    outputs = generator.integers(max(1, made.shortest), made.longest + 1, count)
    return [Request(generator.integers(FIRST_ID, LAST_ID + 1, int(n)).tolist(), int(m)) for n, m in zip(inputs, outputs, strict=True)]


def measure(target: Target, one: Scenario, folder: Path,
            timeout_s: float | None = None) -> tuple[Finished, dict[str, Any] | None, list[Problem]]:
    """Run the load, as client_vllm.measure does. ServeError when the server dies."""
    began = time.monotonic()
    limit = timeout_s or deadline_s(one)
    limits.files(one.conc)
    try:
        with Waiting(f"CONC {one.conc}") as waiting:
            requests, seconds, lag = asyncio.run(asyncio.wait_for(load(target, one, waiting), limit))
    except TimeoutError:
        took = time.monotonic() - began
        return Finished(None, took), None, [Problem(kind="client-hangs", message=f"the builtin client did not end within {limit:.0f} s")]
    (folder / "client.log").write_text(f"builtin client: {one.num_prompts} requests in {seconds:.3f} s\n")
    return Finished(0, time.monotonic() - began), {**answer(requests, one, seconds), **lag.words()}, []


async def load(target: Target, one: Scenario, waiting: Waiting | None = None) -> tuple[list[Request], float, Lag]:
    """Warm up, then all requests, CONC at a time: they, the seconds they took, and what the client itself took."""
    waiting = waiting or Waiting(f"CONC {one.conc}")
    watch = asyncio.create_task(watched(target, waiting))
    lines = Lines(urlsplit(target.server.base_url), one.conc)
    try:
        warmups, requests = draw(one, one.warmups, one.seed + 1), draw(one, one.num_prompts, one.seed)
        waiting.now = lambda: "warming up" if not any(each.e2el_s or each.error for each in requests) else ""
        waiting.far = lambda: (sum(bool(each.e2el_s or each.error) for each in requests), len(requests))
        await ending_with(watch, lines.drive(warmups, target.server.served_name))
        async with Lag() as lag:
            began = time.perf_counter()
            await ending_with(watch, lines.drive(requests, target.server.served_name))
            seconds = time.perf_counter() - began
        return requests, seconds, lag
    finally:
        watch.cancel()
        lines.close()


async def watched(target: Target, waiting: Waiting | None = None) -> None:
    """Raise what the target's check raises, when its server has ended; meanwhile say how far the load is."""
    while True:
        target.check()
        if waiting:
            waiting.look()
        await asyncio.sleep(WATCH_S)


async def ending_with(watch: asyncio.Task[None], work: Any) -> None:
    """Await work, or the watch's error if that comes first."""
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        for one in done:
            one.result()
    finally:
        task.cancel()


class Lines:
    """CONC connections, each kept by one worker: nothing is shared, so nothing is waited for but the server.

    They go straight to the URL's host: a proxy from the environment must not stand between us and the server under test.
    """

    def __init__(self, url: SplitResult, conc: int) -> None:
        self.url = url
        self.open: list[Connection | None] = [None] * conc

    async def drive(self, requests: Sequence[Request], model: str) -> None:
        """Keep CONC requests in flight until all are answered."""
        host, path = self.url.netloc.rpartition("@")[2], f"{self.url.path.rstrip('/')}{COMPLETIONS}"
        # Encoded before the first goes out: all start at once, and what that costs would be in the first tokens' times.
        waiting = iter([(request, encode(request, model, host, path)) for request in requests])
        for place, line in enumerate(self.open):
            if line is None or line.closed:
                with contextlib.suppress(OSError):
                    self.open[place] = await Connection.open(self.url)

        async def worker(place: int) -> None:
            for request, encoded in waiting:
                try:
                    line = self.open[place]
                    if line is None or line.closed:
                        line = self.open[place] = await Connection.open(self.url)
                    await ask(line, request, encoded)
                except OSError as error:
                    request.error = f"{type(error).__name__}: {error}"

        async with asyncio.TaskGroup() as group:
            for place in range(len(self.open)):
                group.create_task(worker(place))

    def close(self) -> None:
        for line in self.open:
            if line is not None:
                line.close()


def encode(request: Request, model: str, host: str, path: str) -> bytes:
    """A streamed completion, as it goes to the socket."""
    body = json.dumps({"model": model, "prompt": request.prompt, "max_tokens": request.wanted, "temperature": 0, "ignore_eos": True,
                       "stream": True, "stream_options": {"include_usage": True}}).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def ask(line: Connection, request: Request, encoded: bytes) -> None:
    """One streamed completion; a failure is kept in the request, or is an OSError."""
    events, refusal, last = Events(), bytearray(), 0.0

    def piece(status: int, body: bytes, now: float) -> None:
        nonlocal last
        if status != HTTPStatus.OK:
            refusal.extend(body)
            return
        try:
            for _, data in events.feed(body):
                if data != b"[DONE]":
                    last = took(request, data, line.sent, now, last)
        except (ValueError, KeyError, TypeError) as error:
            request.error = request.error or f"{type(error).__name__}: {error}"

    status = await line.ask(encoded, piece)
    request.started, request.e2el_s = line.sent, last - line.sent
    if status != HTTPStatus.OK:
        request.error = f"HTTP {status}: {refusal.decode(errors='replace')[:200]}"
    elif not request.output or not request.ttft_s:
        request.error = request.error or "the stream ended without tokens or usage"


def took(request: Request, data: bytes, sent: float, now: float, last: float) -> float:
    """Account for one chunk that came at ``now``; returns when the last tokens came."""
    if not only_a_token(data):
        chunk = jsons.loads(data)
        if "error" in chunk:
            raise ValueError(str(chunk["error"])[:200])
        if chunk.get("usage"):
            request.output = int(chunk["usage"]["completion_tokens"])
        if not chunk.get("choices"):
            return last
    if not request.ttft_s:
        request.ttft_s = now - sent
    else:
        request.itl_s.append(now - last)
    return now


def only_a_token(data: bytes) -> bool:
    """Whether a chunk surely has a choice, no usage and no error, seen without parsing it: a quote within JSON's text is escaped."""
    return CHOICE.search(data) is not None and b'"error"' not in data and (b'"usage"' not in data or USAGE_NULL.search(data) is not None)


def answer(requests: Sequence[Request], one: Scenario, seconds: float) -> dict[str, Any]:
    """The client's answer, in the words of `vllm bench serve`."""
    good = [request for request in requests if not request.error]
    fed, made = sum(len(request.prompt) for request in good), sum(request.output for request in good)
    tpots = [(request.e2el_s - request.ttft_s) / (request.output - 1) for request in good if request.output > 1]
    named = {"ttft": [request.ttft_s for request in good], "tpot": tpots, "itl": [gap for request in good for gap in request.itl_s],
             "e2el": [request.e2el_s for request in good]}
    return {
        "backend": "tunefork-builtin", "num_prompts": one.num_prompts, "max_concurrency": one.conc, "request_rate": "inf",
        "duration": seconds, "completed": len(good), "failed": len(requests) - len(good), "total_input_tokens": fed,
        "total_output_tokens": made, "request_throughput": len(good) / seconds, "output_throughput": made / seconds,
        "total_token_throughput": (fed + made) / seconds,
        **{key: value for name, values in named.items() for key, value in statistics(name, values).items()},
        "input_lens": [len(request.prompt) for request in requests], "output_lens": [request.output for request in requests],
        "ttfts": [request.ttft_s for request in requests], "itls": [request.itl_s for request in requests],
        "start_times": [request.started for request in requests], "errors": [request.error for request in requests],
    }


def statistics(name: str, seconds: Sequence[float]) -> dict[str, float]:
    """Mean, median, SD and p99 in ms; zeros where nothing was measured, which the checks refuse."""
    values = np.asarray(seconds if len(seconds) else [0.0]) * 1000
    return {f"mean_{name}_ms": float(values.mean()), f"median_{name}_ms": float(np.median(values)),
            f"std_{name}_ms": float(values.std()), f"p99_{name}_ms": float(np.percentile(values, 99))}
