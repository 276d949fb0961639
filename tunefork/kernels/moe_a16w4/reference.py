"""The layer in plain float32 torch, one expert at a time: what every kernel is compared with. Source: the torch model of openai/gpt-oss."""

from __future__ import annotations

import torch

from tunefork.kernels.mxfp4.format import dequantize


def route(logits: torch.Tensor, topk: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(M, E) logits of any float dtype -> (ids (M, topk) int64, weights (M, topk) float32): softmax over the chosen; among equals the lower id."""
    order = torch.sort(logits.float(), dim=1, descending=True, stable=True)
    return order.indices[:, :topk], torch.softmax(order.values[:, :topk], 1)


def swiglu_oai(gate_up: torch.Tensor, alpha: float, limit: float) -> torch.Tensor:
    """(..., 2 I) interleaved gate, up -> (..., I), in the input's dtype: (clamp(up, -limit, limit) + 1) * g * sigmoid(alpha * g), g = min(gate, limit)."""
    gate = gate_up[..., 0::2].clamp(max=limit)
    up = gate_up[..., 1::2].clamp(-limit, limit)
    return (up + 1) * gate * torch.sigmoid(alpha * gate)


def fused_moe_reference(
    x: torch.Tensor,  # (M, H)
    router_logits: torch.Tensor,  # (M, E)
    plain: tuple[torch.Tensor, ...],  # w13, s13, b13, w2, s2, b2 as prepare_weights takes them
    topk: int = 4,
    *,
    expert_map: torch.Tensor | None = None,
    alpha: float = 1.702,
    limit: float = 7.0,
) -> torch.Tensor:
    """-> (M, H) float32. Only experts that some token chose are dequantised. expert_map: [E] global -> local id or -1; then only local parts are summed."""
    w13, s13, b13, w2, s2, b2 = plain
    ids, gates = route(router_logits, topk)
    if expert_map is not None:
        ids = expert_map.to(ids.device)[ids].long()
    out = torch.zeros(x.shape[0], w2.shape[1], dtype=torch.float32, device=x.device)
    for expert in ids.unique().tolist():
        if expert < 0:
            continue
        token, choice = (ids == expert).nonzero(as_tuple=True)
        hidden = x[token].float() @ dequantize(w13[expert], s13[expert]).T + b13[expert].float()
        part = swiglu_oai(hidden, alpha, limit) @ dequantize(w2[expert], s2[expert]).T + b2[expert].float()
        out.index_add_(0, token, part * gates[token, choice, None])
    return out
