"""A workload from what a server recorded.

Two formats: a JSON histogram ``{"decode": {"<rows>": <steps>}, "mixed": {...}}`` (``mixed`` may be missing), or a vLLM log that holds the
tables of ``--cudagraph-metrics``; their counts are added up. Those tables do not say whether a step held prefill: rows within
``max_num_seqs`` requests count as decode steps, wider ones as mixed.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from tunefork.base import jsons
from tunefork.base.upstream_facts.vllm import GRAPH_STEPS
from vllm_overrides.capture.rules import Limits
from vllm_overrides.capture.workload import Workload
from vllm_overrides.errors import OverrideError


def read_trace(path: Path, limits: Limits) -> Workload:
    """The workload that a trace file holds."""
    try:
        text = path.read_text(errors="replace")
    except OSError as error:
        raise OverrideError(f"{path} cannot be read ({error.strerror})", "the path of a JSON histogram or of a server's log") from None
    if text.lstrip().startswith("{"):
        return from_histogram(text, path)
    return from_log(text, path, limits)


def from_histogram(text: str, path: Path) -> Workload:
    try:
        found: Any = jsons.loads(text)
        kinds = [{int(rows): int(steps) for rows, steps in found.get(kind, {}).items()} for kind in ("decode", "mixed")]
    except (ValueError, TypeError, AttributeError) as error:
        raise OverrideError(f"{path} is no histogram of steps ({error})", '{"decode": {"4": 9000, "3": 20}}: rows, then steps') from None
    return Workload(dict(sorted(kinds[0].items())), dict(sorted(kinds[1].items())), f"recorded: {path.name}")


def from_log(text: str, path: Path, limits: Limits) -> Workload:
    decode: Counter[int] = Counter()
    mixed: Counter[int] = Counter()
    for rows, steps in re.findall(GRAPH_STEPS, text):
        (decode if int(rows) <= limits.decode_rows and int(rows) % limits.query_len == 0 else mixed)[int(rows)] += int(steps)
    if not decode:
        raise OverrideError(f"{path} holds no table of CUDA graph metrics", "vllm serve --cudagraph-metrics, and keep its log")
    return Workload(dict(sorted(decode.items())), dict(sorted(mixed.items())), f"recorded: {path.name}")
