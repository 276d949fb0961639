#!/usr/bin/env bash
# prometheus-client: asked for OpenMetrics it writes `vllm:ttft_seconds` in the TYPE line and `vllm_ttft_seconds` in the samples.
#
# Guess, written down before (2026-12-01): a metric has one name in whatever format is asked for, and the library's parser reads back
#   what its exposition writes.
# Versions: prometheus-client 0.21.1 and 0.26.0, CPython 3.11.7, Linux.
# Behaviour: a colon is valid in a name, and vLLM's names all have one. By the Accept header of a Prometheus 2 (OpenMetrics 1.0.0, no word
#   of escaping) 0.26.0 chooses `escaping=underscores`; it then writes the samples with `_` for `:`, and the HELP and TYPE lines with `:`.
#   So the library's own OpenMetrics parser makes a histogram without a sample of it, and each sample a metric of type unknown. Plain text
#   keeps the colon throughout, also with `escaping=underscores`. A query for `vllm:...` hence finds what curl shows or what Prometheus
#   stored, not both. 0.21.1 keeps one name.
# Output seen (2026-12-01): "0.21.1: vllm:ttft_seconds_bucket in text, vllm:ttft_seconds_bucket in OpenMetrics; parsed histogram has 4
#   samples", "0.26.0: vllm:ttft_seconds_bucket in text, vllm_ttft_seconds_bucket in OpenMetrics; parsed histogram has 0 samples"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > ask.py <<'PYTHON'
import sys

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families

PROMETHEUS_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"

registry = CollectorRegistry()
Histogram("vllm:ttft_seconds", "Time to first token.", buckets=[1], registry=registry).observe(0.5)


def scraped(accept):
    return choose_encoder(accept)[0](registry).decode()


def bucket(text):
    return next(line.partition("{")[0] for line in text.splitlines() if "_bucket" in line)


text, metrics = scraped("text/plain"), scraped(PROMETHEUS_2)
assert "# TYPE vllm:ttft_seconds histogram" in metrics
histogram = next(family for family in text_string_to_metric_families(metrics) if family.name == "vllm:ttft_seconds")
samples = sum(not sample.name.endswith("_created") for sample in histogram.samples)
print(f"{sys.argv[1]}: {bucket(text)} in text, {bucket(metrics)} in OpenMetrics; parsed {histogram.type} has {samples} samples")
PYTHON

python3 -m venv v
for version in 0.21.1 0.26.0; do
    v/bin/pip install --quiet --disable-pip-version-check "prometheus-client==$version" 2> pip.log || { cat pip.log; exit 2; } >&2
    seen=$(v/bin/python ask.py "$version")
    echo "$seen"
    want="$version: vllm:ttft_seconds_bucket in text, vllm_ttft_seconds_bucket in OpenMetrics; parsed histogram has 0 samples"
    [ "$version" != 0.21.1 ] || want="$version: vllm:ttft_seconds_bucket in text, vllm:ttft_seconds_bucket in OpenMetrics; parsed histogram has 4 samples"
    [ "$seen" = "$want" ] || { echo "changed: prometheus-client $version names a metric otherwise" >&2; exit 1; }
done
