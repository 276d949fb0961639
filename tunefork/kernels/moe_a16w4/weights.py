"""Weights of one MoE layer, prepared once at load for an architecture, and given back exactly."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from tunefork.base.errors import BadInput
from tunefork.kernels.arch import ARCHES, SM90
from tunefork.kernels.mxfp4.format import groups
from tunefork.kernels.mxfp4.layout import NARROW_SCALE_MAX, FragmentLayout, pack_matrix, unpack_matrix


@dataclass(frozen=True)
class Weights:
    """w13: (E, 2 I, H), w2: (E, H, I), each as words and scale bytes in its layout; biases (E, 2 I) and (E, H) bf16, rows in the plain order."""

    w13: torch.Tensor
    s13: torch.Tensor
    b13: torch.Tensor
    w2: torch.Tensor
    s2: torch.Tensor
    b2: torch.Tensor
    layout13: FragmentLayout
    layout2: FragmentLayout

    @property
    def experts(self) -> int:
        """Local experts."""
        return self.w13.shape[0]

    @property
    def hidden(self) -> int:
        """H."""
        return self.layout2.rows

    @property
    def intermediate(self) -> int:
        """I of this rank."""
        return self.layout2.cols

    @cached_property
    def arguments(self) -> dict[str, torch.Tensor]:
        """The tensors under the names that a plan's steps bind; s13_32 and s2_32 are the scales read as int32 words."""
        return {"w13": self.w13, "s13": self.s13, "s13_32": self.s13.view(torch.int32), "b13": self.b13,
                "w2": self.w2, "s2": self.s2, "s2_32": self.s2.view(torch.int32), "b2": self.b2}  # fmt: skip


def _check(name: str, tensor: torch.Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    if tuple(tensor.shape) != shape or tensor.dtype != dtype:
        raise BadInput(f"{name}: expected {shape} {dtype}, got {tuple(tensor.shape)} {tensor.dtype}",
                       "see prepare_weights' docstring for the six tensors it takes")


def prepare_weights(
    w13: torch.Tensor,  # (E, 2 I, H / 2) uint8, e2m1 pairs; rows gate, up, gate, up, ...
    s13: torch.Tensor,  # (E, 2 I, ceil(H / 32)) uint8, e8m0
    b13: torch.Tensor,  # (E, 2 I) bf16
    w2: torch.Tensor,  # (E, H, I / 2) uint8
    s2: torch.Tensor,  # (E, H, ceil(I / 32)) uint8
    b2: torch.Tensor,  # (E, H) bf16
    arch: str | None = None,
) -> Weights:
    """Rearrange plain MXFP4 weights for `arch` (a name of kernels/arch.py; None: the active device's). Needs H % 16 == 0 and I % 8 == 0.

    Raises BadInput for a shape, dtype or NaN scale it cannot take. Looks at the scales once (a host sync, at load only).
    """
    from tunefork.kernels.moe_a16w4.device import target

    if w13.dim() != 3 or w2.dim() != 3:
        raise BadInput(f"w13 and w2 must be 3-dimensional, got {w13.dim()} and {w2.dim()}", "stack the experts along dimension 0")
    experts, rows, hidden = w13.shape[0], w13.shape[1], 2 * w13.shape[2]
    inter = rows // 2
    _check("w13", w13, (experts, 2 * inter, hidden // 2), torch.uint8)
    _check("s13", s13, (experts, 2 * inter, groups(hidden)), torch.uint8)
    _check("b13", b13, (experts, 2 * inter), torch.bfloat16)
    _check("w2", w2, (experts, hidden, inter // 2), torch.uint8)
    _check("s2", s2, (experts, hidden, groups(inter)), torch.uint8)
    _check("b2", b2, (experts, hidden), torch.bfloat16)
    arch = arch or target().arch
    wide = [ARCHES[arch].fragment == SM90.fragment and bool(((s > NARROW_SCALE_MAX) & (s < 255)).any()) for s in (s13, s2)]
    layout13 = FragmentLayout(arch, rows, hidden, interleaved=True, wide=wide[0])
    layout2 = FragmentLayout(arch, hidden, inter, wide=wide[1])
    return Weights(*pack_matrix(w13, s13, layout13), b13.contiguous(), *pack_matrix(w2, s2, layout2), b2.contiguous(), layout13, layout2)


def restore_weights(weights: Weights) -> tuple[torch.Tensor, ...]:
    """Exact inverse of `prepare_weights`: (w13, s13, b13, w2, s2, b2) in plain form, shapes and dtypes as it takes them."""
    return (*unpack_matrix(weights.w13, weights.s13, weights.layout13), weights.b13,
            *unpack_matrix(weights.w2, weights.s2, weights.layout2), weights.b2)
