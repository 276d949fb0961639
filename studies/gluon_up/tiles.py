"""The tiles that are compared, by name: rows of weights by pairs, the rest of an expert's last block included."""

from __future__ import annotations

from tunefork.kernels.moe_a16w4.config import RINGS, GemmConfig, LayerConfig

_WIDE, _WIDER = (gemm for _, gemm in RINGS)
TILES = {
    "128x160": _WIDE, "128x288": _WIDER, "128x160, 8 warps": GemmConfig(8, 1, 1, 128, ahead=False, tiled=True, ring=5, extra=32),
    "128x128": GemmConfig(4, 1, 2, 128, ahead=False, tiled=True, ring=6), "128x256": GemmConfig(8, 1, 1, 256, ahead=False, tiled=True, ring=6),
}  # fmt: skip


def layer(name: str) -> LayerConfig:
    """Both GEMMs by one tile."""
    return LayerConfig("sorted", TILES[name], TILES[name], partial="bf16", overlap=True)
