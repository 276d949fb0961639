"""Everything that a part will launch, compiled in parallel into Triton's cache before it is timed; no GPU is touched."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context

from studies.gluon_up.tiles import case, layer
from tunefork.base.tied import tied
from tunefork.kernels.arch import SM90
from tunefork.kernels.moe_a16w4.config import LayerConfig, pick
from tunefork.kernels.moe_a16w4.plan import Case, plan
from tunefork.kernels.warming import _Nowhere, compile_step, key_of

Job = tuple[Case, LayerConfig, int]


def jobs(tiles: Sequence[str], tps: Sequence[int], sizes: Sequence[int]) -> list[Job]:
    """Case, configuration and place in its plan of every distinct compilation: the tiles' and the shipped rows'."""
    found: dict[str, Job] = {}
    for tp, tokens in product(tps, sizes):
        one = case(tp, tokens)
        for config in (*map(layer, tiles), pick(one.arch, one.shape, tokens)):
            for at, step in enumerate(plan(one, config)):
                found.setdefault(key_of(one, config, step), (one, config, at))
    return list(found.values())


def compile_job(job: Job) -> str:
    """Returns what went wrong, or ""."""
    import triton

    triton.runtime.driver.set_active(_Nowhere(SM90.name))
    one, config, at = job
    step = plan(one, config)[at]
    try:
        compile_step(one, config, step)
    except Exception as error:  # the launch meets the same
        return f"{step.kernel.__name__}: {type(error).__name__}: {str(error)[:200]}"
    return ""


def warm(found: Sequence[Job]) -> list[str]:
    """Compile them, as many at a time as there are cores; what went wrong, a line each."""
    with ProcessPoolExecutor(min(len(os.sched_getaffinity(0)), len(found)), mp_context=get_context("spawn"), initializer=tied) as pool:
        return [said for said in pool.map(compile_job, found, chunksize=1) if said]
