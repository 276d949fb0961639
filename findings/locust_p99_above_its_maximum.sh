#!/usr/bin/env bash
# locust: percentiles are of times rounded to two digits, and failed requests are among them; p99 can exceed the maximum.
#
# Guess, written down before (2026-12-01): percentiles are nearest ranks of the times as measured, of the requests that succeeded.
# Versions: locust 2.47.0, CPython 3.11.7, Linux.
# Behaviour: 1,049 ms and 1,051 ms are counted as 1,000 and 1,100: 10 % for 0.2 %. The minimum, the maximum and the mean are of the exact
#   times, so that ten requests of 12,501 ms have a p99 of 13,000 and a maximum of 12,501. Of 1 to 10 p50 is 6 and p90 is 10, the next rank.
#   A refusal counts as a time: of 100 answers of 900 ms and 101 refusals in 1 ms p50 is 1
#   where without them it is 900.
# Output seen (2026-12-01): "1049 -> 1000, 1051 -> 1100", "p99 13000, maximum 12501", "of 1 to 10: p50 6, p90 10",
#   "100 answers of 900 ms: p50 900; with 101 refusals of 1 ms: 1"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check locust==2.47.0 2> pip.log || { cat pip.log; exit 2; } >&2

v/bin/python - <<'PYTHON'
import sys

from locust.stats import RequestStats


def entry(times, refused=0):
    stats = RequestStats()
    for time in times:
        stats.log_request("POST", "/v1/completions", time, 0)
    for _ in range(refused):
        stats.log_request("POST", "/v1/completions", 1, 0)
        stats.log_error("POST", "/v1/completions", RuntimeError("429"))
    return stats.get("/v1/completions", "POST")


near = [entry([time]).get_response_time_percentile(0.5) for time in (1049, 1051)]
print(f"1049 -> {near[0]}, 1051 -> {near[1]}")
slow = entry([12_501] * 10)
above = slow.get_response_time_percentile(0.99), slow.max_response_time
print(f"p99 {above[0]}, maximum {above[1]}")
ten = entry(range(1, 11))
ranks = ten.get_response_time_percentile(0.5), ten.get_response_time_percentile(0.9)
print(f"of 1 to 10: p50 {ranks[0]}, p90 {ranks[1]}")
failed = [entry([900] * 100, refused).get_response_time_percentile(0.5) for refused in (0, 101)]
print(f"100 answers of 900 ms: p50 {failed[0]}; with 101 refusals of 1 ms: {failed[1]}")
if (near, above, ranks, failed) != ([1000, 1100], (13_000, 12_501), (6, 10), [900, 1]):
    sys.exit("changed: what locust's percentiles are of")
PYTHON
