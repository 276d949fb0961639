"""What makes a client's answer no measurement; the real client's answer is one."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tunefork.base.layout import Layout
from tunefork.bench.load.checks import NUMBERS, PERCENTILES, check


def test_the_real_clients_answer_passes(answer: dict[str, Any], scenario: Any) -> None:
    assert check(answer, scenario) == []


@pytest.mark.parametrize(("change", "kind", "says"), [
    (lambda a: a.update(failed=1, completed=9), "failed-requests", "1 of 10 requests failed; the first: the client kept no reason"),
    (lambda a: a.update(completed=9, request_throughput=9 / a["duration"]), "completed", "9 of 10 requests completed"),
    (lambda a: a.update(num_prompts=12), "other-load", "num_prompts 12, not 10"),
    (lambda a: a.update(max_concurrency=None), "other-load", "max_concurrency None, not 2"),
    (lambda a: a.update(median_ttft_ms=float("inf")), "not-a-number", "median_ttft_ms is inf"),
    (lambda a: a.update(duration="1"), "not-a-number", "duration is '1'"),
    (lambda a: a.pop("p99_e2el_ms"), "missing", "lacks p99_e2el_ms"),
    (lambda a: a.pop("ttfts"), "missing", "kept 0 ttfts, not 10"),
    (lambda a: a.update(ttfts=7), "missing", "kept 0 ttfts, not 10"),
    (lambda a: a["output_lens"].__setitem__(3, "32"), "token-count", "another length than 32 tokens; the first: -1"),
    (lambda a: a.update(failed=1, errors="all"), "failed-requests", "the client kept no reason"),
    (lambda a: a.update(failed=1, errors=["Traceback\nValueError: x\n"]), "failed-requests", "the first: ValueError: x"),
    (lambda a: a["output_lens"].__setitem__(3, 33), "token-count", "1 of 10 answers have another length than 32 tokens; the first: 33"),
    (lambda a: a.update(total_output_tokens=300), "token-count", "total_output_tokens is 300, the answers add up to 320"),
    (lambda a: a["input_lens"].__setitem__(0, 4), "token-count", "prompts are not about 64 tokens long; the first: 4"),
    (lambda a: a.update(total_token_throughput=1.0), "arithmetic", "total_token_throughput is 1, its counts give"),
    (lambda a: a.update(duration=0.0), "arithmetic", "duration is 0.0 s"),
    (lambda a: a.update(median_tpot_ms=0.0), "arithmetic", "median_tpot_ms is 0.0: not measured"),
    (lambda a: a.update(client_cpu_share=0.97), "client-limit", "the client was busy 97% of the time: it was the limit, not the server"),
    (lambda a: a.update(client_lag_p99_ms=max(60.0, a["median_e2el_ms"])), "client-limit", "it had no time, so these are not the server's times"),
    (lambda a: a["itls"].__setitem__(3, []), "not-streamed", "1 of 10 answers came in one piece"),
    (lambda a: a.update(itls=[[1e-6] * 31 if k % 2 else gaps for k, gaps in enumerate(a["itls"])]), "not-streamed", "5 of 10 answers came in one piece"),
])
def test_every_fault_is_found(answer: dict[str, Any], scenario: Any, change: Callable[[dict[str, Any]], Any], kind: str, says: str) -> None:
    change(answer)
    problems = check(answer, scenario)
    assert any(problem.kind == kind and says in problem.message for problem in problems), problems


def test_lengths_that_are_drawn_may_differ(answer: dict[str, Any], scenario: Any) -> None:
    drawn = scenario.model_copy(update={"range_ratio": 0.8})
    answer["output_lens"] = [26, 27, 28, 29, 30, 31, 32, 32, 32, 26]
    answer["total_output_tokens"] = 293
    answer["output_throughput"] = 293 / answer["duration"]
    answer["total_token_throughput"] = (answer["total_input_tokens"] + 293) / answer["duration"]
    assert check(answer, drawn) == []
    answer["output_lens"][0] = 20
    assert [problem.kind for problem in check(answer, drawn)] == ["token-count", "token-count"]


def test_the_pinned_client_writes_every_key_that_is_asked_of_it() -> None:
    """vLLM 0.33.0 added latencies, queue_times and client_queue_time, and took none away; a percentile's key is made of its metric's name."""
    source = Layout.here().checkout("vllm") / "vllm" / "benchmarks" / "serve.py"
    if not source.is_file():
        pytest.skip("NOT TESTED: no source of vllm is applied here")
    text = source.read_text()
    for key in ("ttfts", "itls", "input_lens", "output_lens", "start_times", "errors", *(name for name in NUMBERS if name not in PERCENTILES)):
        assert f'"{key}"' in text, key
    for name in ("ttft", "tpot", "itl", "e2el"):
        assert f'process_one_metric("{name}"' in text
    assert {f'f"{kind}_{{metric_attribute_name}}_ms"' for kind in ("mean", "median", "std")} <= set(re.findall(r'f"\w+\{metric_attribute_name\}_ms"', text)), "as in mean_ttft_ms"
    assert "e2els_including_queue" in text and '"e2el", "E2EL", "End-to-end Latency")' in text, "e2el itself is without the client's queue, as before"
