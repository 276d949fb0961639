"""Humming's MXFP4 MoE as a peer, as vLLM 0.33 runs it: its indexed GEMM (what vLLM takes without expert parallelism) or its grouped one.

`pip install humming-kernels==0.1.19`; its kernels are compiled where they run, so nvcc must be there. Routing and alignment come from vLLM's `_moe_C`
(see marlin.py), the weighted sum is a Triton kernel: vLLM has its own in Triton as well. The grouped GEMM's sort is torch's, which costs more than
vLLM's at few tokens: take its figure for many.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl

from tunefork.bench.kernels.cases import TOPK, Plain
from tunefork.bench.kernels.marlin import choose, load


@triton.jit  # type: ignore[untyped-decorator] # triton has no types
def _weighted_sum_kernel(parts_ptr, gates_ptr, place_ptr, out_ptr, columns, TOPK: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def] # Triton's
    """out[token] = sum over its pairs of gate * part, one row."""
    token = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = column < columns
    total = tl.zeros([BLOCK], tl.float32)
    for k in tl.static_range(TOPK):
        row = tl.load(place_ptr + token * TOPK + k).to(tl.int64)
        total += tl.load(gates_ptr + token * TOPK + k) * tl.load(parts_ptr + row * columns + column, mask=mask, other=0.0).to(tl.float32)
    tl.store(out_ptr + token * columns + column, total.to(tl.bfloat16), mask=mask)


_SWIGLU = """[](float a, float b) {{
    const float gate = fminf(a, {limit}f);
    const float up = fmaxf(fminf(b, {limit}f), -{limit}f);
    return gate / (1.f + expf(-{alpha}f * gate)) * (up + 1.f);
}}(a, b)"""


@dataclass(frozen=True)
class _Gemm:
    """One of the two grouped GEMMs: Humming's own description, its tensors, and what its rule takes for which number of pairs."""

    config: Any
    tensors: dict[str, torch.Tensor]
    tuning: list[Any]
    rows: int
    compute: str
    locks: torch.Tensor

    def block(self, pairs: int) -> int:
        """Rows of a block for so many pairs."""
        return next((int(config["block_shape"][0]) for low, high, config in self.tuning if low < pairs <= high), 64)

    def __call__(self, x: torch.Tensor, pairs: int, places: dict[str, Any]) -> torch.Tensor:
        from humming.forward import humming_forward  # type: ignore[import-not-found] # optional peer

        out = torch.empty(pairs, self.rows, dtype=torch.bfloat16, device=x.device)
        held = self.tensors
        humming_forward(self.config, inputs=x, weight=held["weight"], weight_scale=held.get("weight_scale"), bias=held.get("bias"),
                        weight_scale_2=held.get("weight_scale_2"), outputs=out, locks=self.locks, valid_shape_m=pairs, compute_config=self.compute,
                        tuning_config=json.dumps(self.tuning), **places)  # fmt: skip
        return out


def _gemm(values: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor, kind: Any) -> _Gemm:
    """Plain MXFP4 weights as Humming wants them, by the calls that vLLM makes at load."""
    from humming import dtypes  # type: ignore[import-not-found] # optional peer
    from humming.schema import BaseInputSchema, GptOssMxfp4WeightSchema  # type: ignore[import-not-found] # optional peer
    from humming.transform import prepare_and_transform_humming_tensors  # type: ignore[import-not-found] # optional peer
    from humming.tune import get_heuristics_config  # type: ignore[import-not-found] # optional peer

    experts, rows, depth = values.shape[0], values.shape[1], 2 * values.shape[2]
    schema, tensors = GptOssMxfp4WeightSchema().convert_humming(
        tensors={"weight": values.contiguous(), "weight_scale": scales.contiguous(), "bias": bias.contiguous()}, shape_n_stacks=[rows], shape_k_stacks=[depth],
        param_dtype=torch.bfloat16, num_experts=experts,
    )  # fmt: skip
    inputs = BaseInputSchema.from_config({"quant_method": "humming", "dtype": dtypes.DataType.from_torch_dtype(torch.bfloat16)})
    config, tensors = prepare_and_transform_humming_tensors(
        tensors=tensors, shape_n=rows, shape_k=depth, weight_schema=schema, input_schema=inputs, num_experts=experts, pad_n_to_multiple=256,
        pad_k_to_multiple=128, has_bias=True, torch_dtype=torch.bfloat16, device=values.device,
    )  # fmt: skip
    tuning = get_heuristics_config(layer_config=config, use_f16_accum=False, use_batch_invariant=False, gemm_type=kind)
    compute = json.dumps({"use_batch_invariant": False, "use_f16_accum": False, "gemm_type": kind.value})
    count = torch.cuda.get_device_properties(values.device).multi_processor_count
    return _Gemm(config, tensors, tuning, rows, compute, torch.zeros(8 * count, dtype=torch.int32, device=values.device))


def _aligned(ids: torch.Tensor, experts: int, block: int, topk: int) -> dict[str, Any]:
    """Blocks of `block` rows of one expert, for the indexed GEMM."""
    most = ids.numel() + experts * (block - 1)
    most = min(most, ids.numel() * block) if ids.numel() < experts else most
    order, owners, count = (torch.empty(size, dtype=torch.int32, device=ids.device) for size in (most, -(-most // block), 1))
    torch.ops._moe_C.moe_align_block_size(ids, experts, block, order, owners, count, None)
    return {"sorted_ids": order, "expert_ids": owners, "num_tokens_padded": count, "top_k": topk}


def humming_layer(plain: Plain, alpha: float, limit: float, grouped: bool = False) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The layer, every size a multiple of 128 (see peers.padded), as vLLM 0.33's HummingIndexedExperts or HummingGroupedExperts call it."""
    from humming.config import GemmType  # type: ignore[import-not-found] # optional peer
    from humming.forward import may_process_input

    load()
    w13, s13, b13, w2, s2, b2 = plain
    experts, device, hidden, inter = w13.shape[0], w13.device, w2.shape[1], w13.shape[1] // 2
    kind = GemmType.GROUPED_CONTIGUOUS if grouped else GemmType.INDEXED
    up, down = _gemm(w13, s13, b13, kind), _gemm(w2, s2, b2, kind)
    activation = {"activation_type": "binary_interleaved", "activation_impl": _SWIGLU.format(alpha=alpha, limit=limit)}
    bounds = torch.arange(experts + 1, dtype=torch.int32, device=device)

    def run(x: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        tokens, pairs = x.shape[0], x.shape[0] * TOPK
        gates = torch.empty(tokens, TOPK, dtype=torch.float32, device=device)
        ids, spare = torch.empty(2, tokens, TOPK, dtype=torch.int32, device=device)
        choose(gates, ids, spare, logits)
        where = torch.arange(pairs, device=device)
        if grouped:
            order = ids.view(-1).argsort(stable=True)
            first = second = {"expert_layout": torch.searchsorted(ids.view(-1)[order], bounds).long()}
            x, where = x[order // TOPK], torch.empty_like(order).scatter_(0, order, where)
        else:
            first = _aligned(ids, experts, up.block(pairs), TOPK)
            same = up.block(pairs) == down.block(pairs)
            second = {**(first if same else _aligned(ids, experts, down.block(pairs), 1)), "top_k": 1}
        h = torch.empty(pairs, inter, dtype=torch.bfloat16, device=device)
        h, _, _ = may_process_input(down.config, inputs=up(x, pairs, first), outputs=h, **activation)
        parts, out = down(h, pairs, second), torch.empty(tokens, hidden, dtype=torch.bfloat16, device=device)
        _weighted_sum_kernel[(tokens, -(-hidden // 1024))](parts, gates, where, out, hidden, TOPK=TOPK, BLOCK=1024)
        return out

    return run
