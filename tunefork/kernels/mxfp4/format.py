"""MXFP4 as the OCP Microscaling specification v1.0 defines it: e2m1 elements, e8m0 block scales over 32 elements.

Plain tensors, K innermost: values ``[..., K / 2]`` uint8 (even k in the low nibble), scales ``[..., ceil(K / 32)]`` uint8.
K may end inside a group: then the last scale covers what is left.
"""

from __future__ import annotations

import torch

GROUP = 32
E8M0_NAN = 255
E2M1_VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def groups(k: int) -> int:
    """How many scales ``k`` elements have."""
    return -(-k // GROUP)


def nibbles(values: torch.Tensor) -> torch.Tensor:
    """``[..., K / 2]`` uint8 -> ``[..., K]`` uint8 codes 0..15, even k from the low nibble."""
    return torch.stack((values & 15, values >> 4), -1).flatten(-2)


def from_nibbles(codes: torch.Tensor) -> torch.Tensor:
    """``[..., K]`` uint8 codes 0..15, K even -> ``[..., K / 2]`` uint8. Inverse of `nibbles`."""
    return codes[..., 0::2] | (codes[..., 1::2] << 4)


def exponent_value(scale: torch.Tensor) -> torch.Tensor:
    """e8m0 bytes, uint8 of any shape -> float32 2**(byte - 127), exact also at 0 (a float32 subnormal); 255 is NaN. Source: OCP MX v1.0, 5.4.1."""
    bits = scale.to(torch.int32) << 23
    bits = torch.where(scale == 0, 0x00400000, bits)
    bits = torch.where(scale == E8M0_NAN, 0x7FC00000, bits)
    return bits.to(torch.int32).view(torch.float32)


def dequantize(values: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Plain MXFP4 ``[..., K / 2]`` uint8 with ``[..., ceil(K / 32)]`` uint8 -> ``[..., K]`` float32, exact."""
    codes = nibbles(values).to(torch.int64)
    table = torch.tensor(E2M1_VALUES + tuple(-v for v in E2M1_VALUES), device=values.device)
    spread = exponent_value(scales).repeat_interleave(GROUP, -1)[..., : codes.shape[-1]]
    return table[codes] * spread
