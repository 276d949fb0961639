"""Compile what a model's first start will ask of the MoE layer, in parallel and ahead, into Triton's cache. No GPU is needed or touched.

    python -m tunefork.kernels.warming sm90 --intermediate 2880 --tokens 1 2 4 8 16 32

A process of its own: a server's workers may not have children of their own kind. The cache is Triton's (TRITON_CACHE_DIR): what a launch asks for
later is found there under the same key, since the same code makes both (`settle_keys`). What cannot be compiled here is left to the launch, which says why.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tunefork.base.mutex import claimed, opened
from tunefork.base.tied import tied
from tunefork.kernels.arch import ARCHES, GFX950
from tunefork.kernels.model import GPT_OSS_120B
from tunefork.kernels.moe_a16w4.config import LayerConfig, MoeShape, pick
from tunefork.kernels.moe_a16w4.plan import POINTERS, Case, Step, plan, settle, settle_keys, sort_programs

_KINDS = {"*bf16": "bfloat16", "*i32": "int32", "*u8": "uint8", "*fp32": "float32"}


@dataclass(frozen=True)
class Wanted:
    """One compilation: launch `at` of a case's plan."""

    case: Case
    at: int
    config: LayerConfig | None = None  # None: the table's


def _values(case: Case) -> dict[str, Any]:
    """Scalars as `fused_moe` passes them, for contiguous rows."""
    return {"M": case.tokens, "x_stride": case.shape.hidden, "out_stride": case.shape.hidden, "logits_stride": case.experts, "alpha": 1.702, "limit": 7.0,
            "programs": sort_programs(case.arch, case.tokens)}


def key_of(case: Case, config: LayerConfig, step: Step) -> str:
    """What makes two launches one compilation: Triton tells whole numbers apart by being 1 and by dividing by 16."""
    told = {name: (_values(case)[key] == 1, _values(case)[key] % 16 == 0) for name, key in step.bind.items() if key in ("M", "programs")}
    part = config.partial if "part" in step.bind.values() else ""
    return repr((step.kernel.__name__, sorted(step.constants.items(), key=str), step.warps, sorted(step.options.items()), told,
                 [name for name, key in step.bind.items() if key is None], part, case.asm))  # fmt: skip


def wanted(arch: str, shape: MoeShape, tokens: Iterable[int], *, wide: tuple[bool, bool] = (False, False), live: Iterable[bool] = (True,),
           routed: int | None = None) -> Iterator[Wanted]:  # fmt: skip
    """The distinct compilations of these numbers of tokens, the largest first (tiled kernels take longest).

    wide: of the weights' two layouts. live: FULL graphs count their live rows, PIECEWISE graphs and eager steps do not. routed: experts that the router
    chooses from, where not all are local.
    """
    seen = set()
    for count, counted in product(sorted(set(tokens), reverse=True), tuple(live)):
        case = Case(arch, shape, count, routed or shape.experts, True, *wide, has_live=counted, has_map=routed is not None)
        config = _config(case)
        for at, step in enumerate(plan(case, config)):
            if (key := key_of(case, config, step)) not in seen:
                seen.add(key)
                yield Wanted(case, at)


def _config(case: Case) -> LayerConfig:
    return pick(case.arch, case.shape, case.tokens, case.has_map, case.experts)


def _target(arch: str) -> Any:
    from triton.backends.compiler import GPUTarget

    return GPUTarget("hip", arch, ARCHES[arch].lanes) if arch == GFX950.name else GPUTarget("cuda", 90, ARCHES[arch].lanes)


class _Nowhere:
    """Stands for Triton's driver where nothing is launched."""

    def __init__(self, arch: str) -> None:
        self.arch = arch

    def get_current_target(self) -> Any:
        return _target(self.arch)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, _device: int) -> int:
        return 0


def compile_step(case: Case, config: LayerConfig, step: Step) -> None:
    """Compile one launch of a case's plan into Triton's cache, for the active driver's target. Errors: Triton's and ptxas'."""
    import torch
    from triton.runtime.jit import MockTensor

    from tunefork.kernels.moe_a16w4.launch import described

    settle(step)
    kinds, values = POINTERS | {"part": "*bf16" if config.partial == "bf16" else "*fp32"}, _values(case)
    arguments = {name: None if key is None else MockTensor(getattr(torch, _KINDS[kinds[key]])) if key in POINTERS else values[key]
                 for name, key in step.bind.items()}
    pairs = case.tokens * case.shape.topk
    arguments |= {name: described(tiles, MockTensor(torch.bfloat16), pairs) for name, tiles in step.tiles.items()}
    step.kernel.warmup(**arguments, **step.constants, grid=(1,), num_warps=step.warps, num_stages=1, **step.options)


def compile_one(one: Wanted) -> str:
    """Compile into Triton's cache; returns what went wrong, or ""."""
    import triton

    triton.runtime.driver.set_active(_Nowhere(one.case.arch))
    config = one.config or _config(one.case)
    step = plan(one.case, config)[one.at]
    try:
        compile_step(one.case, config, step)
    except Exception as error:  # a launch meets the same, and says more
        return f"{step.kernel.__name__} at M={one.case.tokens}: {type(error).__name__}: {error}"
    return ""


def warm(jobs: Iterable[Wanted], processes: int | None = None) -> list[str]:
    """Compile all of them, `processes` (default: one a core) at a time; what went wrong, a line each."""
    found = list(jobs)
    processes = max(1, min(processes or len(os.sched_getaffinity(0)), len(found)))
    if processes == 1:
        return [said for said in map(compile_one, found) if said]
    import torch  # noqa: F401 -- once, before the fork; so is Triton, with the kernels

    settle_keys()  # before the fork as well: it takes a second
    with ProcessPoolExecutor(processes, mp_context=get_context("fork"), initializer=tied) as pool:
        return [said for said in pool.map(compile_one, found, chunksize=1) if said]


@contextmanager
def sole(words: list[str]) -> Iterator[bool]:
    """Whether no other process has these words under way for the same cache: eight workers of a server ask for the same kernels at once."""
    from triton import knobs

    place = Path(knobs.cache.dir) / f"tunefork-{hashlib.sha256(json.dumps(words).encode()).hexdigest()[:16]}.lock"
    place.parent.mkdir(parents=True, exist_ok=True)
    with opened(place) as file:
        yield claimed(file)


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tunefork.kernels.warming", description=(__doc__ or "").partition("\n")[0])
    model = GPT_OSS_120B
    parser.add_argument("arch", choices=sorted(ARCHES))
    parser.add_argument("--hidden", type=int, default=model.hidden)
    parser.add_argument("--intermediate", type=int, default=model.intermediate, help="of one rank")
    parser.add_argument("--experts", type=int, default=model.experts)
    parser.add_argument("--topk", type=int, default=model.topk)
    parser.add_argument("--tokens", type=int, nargs="+", required=True, help="numbers of tokens, e.g. the capture sizes")
    parser.add_argument("--routed", type=int, help="experts that the router chooses from, where not all are local")
    parser.add_argument("--wide", type=int, nargs=2, choices=(0, 1), default=(0, 0), help="of w13's and w2's layout")
    parser.add_argument("--live", type=int, nargs="+", choices=(0, 1), default=(1,), help="1: live rows are counted (FULL graphs), 0: not (all else)")
    parser.add_argument("--processes", type=int)
    parser.add_argument("--once", action="store_true", help="compile nothing where another process is at the very same")
    given = parser.parse_args(words)
    shape = MoeShape(given.hidden, given.intermediate, given.experts, given.topk)
    jobs = list(wanted(given.arch, shape, given.tokens, wide=(bool(given.wide[0]), bool(given.wide[1])), live=map(bool, given.live), routed=given.routed))
    with sole(words) as alone:
        if given.once and not alone:
            print("another process compiles the same into this cache")
            return 0
        wrong = warm(jobs, given.processes)
    print(f"{len(jobs) - len(wrong)} of {len(jobs)} kernels are in Triton's cache")
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
