"""``torch.ops.tunefork.moe_a16w4``: one MoE layer as an operator that torch.compile sees as a box of a known shape.

vLLM already hides the whole MoE layer in an operator of its own, on GPUs; this one holds where a model calls its experts directly.
"""

from collections.abc import Callable
from functools import cache

import torch

from tunefork.kernels.moe_a16w4 import Weights, fused_moe
from tunefork.kernels.mxfp4 import FragmentLayout

MAX_TOKENS = 16384  # of one call of the kernel; a larger step is split
LIBRARY = torch.library.Library("tunefork", "FRAGMENT")
SCHEMA = (
    "moe_a16w4(Tensor x, Tensor router_logits, Tensor w13, Tensor s13, Tensor b13, Tensor w2, Tensor s2, Tensor b2, int intermediate, int topk, "
    "str arch, bool wide13, bool wide2, Tensor? expert_map=None, Tensor? num_live=None) -> Tensor"
)


@cache
def layouts(arch: str, hidden: int, intermediate: int, wide13: bool, wide2: bool) -> tuple[FragmentLayout, FragmentLayout]:
    """(w13's, w2's) layout as prepare_weights makes them."""
    return FragmentLayout(arch, 2 * intermediate, hidden, interleaved=True, wide=wide13), FragmentLayout(arch, hidden, intermediate, wide=wide2)


def moe_a16w4(
    x: torch.Tensor,  # (M, H) bf16
    router_logits: torch.Tensor,  # (M, E)
    w13: torch.Tensor,  # w13 to b2: the tensors of a prepared Weights
    s13: torch.Tensor,
    b13: torch.Tensor,
    w2: torch.Tensor,
    s2: torch.Tensor,
    b2: torch.Tensor,
    intermediate: int,
    topk: int,
    arch: str,
    wide13: bool,
    wide2: bool,
    expert_map: torch.Tensor | None = None,  # [E] int32
    num_live: torch.Tensor | None = None,  # [1] int32: later rows of the result hold nothing
) -> torch.Tensor:
    """-> (M, H) bf16, contiguous. M of 0 and M above the kernel's limit are served, too."""
    weights = Weights(w13, s13, b13, w2, s2, b2, *layouts(arch, x.shape[1], intermediate, wide13, wide2))
    out = x.new_empty(x.shape)
    for begin in range(0, x.shape[0], MAX_TOKENS):
        rows = slice(begin, begin + MAX_TOKENS)
        live = num_live if x.shape[0] <= MAX_TOKENS else None
        fused_moe(x[rows], router_logits[rows], weights, topk, out=out[rows], num_live=live, expert_map=expert_map)
    return out


def moe_a16w4_fake(x: torch.Tensor, *_arguments: object) -> torch.Tensor:
    """The shape of the result."""
    return x.new_empty(x.shape)


def define(schema: str, run: Callable[..., object], fake: Callable[..., object], dispatch_key: str) -> None:
    """Define an operator of the library, with its shapes for torch.compile. dispatch_key: of the platform, CUDA on ROCm too."""
    name = schema.partition("(")[0]
    LIBRARY.define(schema, tags=(torch.Tag.needs_fixed_stride_order,))
    LIBRARY.impl(name, run, dispatch_key=dispatch_key)
    LIBRARY._register_fake(name, fake)


@cache
def register(dispatch_key: str) -> None:
    """Define the operator, once in a process."""
    define(SCHEMA, moe_a16w4, moe_a16w4_fake, dispatch_key)
