"""The gate's rows of the skinny products: GPT-OSS-120B's at TP 1 and 8, at the bounds of the rule, and their checks at small sizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache, partial

from tunefork.kernels.entry import entry, relative_difference
from tunefork.kernels.model import GPT_OSS_120B as MODEL
from tunefork.kernels.shipped import Shipped
from tunefork.kernels.skinny.config import CHUNK, Linear, SkinnyConfig, illegal, pick
from tunefork.kernels.skinny.plan import POINTERS, plan

TOKENS = (4, 16, 64)


def shapes() -> dict[str, Linear]:
    """Name -> sizes of one rank."""
    found = {}
    for tp in (1, 8):
        inner = MODEL.heads * MODEL.head_dim // tp
        found[f"o-tp{tp}"] = Linear(MODEL.hidden, inner, bias=True, residual=tp == 1)
        found[f"qkv-tp{tp}"] = Linear(inner + 2 * MODEL.kv_heads * MODEL.head_dim // tp, MODEL.hidden, norm=True, bias=True)
    found["head-tp1"] = Linear(MODEL.vocabulary, MODEL.hidden, best=True)
    return found


@lru_cache(maxsize=64)
def relative_error(shape: Linear, config: SkinnyConfig) -> float:
    """|y - reference| / |reference| (2-norms), or the share of wrong choices, of the op in this configuration on CPU tensors, through whatever driver is
    active, at the smallest sizes that run all of its code: two steps of K of which the last is short, a last program that is short, a token less than
    columns."""
    import torch

    from tunefork.kernels.skinny.launch import add_norm_linear, best_logit, linear
    from tunefork.kernels.skinny.reference import add_norm_reference, linear_reference

    gen = torch.Generator().manual_seed(shape.rows + shape.cols)

    def randn(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=gen).bfloat16()

    rows, cols, tokens = 16 * config.strips + 16, CHUNK * (2 * config.parts - (config.parts > 1)), min(3, config.bm)
    x, w, bias = randn(tokens, cols), randn(rows, cols), randn(rows)
    if shape.norm:
        residual, norm = randn(tokens, cols), randn(cols)
        got, both = add_norm_linear(x, residual, norm, 1e-5, w, bias, config=config)
        normed, want_both = add_norm_reference(x, residual, norm, 1e-5)
        return max(relative_difference(got, linear_reference(normed, w, bias)), relative_difference(both, want_both))
    if shape.best:
        w[3], w[19] = w[7], w[7]  # ties: the lowest id wins
        x[0] = w[7]
        return float((best_logit(x, w, config=config) != linear_reference(x, w).bfloat16().max(1).indices).float().mean())
    before = randn(tokens, rows) if shape.residual else None
    return relative_difference(linear(x, w, bias, before, config=config), linear_reference(x, w, bias, before))


def entries(arch: str) -> Iterator[Shipped]:
    """Every distinct compilation once."""
    seen = set()
    for name, shape in shapes().items():
        for tokens in TOKENS:
            config = pick(arch, shape, tokens)
            if illegal(config, shape, tokens, arch):
                continue
            for step in plan(arch, shape, tokens, config):
                weights = ("w_ptr",) if step.kernel.__name__ == "skinny_kernel" else ()
                found = entry(step, "skinny", f"{name}-m{tokens}", f"N{shape.rows} K{shape.cols} M{tokens}", POINTERS, arch,
                              partial(relative_error, replace(shape), config), weights, tolerance=6e-3)  # fmt: skip
                key = (found.kernel, repr(sorted(found.constexprs.items(), key=str)), repr(found.options))
                if key not in seen:
                    seen.add(key)
                    yield found
