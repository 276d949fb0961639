"""The implementations we compare with: whichever can be imported here. Each peer gets the same plain weights and the same inputs.

triton_kernels and Marlin's `_moe_C` come with vLLM's CUDA wheels (vllm/third_party, vllm/); Humming with its own; AITER's Triton kernels with its
repository. Put the folders that hold `triton_kernels`, `vllm`, `humming` and `aiter` on PYTHONPATH. What cannot be imported is named with its reason.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from tunefork.bench.kernels.aiter_triton import aiter_layer
from tunefork.bench.kernels.cases import TOPK, Plain
from tunefork.bench.kernels.humming import humming_layer
from tunefork.bench.kernels.marlin import marlin_layer
from tunefork.kernels.mxfp4.format import E2M1_VALUES, GROUP, nibbles

ALPHA, LIMIT = 1.702, 7.0
Layer = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def _wrap(values: torch.Tensor, scales: torch.Tensor, warps: int) -> tuple[Any, Any]:
    from triton_kernels.tensor import FP4, convert_layout, wrap_torch_tensor  # type: ignore[import-not-found] # optional peer
    from triton_kernels.tensor_details import layout  # type: ignore[import-not-found] # optional peer

    value_layout, value_options = layout.make_default_matmul_mxfp4_w_layout(mx_axis=1)
    scale_layout, scale_options = layout.make_default_matmul_mxfp4_w_scale_layout(mx_axis=1, num_warps=warps)
    scales = torch.nn.functional.pad(scales, (0, -scales.shape[-1] % 4))
    wrapped = convert_layout(wrap_torch_tensor(values.transpose(-2, -1), dtype=FP4), value_layout, **value_options)
    return wrapped, convert_layout(wrap_torch_tensor(scales.transpose(-2, -1)), scale_layout, **scale_options)


def padded(plain: Plain, inter: int, hidden: int = 1) -> Plain:
    """The intermediate size up to a multiple of `inter`, and w2's rows of `hidden`, with zero weights: what vLLM does at load for kernels that
    need it."""
    w13, s13, b13, w2, s2, b2 = plain
    more, rows = -(2 * w2.shape[2]) % inter, -w2.shape[1] % hidden
    pad = torch.nn.functional.pad
    groups = (2 * w2.shape[2] + more) // 32 - s2.shape[2]
    return (pad(w13, (0, 0, 0, 2 * more)), pad(s13, (0, 0, 0, 2 * more)), pad(b13, (0, 2 * more)),
            pad(w2, (0, more // 2, 0, rows)), pad(s2, (0, groups, 0, rows)), pad(b2, (0, rows)))


def triton_kernels_layer(plain: Plain, warps: int = 8, split_k: int | None = 1) -> Layer:
    """triton_kernels' matmul_ogs as vLLM calls it on Hopper (8 warps, split_k 1), or a variant of it."""
    from triton_kernels.matmul_ogs import FlexCtx, FnSpecs, FusedActivation, PrecisionConfig, matmul_ogs  # type: ignore[import-not-found] # optional peer
    from triton_kernels.matmul_ogs_details import opt_flags  # type: ignore[import-not-found] # optional peer
    from triton_kernels.numerics import InFlexData  # type: ignore[import-not-found] # optional peer
    from triton_kernels.routing import routing  # type: ignore[import-not-found] # optional peer
    from triton_kernels.swiglu import swiglu_fn  # type: ignore[import-not-found] # optional peer

    # It drops a K tail under 32.
    w13, s13, b13, w2, s2, b2 = padded(plain, 128) if plain[3].shape[2] % 32 else plain
    w1, w1_scale = _wrap(w13, s13, warps)
    w2_, w2_scale = _wrap(w2, s2, warps)
    first = PrecisionConfig(weight_scale=w1_scale, flex_ctx=FlexCtx(rhs_data=InFlexData()))
    second = PrecisionConfig(weight_scale=w2_scale, flex_ctx=FlexCtx(rhs_data=InFlexData()))
    bias1, bias2 = b13.float(), b2.float()
    activation = FusedActivation(FnSpecs("swiglu", swiglu_fn, ("alpha", "limit")), (ALPHA, LIMIT), 2)
    constraints = {} if split_k is None else {"split_k": split_k}

    def run(x: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        opt_flags.reset_opt_flags_constraints()
        opt_flags.update_opt_flags_constraints(constraints)
        data, gather, scatter = routing(logits, TOPK)
        h = matmul_ogs(x, w1, bias1, data, gather_indx=gather, precision_config=first, fused_activation=activation)
        return matmul_ogs(h, w2_, bias2, data, scatter_indx=scatter, precision_config=second, gammas=data.gate_scal)

    return run


def torch_layer(plain: Plain) -> Layer:
    """Naive torch: dequantise each expert and multiply every token with it, keep what the router gives it. No host synchronisation, so it can be
    captured; every expert is read, hit or not."""
    w13, s13, b13, w2, s2, b2 = plain
    table = torch.tensor(E2M1_VALUES + tuple(-value for value in E2M1_VALUES), device=w13.device)

    def dequantized(values: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        grouped = torch.repeat_interleave(scales, GROUP, 1, output_size=scales.shape[1] * GROUP)[:, : 2 * values.shape[1]]
        return (table[nibbles(values).int()] * torch.exp2(grouped.float() - 127.0)).bfloat16()

    def run(x: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        top = logits.float().topk(TOPK, 1)
        gates = torch.zeros_like(logits, dtype=torch.float32).scatter(1, top.indices, top.values.softmax(1))
        out = torch.zeros(x.shape, dtype=torch.float32, device=x.device)
        for expert in range(w13.shape[0]):
            a = x @ dequantized(w13[expert], s13[expert]).T + b13[expert]
            gate, up = a[:, 0::2].float().clamp(max=LIMIT), a[:, 1::2].float().clamp(-LIMIT, LIMIT)
            h = ((up + 1) * gate * torch.sigmoid(ALPHA * gate)).bfloat16()
            out += gates[:, expert, None] * (h @ dequantized(w2[expert], s2[expert]).T + b2[expert])
        return out.bfloat16()

    return run


def available(plain: Plain, report: Callable[[str], None] = print) -> dict[str, Layer]:
    """The peers that import and build here, by name; what cannot is reported with its reason."""
    variants = {"tk": (8, 1), "tk-4w": (4, 1), "tk-splitk": (8, None), "tk-4w-splitk": (4, None)}
    makers: dict[str, Callable[[], Layer]] = {name: partial(triton_kernels_layer, plain, *choice) for name, choice in variants.items()}
    makers |= {"marlin": lambda: marlin_layer(padded(plain, 128), ALPHA, LIMIT), "aiter": lambda: aiter_layer(padded(plain, 256, 256), ALPHA, LIMIT),
               "humming": lambda: humming_layer(padded(plain, 128), ALPHA, LIMIT),
               "humming-grouped": lambda: humming_layer(padded(plain, 128), ALPHA, LIMIT, grouped=True), "torch": lambda: torch_layer(plain)}
    found: dict[str, Layer] = {}
    for name, make in makers.items():
        try:
            found[name] = make()
        except Exception as error:
            report(f"peer {name} is absent: {type(error).__name__}: {error}")
    return found
