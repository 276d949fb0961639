"""What is timed: an op at a size, what it is compared with, and the configurations tried. Every call of a list has weights of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from tunefork.kernels.add_norm_router import RouterConfig, RouterShape, add_norm_route, make_done
from tunefork.kernels.add_norm_router import pick as pick_router
from tunefork.kernels.model import GPT_OSS_120B as MODEL
from tunefork.kernels.moe_a16w4.device import target
from tunefork.kernels.qkv_rope import QkvShape, qkv_rope_cache, rope_cache
from tunefork.kernels.qkv_rope import pick as pick_qkv
from tunefork.kernels.skinny import Linear, SkinnyConfig, add_norm_linear, best_logit, illegal, linear, pick
from tunefork.kernels.skinny.config import NORM_COLUMNS
from tunefork.kernels.skinny.launch import add_norm as our_add_norm
from tunefork.kernels.skinny.launch import run
from tunefork.kernels.skinny.plan import norm_step

Calls = list[Callable[[], object]]
CYCLE_BYTES = 256 << 20  # four times the L2 of an H200
EPS = 1e-5
HIDDEN, EXPERTS = MODEL.hidden, MODEL.experts


def randn(*shape: int) -> torch.Tensor:
    """bf16 on the GPU, rows of weights of about unit gain."""
    return (torch.randn(*shape, device="cuda") * (shape[-1] ** -0.5 if len(shape) == 2 and shape[0] > 64 else 1.0)).bfloat16()


def copies(rows: int, cols: int) -> int:
    """Weights to rotate over."""
    return max(2, min(96, -(-CYCLE_BYTES // (2 * rows * cols))))


def add_norm(x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """add + RMSNorm as one launch, in the place of the kernel that Inductor makes for vLLM."""
    tokens, hidden = x.shape
    step = norm_step(tokens, hidden, False)
    both, normed = torch.empty_like(residual), torch.empty_like(residual)
    run(step, {"x": x, "x_stride": x.stride(0), "res": residual, "res_stride": residual.stride(0), "norm": weight, "sum": both, "normed": normed, "eps": EPS})
    return normed, both


def configs(shape: Linear, tokens: int, few: bool) -> Iterator[tuple[str, SkinnyConfig]]:
    """The rule's, and those around it."""
    arch = target().arch
    base = pick(arch, shape, tokens)
    yield "rule", base
    for parts in (2, 4, 8):
        for strips in (1, 2):
            for depth in (3,) if few else (4, 8):
                one = replace(base, parts=parts, strips=strips, depth=depth)
                if illegal(one, shape, tokens, arch) is None and one != base:
                    yield f"p{parts} s{strips} d{depth}", one


def output_projection(tp: int, tokens: int) -> tuple[Callable[[str], Calls], list[str], dict[str, SkinnyConfig]]:
    """(name -> calls, peers, ours): 4096 / TP -> 2880 + bias + residual."""
    cols = MODEL.heads * MODEL.head_dim // tp
    count = copies(HIDDEN, cols)
    weights, bias = [randn(HIDDEN, cols) for _ in range(count)], randn(HIDDEN)
    x, residual = randn(tokens, cols), randn(tokens, HIDDEN)
    ours = dict(configs(Linear(HIDDEN, cols, bias=True, residual=True), tokens, tp > 1))

    def added(w: torch.Tensor) -> object:
        return functional.linear(x, w, bias) + residual

    def calls(name: str) -> Calls:
        if name == "F.linear":
            return [partial(functional.linear, x, w, bias) for w in weights]
        if name == "F.linear, add":
            return [partial(added, w) for w in weights]
        if name == "no residual":
            return [partial(linear, x, w, bias) for w in weights]
        return [partial(linear, x, w, bias, residual, config=ours[name]) for w in weights]

    return calls, ["F.linear", "F.linear, add", "no residual"], ours


def qkv_projection(tp: int, tokens: int) -> tuple[Callable[[str], Calls], list[str], dict[str, SkinnyConfig]]:
    """add + RMSNorm + (2880 -> 5120 / TP) + bias."""
    rows = (MODEL.heads + 2 * MODEL.kv_heads) * MODEL.head_dim // tp
    count = copies(rows, HIDDEN)
    weights, bias, norm = [randn(rows, HIDDEN) for _ in range(count)], randn(rows), randn(HIDDEN)
    x, residual = randn(tokens, HIDDEN), randn(tokens, HIDDEN)
    ours = dict(configs(Linear(rows, HIDDEN, norm=tokens <= NORM_COLUMNS, bias=True), tokens, tp > 1))

    def apart(product: Callable[..., torch.Tensor], w: torch.Tensor) -> object:
        return product(add_norm(x, residual, norm)[0], w, bias)

    def calls(name: str) -> Calls:
        if name == "F.linear":
            return [partial(functional.linear, x, w, bias) for w in weights]
        if name == "add_norm, F.linear":
            return [partial(apart, functional.linear, w) for w in weights]
        if name == "add_norm, ours":
            return [partial(apart, linear, w) for w in weights]
        return [partial(add_norm_linear, x, residual, norm, EPS, w, bias, config=ours[name]) for w in weights]

    return calls, ["F.linear", "add_norm, F.linear", "add_norm, ours"], ours


def router(tp: int, tokens: int) -> tuple[Callable[[str], Calls], list[str], dict[str, RouterConfig]]:
    """add + RMSNorm + (2880 -> 128) + bias + top-4 + softmax; the same at any TP."""
    count = copies(EXPERTS, HIDDEN)
    weights, bias, norm, done = [randn(EXPERTS, HIDDEN) for _ in range(count)], randn(EXPERTS), randn(HIDDEN), make_done("cuda")
    x, residual = randn(tokens, HIDDEN), randn(tokens, HIDDEN)
    base = pick_router(target().arch, RouterShape(HIDDEN, EXPERTS), tokens)
    ours = {"rule": base, "one p4": RouterConfig(4, overlap=base.overlap), "one p8": RouterConfig(8, overlap=base.overlap)}
    ours |= {f"two p{parts} k{split}": replace(base, parts=parts, split=split, apart=True) for parts in (2, 4, 8) for split in (1, 3, 5, 9)}

    def logits(w: torch.Tensor) -> torch.Tensor:
        return functional.linear(add_norm(x, residual, norm)[0], w, bias)

    def shipped(w: torch.Tensor) -> object:
        values, ids = logits(w).topk(4)
        return torch.softmax(values.float(), 1), ids

    def calls(name: str) -> Calls:
        if name == "F.linear":
            return [partial(functional.linear, x, w, bias) for w in weights]
        if name == "add_norm, F.linear":
            return [partial(logits, w) for w in weights]
        if name == "add_norm, F.linear, topk, softmax":
            return [partial(shipped, w) for w in weights]
        return [partial(add_norm_route, x, residual, norm, EPS, w, bias, done=done, config=ours[name]) for w in weights]

    return calls, ["F.linear", "add_norm, F.linear", "add_norm, F.linear, topk, softmax"], ours


def head(tp: int, tokens: int) -> tuple[Callable[[str], Calls], list[str], dict[str, SkinnyConfig]]:
    """2880 -> 201,088 and the best of each row."""
    weights = [randn(MODEL.vocabulary // tp, HIDDEN) for _ in range(2)]
    x = randn(tokens, HIDDEN)
    ours = dict(configs(Linear(MODEL.vocabulary // tp, HIDDEN, best=True), tokens, True))

    def argmax(w: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, w).argmax(1)

    def calls(name: str) -> Calls:
        if name == "F.linear":
            return [partial(functional.linear, x, w) for w in weights]
        if name == "F.linear, argmax":
            return [partial(argmax, w) for w in weights]
        return [partial(best_logit, x, w, config=ours[name]) for w in weights]

    return calls, ["F.linear", "F.linear, argmax"], ours


def pages(tp: int, tokens: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """(positions, rope, slots, cache) of one rank: 64 blocks of 16 places in vLLM's layout, tokens' places apart."""
    heads, dim = MODEL.kv_heads // tp, MODEL.head_dim
    cache = torch.zeros(64, 16, heads, 2 * dim, device="cuda", dtype=torch.bfloat16).transpose(1, 2)
    slots = torch.randperm(1024, device="cuda")[:tokens].contiguous()
    return torch.randint(0, 4096, (tokens,), device="cuda"), torch.randn(4096, dim, device="cuda"), slots, cache


def to_attention(tp: int, tokens: int) -> tuple[Callable[[str], Calls], list[str], dict[str, SkinnyConfig]]:
    """add + RMSNorm + qkv projection + bias + RoPE + KV-cache write. A name's first word: "F.linear": torch's product, "ours": one launch from the product on,
    "one": one launch from the sum on."""
    rows = (MODEL.heads + 2 * MODEL.kv_heads) * MODEL.head_dim // tp
    weights, bias, norm = [randn(rows, HIDDEN) for _ in range(copies(rows, HIDDEN))], randn(rows), randn(HIDDEN)
    x, residual = randn(tokens, HIDDEN), randn(tokens, HIDDEN)
    where = pages(tp, tokens)
    shape = QkvShape(HIDDEN, MODEL.heads // tp, MODEL.kv_heads // tp, MODEL.head_dim, 16)
    arch = target().arch
    ours = {f"ours {name}": config for name, config in configs(shape.linear, tokens, tp > 1)}
    ours["ours rule"] = pick_qkv(arch, shape, tokens)
    if tokens <= NORM_COLUMNS:
        ours["one rule"] = pick_qkv(arch, replace(shape, norm=True), tokens)

    def once(name: str, w: torch.Tensor) -> object:
        if name == "F.linear":
            return functional.linear(x, w, bias)
        if name == "add_norm, F.linear, rope_cache":
            return rope_cache(functional.linear(add_norm(x, residual, norm)[0], w, bias), *where)
        if name.startswith("one"):
            return qkv_rope_cache(x, w, bias, *where, residual=residual, norm_weight=norm, eps=EPS, config=ours[name])
        return qkv_rope_cache(our_add_norm(x, residual, norm, EPS)[0], w, bias, *where, config=ours[name])

    return lambda name: [partial(once, name, w) for w in weights], ["F.linear", "add_norm, F.linear, rope_cache"], ours


Op = Callable[[int, int], tuple[Callable[[str], Calls], list[str], dict[str, Any]]]
OPS: dict[str, Op] = {"o": output_projection, "qkv": qkv_projection, "router": router, "head": head, "attend": to_attention}
