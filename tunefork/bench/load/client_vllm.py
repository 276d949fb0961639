"""`vllm bench serve` as a subprocess: its arguments for a scenario, and its answer.

Its defaults would mislead: no temperature, no e2el percentiles, no warm-ups, a range ratio of another meaning, an exit code of 0 when
requests fail. All of that is said here or checked in load/checks.py.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from tunefork.base import jsons
from tunefork.base.program import Finished, run_program
from tunefork.base.upstream_facts.vllm import COMPLETIONS, LATENCIES, MAIN
from tunefork.base.waiting import Waiting, counted
from tunefork.bench.load import lag, limits, probe
from tunefork.bench.load.load import client_ratio, deadline_s, lengths
from tunefork.bench.records.schema import Problem, Scenario
from tunefork.bench.server.logtail import last_lines
from tunefork.bench.server.target import Target

ANSWER, LAGS = "answer.json", "lags.json"
LEAST_S = 10.0
"""Of a shorter load, what the client does before and after it would be a large part of its CPU time."""


def arguments(target: Target, one: Scenario, folder: Path) -> list[str]:
    """The client's command; its answer will be ``folder/answer.json``."""
    fed, made = lengths(one.isl, one.range_ratio), lengths(one.osl, one.range_ratio)
    return [
        str(target.python), "-m", MAIN, "bench", "serve",
        "--backend", "vllm", "--base-url", target.server.base_url, "--endpoint", COMPLETIONS,
        "--model", target.server.served_name, "--tokenizer", target.server.model,
        "--dataset-name", "random", "--random-input-len", str(fed.mean), "--random-output-len", str(made.mean),
        "--random-range-ratio", repr(client_ratio(one.isl, one.osl, one.range_ratio)),
        "--num-prompts", str(one.num_prompts), "--max-concurrency", str(one.conc),
        "--num-warmups", str(one.warmups), "--request-rate", "inf", "--ignore-eos", "--temperature", "0", "--seed", str(one.seed),
        "--percentile-metrics", ",".join(LATENCIES), "--metric-percentiles", "99",
        "--save-result", "--save-detailed", "--result-dir", str(folder), "--result-filename", ANSWER,
    ]


def measure(
    target: Target, one: Scenario, folder: Path, timeout_s: float | None = None
) -> tuple[Finished, dict[str, Any] | None, list[Problem]]:
    """Run the client into an empty folder: how it ended, its answer, and why there is none. ServeError when the server dies."""
    limits.files(one.conc)
    log = folder / "client.log"
    with Waiting(f"CONC {one.conc}", far=lambda: far(log, one), now=lambda: "" if far(log, one) else "starting, warming up", log=log) as waiting:
        done = run_program(probed(arguments(target, one, folder), folder / LAGS), env=target.environment(), cwd=folder / "cwd", log=log,
                           deadline_s=timeout_s or deadline_s(one), watch=waiting.after(target.check))
    if done.exit_code is None:
        return done, None, [Problem(kind="client-hangs" if done.late else "client-failed", message=f"the client {done.how}")]
    if done.exit_code:
        last = "; ".join(last_lines(log, 3)) or "it said nothing"
        return done, None, [Problem(kind="client-failed", message=f"the client {done.how}: {last}")]
    try:
        answer = jsons.loads((folder / ANSWER).read_bytes())
    except (OSError, ValueError) as error:
        return done, None, [Problem(kind="client-failed", message=f"the client left no answer: {type(error).__name__}: {error}")]
    if not isinstance(answer, dict):
        return done, None, [Problem(kind="client-failed", message="the client's answer is not an object")]
    seconds = answer.get("duration")
    if not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        return done, answer, []
    return done, answer | cpu(done, seconds) | loop_lag(folder / LAGS, seconds), []


def far(log: Path, one: Scenario) -> tuple[int, int] | None:
    """How many requests are answered, by the bar that the client writes into its log; its warm-ups have one of another length, or a first one."""
    last = counted("".join(last_lines(log, 1)))
    return last if last and last[1] == one.num_prompts else None


def probed(words: list[str], samples: Path) -> list[str]:
    """A ``python -m`` command with the samples of its event loop (probe.py)."""
    python, flag, *rest = words
    assert flag == "-m", words
    return [python, probe.__file__, str(samples), *rest]


def cpu(done: Finished, seconds: float) -> dict[str, float]:
    """``client_cpu_share`` over the load, which is the end of the client's life; nothing where the load was too short to tell."""
    share = done.cpu_share(seconds) if seconds >= LEAST_S else None
    return {} if share is None else {"client_cpu_share": share}


def loop_lag(samples: Path, seconds: float) -> dict[str, float]:
    """``client_lag_p99_ms`` over the load: before it, the client reads a tokenizer and draws its prompts in the same loop.

    Nothing where the load was too short to tell, or the client ran in no loop of ``asyncio.run``.
    """
    try:
        taken = [(float(at), float(late)) for at, late in jsons.loads(samples.read_bytes())]
    except (OSError, ValueError, TypeError):
        return {}
    return lag.late([late for at, late in taken if at >= taken[-1][0] - seconds])
