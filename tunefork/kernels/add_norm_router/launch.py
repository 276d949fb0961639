"""`add_norm_moe`: add, RMSNorm, router and the MXFP4 MoE layer of a decode step, three or four launches, no host synchronisation."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch

from tunefork.base.errors import BadInput
from tunefork.kernels.add_norm_router.config import RouterConfig, RouterShape, illegal, pick
from tunefork.kernels.add_norm_router.plan import Wanted, part_size, plan
from tunefork.kernels.moe_a16w4.config import LayerConfig, MoeShape
from tunefork.kernels.moe_a16w4.device import target
from tunefork.kernels.moe_a16w4.launch import Workspace, prepare
from tunefork.kernels.moe_a16w4.plan import Case, Step
from tunefork.kernels.moe_a16w4.weights import Weights
from tunefork.kernels.skinny.launch import check_rows, check_vector, run


@lru_cache(maxsize=1024)
def steps_of(arch: str, shape: RouterShape, tokens: int, config: RouterConfig | None, wanted: Wanted, asm: bool) -> tuple[tuple[Step, ...], int]:
    """The launches of a case, and part_size. Errors: BadInput for a configuration that cannot run it."""
    config = config or pick(arch, shape, tokens)
    reason = illegal(config, shape, tokens, arch)
    if reason:
        raise BadInput(f"this configuration cannot run M={tokens}: {reason}", "leave config out to use the rule")
    return tuple(plan(arch, shape, tokens, config, wanted, asm)), part_size(arch, shape, tokens, config)


def make_done(device: torch.device | str) -> torch.Tensor:
    """[1] int32, zero: counts the programs that are done, and is zero again after each call. One for every stream that calls."""
    return torch.zeros(1, dtype=torch.int32, device=device)


def _check(x: torch.Tensor, residual: torch.Tensor, norm_weight: torch.Tensor, router: torch.Tensor, bias: torch.Tensor, done: torch.Tensor) -> None:
    if router.dim() != 2 or router.dtype != torch.bfloat16 or not router.is_contiguous() or router.data_ptr() % 16:
        raise BadInput(f"router: expected (E, K) bfloat16, contiguous, got {tuple(router.shape)} {router.dtype}", "pass the router's own weight")
    check_rows("x", x, x.shape[0], router.shape[1])
    check_rows("residual", residual, x.shape[0], router.shape[1])
    check_vector("norm_weight", norm_weight, router.shape[1])
    check_vector("router_bias", bias, router.shape[0])
    if done.shape != (1,) or done.dtype != torch.int32:
        raise BadInput(f"done: expected (1,) int32, got {tuple(done.shape)} {done.dtype}", "make it with make_done(device)")


def _arguments(x: torch.Tensor, residual: torch.Tensor, norm_weight: torch.Tensor, eps: float, router: torch.Tensor, bias: torch.Tensor,
               done: torch.Tensor, live: torch.Tensor | None) -> dict[str, Any]:  # fmt: skip
    _check(x, residual, norm_weight, router, bias, done)
    tokens, hidden = x.shape
    return {
        "x": x, "x_stride": x.stride(0), "res": residual, "res_stride": residual.stride(0), "norm": norm_weight, "sum": x.new_empty(tokens, hidden),
        "normed": x.new_empty(tokens, hidden), "w": router, "bias": bias, "logits": x.new_empty(tokens, router.shape[0]), "live": live, "done": done,
        "M": tokens, "eps": eps, "hidden": hidden,
    }  # fmt: skip


def add_norm_route(
    x: torch.Tensor,  # (M, K) bf16, rows may be strided
    residual: torch.Tensor,  # (M, K) bf16, rows may be strided
    norm_weight: torch.Tensor,  # [K] bf16
    eps: float,
    router: torch.Tensor,  # (E, K) bf16
    router_bias: torch.Tensor,  # [E] bf16
    topk: int = 4,
    *,
    done: torch.Tensor,  # make_done
    num_live: torch.Tensor | None = None,  # [1] int32: later tokens choose nothing (id -1, gate 0)
    config: RouterConfig | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """-> (normed (M, K) bf16, x + residual (M, K) bf16, logits (M, E) bf16, ids (M, topk) int32, gates (M, topk) float32).

    ids: the topk greatest logits, which are rounded to bf16 first as vLLM's router writes them; among equals the lower id. gates: softmax over the
    chosen. M is 1 to 64. Errors: BadInput for a shape, dtype, stride or alignment that the kernels cannot read.
    """
    found, tokens = target(), x.shape[0]
    env = _arguments(x, residual, norm_weight, eps, router, router_bias, done, num_live)
    env |= {"ids": torch.empty((tokens, topk), dtype=torch.int32, device=x.device), "gates": torch.empty((tokens, topk), device=x.device)}
    shape = RouterShape(router.shape[1], router.shape[0], topk)
    steps, size = steps_of(found.arch, shape, tokens, config, Wanted(has_live=num_live is not None), found.asm)
    env["part"] = torch.empty(size, device=x.device)
    for step in steps:
        run(step, env)
    return env["normed"], env["sum"], env["logits"], env["ids"], env["gates"]


def add_norm_moe(
    x: torch.Tensor,  # (M, H) bf16, rows may be strided
    residual: torch.Tensor,  # (M, H) bf16, rows may be strided
    norm_weight: torch.Tensor,  # [H] bf16
    eps: float,
    router: torch.Tensor,  # (E, H) bf16
    router_bias: torch.Tensor,  # [E] bf16
    weights: Weights,
    topk: int = 4,
    *,
    done: torch.Tensor,  # make_done
    workspace: Workspace | None = None,
    num_live: torch.Tensor | None = None,  # [1] int32: later rows of the MoE's output hold nothing
    alpha: float = 1.702,
    limit: float = 7.0,
    config: RouterConfig | None = None,
    layer: LayerConfig | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """s = x + residual; (MoE(RMSNorm(s)), s) -> two (M, H) bf16. Routing as in `add_norm_route`, the experts as in `fused_moe`, whose first launch this
    one's last takes the place of. M is 1 to 64, all experts local. Errors: BadInput, as those two."""
    found, tokens, arch = target(), x.shape[0], weights.layout13.arch
    env = _arguments(x, residual, norm_weight, eps, router, router_bias, done, num_live)
    shape = RouterShape(weights.hidden, weights.experts, topk)
    if router.shape != (weights.experts, weights.hidden):
        raise BadInput(f"router: expected ({weights.experts}, {weights.hidden}), got {tuple(router.shape)}", "every expert has to be local")
    steps_of(arch, shape, tokens, config, Wanted(), found.asm)  # refuses what the router cannot run, before the layer is planned
    case = Case(arch, MoeShape(weights.hidden, weights.intermediate, weights.experts, topk), tokens, weights.experts, found.asm, weights.layout13.wide,
                weights.layout2.wide, num_live is not None)  # fmt: skip
    prepared = prepare(case, layer)
    constants = prepared.steps[0].constants  # of the routing that is left out
    wanted = Wanted(constants["BM"] if constants["SORT"] == "here" else 0, constants["COUNTERS"], num_live is not None)
    space = workspace or Workspace(torch.empty(prepared.bytes, dtype=torch.uint8, device=x.device))
    out = x.new_empty(tokens, weights.hidden)
    env |= {**space.buffers(prepared), **weights.arguments, "out": out, "out_stride": weights.hidden, "alpha": alpha, "limit": limit, "map": None}
    steps, size = steps_of(arch, shape, tokens, config, wanted, found.asm)
    part = torch.empty(size, device=x.device)
    for step in steps:
        run(step, env | {"part": part})  # the layer has a buffer of that name, too
    env |= {"x": env["normed"], "x_stride": weights.hidden}
    for step in prepared.steps[1:]:
        run(step, env)
    return out, env["sum"]


__all__ = ["add_norm_moe", "add_norm_route", "make_done"]
