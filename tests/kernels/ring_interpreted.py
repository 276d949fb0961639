"""Run in a process of its own by test_ring_layer.py (TRITON_INTERPRET holds for a whole process): prints one JSON line per case.

A layer with a ring, launch by launch as its plan has them: routing, the copy of x and the sum in Triton's interpreter, the two GEMMs in gluon_model.py.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from typing import Any

os.environ["TRITON_INTERPRET"] = "1"

import gluon_model as model  # beside this script
import torch

from tunefork.kernels.moe_a16w4 import GemmConfig, LayerConfig, MoeShape, illegal, prepare_weights
from tunefork.kernels.moe_a16w4.launch import Workspace, _run, bindings, workspace_size
from tunefork.kernels.moe_a16w4.plan import Case, buffers, held, plan, sort_programs
from tunefork.kernels.moe_a16w4.reference import fused_moe_reference

RING = GemmConfig(4, 1, 1, 32, ahead=False, tiled=True, ring=3, extra=16)
LAYER = LayerConfig("sorted", RING, RING, partial="bf16", overlap=True)


def plain(hidden: int, inter: int, experts: int) -> tuple[torch.Tensor, ...]:
    gen = torch.Generator().manual_seed(hidden + inter)

    def matrix(rows: int, cols: int) -> tuple[torch.Tensor, ...]:
        return (torch.randint(0, 256, (experts, rows, cols // 2), dtype=torch.uint8, generator=gen),
                torch.randint(119, 123, (experts, rows, -(-cols // 32)), dtype=torch.uint8, generator=gen),
                torch.randn(experts, rows, generator=gen).bfloat16())

    return (*matrix(2 * inter, hidden), *matrix(hidden, inter))


def blocks(counts: list[int], bm: int, extra: int) -> list[tuple[int, int, int]]:
    """Pairs of each expert -> (expert, first pair, pairs) of each block, the plain way: cut off bm while more than bm + extra are left."""
    found, first = [], 0
    for expert, count in enumerate(counts):
        left = count
        while left > bm + extra:
            found.append((expert, first, bm))
            first, left = first + bm, left - bm
        if left:
            found.append((expert, first, left))
        first += left
    return found


def routed(env: dict[str, Any], case: Case, config: LayerConfig) -> dict[str, bool]:
    """What the routing passes and the copy left, against a plain way."""
    experts = range(case.shape.experts)
    ids, pairs, places = (env[name].long() for name in ("ids", "pairs", "places"))
    order = [pair for expert in experts for pair in (ids == expert).nonzero()[:, 0].tolist()]
    counts = torch.bincount(ids[ids >= 0], minlength=case.shape.experts).tolist()
    want = blocks(counts, config.up.bm, config.up.extra)
    count = int(env["block_count"][0])
    got = list(zip(*(env[name][:count].tolist() for name in ("block_expert", "block_start", "block_rows")), strict=True))
    x = env["x"][torch.tensor(order, dtype=torch.long) // case.shape.topk]
    x = torch.nn.functional.pad(x, (0, held(case.shape.hidden) - case.shape.hidden))
    x = x.view(len(order), -1, 4, 4, 2).transpose(2, 3).reshape(len(order), -1)
    name = "xs" if "xs" in env else "part"
    copied = env[name].view(torch.bfloat16)[: x.numel()].view(x.shape)
    return {"pairs": pairs[: len(order)].tolist() == order, "places": places[pairs[: len(order)]].tolist() == list(range(len(order))), "blocks": got == want,
            "room": count <= env["block_expert"].numel(), "copied": bool((copied == x).all())}  # fmt: skip


def one(name: str, config: LayerConfig, tokens: int, hidden: int = 160, inter: int = 136, experts: int = 4, topk: int = 2, live: int | None = None,
        mapped: bool = False, hot: bool = False) -> None:  # fmt: skip
    weights = plain(hidden, inter, experts)
    prepared = prepare_weights(*weights, arch="sm90")
    gen = torch.Generator().manual_seed(tokens)
    x = torch.randn(tokens, 2 * hidden, generator=gen).bfloat16()[:, :hidden]
    router = 2 * experts if mapped else experts
    logits = torch.randn(tokens, router, generator=gen)
    if hot:
        logits[:, 1] += 5.0
    logits = logits.bfloat16()
    emap = torch.arange(router, dtype=torch.int32).where(torch.arange(router) < experts, -1).int() if mapped else None
    rows = tokens if live is None else live
    x[rows:], logits[rows:] = float("nan"), float("nan")
    case = Case("sm90", MoeShape(hidden, inter, experts, topk), tokens, router, asm=False, has_live=live is not None, has_map=mapped)
    reason = illegal(config, case.shape, tokens, "sm90", mapped)
    assert reason is None, reason
    sizes = buffers(case, config)
    space = Workspace(torch.full((workspace_size(sizes),), 255, dtype=torch.uint8))
    out = torch.full((tokens, hidden), float("nan")).bfloat16()
    env = bindings(space.views(sizes), prepared, x, logits, out, None if live is None else torch.tensor([live], dtype=torch.int32), emap)
    ring = model.kernels()
    said: dict[str, bool] = {}
    for step in plan(case, config):
        if not step.tiles:
            _run(step, env)
            continue
        said = said or routed(env, case, config)
        tiles = {key: model.Descriptor(env[each.buffer].view(-1, each.columns), each.rows) for key, each in step.tiles.items()}
        bound = {key: env[value].flatten() if isinstance(env[value], torch.Tensor) else env[value] for key, value in step.bind.items() if value}
        model.launch(getattr(ring, step.kernel.__name__), step.grid[0], **tiles, **bound, **step.constants)
    want = fused_moe_reference(x[:rows], logits[:rows], weights, topk, expert_map=emap)
    error = float((out[:rows].float() - want).norm() / want.norm())
    print(json.dumps({"name": name, "error": error, "finite": bool(out[:rows].isfinite().all()), "untouched": bool(out[rows:].isnan().all()), **said}), flush=True)


def tables(name: str, counts: list[int]) -> None:
    """The routing passes and the copy alone, of a layer whose experts are chosen by so many tokens each, in a random order."""
    tokens, experts, hidden = sum(counts), len(counts), 40
    gen = torch.Generator().manual_seed(tokens)
    chosen = torch.repeat_interleave(torch.arange(experts), torch.tensor(counts))[torch.randperm(tokens, generator=gen)]
    case = Case("sm90", MoeShape(hidden, 136, experts, 1), tokens, experts, asm=False)
    env: dict[str, Any] = {name: torch.full((count,), -7).to(getattr(torch, kind)) for name, (count, kind) in buffers(case, LAYER).items()}
    env |= {"x": torch.randn(tokens, hidden, generator=gen).bfloat16(), "x_stride": hidden, "logits": torch.nn.functional.one_hot(chosen, experts).bfloat16(),
            "logits_stride": experts, "M": tokens, "programs": sort_programs("sm90", tokens)}  # fmt: skip
    for step in plan(case, LAYER)[: 3 if tokens > 64 else 2]:
        _run(step, env)
    print(json.dumps({"name": name, "error": 0.0, "finite": True, "untouched": True, **routed(env, case, LAYER)}), flush=True)


def main() -> None:
    torch.set_num_threads(1)
    tables("every count around a block's ends", [0, 1, 15, 16, 17, 31, 32, 33, 47, 48, 49, 0, 63, 64, 65, 79, 80, 81, 0])
    tables("the same, one program", [1, 0, 16, 0, 47])
    one("one program sorts", LAYER, 40)
    one("two passes", LAYER, 130, hidden=192, inter=168)
    one("an expert for half of the pairs", LAYER, 100, hot=True)
    one("topk 3, x in a buffer of its own", LAYER, 70, hidden=144, topk=3)
    one("fp32 parts", replace(LAYER, partial="fp32", up=replace(RING, ring=4), down=replace(RING, ring=4)), 66)
    one("padded rows", LAYER, 90, live=51)
    one("half of the experts", LAYER, 90, mapped=True)
    plainer = replace(RING, extra=0)
    one("no extra", replace(LAYER, up=plainer, down=replace(plainer, r=2, ring=4)), 80)


if __name__ == "__main__":
    sys.exit(main())
