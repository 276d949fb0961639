"""Everything that a part will launch, compiled in parallel into Triton's cache before it is timed; no GPU is touched."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context

from studies.cubins.pack import case_of
from studies.gluon_up.tiles import layer
from tunefork.base.tied import tied
from tunefork.kernels.moe_a16w4.config import pick
from tunefork.kernels.moe_a16w4.plan import plan
from tunefork.kernels.warming import Wanted, compile_one, key_of


def jobs(tiles: Sequence[str], tps: Sequence[int], sizes: Sequence[int]) -> list[Wanted]:
    """Every distinct compilation: the tiles' and the shipped rows'."""
    found: dict[str, Wanted] = {}
    for tp, tokens in product(tps, sizes):
        one = case_of(tp, tokens)
        for config in (*map(layer, tiles), pick(one.arch, one.shape, tokens)):
            for at, step in enumerate(plan(one, config)):
                found.setdefault(key_of(one, config, step), Wanted(one, at, config))
    return list(found.values())


def warm(found: Sequence[Wanted]) -> list[str]:
    """Compile them, as many at a time as there are cores; what went wrong, a line each. One is not compiled here, as
    `warming.warm` would: that sets this process's driver."""
    with ProcessPoolExecutor(min(len(os.sched_getaffinity(0)), len(found)), mp_context=get_context("spawn"), initializer=tied) as pool:
        return [said for said in pool.map(compile_one, found, chunksize=1) if said]
