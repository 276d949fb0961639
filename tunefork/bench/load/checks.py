"""Whether a client's answer is a measurement: everything that makes it none, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tunefork.base.upstream_facts.vllm import COUNTS, OF_EACH_REQUEST, PERCENTILES, RATES
from tunefork.bench.load.load import lengths
from tunefork.bench.records.schema import Problem, Scenario

NUMBERS = (*COUNTS, *RATES, *PERCENTILES)
# A prompt is text: what the server counts after decoding and encoding differs from what was drawn, by a few tokens in real vocabularies.
INPUT_TOLERANCE = 0.1
INPUT_SLACK = 8
CLIENT = ("client_cpu_share", "client_lag_p99_ms")
"""What a client took itself: share of one core, and lateness of its event loop; each where it can tell."""
MOST_CPU_SHARE = 0.9
"""Of one core: both clients are one thread."""
MOST_LAG, LEAST_LAG_MS = 0.1, 50.0
"""A client's lateness beside the median answer's time, and the ms below which no load's latency is decided by it."""
# The client rounds nothing, but divides by its own clock's reading.
ARITHMETIC = 1e-6
LEAST_TPOT_MS = 0.05
"""20,000 tokens a second for one user: no server of any model reaches it. Seen: 0.004 ms, of a client on an overloaded machine."""
MOST_IN_ONE_PIECE = 0.05
"""Of the requests."""


def metrics(answer: Mapping[str, Any]) -> tuple[dict[str, float], list[Problem]]:
    """The client's numbers, and what is wrong with any of them; a number that is none is left out."""
    found: dict[str, float] = {}
    problems: list[Problem] = []
    for name in NUMBERS:
        value = answer.get(name)
        if value is None:
            problems.append(Problem(kind="missing", message=f"the client's answer lacks {name}"))
        elif not finite(value):
            problems.append(Problem(kind="not-a-number", message=f"the client's {name} is {value!r}"))
        else:
            found[name] = float(value)
    found |= {name: float(answer[name]) for name in CLIENT if finite(answer.get(name))}
    return found, problems


def finite(value: object) -> bool:
    """Whether a value of the answer is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def check(answer: Mapping[str, Any], one: Scenario) -> list[Problem]:
    """Every reason why an answer of `vllm bench serve --save-detailed` does not measure a scenario; none when it does."""
    numbers, problems = metrics(answer)
    if problems:
        return problems
    problems += requests(answer, numbers, one)
    problems += tokens(answer, numbers, one)
    problems += streamed(answer)
    problems += sums(numbers)
    problems += itself(numbers)
    return problems


def itself(numbers: Mapping[str, float]) -> list[Problem]:
    """That the client did not measure itself."""
    share, lag = numbers.get("client_cpu_share", 0.0), numbers.get("client_lag_p99_ms", 0.0)
    if share > MOST_CPU_SHARE:
        return [Problem(kind="client-limit", message=f"the client was busy {share:.0%} of the time: it was the limit, not the server; "
                                                     "free a core for it, or take the other --client")]
    if lag > max(LEAST_LAG_MS, MOST_LAG * numbers["median_e2el_ms"]):
        return [Problem(kind="client-limit", message=f"the client was late by {lag:.0f} ms (99th percentile) beside answers of "
                                                     f"{numbers['median_e2el_ms']:.0f} ms: it had no time, so these are not the server's times")]
    return []


def requests(answer: Mapping[str, Any], numbers: Mapping[str, float], one: Scenario) -> list[Problem]:
    """That every request was made and succeeded."""
    problems = []
    if numbers["failed"]:
        first = next((text for text in listed(answer, "errors") if text), "")
        problems.append(Problem(kind="failed-requests", message=f"{numbers['failed']:.0f} of {one.num_prompts} requests failed; the "
                                                                f"first: {last_line(first)}"))
    if numbers["completed"] != one.num_prompts:
        problems.append(Problem(kind="completed", message=f"{numbers['completed']:.0f} of {one.num_prompts} requests completed"))
    for key, wanted in (("num_prompts", one.num_prompts), ("max_concurrency", one.conc)):
        if answer.get(key) != wanted:
            problems.append(Problem(kind="other-load", message=f"the client ran {key} {answer.get(key)!r}, not {wanted}"))
    for key in OF_EACH_REQUEST:
        if len(listed(answer, key)) != one.num_prompts:
            problems.append(Problem(kind="missing", message=f"the client kept {len(listed(answer, key))} {key}, not {one.num_prompts}"))
    return problems


def last_line(text: object) -> str:
    """The last line that says something: of a traceback, its error."""
    return next((line.strip()[:200] for line in reversed(str(text).splitlines()) if line.strip()), "the client kept no reason")


def listed(answer: Mapping[str, Any], key: str) -> list[Any]:
    """A list of the answer; empty where it is none."""
    found = answer.get(key)
    return found if isinstance(found, list) else []


def counts(answer: Mapping[str, Any], key: str) -> list[int]:
    """A list of token counts; what is no count stands as -1, which no length is."""
    return [one if isinstance(one, int) and not isinstance(one, bool) else -1 for one in listed(answer, key)]


def tokens(answer: Mapping[str, Any], numbers: Mapping[str, float], one: Scenario) -> list[Problem]:
    """That the requests had the lengths that were asked for."""
    problems = []
    made, fed = counts(answer, "output_lens"), counts(answer, "input_lens")
    wanted = lengths(one.osl, one.range_ratio)
    wrong = [length for length in made if not wanted.shortest <= length <= wanted.longest]
    if wrong:
        span = str(wanted.longest) if wanted.shortest == wanted.longest else f"{wanted.shortest} to {wanted.longest}"
        problems.append(Problem(kind="token-count", message=f"{len(wrong)} of {len(made)} answers have another length than {span} "
                                                            f"tokens; the first: {wrong[0]}"))
    if numbers["total_output_tokens"] != sum(made):
        problems.append(Problem(kind="token-count", message=f"total_output_tokens is {numbers['total_output_tokens']:.0f}, the answers "
                                                            f"add up to {sum(made)}"))
    asked = lengths(one.isl, one.range_ratio)
    slack = max(INPUT_SLACK, INPUT_TOLERANCE * one.isl)
    odd = [length for length in fed if not asked.shortest - slack <= length <= asked.longest + slack]
    if odd:
        problems.append(Problem(kind="token-count", message=f"{len(odd)} of {len(fed)} prompts are not about {asked.mean} tokens long; "
                                                            f"the first: {odd[0]}"))
    return problems


def sums(numbers: Mapping[str, float]) -> list[Problem]:
    """That the rates follow from the counts, and that latencies are positive."""
    problems = []
    duration = numbers["duration"]
    if duration <= 0:
        return [Problem(kind="arithmetic", message=f"the client's duration is {duration} s")]
    total = numbers["total_input_tokens"] + numbers["total_output_tokens"]
    for name, count in (("total_token_throughput", total), ("output_throughput", numbers["total_output_tokens"]),
                        ("request_throughput", numbers["completed"])):
        if not math.isclose(numbers[name], count / duration, rel_tol=ARITHMETIC):
            problems.append(Problem(kind="arithmetic", message=f"{name} is {numbers[name]:.6g}, its counts give {count / duration:.6g}"))
    for name in ("median_e2el_ms", "median_ttft_ms", "median_tpot_ms"):
        if numbers[name] <= 0:
            problems.append(Problem(kind="arithmetic", message=f"{name} is {numbers[name]}: not measured"))
    return problems


def streamed(answer: Mapping[str, Any]) -> list[Problem]:
    """That the tokens came one after the other: judged by each request's own chunks, never by how fast the median is."""
    made = counts(answer, "output_lens")
    whole = sum(n > 1 and in_one_piece(n, gaps) for n, gaps in zip(made, listed(answer, "itls"), strict=False))
    if whole <= MOST_IN_ONE_PIECE * len(made):
        return []
    return [Problem(kind="not-streamed", message=f"{whole} of {len(made)} answers came in one piece (a server or proxy that buffers, or a client that "
                                                 "had no time), so their pace was not measured")]


def in_one_piece(tokens: int, gaps: object) -> bool:
    """Whether an answer's tokens came in one chunk, or in chunks closer together than any server makes tokens."""
    if not isinstance(gaps, list) or not all(isinstance(gap, int | float) for gap in gaps):
        return True
    return not gaps or sum(gaps) * 1000 < LEAST_TPOT_MS * (tokens - 1)
