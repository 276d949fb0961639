"""Measure the MoE layer against its peers and the floor: the API behind `bench kernels`.

    rows = measure(tps=(8, 1), tokens=(1, 8, 64))          -> list[LayerTime], on a GPU

A time counts only beside a correct result: ours above `TOLERANCE` raises; a peer above `PEER_TOLERANCE`, or one that fails, is a row without a time
that says why, and the others go on.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import triton

from tunefork.base.errors import MissingTool, TuneforkError
from tunefork.base.process import Say
from tunefork.bench.kernels import cases, peers
from tunefork.bench.kernels.floor import floor_call
from tunefork.bench.kernels.timing import ROUNDS, compare, told
from tunefork.kernels.moe_a16w4 import fused_moe, make_workspace
from tunefork.kernels.moe_a16w4.reference import fused_moe_reference
from tunefork.kernels.moe_a16w4.weights import Weights

TOLERANCE, PEER_TOLERANCE = 4e-3, 2e-2
TPS = (8, 4, 2, 1)
TOKENS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 4096)
QUICK_TOKENS = (1, 8, 64)
MOST_TICKS = 15  # of a plot; where more M were measured, powers of two alone are named


@dataclass(frozen=True)
class LayerTime:
    """One implementation of one problem. us: median microseconds per layer with its 95 % interval; bytes: the hit experts' unpadded weights. error: |got -
    want| / |want|, None where there is no result or no number. failed: why a peer has no time, "" where it has."""

    op: str
    tp: int
    M: int
    impl: str
    us: float | None
    us_lo: float | None
    us_hi: float | None
    bytes: int
    floor_us: float | None
    chip: str
    error: float | None
    failed: str = ""


def _ours(layers: Sequence[Weights], data: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> list[cases.Call]:
    space = make_workspace(layers[0], data[0][0].shape[0])
    out = torch.empty_like(data[0][0])
    return [partial(fused_moe, *d, layers[i % len(layers)], out=out, workspace=space) for i, d in enumerate(data)]


def _error(got: torch.Tensor, want: torch.Tensor) -> float:
    return float((got.float() - want).norm() / want.norm())


def measure_problem(
    problem: cases.MoeProblem, plain: cases.Plain, layers: Sequence[Weights], found: dict[str, peers.Layer], rounds: int = ROUNDS, say: Say = print
) -> list[LayerTime]:
    """All implementations of one problem, checked and then timed together."""
    data = cases.inputs(problem, "cuda", cases.calls(problem))
    want = fused_moe_reference(*data[0], plain)
    implementations: dict[str, list[cases.Call]] = {"ours": _ours(layers, data)}
    errors = {"ours": _error(implementations["ours"][0](), want)}
    if not errors["ours"] <= TOLERANCE:
        raise TuneforkError(f"the layer is wrong at TP {problem.tp}, M {problem.tokens}: relative error {errors['ours']:.2e}, at most {TOLERANCE:.0e}",
                            "no time is taken of a wrong kernel; run the tests of tests/kernels")
    failed: dict[str, str] = {}

    def leave_out(name: str, why: str) -> None:
        if name not in found:
            raise TuneforkError(f"{name} cannot be timed at TP {problem.tp}, M {problem.tokens}: {why}", "run the tests of tests/kernels")
        failed[name] = why
        say(f"{name} is left out at {problem}: {why}")

    for name, run in found.items():
        try:
            errors[name] = _error(run(*data[0]), want)
        except Exception as caught:  # a peer may fail in any way; the others are still worth their time
            leave_out(name, told(caught))
            continue
        if errors[name] <= PEER_TOLERANCE:
            # Naive torch launches thousands of kernels and reads every expert: two calls are far beyond the L2.
            implementations[name] = [partial(run, *d) for d in (data[:2] if name == "torch" else data)]
        else:
            leave_out(name, f"relative error {errors[name]:.2e}")
    implementations["floor"] = [floor_call(layers[i % len(layers)], d[1], cases.TOPK) for i, d in enumerate(data)]
    timed = compare(implementations, rounds, failed=leave_out)
    hit = sum(cases.hit_experts(logits) for _, logits in data) / len(data)
    row = partial(LayerTime, "moe_a16w4", problem.tp, problem.tokens)
    about = (cases.hit_bytes(problem, hit), timed["floor"].us, torch.cuda.get_device_name())
    return [row(name, t.us, t.us_lo, t.us_hi, *about, errors.get(name, 0.0)) for name, t in timed.items()] + [
        row(name, None, None, None, *about, error if math.isfinite(error := errors.get(name, math.nan)) else None, why) for name, why in failed.items()
    ]


def measure(tps: Iterable[int] = TPS, tokens: Iterable[int] = TOKENS, rounds: int = ROUNDS, with_peers: bool = True,
            say: Say = print) -> list[LayerTime]:
    """Rows of every (tp, M). Raises MissingTool without a GPU: then `check` is what can be known."""
    if not torch.cuda.is_available():
        raise MissingTool("no GPU: nothing was timed", "run it on a machine with one; the correctness part runs anywhere")
    rows = []
    for tp in tps:
        plain = cases.random_plain(tp, "cuda")
        layers = cases.layers(plain, tp)
        found = peers.available(plain, say) if with_peers else {}
        for count in tokens:
            rows += measure_problem(cases.MoeProblem(tp, count), plain, layers, found, rounds, say)
        del plain, layers, found
        torch.cuda.empty_cache()
    return rows


def record(rows: Sequence[LayerTime]) -> dict[str, Any]:
    """Rows with what a reader must know about them."""
    return {"date": datetime.datetime.now(datetime.UTC).date().isoformat(), "chip": rows[0].chip, "torch": torch.__version__,
            "triton": triton.__version__, "rows": [asdict(row) for row in rows]}


def best_peer(rows: Iterable[LayerTime], tp: int, tokens: int) -> LayerTime | None:
    """The fastest correct peer of a problem."""
    found = [row for row in rows if (row.tp, row.M) == (tp, tokens) and row.impl not in ("ours", "floor") and row.us is not None]
    return min(found, key=lambda row: row.us or 0.0, default=None)


def table(rows: Sequence[LayerTime]) -> str:
    """The rows as a Markdown table: ours, the best peer, the ratio, the floor."""
    lines = ["| TP | M | ours us (95 %) | best peer us | ours / peer | floor us | floor / ours |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        if row.impl != "ours" or row.us is None or row.floor_us is None:
            continue
        peer = best_peer(rows, row.tp, row.M)
        beside = f"{peer.us:.1f} ({peer.impl}) | {row.us / peer.us:.2f}" if peer and peer.us else "absent | -"
        lines.append(f"| {row.tp} | {row.M} | {row.us:.1f} ({row.us_lo:.1f}-{row.us_hi:.1f}) | {beside} | {row.floor_us:.1f} | {row.floor_us / row.us:.2f} |")
    return "\n".join(lines)


def plot(rows: Sequence[LayerTime], tp: int, path: Path, date: str = "") -> None:
    """Microseconds against M for one TP: ours, the peers, the floor (needs matplotlib). Naive torch is left out: it lies a hundred times above."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5))
    axes = figure.subplots()
    for impl in dict.fromkeys(row.impl for row in rows if row.tp == tp and row.impl != "torch"):
        points = sorted((row.M, row.us) for row in rows if (row.tp, row.impl) == (tp, impl) and row.us is not None)
        if not points:  # a peer that failed at every M
            continue
        style = {"ours": "o-", "floor": "k:"}.get(impl, "x--")
        axes.plot([m for m, _ in points], [us for _, us in points], style, label=impl, linewidth=2 if impl == "ours" else 1)
    title = f"GPT-OSS-120B MoE layer, TP{tp}, {rows[0].chip} {date}".rstrip()
    axes.set(xscale="log", yscale="log", xlabel="tokens M", ylabel="microseconds per layer", title=title)
    axes.set_xscale("log", base=2)
    ticks = sorted({row.M for row in rows})
    ticks = [tick for tick in ticks if len(ticks) <= MOST_TICKS or tick & (tick - 1) == 0]
    axes.set_xticks(ticks, [str(tick) for tick in ticks], fontsize=8)
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
