"""Every kernel that we ship: which Triton function, compiled how, for which configuration and shape. The gate compiles this list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from tunefork.kernels.add_norm_router import entries as router_entries
from tunefork.kernels.arch import GFX950, SM90
from tunefork.kernels.entry import entry, relative_difference
from tunefork.kernels.model import GPT_OSS_120B as MODEL
from tunefork.kernels.moe_a16w4.config import GemmConfig, Row, illegal, ring_ends, ringed, row_of, sizes, table
from tunefork.kernels.moe_a16w4.config import MoeShape as Shape
from tunefork.kernels.moe_a16w4.plan import POINTERS, Case, Step, plan
from tunefork.kernels.qkv_rope import entries as qkv_entries
from tunefork.kernels.shipped import Shipped
from tunefork.kernels.skinny import entries as skinny_entries

if TYPE_CHECKING:
    import torch


def _depth(parts: int, gemm: GemmConfig, real: int) -> int:
    """The smallest K, at most the real one, whose main loop turns once and leaves a remainder, whose last part is short, and which has a tail."""
    chunks = parts * (gemm.unroll + 1) - (parts > 1)
    return min(128 * chunks + 8, real)


@lru_cache(maxsize=64)
def relative_error(row: Row, arch: str) -> float:
    """|y - reference| / |reference| (2-norms, no unit) of the whole layer in the row's configuration, on CPU tensors, through whatever driver is active,
    at the smallest sizes that run all of its code."""
    import torch

    from tunefork.kernels.moe_a16w4 import fused_moe, prepare_weights
    from tunefork.kernels.moe_a16w4.reference import fused_moe_reference

    config, topk = row.config, MODEL.topk
    hidden = -(-_depth(config.up.wk * config.up.split, config.up, MODEL.hidden) // 16) * 16
    inter = _depth(config.down.wk // topk if config.order == "slot" else config.down.wk, config.down, row.intermediate)
    tokens = 1 if row.config.order == "slot" else 3
    gen = torch.Generator().manual_seed(row.tokens)

    def matrix(rows: int, cols: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return (torch.randint(0, 256, (topk, rows, cols // 2), dtype=torch.uint8, generator=gen),
                torch.randint(119, 123, (topk, rows, -(-cols // 32)), dtype=torch.uint8, generator=gen),
                torch.randn(topk, rows, generator=gen).bfloat16())

    plain = (*matrix(2 * inter, hidden), *matrix(hidden, inter))
    x, logits = torch.randn(tokens, hidden, generator=gen).bfloat16(), torch.randn(tokens, topk, generator=gen).bfloat16()
    out = torch.full((tokens, hidden), float("nan")).bfloat16()
    fused_moe(x, logits, prepare_weights(*plain, arch), topk, out=out, config=row.config)
    want = fused_moe_reference(x, logits, plain, topk)
    return relative_difference(out, want)


def _wave(constants: Mapping[str, Any]) -> tuple[int, int, float]:
    """Of a streamed kernel: a GEMM wave's loads of the K tail, iterations of its main loop, bytes of weight values in its part."""
    k, (_, wk, r, _), (_, unroll, *_) = constants["K"], constants["WARPS"], constants["STREAM"]
    parts = wk // constants["TOPK"] if "HAS_LIVE" in constants else wk * constants.get("SPLIT", 1)
    chunks = -(-(k // 128) // parts)
    return -(-(k % 128) // 32) * r, -(-chunks // max(min(unroll, chunks), 1)) - 1, 16 * r * k / parts / 2


def ring_rows() -> tuple[Row, ...]:
    """Each tile of config.RINGS at each of the table's sizes, from the fewest tokens on that may take it: `pick` gives none of them while RING is off, but
    what a Triton makes of them is kept as of every other kernel."""
    found = []
    for inter in sizes(SM90.name):
        shape = Shape(MODEL.hidden, inter, MODEL.experts, MODEL.topk)
        for end in ring_ends(shape):
            config = ringed(row_of(SM90.name, shape, end + 1), SM90.name, shape, end + 1)
            assert config.up.ring, (inter, end)
            found.append(Row(inter, end + 1, config, "compiled, not shipped"))
    return tuple(found)


def _entry(step: Step, row: Row, arch: str, part: str, least_groups: int | None) -> Shipped:
    shape = f"H{MODEL.hidden} I{row.intermediate} E{MODEL.experts} M{row.tokens}"
    name = f"{'ring-' if row.config.up.ring else ''}i{row.intermediate}-m{row.tokens}"
    found = entry(step, "moe_a16w4", name, shape, POINTERS | {"part": part}, arch, partial(relative_error, row, arch))
    if arch == GFX950.name and "w_ptr" in found.signature:
        tail, trips, wave_weights = _wave(found.constexprs)
        found = replace(found, weights=("w_ptr",), tail_loads=tail, trips=trips, wave_weights=wave_weights)
    return replace(found, least_groups=least_groups)


def entries(arch: str, rows: tuple[Row, ...] | None = None) -> Iterator[Shipped]:
    """What these rows of the MoE layer's table (default: all that ship) compile to, each distinct compilation once."""
    seen, below = set(), dict[int, int]()
    for row in rows if rows is not None else (*table(arch), *(ring_rows() if arch == SM90.name else ())):
        least = below.get(row.intermediate, 0) + 1
        below[row.intermediate] = row.tokens
        case = Case(arch, Shape(MODEL.hidden, row.intermediate, MODEL.experts, MODEL.topk), row.tokens, MODEL.experts)
        assert illegal(row.config, case.shape, row.tokens, arch) is None, row
        fewest = [step.grid[0] for step in plan(replace(case, tokens=least), row.config)] if row.config.order == "slot" else []
        for at, step in enumerate(plan(case, row.config)):
            found = _entry(step, row, arch, "*bf16" if row.config.partial == "bf16" else "*fp32", fewest[at] if fewest else None)
            key = (found.kernel, tuple(sorted(found.signature.items())), repr(sorted(found.constexprs.items(), key=str)), repr(sorted(found.options.items())))
            if key not in seen:
                seen.add(key)
                yield found


def shipped(arch: str = GFX950.name) -> list[Shipped]:
    """What the gate must pass."""
    return [*entries(arch), *skinny_entries.entries(arch), *router_entries.entries(arch), *qkv_entries.entries(arch)]
