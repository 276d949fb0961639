"""MXFP4 as the OCP Microscaling specification v1.0 defines it: e2m1 elements, e8m0 block scales over 32 elements.

Plain tensors, K innermost: values ``[..., K / 2]`` uint8 (even k in the low nibble), scales ``[..., ceil(K / 32)]`` uint8.
K may end inside a group: then the last scale covers what is left.
"""

from __future__ import annotations

import torch

GROUP = 32
E8M0_NAN = 255
E2M1_VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_E2M1_MAX_EXPONENT = 2


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


def quantize(dense: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Float ``[..., K]``, K even -> plain MXFP4 (values, scales).

    The scale of a group is 2**(floor(log2(max |v|)) - 2) (OCP MX v1.0, section 6.3); an element goes to the nearest e2m1 value,
    ties to the even code, and saturates at 6.
    """
    k = dense.shape[-1]
    padded = torch.nn.functional.pad(dense.float(), (0, groups(k) * GROUP - k))
    blocks = padded.unflatten(-1, (-1, GROUP))
    top = blocks.abs().amax(-1)
    _, exponent = torch.frexp(top)
    scale = (exponent - 1 - _E2M1_MAX_EXPONENT + 127).clamp(0, 254)
    scale = torch.where(top == 0, 0, scale).to(torch.uint8)
    scaled = blocks.double() / exponent_value(scale).double()[..., None]
    magnitude = scaled.abs().contiguous()
    bounds = torch.tensor([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0], device=dense.device, dtype=torch.float64)
    low, high = torch.bucketize(magnitude, bounds), torch.bucketize(magnitude, bounds, right=True)
    code = torch.where(low % 2 == 0, low, high)  # on a boundary low and high differ, and one of them is even
    code = (code | (torch.signbit(scaled).long() << 3)).to(torch.uint8)
    return from_nibbles(code.flatten(-2)[..., :k]), scale
