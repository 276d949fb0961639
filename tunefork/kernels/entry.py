"""From a planned launch to the gate's row of it: signature, divisibility, grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tunefork.kernels.arch import GFX950
from tunefork.kernels.moe_a16w4.plan import TILE_COLUMNS, Step
from tunefork.kernels.shipped import Shipped

FLOATS = ("eps", "alpha", "limit")
ALIGNED = ("x_stride", "res_stride", "out_stride", "logits_stride", "hidden", "qkv_stride")


def relative_difference(got: Any, want: Any) -> float:
    """Of two tensors: the 2-norm of got - want over want's, in float32."""
    return float((got.float() - want.float()).norm() / want.float().norm())


def entry(
    step: Step, package: str, config: str, shape: str, pointers: Mapping[str, str], arch: str, check: Callable[[], float] | None,
    weights: tuple[str, ...] = (), tolerance: float = 4e-3,
) -> Shipped:  # fmt: skip
    """pointers: buffer -> Triton type, of every pointer that the step binds. weights: arguments that hold weights, loaded 16 bytes per lane."""
    signature: dict[str, str] = {}
    attrs: dict[tuple[int, ...], list[list[Any]]] = {}
    constants = dict(step.constants)
    for place, name in enumerate(step.kernel.arg_names):
        key = step.bind.get(name)
        if name in step.tiles:
            signature[name] = f"tensordesc<bf16[{step.tiles[name].rows}, {TILE_COLUMNS}]>"
        elif name in constants or key is None:
            signature[name] = "constexpr"
            constants.setdefault(name, None)
        elif key in pointers:
            signature[name] = pointers[key]
            attrs[(place,)] = [["tt.divisibility", 16]] + ([["tt.pointer_range", 32]] if arch == GFX950.name else [])
        else:
            signature[name] = "fp32" if key in FLOATS else "i32"
            if key in ALIGNED:
                attrs[(place,)] = [["tt.divisibility", 16]]
    x, y, z = (*step.grid, 1, 1)[:3]
    return Shipped(
        kernel=f"{package}.{step.kernel.__name__}", fn=step.kernel, config=config, shape=shape, signature=signature, constexprs=constants,
        options={"num_warps": step.warps, "num_stages": 1, **step.options}, attrs=attrs, grid=(x, y, z), weights=weights, check=check, tolerance=tolerance,
    )  # fmt: skip
