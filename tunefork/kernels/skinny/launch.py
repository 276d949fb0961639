"""Skinny bf16 products on the active device: one launch each (two for the best logit), no host synchronisation, safe under graph capture."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch

from tunefork.base.errors import BadInput
from tunefork.kernels.arch import SM90
from tunefork.kernels.moe_a16w4.device import target
from tunefork.kernels.moe_a16w4.plan import Step
from tunefork.kernels.skinny.config import MOST_TOKENS, NORM_COLUMNS, Linear, SkinnyConfig, illegal, pick
from tunefork.kernels.skinny.plan import norm_step, plan, programs


@lru_cache(maxsize=1024)
def prepare(arch: str, shape: Linear, tokens: int, config: SkinnyConfig | None, asm: bool) -> tuple[tuple[Step, ...], SkinnyConfig]:
    """The launches of a case and the configuration they have. Errors: BadInput for one that cannot run the case."""
    if not 1 <= tokens <= MOST_TOKENS:
        raise BadInput(f"M = {tokens} is outside 1..{MOST_TOKENS}", "use torch.nn.functional.linear")
    config = config or pick(arch, shape, tokens)
    reason = illegal(config, shape, tokens, arch)
    if reason:
        raise BadInput(f"this configuration cannot run M={tokens}: {reason}", "leave config out to use the rule")
    return tuple(plan(arch, shape, tokens, config, asm)), config


def run(step: Step, env: dict[str, Any]) -> None:
    """One launch with its arguments by name."""
    arguments = {name: None if key is None else env[key] for name, key in step.bind.items()}
    step.kernel[step.grid](**arguments, **step.constants, num_warps=step.warps, num_stages=1, **step.options)


def check_rows(name: str, x: torch.Tensor, tokens: int, cols: int, aligned: bool = True) -> None:
    """(tokens, cols) bf16, unit inner stride; aligned: rows at multiples of 16 bytes. Errors: BadInput."""
    if x.dim() != 2 or x.shape != (tokens, cols) or x.dtype != torch.bfloat16 or x.stride(1) != 1 or (aligned and (x.stride(0) % 8 or x.data_ptr() % 16)):
        raise BadInput(f"{name}: expected ({tokens}, {cols}) bfloat16, rows 16-byte aligned, got {tuple(x.shape)} {x.dtype} strides {x.stride()}",
                       "pass a row slice, or x.contiguous()")  # fmt: skip


def check_vector(name: str, x: torch.Tensor, size: int) -> None:
    """[size] bf16, contiguous. Errors: BadInput."""
    if x.shape != (size,) or x.dtype != torch.bfloat16 or not x.is_contiguous():
        raise BadInput(f"{name}: expected ({size},) bfloat16, contiguous, got {tuple(x.shape)} {x.dtype}", "convert it once, at load")


def _check(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> tuple[int, int, int]:
    if weight.dim() != 2 or weight.dtype != torch.bfloat16 or not weight.is_contiguous() or weight.data_ptr() % 16:
        raise BadInput(f"weight: expected (N, K) bfloat16, contiguous, got {tuple(weight.shape)} {weight.dtype}", "pass the layer's own weight")
    rows, cols = weight.shape
    check_rows("x", x, x.shape[0], cols)
    if bias is not None:
        check_vector("bias", bias, rows)
    return x.shape[0], rows, cols


def linear(
    x: torch.Tensor,  # (M, K) bf16, rows may be strided
    weight: torch.Tensor,  # (N, K) bf16
    bias: torch.Tensor | None = None,  # [N] bf16
    residual: torch.Tensor | None = None,  # (M, N) bf16, rows may be strided
    *,
    config: SkinnyConfig | None = None,
) -> torch.Tensor:
    """x W^T + bias, rounded to bf16, + residual, rounded again -> (M, N) bf16. Accumulates in float32 in a fixed order. M is 1 to 64.

    Errors: BadInput for a shape, dtype, stride or alignment that the kernel cannot read.
    """
    tokens, rows, cols = _check(x, weight, bias)
    if residual is not None:
        check_rows("residual", residual, tokens, rows, aligned=False)
    found = target()
    steps, _ = prepare(found.arch, Linear(rows, cols, bias=bias is not None, residual=residual is not None), tokens, config, found.asm)
    out = torch.empty((tokens, rows), dtype=torch.bfloat16, device=x.device)
    run(steps[0], {"x": x, "x_stride": x.stride(0), "w": weight, "bias": bias, "res": residual, "res_stride": residual.stride(0) if residual is not None else 0,
                   "out": out, "out_stride": rows, "M": tokens, "eps": 0.0})  # fmt: skip
    return out


def add_norm(
    x: torch.Tensor, residual: torch.Tensor, norm_weight: torch.Tensor, eps: float, *, both: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """s = x + residual in bf16; (RMSNorm(s), s), (M, K) bf16 both, for any M, one launch. Rows of x and residual may be strided. both: where s goes,
    contiguous; new without it. Errors: as `linear`."""
    tokens, cols = x.shape
    check_rows("x", x, tokens, cols)
    check_rows("residual", residual, tokens, cols)
    check_vector("norm_weight", norm_weight, cols)
    found = target()
    normed = torch.empty((tokens, cols), dtype=torch.bfloat16, device=x.device)
    both = torch.empty_like(normed) if both is None else both
    check_rows("both", both, tokens, cols)
    if not both.is_contiguous():
        raise BadInput(f"both: expected contiguous rows, got strides {both.stride()}", "leave it out")
    if tokens:
        run(norm_step(tokens, cols, found.arch == SM90.name and found.asm), {
            "x": x, "x_stride": x.stride(0), "res": residual, "res_stride": residual.stride(0), "norm": norm_weight, "sum": both, "normed": normed, "eps": eps,
        })  # fmt: skip
    return normed, both


def add_norm_linear(
    x: torch.Tensor,  # (M, K) bf16, rows may be strided
    residual: torch.Tensor,  # (M, K) bf16, rows may be strided
    norm_weight: torch.Tensor,  # [K] bf16
    eps: float,
    weight: torch.Tensor,  # (N, K) bf16
    bias: torch.Tensor | None = None,  # [N] bf16
    *,
    config: SkinnyConfig | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """s = x + residual in bf16; (RMSNorm(s) W^T + bias, s) -> ((M, N), (M, K)) bf16, one launch up to M = 16, two above. M is 1 to 64.

    Up to 16, s times the norm's weight is rounded to bf16 for the product, and 1 / rms multiplies the float32 sums: one rounding per activation, as where
    the norm itself is rounded. Errors: as `linear`.
    """
    tokens, rows, cols = _check(x, weight, bias)
    check_rows("residual", residual, tokens, cols)
    check_vector("norm_weight", norm_weight, cols)
    if tokens > NORM_COLUMNS:
        normed, both = add_norm(x, residual, norm_weight, eps)
        return linear(normed, weight, bias, config=config), both
    found, both = target(), torch.empty((tokens, cols), dtype=torch.bfloat16, device=x.device)
    env = {"x": x, "x_stride": x.stride(0), "w": weight, "bias": bias, "res": residual, "res_stride": residual.stride(0), "norm": norm_weight, "sum": both,
           "M": tokens, "eps": eps}  # fmt: skip
    steps, _ = prepare(found.arch, Linear(rows, cols, norm=True, bias=bias is not None), tokens, config, found.asm)
    out = torch.empty((tokens, rows), dtype=torch.bfloat16, device=x.device)
    run(steps[0], env | {"out": out, "out_stride": rows})
    return out, both


def best_logit(x: torch.Tensor, weight: torch.Tensor, *, config: SkinnyConfig | None = None) -> torch.Tensor:
    """argmax(x W^T) by row -> [M] int64: the logits are rounded to bf16, as the head writes them, compared, and never written. Among equals the lower id.

    x: (M, K) bf16. weight: (N, K) bf16. M is 1 to 64. Two launches. Errors: as `linear`.
    """
    tokens, rows, cols = _check(x, weight, None)
    found, shape = target(), Linear(rows, cols, best=True)
    steps, chosen = prepare(found.arch, shape, tokens, config, found.asm)
    keys = torch.empty((programs(shape, chosen), chosen.bm), dtype=torch.int64, device=x.device)
    ids = torch.empty(tokens, dtype=torch.int64, device=x.device)
    env = {"x": x, "x_stride": x.stride(0), "w": weight, "keys": keys, "ids": ids, "res_stride": 0, "out_stride": 0, "M": tokens, "eps": 0.0}
    for step in steps:
        run(step, env)
    return ids
