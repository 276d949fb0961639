"""Which class a kernel belongs to, by its name. The first rule that matches counts; what none matches is "other", with its names shown.

Names are those of vLLM 0.29's kernels on ROCm and CUDA (AITER, Triton, hipBLASLt, CK, RCCL), of Tunefork's own, and of its CPU backend's
operators. Inductor names a fused kernel after what it fuses: such a name is a norm where a norm is in it, otherwise elementwise.
"""

from __future__ import annotations

import re
from typing import Literal

Class = Literal["MoE", "attention", "norm", "all-reduce", "sampling", "GEMM", "elementwise", "copy", "other"]
WORDS: tuple[tuple[Class, str], ...] = (
    ("all-reduce", r"nccl|rccl|all_?reduce|all_?gather|reduce_?scatter|quick_?reduce|cross_device_reduce|c10d::"),
    ("sampling", r"sampl|arg_?max|top_?k_?top_?p|softmax_(warp|block).*logit|penalt|rejection|multinomial|gather_?logprobs|ranks_of|min_p|temperature"),
    ("MoE", r"moe|expert|matmul_ogs|mxfp4|a16w4|a8w4|top_?k|routing|route|fused_topk|silu_and_mul|swiglu|sorting_kernel|scatter_indx"),
    ("attention", r"attention|attn|flash|paged|fmha|mha_|unified_att|reshape_and_cache|kv_cache|rotary|rope|sdpa|concat_and_cache"),
    ("norm", r"rms_?norm|layer_?norm|_norm_|norm_kernel|add_rms|triton_.*(rsqrt|norm)"),
    ("GEMM", r"gemm|cijk_|hgemm|matmul|::mm\b|::addmm|::linear\b|nvjet|cutlass|wvsplitk|skinny|splitk|_mm_|::bmm|onednn"),
    ("copy", r"memcpy|memset|copy|fill|::cat\b|direct_copy|::to\b|::contiguous|::clone|::zero_"),
    ("elementwise", r"elementwise|triton_(poi|per|red)|vectorized|index_kernel|"
                    r"::(add|sub|mul|div|silu|exp|pow|index|index_select|embedding|arange|cumsum)_?\b"),
)
RULES = tuple((name, re.compile(text, re.IGNORECASE)) for name, text in WORDS)
CLASSES: tuple[Class, ...] = ("MoE", "attention", "GEMM", "norm", "all-reduce", "sampling", "elementwise", "copy", "other")
"""In the order of a table."""


def classify(name: str) -> Class:
    """The class of a kernel or operator."""
    return next((found for found, pattern in RULES if pattern.search(name)), "other")
