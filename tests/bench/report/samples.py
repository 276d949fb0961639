"""Records to report on. Their chip is called simulated, so that no picture of them can pass for a measurement."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from tunefork.bench.records.schema import Host, Problem, Record, Scenario, Score, ServerRecord, Timing, Tree

CHIP = "simulated chip"
HOST = Host(name="simulator", system="Linux 6.1", cpu="simulated CPU", cores=64, memory_gib=512.0, gpus=(CHIP,) * 8)
START = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
REFERENCES = {4: (3500, 270, 9500), 32: (6000, 150, 21500), 128: (21000, 40, 50600)}


def tree(variant: str) -> Tree:
    return Tree(upstream="vllm", variant=variant, source="git", base="a" * 40, commit=f"{abs(hash(variant)) % 16**8:08x}".ljust(40, "0"),
                tree="c" * 40, patches=() if variant == "base" else (variant.partition(":")[2] or "all",))


def record(number: int, variant: str = "base", conc: int = 4, factor: float = 1.0, **changes: Any) -> Record:
    """A stage-2 record that passed; factor scales its speed."""
    e2e, interactivity, tput = REFERENCES[conc]
    score = Score(tput_per_gpu=tput * factor, median_e2el_ms=e2e / factor, interactivity=interactivity * factor, divisor=1, divisor_kind="used",
                  baseline="target", tput_ratio=factor, e2e_ratio=1 / factor, interactivity_ratio=factor)
    count = conc * 10
    metrics = {"completed": float(count), "failed": 0.0, "total_input_tokens": count * 8192.0, "total_output_tokens": count * 1024.0,
               "total_token_throughput": tput * factor, "median_tpot_ms": 1000 / interactivity / factor, "median_ttft_ms": 90 / factor,
               "median_e2el_ms": e2e / factor}
    values: dict[str, Any] = {
        "id": f"20261122T080000Z-stage2-conc{conc}-{number:08x}", "created": START + timedelta(minutes=number), "trial": f"t{number}",
        "batch": "b", "profile": "stage2", "status": "passed", "problems": (), "trees": (tree(variant),), "project": "d" * 40,
        "scenario": Scenario(isl=8192, osl=1024, conc=conc, num_prompts=count, warmups=2 * conc, range_ratio=1.0, seed=0),
        "versions": {"vllm": "0.29.0", "torch": "2.13.0"}, "host": HOST, "client": ("vllm", "bench", "serve"), "accuracy": None,
        "server": ServerRecord(own=True, base_url="http://127.0.0.1:8888", model="m", served_name="m", target="gfx950", version="0.29.0", gpus=1,
                         argv=("vllm",), env={}, seconds_to_ready=900.0, log=None),
        "metrics": metrics, "score": score, "timing": Timing(before_s=0.1, client_s=60.0, after_s=0.1)}
    return Record(**{**values, **changes})


def failed(number: int, message: str = "3 of 40 requests failed", **changes: Any) -> Record:
    return record(number, status="failed", problems=(Problem(kind="failed-requests", message=message),), score=None, **changes)


def experiment(name: str, a: str, b: str, effect: float, pairs: int = 6, noise: float = 0.004, comparison: str = "", first: int = 0,
               concs: tuple[int, ...] = (4, 32, 128)) -> list[Record]:
    """An experiment's records: B is ``effect`` times as fast as A."""
    draw = random.Random(f"{name}{comparison}")
    found = []
    for pair in range(pairs):
        for arm in "AB":
            for conc in concs:
                factor = 0.9 * (effect if arm == "B" else 1.0) * draw.lognormvariate(0, noise)
                labels = {"experiment": name, "comparison": comparison, "a": a, "b": b, "arm": arm, "pair": str(pair),
                          "position": str(2 * pair), "foreign": "", "client": "vllm"}
                found.append(record(first + len(found), a if arm == "A" else b, conc, factor, labels=labels))
    return found


def many(count: int = 1000) -> list[Record]:
    """Experiments with a gain, a loss and an A/A, and single runs up to ``count`` records."""
    found = experiment("series", "base", "only:a16w4-waves", 1.06, comparison="alone:a16w4-waves")
    found += experiment("series", "base", "only:compile-sizes", 1.001, comparison="alone:compile-sizes", first=1000)
    found += experiment("series", "base", "only:slow-router", 0.96, comparison="alone:slow-router", first=2000)
    found += experiment("calibration", "base", "base", 1.0, first=3000)
    draw = random.Random(1)
    while len(found) < count - 5:
        found.append(record(4000 + len(found), draw.choice(["base", "all", "upto:compile-sizes"]), draw.choice([4, 32, 128]),
                            draw.uniform(0.7, 1.05)))
    return found + [failed(9000 + number) for number in range(5)]
