"""wvSplitK and AITER's tuned GEMMs beside our skinny products on gfx950: what the code says of each, no time.

    python -m studies.decode_step.modelled > rows.jsonl        needs the applied vLLM, llvm-mca 22, 6 GiB and ten minutes to compile once

wvSplitK: vLLM's HIP source by `kernels gate --native`'s compiler, the instance and the grid that its host code takes on 256 CUs. Ours: as `kernels gate`
compiles them. Both through llvm-mca as in kernels/amdgcn/model.py: units of about four clocks a wave, per KiB of weights; what that cannot see (caches, memory,
other waves) it cannot compare. wvSplitK's loop is cut by a branch around lanes beyond K: all of it is taken, as for lanes inside.
AITER: rows of its table, its own microseconds on its own machine, given as it has them.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunefork.base.layout import Layout
from tunefork.develop.gfx950.compile_only import compile_only
from tunefork.develop.machine import probe
from tunefork.kernels.amdgcn.assembly import Instruction, Program, kernel_names, parse
from tunefork.kernels.amdgcn.compile import Request, build
from tunefork.kernels.amdgcn.facts import hot_loop, loop_facts
from tunefork.kernels.amdgcn.model import analyse, find_tool, hot_code, weight_bytes
from tunefork.kernels.amdgcn.native.cases import SKINNY
from tunefork.kernels.amdgcn.provenance import widths_by_argument
from tunefork.kernels.arch import GFX950
from tunefork.kernels.model import GPT_OSS_120B
from tunefork.kernels.registry import shipped

MODEL = GPT_OSS_120B
QUERIES = MODEL.heads * MODEL.head_dim
SHAPES = {"router": (MODEL.experts, MODEL.hidden), "o": (MODEL.hidden, QUERIES), "qkv": (QUERIES + 2 * MODEL.kv_heads * MODEL.head_dim, MODEL.hidden)}
"""Product -> (N, K) at TP 1."""
OURS = {"router": "add_norm_router.router_kernel [m{}] ", "o": "skinny.skinny_kernel [o-tp1-m{}] ", "qkv": "qkv_rope.qkv_rope_kernel [tp1-m{}] "}
TABLE = "aiter/configs/model_configs/gptoss_bf16_tuned_gemm.csv"
LDS = 160 * 1024


def tile(rows: int, tokens: int) -> tuple[int, int]:
    """(YTILE, UNRL) of wvSplitK on GFX9. Source: WVSPLIT_TILE_CFG in vLLM 0.33.0's csrc/rocm/skinny_gemms.cu."""
    share = -(-rows // (GFX950.cus * 4))
    if share <= 1:
        return 1, 4
    if tokens == 1 or share <= 8:
        return 2, 2
    if share <= 12:
        return 3, 2
    return (4, 1) if tokens == 4 else (4, 2)


def whole_loop(program: Program) -> tuple[Instruction, ...]:
    """The hot loop with the part that the compiler put behind its branch around idle lanes: loops whose heads are next to each other are one."""
    hot = hot_loop(program)
    assert hot is not None, f"{program.name} has no loop"
    last = max(loop.last for loop in program.loops() if hot.first - 2 <= loop.first <= hot.first)
    return program.instructions[hot.first : last + 1]


def upstream(text: str) -> Iterator[dict[str, Any]]:
    """wvSplitK's rows at the token counts that reach it."""
    tool = find_tool()
    assert tool is not None, "apt-get install llvm-22"
    for name, (rows, cols) in SHAPES.items():
        for tokens in (1, 4):
            y, unroll = tile(rows, tokens)
            assert cols * tokens <= LDS // 2 and rows % y == 0, "another variant than the small one"
            pattern = f"_Z16wvSplitK_hf_sml_I14__hip_bfloat16Li64ELi{y}ELi16ELi8ELi{unroll}ELi{tokens}EE"
            (found,) = [one for one in kernel_names(text) if one.startswith(pattern)]
            program = parse(text, found)
            body = whole_loop(program)
            facts, (cycles, pressure) = loop_facts(body), analyse(body, tool)
            kib = facts.load_bytes / 1024
            yield {"op": name, "tokens": tokens, "kernel": f"wvSplitK YTILE {y} UNRL {unroll}", "launches": 1, "work_groups": GFX950.cus, "waves": 16,
                   "lds": program.metadata["group_segment_fixed_size"], "vgprs": program.metadata["vgpr_count"], "lds_reads_per_kib": facts.lds_reads / kib,
                   "load_bytes_per_weight_byte": 1.0, **per_kib(cycles, pressure, kib)}  # fmt: skip


def per_kib(cycles: float, pressure: dict[str, float], kib: float) -> dict[str, Any]:
    """Units per KiB of weights of one wave, alone and of its busiest resource."""
    unit, most = max(pressure.items(), key=lambda one: one[1])
    return {"cycles_per_kib": round(cycles / kib, 1), "busiest": unit, "busiest_per_kib": round(most / kib, 1)}


def ours() -> Iterator[dict[str, Any]]:
    """Our rows: the router with its norm, top-4 and sort, qkv with RoPE and the cache write, o with the residual."""
    tool = find_tool()
    assert tool is not None
    rows = {row.label: row for row in shipped(GFX950.name)}
    for name, pattern in OURS.items():
        for tokens in (4, 16):  # a product of 16 columns is compiled once, and is the 4-token row
            row = next((one for label, one in rows.items() if label.startswith(pattern.format(tokens))), None)
            if row is None:
                continue
            program = parse(build(Request.of(row)).asm["amdgcn"])
            body = hot_code(program)
            cycles, pressure = analyse(body, tool)
            weights = weight_bytes(widths_by_argument(program, body, row.arguments), row.weights)
            facts = loop_facts(body)
            yield {"op": name, "tokens": tokens, "kernel": row.kernel, "launches": 1, "work_groups": (row.grid or (0,))[0], "waves": row.options["num_warps"],
                   "lds": program.metadata.get("group_segment_fixed_size", 0), "vgprs": program.metadata["vgpr_count"],
                   "lds_reads_per_kib": round(facts.lds_reads / (weights / 1024), 2),
                   "load_bytes_per_weight_byte": round(facts.load_bytes / weights, 2), **per_kib(cycles, pressure, weights / 1024)}  # fmt: skip


def tuned(tree: Path) -> Iterator[dict[str, Any]]:
    """AITER's rows of these products and tokens on gfx950."""
    for row in csv.DictReader((tree / TABLE).open()):
        for name, (rows, cols) in SHAPES.items():
            if (row["gfx"], int(row["N"]), int(row["K"])) == (GFX950.name, rows, cols) and row["M"] in ("1", "4", "16") and row["bias"] == "True":
                yield {"op": name, "tokens": int(row["M"]), "aiter": row["libtype"], "split_k": int(row["splitK"]), "aiter_us": float(row["us"])}


def main() -> None:
    layout = Layout.here()
    report = compile_only.compile_only(layout, probe(), upstreams=("vllm",), only=[SKINNY], jobs=1, say=lambda _: None)
    (one,) = report.files
    assert one.code, one.why
    for row in (*upstream(gzip.decompress(one.code.read_bytes()).decode()), *ours(), *tuned(layout.work / "aiter")):
        print(json.dumps(row))


if __name__ == "__main__":
    main()
