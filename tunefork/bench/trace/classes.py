"""Which class a kernel belongs to, by its name. The first rule that matches counts; what none matches is "other", with its names shown.

Names are those of vLLM 0.33's kernels on ROCm and CUDA (AITER, Triton, hipBLASLt, CK, RCCL), of Tunefork's own, and of its CPU backend's
operators. Inductor names a fused kernel after what it fuses: such a name is a norm where a norm is in it, otherwise elementwise.
"""

from __future__ import annotations

import re
from typing import Literal

Class = Literal["MoE", "attention", "norm", "all-reduce", "sampling", "GEMM", "elementwise", "memory", "other"]
VIEWS = ("slice", "view", "as_strided", "empty", "empty_strided", "empty_like", "new_empty", "chunk", "narrow", "split", "split_with_sizes", "reshape",
         "select", "flatten", "alias", "detach", "unsqueeze", "squeeze", "expand", "transpose", "permute", "t", "cat", "contiguous", "clone", "to", "zero_",
         "resolve_conj", "resolve_neg", "lift_fresh", "result_type")
PLAIN = ("add", "sub", "mul", "div", "silu", "sigmoid", "exp", "pow", "sum", "softmax", "_softmax", "index", "index_select", "embedding", "arange", "cumsum",
         "lt", "gt", "eq", "where", "clamp", "item", "_local_scalar_dense")
WORDS: tuple[tuple[Class, str], ...] = (
    ("all-reduce", r"nccl|rccl|all_?reduce|all_?gather|reduce_?scatter|quick_?reduce|cross_device_reduce|c10d::"),
    ("sampling", r"sampl|arg_?max|top_?k_?top_?p|softmax_(warp|block).*logit|penalt|rejection|multinomial|gather_?logprobs|ranks_of|min_p|temperature"),
    ("MoE", r"moe|expert|matmul_ogs|mxfp4|a16w4|a8w4|top_?k|routing|route|fused_topk|silu_and_mul|swiglu|sorting_kernel|scatter_indx|"
            r"^(up|down|combine|interleave|sorted_copy)(_token|_sorted|_tiled|_ring)?_kernel$"),
    ("attention", r"attention|attn|flash|paged|fmha|mha_|unified_att|reshape_and_cache|kv_cache|rotary|rope|sdpa|concat_and_cache|"
                  r"scheduler_metadata|slot_mapping"),
    ("norm", r"rms_?norm|layer_?norm|_norm_|norm_kernel|add_rms|triton_.*(rsqrt|norm)|aten::(mean|rsqrt)\b"),
    ("GEMM", r"gemm|cijk_|hgemm|matmul|::mm\b|::addmm|linear|nvjet|cutlass|wvsplitk|skinny|splitk|_mm_|::bmm|onednn"),
    ("memory", rf"memcpy|memset|copy|fill|aten::({'|'.join(VIEWS)})\b"),
    ("elementwise", rf"elementwise|triton_(poi|per|red)|vectorized|index_kernel|quant|(gelu|silu)_|aten::({'|'.join(PLAIN)})_?\b"),
)
RULES = tuple((name, re.compile(text, re.IGNORECASE)) for name, text in WORDS)
CLASSES: tuple[Class, ...] = ("MoE", "attention", "GEMM", "norm", "all-reduce", "sampling", "elementwise", "memory", "other")
"""In the order of a table. memory: copies, fills, views and allocations, and what only looks at a tensor."""


def classify(name: str) -> Class:
    """The class of a kernel or operator."""
    return next((found for found, pattern in RULES if pattern.search(name)), "other")
