"""Launches of a decode layer on gfx950 by TP, as Markdown: from the graphs that `tests/patches/gpt_oss_graph.py` prints, and from source what no graph shows.

    python tests/patches/gpt_oss_graph.py work/vllm --layers 2 --tp 1 2 4 8 > shipped.json
    python tests/patches/gpt_oss_graph.py work/vllm --layers 2 --tp 1 2 4 8 --ours --attention ROCM_AITER_UNIFIED_ATTN > ours.json
    python -m studies.decode_step.launch_table --record shipped.json ours.json > records/gfx950-DATE-graph.jsonl
    python -m studies.decode_step.launch_table records/gfx950-DATE-graph.jsonl

A graph's layer is the piece between two attentions with what vLLM calls between pieces. Nothing of this was launched.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

POINTWISE = "aten.cat.default"
"""What Inductor ends a rotation with: q and k have different sizes, so each is a kernel of its own (so it was on an H200, where it was counted)."""
WITHOUT_LAUNCH = ("getitem", "placeholder", "output")

SOURCE: dict[str, tuple[str, int, int]] = {
    "vllm.rocm_unquantized_gemm.default": ("projections and router (wvSplitK up to 5 tokens; above, wvSplitKrc or AITER's)", 1, 1),
    POINTWISE: ("RoPE", 1, 1),
    "vllm.unified_kv_cache_update": ("KV-cache write", 1, 1),
    "vllm.unified_attention_with_output": ("attention, and the sum of its parts", 1, 2),
    "vllm.rocm_aiter_triton_add_rmsnorm_pad.default": ("norms", 1, 1),
    "vllm_ir.fused_add_rms_norm.default": ("norms", 1, 1),
    "vllm.rocm_aiter_fused_allreduce_rmsnorm_pad.default": ("all-reduce + norm", 1, 1),
    "vllm.all_reduce.default": ("all-reduce", 1, 1),
    "vllm.moe_forward": ("top-4, sort and experts", 4, 6),
    "tunefork.add_norm_moe.default": ("norm, router, top-4, sort and experts (ours)", 3, 3),
    "tunefork.qkv_rope_cache": ("norm; vLLM's qkv projection; RoPE and cache write (ours)", 3, 3),
}
"""Operation of a graph -> (what it is in the table, its launches at M <= 16: least, most). From source: vLLM's and AITER's launchers, our plans."""


def counted(graph: dict[str, Any]) -> dict[str, int]:
    """Operation -> how often a layer calls it, of those that launch something; an operation that no one has looked at stays by its name."""
    piece = max(graph["pieces"][1:-1], key=lambda one: one["count"])
    found: Counter[str] = Counter()
    for node in piece["after"]:
        name = node["target"].removeprefix("auto_functionalized ")
        if "moe_forward" in name:
            name = "vllm.moe_forward"
        if name in SOURCE or not name.startswith(("aten.", "prims.", *WITHOUT_LAUNCH)):
            found[name] += 1
    for name, count in graph["between"].items():
        found[name.removesuffix(".default")] += count // graph["layers"]
    return dict(sorted(found.items()))


def rows(shipped: Sequence[dict[str, Any]], ours: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is kept: one row for each arm and TP."""
    return [{"arm": arm, "tp": graph["tp"], "calls": counted(graph)} for arm, graphs in (("patched", shipped), ("decode_step", ours)) for graph in graphs]


def table(kept: Sequence[dict[str, Any]]) -> str:
    """Markdown: launches of a layer at up to 16 tokens; TPs whose layers call the same share a column."""
    alike: dict[str, dict[str, Any]] = {}
    for row in kept:
        column = alike.setdefault(json.dumps([row["arm"], row["calls"]]), {**row, "tp": ""})
        column["tp"] += f"{', ' if column['tp'] else ''}{row['tp']}"
    kept = list(alike.values())
    names = list(dict.fromkeys(SOURCE[name][0] for name in SOURCE if any(name in row["calls"] for row in kept)))
    lines = ["| gfx950, M <= 16 | " + " | ".join(f"{row['arm']}, TP {row['tp']}" for row in kept) + " |", "|---|" + "---|" * len(kept)]
    totals = []
    cells: dict[str, list[str]] = {name: [] for name in names}
    for row in kept:
        spans = {name: (0, 0) for name in names}
        for call, count in row["calls"].items():
            name, least, most = SOURCE[call]
            spans[name] = spans[name][0] + count * least, spans[name][1] + count * most
        for name, span in spans.items():
            cells[name].append(said(*span))
        totals.append(said(sum(low for low, _ in spans.values()), sum(high for _, high in spans.values())))
    lines += [f"| {name} | " + " | ".join(cells[name]) + " |" for name in names]
    return "\n".join([*lines, "| **together** | " + " | ".join(f"**{total}**" for total in totals) + " |"])


def said(least: int, most: int) -> str:
    """A count or a span; nothing for none."""
    return "" if not most else str(least) if least == most else f"{least} to {most}"


def main() -> None:
    """Read the command line."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--record", nargs=2, type=Path, metavar=("SHIPPED", "OURS"))
    words.add_argument("rows", nargs="?", type=Path)
    given = words.parse_args()
    if given.record:
        for row in rows(*(json.loads(path.read_text()) for path in given.record)):
            print(json.dumps(row))
    else:
        print(table([json.loads(line) for line in given.rows.read_text().splitlines()]))


if __name__ == "__main__":
    main()
