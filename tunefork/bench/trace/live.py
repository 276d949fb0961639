"""Profile a running decode: a server with vLLM's torch profiler, CONC streams that all decode, N steps of them in the trace.

The profiler is begun when every stream has its first tokens, so that no step of the trace prefills, and ends itself after N steps. What a
profiled step takes is not what an unprofiled one takes (the profiler costs time on the host); shares and kernels' times are what it is for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from tunefork.base.errors import BadInput, ServeError
from tunefork.base.upstream_facts.vllm import COMPLETIONS, START_PROFILE, STOP_PROFILE
from tunefork.bench.load.client_builtin import draw, watched
from tunefork.bench.records.schema import Scenario
from tunefork.bench.server.target import Target
from tunefork.bench.sse import Events

SETTLE_TOKENS = 4  # of every stream before the profile: its prefill is over, and the batch is full
SPARE_TOKENS = 32
LONGEST_TOKENS = 8192
"""Streams go on until they are cut off: at 2 ms a token, seconds pass before the profiler is asked for and has begun."""
TRACES = "*.pt.trace.json*"
START_S = 600.0
STEP_S = 30.0
"""Longer than any profiled step takes, on a CPU too."""


def server_arguments(folder: Path, steps: int) -> tuple[str, str]:
    """The profiler's part of `vllm serve`'s arguments (one JSON option; the variables of earlier versions are gone)."""
    from json import dumps

    return "--profiler-config", dumps({"profiler": "torch", "torch_profiler_dir": str(folder), "torch_profiler_with_stack": False,
                                       "torch_profiler_dump_cuda_time_total": False, "ignore_frontend": True, "max_iterations": steps})


def decode(target: Target, one: Scenario, steps: int, folder: Path, longest: int | None = None) -> list[Path]:
    """Load the server and profile ``steps`` decode steps: the traces, one per rank. ServeError where none comes.

    longest: the model's length in tokens, as far as it is known; the streams use what the prompt leaves of it.
    """
    length = LONGEST_TOKENS if longest is None else min(longest - one.isl, LONGEST_TOKENS)
    try:
        asyncio.run(asyncio.wait_for(profiled(target, one, steps, length), START_S + STEP_S * steps))
    except TimeoutError:
        raise ServeError(f"the profile of {steps} steps did not end within {START_S + STEP_S * steps:.0f} s", f"read {target.server.log}") from None
    except ExceptionGroup as group:
        first = group.exceptions[0]
        if isinstance(first, ServeError):
            raise first from None
        raise ServeError(f"the server did not profile: {type(first).__name__}: {first}", f"read {target.server.log}") from group
    return settled(folder, target)


async def profiled(target: Target, one: Scenario, steps: int, length: int) -> None:
    """Streams until all decode, the profiler on, N more tokens of each, the profiler off, the streams cut off."""
    seen = [0] * one.conc
    pool = httpx.Limits(max_connections=one.conc + 2)
    async with httpx.AsyncClient(base_url=target.server.base_url, timeout=None, limits=pool, trust_env=False) as http, asyncio.TaskGroup() as group:
        watch = group.create_task(watched(target))
        streams = [group.create_task(stream(http, target.server.served_name, request.prompt, length, seen, number))
                   for number, request in enumerate(draw(one.model_copy(update={"range_ratio": 1.0}), one.conc, one.seed))]
        await until(lambda: min(seen) >= SETTLE_TOKENS, streams)
        (await http.post(START_PROFILE)).raise_for_status()
        begun = list(seen)
        # A step that is under way when the profiler starts is not in the trace, and the last one ends it: two more than N.
        await until(lambda: all(now - then >= steps + 2 for now, then in zip(seen, begun, strict=True)), streams)
        (await http.post(STOP_PROFILE)).raise_for_status()
        for task in (*streams, watch):
            task.cancel()


async def until(reached: Any, streams: Sequence[asyncio.Task[None]]) -> None:
    """Wait for a condition, or for the first stream to end."""
    while not reached() and not any(one.done() for one in streams):
        await asyncio.sleep(0.01)


async def stream(http: httpx.AsyncClient, model: str, prompt: list[int], length: int, seen: list[int], number: int) -> None:
    """One completion; counts its chunks, one a step."""
    body = {"model": model, "prompt": prompt, "max_tokens": length, "temperature": 0, "ignore_eos": True, "stream": True}
    async with http.stream("POST", COMPLETIONS, json=body) as response:
        response.raise_for_status()
        events = Events()
        async for piece in response.aiter_bytes():
            seen[number] += sum(data.strip() != b"[DONE]" for _, data in events.feed(piece))


def settled(folder: Path, target: Target) -> list[Path]:
    """The traces, once they are written: a rank may still be at it when the server answers."""
    deadline = time.monotonic() + STEP_S
    sizes: dict[Path, int] = {}
    while time.monotonic() < deadline:
        with suppress(OSError):
            now = {path: path.stat().st_size for path in sorted(folder.glob(TRACES))}
            if now and now == sizes:
                return list(now)
            sizes = now
        time.sleep(0.5)
    raise ServeError(f"the server left no trace in {folder}", f"read {target.server.log}")


def check_length(one: Scenario, steps: int, longest: int | None) -> None:
    """BadInput where prompt and profiled tokens do not fit into the model's length."""
    needed = one.isl + steps + SETTLE_TOKENS + SPARE_TOKENS
    if longest is not None and needed > longest:
        raise BadInput(f"--steps {steps} after {one.isl} prompt tokens needs {needed} positions, the server has {longest}",
                       f"--steps {max(1, longest - one.isl - SETTLE_TOKENS - SPARE_TOKENS)}, or a shorter --isl")
