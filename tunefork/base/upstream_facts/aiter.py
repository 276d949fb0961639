"""The pinned AITER: file names are of its source."""

from __future__ import annotations

RELEASE = "0.1.20.post1"
DISTRIBUTION = "amd-aiter"

BF16_BOUND, BF16_BOUND_DEFAULT = "AITER_BF16_FP8_MOE_BOUND", 256
"""The variable, and its default: rows from which on the MXFP4 MoE takes fp8 activations (fused_moe.py)."""
JIT_DIR, SYSTEM_TRITON = "AITER_JIT_DIR", "AITER_USE_SYSTEM_TRITON"

TRITON = "aiter/ops/triton"
"""The folder of its Triton kernels and of their hosts."""
A16W4_HOST, A16W4_KERNEL = f"{TRITON}/moe/moe_op_gemm_a16w4.py", f"{TRITON}/_triton_kernels/moe/moe_op_gemm_a16w4.py"
"""The grouped GEMM of bf16 activations and MXFP4 weights."""

