#!/usr/bin/env bash
# genai-bench: the error rate is always 0, a warm-up share lowers the throughput by as much, and one-token answers have no record.
#
# Guess, written down before (2026-12-01): 2 failures in 10 requests are an error rate of 0.2; leaving out half of a steady run as warm-up
#   leaves its throughput as it is; a run of one-token answers has its times without a time per token.
# Versions: genai-bench 0.0.5, numpy 2.4.6, pydantic 2.14.4, CPython 3.11.7, Linux.
# Behaviour: the rate is divided by a number of requests that is set afterwards, so it is 0 beside `num_error_requests: 2`, and the warning
#   from half on is never said. warmup_ratio and cooldown_ratio take requests out of the sum of tokens and not their time out of
#   `run_duration`: 101 tokens/s become 50.5 with a ratio of 0.5, while requests per second stay. Answers of one token each, as a prefill
#   benchmark makes, end in "This should never happen!" instead of a TTFT.
# Output seen (2026-12-01): "2 of 10 failed: error_rate 0", "warm-up 0: 101.0 tokens/s and 1.0 requests/s, warm-up 0.5: 50.5 and 1.0",
#   "one token each: No values found for metric 'tpot'. This should never happen!"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# What computes the metrics needs four of its packages; the others are clients of clouds and models.
python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check gevent==26.9.0 numpy==2.4.6 pydantic==2.14.4 rich==15.0.0 2> pip.log &&
    v/bin/pip install --quiet --disable-pip-version-check --no-deps genai-bench==0.0.5 2>> pip.log || { cat pip.log; exit 2; } >&2

v/bin/python -W ignore - 2> stderr.log <<'PYTHON' || { cat stderr.log >&2; exit 1; }
import sys

from genai_bench.metrics.aggregated_metrics_collector import AggregatedMetricsCollector
from genai_bench.metrics.metrics import RequestLevelMetrics
from genai_bench.metrics.request_metrics_collector import RequestMetricsCollector
from genai_bench.protocol import UserChatResponse


def aggregated(answers=10, refused=0, tokens=101, warmup=0.0):
    """One request after the other, 1 s each, the first token after half of it."""
    collector = AggregatedMetricsCollector()
    for second in range(answers):
        request = RequestMetricsCollector()
        request.calculate_metrics(UserChatResponse(
            status_code=200, num_prefill_tokens=10, tokens_received=tokens, generated_text="text",
            start_time=100.0 + second, time_at_first_token=100.5 + second, end_time=101.0 + second,
        ))
        collector.add_single_request_metrics(request.metrics)
    for _ in range(refused):
        collector.add_single_request_metrics(RequestLevelMetrics(error_code=429, error_message="busy"))
    collector.aggregate_metrics_data(100.0, 110.0, warmup, 0.0)
    return collector.aggregated_metrics


failed = aggregated(answers=8, refused=2)
print(f"{failed.num_error_requests} of {failed.num_requests} failed: error_rate {failed.error_rate}")
rates = [(run.mean_output_throughput_tokens_per_s, run.requests_per_second) for run in (aggregated(), aggregated(warmup=0.5))]
print(f"warm-up 0: {rates[0][0]} tokens/s and {rates[0][1]} requests/s, warm-up 0.5: {rates[1][0]} and {rates[1][1]}")
try:
    single = f"TTFT {aggregated(tokens=1).stats.ttft.p50}"
except ValueError as error:
    single = str(error)
print(f"one token each: {single}")
if (failed.num_error_requests, failed.num_requests, failed.error_rate, rates) != (2, 10, 0, [(101.0, 1.0), (50.5, 1.0)]) \
        or "should never happen" not in single:
    sys.exit("changed: what genai-bench makes of failures, warm-up or one-token answers")
PYTHON
