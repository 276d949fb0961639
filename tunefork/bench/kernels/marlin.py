"""vLLM's compiled Marlin MXFP4 MoE as a peer: routing, alignment and both GEMMs from its `_moe_C` extension.

The extension is loaded on its own, without importing vLLM, from wherever a folder `vllm` on sys.path holds it. Its weight format is written here in
torch, and the activation as one Triton kernel, because vLLM keeps those two in another extension.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import torch
import triton
import triton.language as tl

from tunefork.bench.kernels.cases import TOPK, Plain
from tunefork.kernels.mxfp4.format import nibbles

# The order of a word's eight nibbles, and the rows of a 16-row tile that a lane of four holds.
_NIBBLES = (0, 2, 4, 6, 1, 3, 5, 7)
_ROWS = (0, 1, 8, 9)
_BLOCKS = (8, 16, 32, 48, 64)
# vLLM's ScalarType.float4_e2m1f: exponent 2, mantissa 1, signed, bias 0, finite values only, no NaN, packed in this order of fields.
_E2M1 = 2 | 1 << 8 | 1 << 16 | 1 << 49


def load() -> None:
    """Load the extension; ImportError says where it was looked for."""
    if hasattr(torch.ops._moe_C, "moe_wna16_marlin_gemm"):
        return
    spec = importlib.util.find_spec("vllm")
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    found = [path for folder in folders for path in sorted(folder.glob("_moe_C*.so"))]
    if not found:
        raise ImportError(f"no vllm/_moe_C*.so on sys.path (looked in {[str(f) for f in folders] or 'no folder named vllm'})")
    torch.ops.load_library(str(found[0]))


def names(op: str) -> list[str]:
    """An operator's arguments: vLLM adds and drops some of them between releases."""
    return [argument.name for argument in getattr(torch.ops._moe_C, op).default._schema.arguments]


def choose(gates: torch.Tensor, ids: torch.Tensor, spare: torch.Tensor, logits: torch.Tensor) -> None:
    """Softmax over the best `ids.shape[1]` of [tokens, experts] logits, written to gates and ids; what a release takes beyond is left out."""
    torch.ops._moe_C.topk_softmax(gates, ids, spare, logits, True, *[None] * (len(names("topk_softmax")) - 5))


def pack_values(values: torch.Tensor) -> torch.Tensor:
    """[E, N, K / 2] uint8 -> [E, K / 16, 2 N] int32: tiles of 16 x 64, a word per lane and warp."""
    experts, rows, half = values.shape
    out = torch.empty(experts, half // 8, 2 * rows, dtype=torch.int32, device=values.device)
    lane = torch.arange(4, device=values.device)[:, None] * 2 + torch.tensor(_ROWS, device=values.device)
    for expert in range(experts):
        codes = nibbles(values[expert]).T.reshape(half // 8, 16, rows // 64, 4, 2, 8)  # [k tile, k, n tile, warp, half, column]
        picked = codes[:, lane]  # [k tile, lane, row, n tile, warp, half, column]
        picked = picked.permute(0, 3, 6, 1, 4, 5, 2).reshape(half // 8, rows // 64, 8, 4, 4, 8)  # ..., column, lane, warp, (half, row)
        words = torch.zeros(picked.shape[:-1], dtype=torch.int64, device=values.device)
        for place, source in enumerate(_NIBBLES):
            words |= picked[..., source].to(torch.int64) << (4 * place)
        out[expert] = torch.where(words >= 1 << 31, words - (1 << 32), words).to(torch.int32).reshape(half // 8, 2 * rows)
    return out


def pack_scales(scales: torch.Tensor) -> torch.Tensor:
    """[E, N, K / 32] e8m0 bytes -> [E, K / 32, N] float8_e8m0fnu in Marlin's order."""
    experts, rows, groups = scales.shape
    flat = scales.transpose(1, 2).reshape(-1, 8, 8).transpose(1, 2).reshape(-1, 4)[:, [0, 2, 1, 3]]
    return flat.reshape(experts, groups, rows).contiguous().view(torch.float8_e8m0fnu)


def pack_bias(bias: torch.Tensor) -> torch.Tensor:
    """[E, N] bf16 -> the same in Marlin's order."""
    order = [2 * i + j for i in range(4) for j in (0, 1, 8, 9, 16, 17, 24, 25)]
    return bias.reshape(-1, 32)[:, order].reshape(bias.shape).contiguous()


@triton.jit  # type: ignore[untyped-decorator] # triton has no types
def _swiglu_kernel(a_ptr, h_ptr, inter, alpha, limit, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def] # its arguments are Triton's
    """h = SwiGLU-OAI of interleaved gate and up, one row."""
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = column < inter
    at = a_ptr + tl.program_id(0).to(tl.int64) * 2 * inter + 2 * column
    gate = tl.minimum(tl.load(at, mask=mask, other=0.0).to(tl.float32), limit)
    up = tl.minimum(tl.maximum(tl.load(at + 1, mask=mask, other=0.0).to(tl.float32), -limit), limit)
    h = (up + 1.0) * gate / (1.0 + tl.exp(-alpha * gate))
    tl.store(h_ptr + tl.program_id(0).to(tl.int64) * inter + column, h.to(tl.bfloat16), mask=mask)


def marlin_layer(plain: Plain, alpha: float, limit: float) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The layer as vLLM runs it (the extensions of 0.26.0 and 0.33.0 were timed). The intermediate size must be a multiple of 128, as vLLM's padding at
    load makes it (vLLM also pads the hidden size to 256, which costs Marlin time and is left out)."""
    load()
    w13, s13, b13, w2, s2, b2 = plain
    experts, hidden, inter = w13.shape[0], 2 * w13.shape[2], w13.shape[1] // 2
    first = (pack_values(w13), pack_bias(b13), pack_scales(s13))
    second = (pack_values(w2), pack_bias(b2), pack_scales(s2))
    device = w13.device
    locks = torch.zeros(4 * torch.cuda.get_device_properties(device).multi_processor_count, dtype=torch.int32, device=device)
    ops = torch.ops._moe_C
    taken = names("moe_wna16_marlin_gemm")  # vLLM 0.33 has dropped the three that a reordered K needs
    order_of_k = [None] * sum(name in taken for name in ("g_idx_or_none", "perm_or_none"))
    whole_k = [True] * ("is_k_full" in taken)

    def run(x: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        tokens = x.shape[0]
        block = next((b for b in _BLOCKS if tokens * TOPK / experts / b < 0.9), _BLOCKS[-1])
        gates = torch.empty(tokens, TOPK, dtype=torch.float32, device=device)
        ids, spare = torch.empty(2, tokens, TOPK, dtype=torch.int32, device=device)
        choose(gates, ids, spare, logits)
        most = ids.numel() + experts * (block - 1)
        most = min(most, ids.numel() * block) if ids.numel() < experts else most
        order = torch.empty(most, dtype=torch.int32, device=device)
        owners = torch.empty(-(-most // block), dtype=torch.int32, device=device)
        count = torch.empty(1, dtype=torch.int32, device=device)
        ops.moe_align_block_size(ids, experts, block, order, owners, count, None)

        def gemm(a: torch.Tensor, weights: tuple[torch.Tensor, ...], rows: int, top: int) -> torch.Tensor:
            out = torch.empty(tokens * TOPK, rows, dtype=torch.bfloat16, device=device)
            values, bias, scales = weights
            return ops.moe_wna16_marlin_gemm(
                a, out, values, bias, scales, None, None, None, *order_of_k, locks, order, owners, count, gates, block, top, top == 1, _E2M1,
                a.shape[0], rows, a.shape[1], *whole_k, False, True, False, -1, -1, -1,
            )  # fmt: skip

        up = gemm(x, first, 2 * inter, TOPK)
        h = torch.empty(tokens * TOPK, inter, dtype=torch.bfloat16, device=device)
        _swiglu_kernel[(tokens * TOPK, -(-inter // 1024))](up, h, inter, alpha, limit, BLOCK=1024)
        return gemm(h, second, hidden, 1).view(tokens, TOPK, hidden).sum(1)

    return run
