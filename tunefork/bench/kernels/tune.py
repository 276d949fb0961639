"""What tuning tries, and how it is timed on a GPU: each GEMM's configurations with rotated weights, then whole layers of the best ones.

The two GEMMs are timed apart, because their choices are independent but for the block size; only the best pairs are timed as layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from multiprocessing import get_context
from typing import Any

import torch

from tunefork.base.errors import first_line
from tunefork.base.tied import tied
from tunefork.bench.kernels import cases
from tunefork.bench.kernels.timing import compare
from tunefork.kernels.arch import ARCHES, GFX950, SM90
from tunefork.kernels.moe_a16w4.config import GemmConfig, LayerConfig, MoeShape, illegal
from tunefork.kernels.moe_a16w4.launch import Workspace, _run, bindings, fused_moe, make_workspace, workspace_size
from tunefork.kernels.moe_a16w4.plan import Case, Step, buffers, plan
from tunefork.kernels.moe_a16w4.weights import Weights
from tunefork.kernels.warming import compile_step

QUICK_ROUNDS = 6


@dataclass(frozen=True)
class Candidate:
    """A GEMM configuration in an order, to be timed on its own."""

    order: str
    part: str  # "up" or "down"
    gemm: GemmConfig

    def layer(self, topk: int) -> LayerConfig:
        """A legal layer around it."""
        if self.gemm.tiled:
            return LayerConfig(self.order, self.gemm, self.gemm)
        other = GemmConfig(1, topk, 1, self.gemm.bm) if self.order == "slot" else GemmConfig(1, 4, 1, self.gemm.bm)
        return LayerConfig(self.order, *((self.gemm, other) if self.part == "up" else (other, self.gemm)))


# (wn, wk, r) worth trying, by what limits the case: filling the chip, or streaming weights.
SLOT_SHAPES = ((1, 4, 1), (1, 8, 1), (1, 2, 1), (2, 4, 1), (1, 4, 2), (1, 8, 2), (1, 16, 1))
STREAM_SHAPES = ((1, 2, 1), (1, 4, 1), (1, 2, 2), (2, 2, 1), (2, 2, 2), (4, 1, 1), (4, 1, 2), (2, 1, 1), (2, 1, 2), (8, 1, 1))
PREFETCH = ((False, 1), (True, 1), (True, 2), (True, 4))
# Of tiled GEMMs, where rows per expert reuse weights: by block size (wn, r), stages, the widths that what is left of an expert may have.
TILED_SHAPES: dict[int, tuple[tuple[tuple[int, int], ...], tuple[int, ...], tuple[int, ...]]] = {
    16: (((4, 1), (4, 2), (8, 1)), (3,), (0,)),
    32: (((4, 1), (4, 2), (8, 1)), (3, 4), (16,)),
    64: (((4, 1), (4, 2), (8, 1)), (2, 3), (16, 32)),
    128: (((4, 1), (4, 2), (8, 1), (8, 2), (16, 1)), (2, 3), (32, 64)),
}
WHOLE = ((4, 1), (4, 2))  # shapes that are tried with whole chunks as well, and not in 2 and 4 products only
TILED_FROM, STREAM_TO = 64, 256
# gfx950: activations ahead or not, chunks in flight; (wn, wk, r) by order and GEMM.
RING = ((True, 2), (True, 3), (True, 4), (False, 2))
GFX950_SHAPES = {
    ("slot", "up"): tuple((1, wk, r) for wk, r in product((2, 4, 8), (1, 2, 4))),
    ("slot", "down"): tuple((1, wk, r) for wk, r in product((4, 8, 16), (1, 2))),
    ("sorted", "up"): ((1, 2, 1), (1, 2, 2), (1, 4, 2), (2, 1, 1), (2, 1, 2), (2, 2, 2), (4, 1, 1), (4, 1, 2)),
    ("sorted", "down"): ((1, 2, 1), (1, 2, 2), (2, 1, 1), (2, 1, 2), (2, 2, 2), (4, 1, 1), (4, 1, 2)),
}
SPLIT_TO = 4


def _streams(arch: str, order: str, tokens: int) -> Iterator[GemmConfig]:
    column = ARCHES[arch].columns
    shapes = dict.fromkeys((*SLOT_SHAPES, *STREAM_SHAPES) if order == "slot" else STREAM_SHAPES)
    for bm, (wn, wk, r), (ahead, unroll) in product((column, 16) if tokens > 64 else (column,), shapes, PREFETCH):
        if bm == column or unroll <= 2:
            yield GemmConfig(wn, wk, r, bm, ahead, unroll)


def _tiled(bm: int) -> Iterator[GemmConfig]:
    shapes, stages, rests = TILED_SHAPES[bm]
    for (wn, r), count, rest, parts in product(shapes, stages, rests, (1, 2, 4)):
        if parts > 1 or (wn, r) in WHOLE:
            yield GemmConfig(wn, 1, r, bm, ahead=False, unroll=parts, tiled=True, stages=count, rest=rest)


def _rings(part: str, order: str, tokens: int) -> Iterator[GemmConfig]:
    """gfx950's: every GEMM streams; more columns per program as the rows of an expert grow."""
    columns = (16,) if tokens <= 64 else (16, 32) if tokens <= 256 else (32, 64)
    splits = (1, 2, 4) if (order, part) == ("slot", "up") and tokens <= SPLIT_TO else (1,)
    for bm, (wn, wk, r), (ahead, unroll), split in product(columns, GFX950_SHAPES[order, part], RING, splits):
        if ahead or bm > 16:
            yield GemmConfig(wn, wk, r, bm, ahead, unroll, split=split)


def candidates(arch: str, shape: MoeShape, tokens: int) -> Iterator[Candidate]:
    """Every configuration worth compiling for this case; all are legal."""
    orders = [order for order, wanted in (("slot", tokens <= ARCHES[arch].columns), ("sorted", tokens > 4)) if wanted]
    for part, order in product(("up", "down"), orders):
        if arch == GFX950.name:
            found = list(_rings(part, order, tokens))
        else:
            found = list(_streams(arch, order, tokens)) if tokens <= STREAM_TO else []
        if arch != GFX950.name and order == "sorted" and tokens >= TILED_FROM:
            low = 16 if tokens <= STREAM_TO else 32
            high = 32 if tokens <= STREAM_TO else 128
            found += [gemm for bm in TILED_SHAPES if low <= bm <= high for gemm in _tiled(bm)]
        for gemm in dict.fromkeys(found):
            candidate = Candidate(order, part, gemm)
            if illegal(candidate.layer(shape.topk), shape, tokens, arch) is None:
                yield candidate


def _warm(job: tuple[Case, LayerConfig]) -> None:
    """Compile the launches of a layer into Triton's cache."""
    case, config = job
    for step in plan(case, config):
        try:
            compile_step(case, config, step)
        except Exception as error:
            print(f"cannot compile {config}: {first_line(error)}", flush=True)  # ptxas' says 4,000 lines, the PTX among them


def warm(jobs: list[tuple[Case, LayerConfig]], processes: int) -> None:
    """Compile many layers in parallel."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=tied) as pool:
        list(pool.map(_warm, jobs, chunksize=1))


def environment(case: Case, config: LayerConfig, weights: Weights, x: torch.Tensor, logits: torch.Tensor) -> dict[str, Any]:
    """Buffers and scalars of one layer call."""
    sizes = buffers(case, config)
    space = Workspace(torch.zeros(workspace_size(sizes), dtype=torch.uint8, device=x.device))
    return bindings(space.views(sizes), weights, x, logits, torch.empty_like(x))


def _step(case: Case, config: LayerConfig, part: str) -> Step:
    return next(step for step in plan(case, config) if step.kernel.__name__.startswith(part))


def _steps(case: Case, config: LayerConfig, part: str) -> list[Step]:
    """What is timed of a GEMM: `up` with the routing before it, which also zeroes a split's counters; `down` alone."""
    steps = plan(case, config)
    at = next(at for at, step in enumerate(steps) if step.kernel.__name__.startswith(part))
    return steps[: at + 1] if part == "up" else steps[at : at + 1]


def _launch(env: dict[str, Any], steps: list[Step]) -> None:
    for step in steps:
        _run(step, env)


def time_parts(
    problem: cases.MoeProblem, layers: list[Weights], arch: str, done: Callable[[Candidate], bool] = lambda _: False
) -> Iterator[tuple[Candidate, float | None]]:
    """Microseconds of each candidate GEMM that is not `done` yet, as they come; None for one that does not launch."""
    shape = MoeShape(cases.HIDDEN, problem.intermediate, cases.EXPERTS)
    case = Case(arch, shape, problem.tokens, cases.EXPERTS)
    count = min(cases.calls(problem), 16)
    data = cases.inputs(problem, layers[0].w13.device.type, count)
    shared: dict[str, list[dict[str, Any]]] = {}
    for found in candidates(arch, shape, problem.tokens):
        if done(found):
            continue
        config = found.layer(shape.topk)
        key = f"{found.order} {buffers(case, config)}"
        try:
            if key not in shared:
                shared.clear()
                shared[key] = [environment(case, config, layers[i % len(layers)], *data[i]) for i in range(count)]
                for env in shared[key]:
                    _launch(env, plan(case, config))
            calls = [partial(_launch, env, _steps(case, config, found.part)) for env in shared[key]]
            yield found, compare({"one": calls}, QUICK_ROUNDS)["one"].us
        except Exception as error:  # a configuration may fail to compile or launch in any way; the others are still worth timing
            print(f"{problem} {found}: {type(error).__name__}: {str(error)[:120]}", flush=True)
            yield found, None


def layer_calls(problem: cases.MoeProblem, layers: list[Weights], configs: list[LayerConfig]) -> dict[str, list[cases.Call]]:
    """Calls of whole layers for `timing.compare`, by the configuration's place."""
    data = cases.inputs(problem, layers[0].w13.device.type, cases.calls(problem))
    found: dict[str, list[cases.Call]] = {}
    for at, config in enumerate(configs):
        space, out = make_workspace(layers[0], problem.tokens, config=config), torch.empty_like(data[0][0])
        found[str(at)] = [partial(fused_moe, *d, layers[i % len(layers)], out=out, workspace=space, config=config) for i, d in enumerate(data)]
    return found


def best_layers(taken: dict[Candidate, float], shape: MoeShape, tokens: int, arch: str, keep: int = 3) -> list[LayerConfig]:
    """Whole layers from the best parts: for each order and block size the fastest pair, and its fused and bf16 variants."""
    found = []
    for kind in sorted({(c.order, c.gemm.bm, c.gemm.tiled) for c in taken}):
        parts = {part: sorted((us, i, c.gemm) for i, (c, us) in enumerate(taken.items()) if (c.order, c.gemm.bm, c.gemm.tiled, c.part) == (*kind, part))
                 for part in ("up", "down")}
        if not parts["up"] or not parts["down"]:
            continue
        config = LayerConfig(kind[0], parts["up"][0][2], parts["down"][0][2], partial="bf16" if tokens > 256 else "fp32", overlap=arch == SM90.name)
        found.append((parts["up"][0][0] + parts["down"][0][0], config))
    found = sorted(found, key=lambda pair: pair[0])[:keep]
    variants = [c for _, c in found] + [replace(c, fused=True) for _, c in found if c.order == "sorted"]
    return [c for c in variants if illegal(c, shape, tokens, arch) is None]
