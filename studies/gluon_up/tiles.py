"""The tiles that are compared, by name: rows of weights by pairs, the rest of an expert's last block included."""

from __future__ import annotations

from tunefork.kernels.arch import SM90
from tunefork.kernels.model import GPT_OSS_120B as MODEL
from tunefork.kernels.moe_a16w4.config import RINGS, GemmConfig, LayerConfig, MoeShape
from tunefork.kernels.moe_a16w4.plan import Case

_WIDE, _WIDER = (gemm for _, gemm in RINGS)
TILES = {
    "128x160": _WIDE, "128x288": _WIDER, "128x160, 8 warps": GemmConfig(8, 1, 1, 128, ahead=False, tiled=True, ring=5, extra=32),
    "128x128": GemmConfig(4, 1, 2, 128, ahead=False, tiled=True, ring=6), "128x256": GemmConfig(8, 1, 1, 256, ahead=False, tiled=True, ring=6),
}  # fmt: skip


def layer(name: str) -> LayerConfig:
    """Both GEMMs by one tile."""
    return LayerConfig("sorted", TILES[name], TILES[name], partial="bf16", overlap=True)


def case(tp: int, tokens: int) -> Case:
    """GPT-OSS-120B's layer on one rank of `tp`."""
    return Case(SM90.name, MoeShape(MODEL.hidden, MODEL.intermediate // tp, MODEL.experts, MODEL.topk), tokens, MODEL.experts)
