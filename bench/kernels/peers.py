"""The implementations we compare with: whichever can be imported here. Each peer gets the same plain weights and the same inputs.

triton_kernels comes with vLLM's CUDA wheels (vllm/third_party); put the folder that holds it on PYTHONPATH.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tunefork.bench.kernels.cases import TOPK, Plain

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


def _padded(plain: Plain) -> Plain:
    """The intermediate size rounded up to 128 with zero weights, as vLLM does at load: triton_kernels drops a K tail under 32."""
    w13, s13, b13, w2, s2, b2 = plain
    extra = -(2 * w2.shape[2]) % 128 if (2 * w2.shape[2]) % 64 else 0
    pad = torch.nn.functional.pad
    return (pad(w13, (0, 0, 0, 2 * extra)), pad(s13, (0, 0, 0, 2 * extra)), pad(b13, (0, 2 * extra)),
            pad(w2, (0, extra // 2)), pad(s2, (0, (w2.shape[2] * 2 + extra) // 32 - s2.shape[2])), b2)


def triton_kernels_layer(plain: Plain, warps: int = 8, split_k: int | None = 1) -> Layer:
    """triton_kernels' matmul_ogs as vLLM calls it on Hopper (8 warps, split_k 1), or a variant of it."""
    from triton_kernels.matmul_ogs import FlexCtx, FnSpecs, FusedActivation, PrecisionConfig, matmul_ogs  # type: ignore[import-not-found] # optional peer
    from triton_kernels.matmul_ogs_details import opt_flags  # type: ignore[import-not-found] # optional peer
    from triton_kernels.numerics import InFlexData  # type: ignore[import-not-found] # optional peer
    from triton_kernels.routing import routing  # type: ignore[import-not-found] # optional peer
    from triton_kernels.swiglu import swiglu_fn  # type: ignore[import-not-found] # optional peer

    w13, s13, b13, w2, s2, b2 = _padded(plain)
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


def available(plain: Plain) -> dict[str, Layer]:
    """The peers that import and build here, by name; what cannot is said on stdout."""
    found: dict[str, Layer] = {}
    variants = {"tk": (8, 1), "tk-4w": (4, 1), "tk-splitk": (8, None), "tk-4w-splitk": (4, None)}
    for name, (warps, split_k) in variants.items():
        try:
            found[name] = triton_kernels_layer(plain, warps, split_k)
        except Exception as error:
            print(f"peer {name} is absent: {type(error).__name__}: {error}")
    return found
