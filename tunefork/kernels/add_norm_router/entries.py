"""The gate's rows of add + norm + router: GPT-OSS-120B's, before a MoE layer in slot order and in sorted order, and their checks at small sizes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial

from tunefork.kernels.add_norm_router.config import RouterConfig, RouterShape, pick
from tunefork.kernels.add_norm_router.plan import POINTERS, Wanted, plan
from tunefork.kernels.entry import entry, relative_difference
from tunefork.kernels.model import GPT_OSS_120B as MODEL
from tunefork.kernels.shipped import Shipped
from tunefork.kernels.skinny.config import CHUNK

SHAPE = RouterShape(MODEL.hidden, MODEL.experts, MODEL.topk)


def cases(arch: str) -> Iterator[tuple[int, RouterConfig, Wanted]]:
    """(tokens, configuration, what the MoE layer wants): slot order, one launch sorted, two launches sorted."""
    for tokens, wanted in ((4, Wanted(has_live=True)), (16, Wanted(block=16, has_live=True)), (64, Wanted(block=16, has_live=True))):
        yield tokens, pick(arch, SHAPE, tokens), wanted


@lru_cache(maxsize=64)
def relative_error(tokens: int, config: RouterConfig, sort: bool) -> float:
    """The greatest of the relative errors (2-norms) of normed, sum, logits and gates, 1 where an expert is chosen otherwise than its own logits say; with
    ``sort`` of a whole MoE layer instead. On CPU tensors, through whatever driver is active, at small sizes."""
    import torch

    from tunefork.kernels.add_norm_router.launch import add_norm_moe, add_norm_route, make_done
    from tunefork.kernels.add_norm_router.reference import add_norm_route_reference
    from tunefork.kernels.moe_a16w4.reference import fused_moe_reference, route
    from tunefork.kernels.moe_a16w4.weights import prepare_weights

    gen = torch.Generator().manual_seed(tokens)
    hidden, experts, topk, inter = CHUNK * max(3, config.split), 16, 4, 32

    def randn(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=gen).bfloat16()

    x, residual, norm, w, bias = randn(tokens, hidden), randn(tokens, hidden), randn(hidden), randn(experts, hidden), randn(experts)
    w[5], bias[5] = w[2], bias[2]  # a tie in every row
    live, done = torch.tensor([tokens], dtype=torch.int32), make_done("cpu")
    normed, both, logits, ids, gates = add_norm_route(x, residual, norm, 1e-5, w, bias, topk, done=done, num_live=live, config=config)
    want_normed, want_both, want_logits, _, _ = add_norm_route_reference(x, residual, norm, 1e-5, w, bias, topk)
    want_ids, want_gates = route(logits, topk)
    if not bool((ids == want_ids).all()) or int(done):
        return 1.0
    pairs = ((normed, want_normed), (both, want_both), (logits, want_logits), (gates, want_gates))
    errors = [relative_difference(got, want) for got, want in pairs]
    if sort:
        def matrix(rows: int, cols: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            return (torch.randint(0, 256, (experts, rows, cols // 2), dtype=torch.uint8, generator=gen),
                    torch.randint(121, 125, (experts, rows, -(-cols // 32)), dtype=torch.uint8, generator=gen), randn(experts, rows))

        plain = (*matrix(2 * inter, hidden), *matrix(hidden, inter))
        y, _ = add_norm_moe(x, residual, norm, 1e-5, w, bias, prepare_weights(*plain, arch="gfx950"), topk, done=done, num_live=live, config=config)
        errors.append(relative_difference(y, fused_moe_reference(normed, logits, plain, topk)))
    return max(errors)


def entries(arch: str) -> Iterator[Shipped]:
    """Every distinct compilation once."""
    for tokens, config, wanted in cases(arch):
        for step in plan(arch, SHAPE, tokens, config, wanted):
            weights = ("w_ptr",) if step.kernel.__name__ == "router_kernel" else ()
            yield entry(step, "add_norm_router", f"m{tokens}", f"K{SHAPE.hidden} E{SHAPE.experts} M{tokens}", POINTERS, arch,
                        partial(relative_error, min(tokens, 3), config, wanted.block > 0), weights, tolerance=6e-3)  # fmt: skip
