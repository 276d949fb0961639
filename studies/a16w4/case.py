"""One call of AITER's ``moe_gemm_a16w4``: its shape, and CPU tensors for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
import triton

from tunefork.kernels.model import GPT_OSS_120B

SWIZZLED = "CDNA4_SCALE"
PAD = 256
E2M1 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], dtype=torch.float32)


@dataclass(frozen=True)
class Case:
    """A call of the launcher.

    n, k: columns and depth as the model has them (n counts gate and up for the first GEMM).
    pad: weights and activations are padded to a multiple of 256 (gate and up each) and the launcher is told ``n`` and ``k`` as unpadded sizes,
        as vLLM does with our patch; else the tensors have exactly n and k.
    told: false: padded, and the launcher is not told, as vLLM 0.33.0 does.
    n_major: plain scales are contiguous along N, as triton_kernels of Triton 3.8 leaves them; else along K, as AITER's tests have them.
    gate_up: the first GEMM (gathered rows, SwiGLU); else the second (routing weights, scattered sum).
    swizzle: "CDNA4_SCALE" or None.
    dirty: padding of an executed case holds what must not count: ones in X, scales that decode to NaN (swizzled ones are read as
        they are, and stay clean); else it holds zeros, as loaders leave it.
    gammas: routing weights also in the first GEMM (apply_router_weight_on_input).
    route: "random", or "one": every token goes to the same top_k experts.
    force: replaces entries of what ``get_kernel_config`` picks.
    """

    tokens: int
    n: int
    k: int
    gate_up: bool
    swizzle: str | None = None
    pad: bool = False
    told: bool = True
    n_major: bool = False
    dirty: bool = False
    gammas: bool = False
    experts: int = GPT_OSS_120B.experts
    top_k: int = GPT_OSS_120B.topk
    route: str = "random"
    seed: int = 0
    force: dict[str, Any] = field(default_factory=dict)

    @property
    def stored(self) -> tuple[int, int]:
        """Columns and depth of the tensors."""
        halves = 2 if self.gate_up else 1
        n, k = -(-self.n // halves // PAD) * PAD * halves, -(-self.k // PAD) * PAD
        return (n, k) if self.pad else (self.n, self.k)

    @property
    def label(self) -> str:
        gemm = "gate-up" if self.gate_up else "down"
        scales = "swizzled" if self.swizzle else "plain"
        forced = "".join(f" {name}={value}" for name, value in self.force.items())
        return f"M={self.tokens} {gemm} N={self.n} K={self.k} {scales}{forced}"


@dataclass(frozen=True)
class Inputs:
    """What the launcher takes, and the fp32 result that it should give.

    x: (rows, K) bf16.  w: (E, K/2, N) uint8, K contiguous.  scales: (E, K/32, N) uint8 or swizzled.  bias: (E, N) fp32.
    expected: (rows, columns) fp32, without padding columns; None where the tensors hold no values.
    """

    x: torch.Tensor
    w: torch.Tensor
    scales: torch.Tensor
    bias: torch.Tensor
    routing: Any
    gather: torch.Tensor | None
    scatter: torch.Tensor | None
    gammas: torch.Tensor | None
    expected: torch.Tensor | None


def choose(case: Case) -> tuple[torch.Tensor, torch.Tensor]:
    """(tokens, top_k) routing weights and experts in ascending order."""
    generator = torch.Generator().manual_seed(case.seed)
    logits = torch.randn(case.tokens, case.experts, generator=generator)
    if case.route == "one":
        logits[:] = logits[0]
    weights, chosen = logits.softmax(-1).topk(case.top_k)
    chosen, order = chosen.sort(dim=1)
    return weights.gather(1, order), chosen


def route(case: Case, routing: ModuleType) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """AITER's RoutingData of a case, gather and scatter indices in the types that its kernels give.

    AITER's own torch routing counts rows with an operator that CPU tensors lack; the block map is made by AITER.
    """
    weights, chosen = choose(case)
    by_expert = chosen.reshape(-1).argsort(stable=True)
    hist = torch.bincount(chosen.reshape(-1), minlength=case.experts).int()
    rows = case.tokens * case.top_k
    block_m = max(16, min(triton.next_power_of_2(max(1, rows // case.experts)), 128))
    blocks = routing.compute_expt_data_torch(hist, case.experts, rows, block_m)
    data = routing.RoutingData(block_m, weights.reshape(-1)[by_expert], hist, case.experts, case.top_k, blocks)
    return data, by_expert.to(torch.uint16), by_expert.argsort().to(torch.uint16)


def swizzle_scales(scales: torch.Tensor) -> torch.Tensor:
    """(E, N, K/32) -> the CDNA4 layout, (E, K, N/32) with K contiguous: the inverse of the kernel's unswizzle."""
    experts, n, groups = scales.shape
    tiles = scales.reshape(experts, n // 32, 2, 16, groups // 8, 2, 4).permute(0, 1, 4, 6, 3, 5, 2)
    return tiles.reshape(experts, n // 32, groups * 32).transpose(-1, -2)


def swiglu(both: torch.Tensor, alpha: float, limit: float) -> torch.Tensor:
    """gpt-oss' activation in fp32: gate in even columns, up in odd ones."""
    gate, up = both[:, ::2].clamp(max=limit), both[:, 1::2].clamp(-limit, limit)
    return gate * torch.sigmoid(alpha * gate) * (up + 1)


def empty(case: Case, routing: ModuleType) -> Inputs:
    """Inputs of the right shapes, strides and types without values: enough to compile for, and no memory is touched."""
    data, gather, scatter = route(case, routing)
    n, k = case.stored
    rows = case.tokens if case.gate_up else case.tokens * case.top_k
    x = torch.empty(rows, k, dtype=torch.bfloat16)
    w = torch.empty(case.experts, n, k // 2, dtype=torch.uint8).transpose(-1, -2)
    if case.swizzle:
        scales = torch.empty(case.experts, n // 32, -(-k // PAD) * PAD, dtype=torch.uint8).transpose(-1, -2)
    else:
        scales = torch.empty(case.experts, n, -(-k // 32), dtype=torch.uint8).transpose(-1, -2)
    if case.n_major and not case.swizzle:
        scales = scales.contiguous()
    bias = torch.empty(case.experts, n)
    gammas = data.gate_scal if case.gammas or not case.gate_up else None
    gathered, scattered = (gather, None) if case.gate_up else (None, scatter)
    return Inputs(x, w, scales, bias, data, gathered, scattered, gammas, None)


def filled(case: Case, routing: ModuleType, alpha: float, limit: float) -> Inputs:
    """Random inputs and the expected result."""
    blank = empty(case, routing)
    generator = torch.Generator().manual_seed(case.seed + 1)
    (n, k), experts = case.stored, case.experts
    x = torch.full_like(blank.x, float(case.dirty))
    x[:, : case.k] = torch.randn(len(x), case.k, generator=generator).bfloat16()
    codes = torch.randint(0, 256, (experts, n, k // 2), dtype=torch.uint8, generator=generator)
    codes[:, case.n :], codes[:, :, case.k // 2 :] = 0, 0
    groups = -(-k // PAD) * 8 if case.swizzle else -(-k // 32)
    scales = torch.randint(120, 126, (experts, n, groups), dtype=torch.uint8, generator=generator)
    scales[:, case.n :], scales[:, :, -(-case.k // 32) :] = 0, 255 if case.dirty and not case.swizzle else 0
    bias = torch.randn(experts, n, generator=generator)
    bias[:, case.n :] = 0
    weights = torch.stack([E2M1[(codes & 15).long()], E2M1[(codes >> 4).long()]], dim=-1).reshape(experts, n, k)
    scaled = weights[:, : case.n, : case.k] * (2.0 ** (scales.float() - 127)).repeat_interleave(32, 2)[:, : case.n, : case.k]
    stored = swizzle_scales(scales) if case.swizzle else scales.transpose(-1, -2)
    stored = stored.contiguous() if case.n_major and not case.swizzle else stored
    data, gather, scatter, gammas = blank.routing, blank.gather, blank.scatter, blank.gammas
    expected = reference(case, x[:, : case.k].float(), scaled, bias[:, : case.n], data, gather, scatter, gammas, alpha, limit)
    return Inputs(x, codes.transpose(-1, -2), stored, bias, data, gather, scatter, gammas, expected)


def reference(
    case: Case,
    x: torch.Tensor,
    w: torch.Tensor,
    bias: torch.Tensor,
    data: Any,
    gather: torch.Tensor | None,
    scatter: torch.Tensor | None,
    gammas: torch.Tensor | None,
    alpha: float,
    limit: float,
) -> torch.Tensor:
    """The layer's GEMM in fp32: w (E, n, k) decoded, rows sorted by expert."""
    ends = data.expt_hist.cumsum(0).tolist()
    out = []
    for expert, end in enumerate(ends):
        rows = torch.arange(end - int(data.expt_hist[expert]), end)
        taken = rows if gather is None else gather.long()[rows] // case.top_k
        both = x[taken] @ w[expert].T + bias[expert]
        made = swiglu(both, alpha, limit) if case.gate_up else both
        out.append(made if gammas is None else made * gammas[rows, None])
    y = torch.cat(out)
    if scatter is None:
        return y
    return y[scatter.long().view(-1, case.top_k)].sum(1)
