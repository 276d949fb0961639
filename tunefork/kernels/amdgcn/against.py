"""Our GEMMs beside AITER's own Triton kernel: modelled cycles per weight byte, both compiled for gfx950 by this Triton in this run.

Two numbers for each, of one wave: of the hot loop (cycles of an iteration over the weight values it loads), and of the whole main part (from the
first load of weights to the last matrix instruction, loop iterations counted, over the values that the matrix has: padding is no work done).
Modelled by llvm-mca: it knows no caches, no HBM, no other waves. It compares two codes; it is no time.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunefork.base.process import ask
from tunefork.base.upstream_facts.vllm import AITER_PADDING
from tunefork.kernels.amdgcn import aiter_kernel
from tunefork.kernels.amdgcn.assembly import parse
from tunefork.kernels.amdgcn.compile import compile_all
from tunefork.kernels.amdgcn.errors import CompileFailed, Gfx950Error
from tunefork.kernels.amdgcn.model import MainPart, main_part
from tunefork.kernels.arch import GFX950
from tunefork.kernels.model import GPT_OSS_120B as MODEL
from tunefork.kernels.shipped import Shipped

LIMIT = 0.7
TOKENS = 16


@dataclass(frozen=True)
class Modelled:
    """Of one wave: loop is None where the K loop is unrolled away; main_part is over useful weight values. Cycles per KiB."""

    loop: float | None
    main_part: float


@dataclass(frozen=True)
class Beside:
    """One GEMM at TP and M, ours and AITER's best of padded or native sizes and either scale order."""

    tp: int
    gemm: str
    tokens: int
    ours: Modelled
    aiter: Modelled
    aiter_case: str

    @property
    def ratio(self) -> float:
        """Ours over AITER's: of the loops where both have one, else of the main parts."""
        if self.ours.loop is not None and self.aiter.loop is not None:
            return self.ours.loop / self.aiter.loop
        return self.ratio_main

    @property
    def ratio_main(self) -> float:
        """Ours over AITER's, of the main parts."""
        return self.ours.main_part / self.aiter.main_part

    @property
    def ok(self) -> bool:
        """Whether the ratio is within LIMIT."""
        return self.ratio <= LIMIT

    def as_dict(self) -> dict[str, Any]:
        """The row as --json prints it."""
        from dataclasses import asdict

        return {**asdict(self), "ratio": self.ratio, "ratio_main": self.ratio_main, "limit": LIMIT, "ok": self.ok}


def modelled(part: MainPart, useful: float) -> Modelled:
    """useful: bytes of weight values that one wave's part of the matrix has."""
    return Modelled(part.loop, 1024 * part.cycles / useful)


def our_rows(tp: int, tokens: int) -> list[Shipped]:
    """The two GEMMs that `pick` takes for this TP and M."""
    from tunefork.kernels import registry
    from tunefork.kernels.moe_a16w4.config import table

    inter = MODEL.intermediate // tp
    row = next(row for row in table(GFX950.name) if row.intermediate == inter and row.tokens >= tokens)
    return [entry for entry in registry.entries(GFX950.name, (row,)) if entry.weights]


def ours(entry: Shipped, tool: Path, cache: Path | None) -> Modelled:
    """One of our rows, compiled or out of the cache, in modelled cycles per KiB of weights. Errors: CompileFailed, Gfx950Error."""
    (code,) = compile_all([entry], cache=cache, workers=1)
    if isinstance(code, CompileFailed):
        raise code
    part = main_part(parse(code.text), entry.arguments, entry.weights, entry.trips, tool)
    return modelled(part, entry.wave_weights)


def aiter_cases(n: int, k: int, gate_up: bool, tokens: int, native_only: bool) -> list[dict[str, Any]]:
    """AITER's kernel at these sizes and, as vLLM launches it, at padded ones; with either order of the scales."""
    sizes = dict.fromkeys([(n, k)] if native_only else [(n, k), (-(-n // AITER_PADDING) * AITER_PADDING, -(-k // AITER_PADDING) * AITER_PADDING)])
    base = {"tokens": tokens, "gate_up": gate_up, "true_k": k}
    return [{**base, "n": n_, "k": k_, "swizzle": swizzle} for n_, k_ in sizes for swizzle in ("CDNA4_SCALE", None)]


def aiters(tree: Path, cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Compile AITER's kernel in a process of its own. Errors: Gfx950Error with its last lines."""
    done = ask([sys.executable, "-m", aiter_kernel.__name__, tree], words=json.dumps(cases))
    if done.returncode:
        raise Gfx950Error(f"AITER's kernel in {tree} does not compile: {done.stderr.strip()[-800:]}")
    return list(json.loads(done.stdout))


def aiter_modelled(found: dict[str, Any], tool: Path) -> Modelled:
    """One of `aiters`' results in modelled cycles per KiB of weights that the matrix has. Errors: Gfx950Error."""
    config = found["config"]
    trips = -(-found["k"] // config["block_k"]) - (found["k"] % config["block_k"] > 0)
    useful = config["block_n"] * found["true_k"] / 2 / config["num_warps"]
    return modelled(main_part(parse(found["text"]), found["arguments"], ("W",), trips, tool), useful)


def best_of(peers: Sequence[tuple[Modelled, dict[str, Any]]]) -> tuple[Modelled, dict[str, Any]]:
    """The least of either number, and the case with the least loop; where every loop is unrolled away there is none, and main parts decide."""
    looped = [(peer.loop, code) for peer, code in peers if peer.loop is not None]
    loop, case = min(looped, key=lambda pair: pair[0]) if looped else (None, min(peers, key=lambda pair: pair[0].main_part)[1])
    return Modelled(loop, min(peer.main_part for peer, _ in peers)), case


def compare(tree: Path, tool: Path, *, tps: Sequence[int] = (8, 1), tokens: int = TOKENS, native_only: bool = False, cache: Path | None = None) -> list[Beside]:
    """Both GEMMs at each TP, beside the best of AITER's kernel in ``tree``. Errors: CompileFailed, Gfx950Error."""
    gemms = [(tp, *size) for tp in tps for size in ((2 * MODEL.intermediate // tp, MODEL.hidden, True), (MODEL.hidden, MODEL.intermediate // tp, False))]
    cases = [aiter_cases(n, k, up, tokens, native_only) for _, n, k, up in gemms]
    found = iter([(aiter_modelled(code, tool), code) for code in aiters(tree, [case for group in cases for case in group])])
    rows = []
    for (tp, _, _, up), group in zip(gemms, cases, strict=True):
        mine = ours(our_rows(tp, tokens)[0 if up else 1], tool, cache)
        peers = [next(found) for _ in group]
        best, case = best_of(peers)
        label = f"{case['n']}x{case['k']} {case['swizzle'] or 'plain scales'} BN{case['config']['block_n']} {case['config']['num_warps']} waves"
        rows.append(Beside(tp, "gate/up" if up else "down", tokens, mine, best, label))
    return rows
