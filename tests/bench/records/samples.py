"""Records to test with."""

from __future__ import annotations

import gzip
import json
from typing import Any

from tunefork.bench.records.schema import Host, Problem, Record, Scenario, Score, ServerRecord, Timing, Tree, utc_now
from tunefork.bench.records.store import CLIENT, new_id

TREE = Tree(upstream="vllm", variant="only:a", source="git", base="a" * 40, commit="b" * 40, tree="c" * 40, patches=("a",))
HOST = Host(name="h", system="Linux", cpu="x", cores=2, memory_gib=4.0, gpus=())
SERVER = ServerRecord(own=True, base_url="http://x", model="m", served_name="tiny", target="cpu", version="0.29.0", gpus=1, argv=("vllm",),
                env={}, seconds_to_ready=1.5, log=None)
SCORE = Score(tput_per_gpu=100.0, median_e2el_ms=10.0, interactivity=50.0, divisor=1, divisor_kind="used", baseline=None,
              tput_ratio=None, e2e_ratio=None, interactivity_ratio=None)
SAMPLES = {"ttfts": [0.1, 0.2], "itls": [[0.01, 0.03], [0.02, 0.02]], "input_lens": [8, 8], "output_lens": [3, 3]}
FILES = {CLIENT: gzip.compress(json.dumps(SAMPLES).encode(), mtime=0)}


def passed(**changes: Any) -> Record:
    """A record of a configuration that passed."""
    values: dict[str, Any] = {
        "id": new_id("smoke"), "created": utc_now(), "trial": "t", "batch": "b", "profile": "smoke", "status": "passed", "problems": (),
        "scenario": Scenario(isl=8, osl=3, conc=2, num_prompts=2, warmups=4, range_ratio=1.0, seed=0), "trees": (TREE,),
        "project": "d" * 40, "versions": {"vllm": "0.29.0"}, "host": HOST, "server": SERVER, "client": ("vllm", "bench"),
        "accuracy": None, "metrics": {"median_tpot_ms": 20.0}, "score": SCORE,
        "timing": Timing(before_s=0.1, client_s=1.0, after_s=0.1)}
    return Record(**{**values, **changes})


def failed(**changes: Any) -> Record:
    """A record of one that did not."""
    return passed(**{"status": "failed", "problems": (Problem(kind="failed", message="3 of 20 requests failed"),), "score": None,
                     **changes})
