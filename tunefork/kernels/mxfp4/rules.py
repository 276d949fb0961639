"""From floats to MXFP4: every library divides a block by a power of two and rounds, and each does so by a rule of its own.

A rule here is named after what its bytes equal: `ocp-...` (the OCP Microscaling specification v1.0, section 6.3, exact over the whole range of
float32) or the library whose finite results it reproduces. docs/mxfp4.md has the versions, what was compared, and where a library leaves its rule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from tunefork.base.errors import BadInput
from tunefork.kernels.mxfp4.format import E8M0_NAN, GROUP, from_nibbles, groups

BIAS = 127
E2M1_MAX = 6.0
_E2M1_MAX_EXPONENT = 2
_MIDDLES = (0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0)  # between neighbours of format.E2M1_VALUES
_ZERO_AMAX = -(1 << 20)  # below any exponent: the block is all zero


def _floor_log2(x: torch.Tensor) -> torch.Tensor:
    """float32 >= 0 -> int32 floor(log2(x)), exact, subnormals too; 0 gives `_ZERO_AMAX`."""
    return torch.where(x == 0, _ZERO_AMAX, torch.frexp(x)[1] - 1)


def _ceil_log2(x: torch.Tensor) -> torch.Tensor:
    """float32 >= 0 -> int32 ceil(log2(x)), exact; 0 gives `_ZERO_AMAX`."""
    mantissa, exponent = torch.frexp(x)
    return torch.where(x == 0, _ZERO_AMAX, exponent - (mantissa == 0.5).int())


def _floor(amax: torch.Tensor) -> torch.Tensor:
    return _floor_log2(amax) - _E2M1_MAX_EXPONENT


def _even(amax: torch.Tensor) -> torch.Tensor:
    """A significand of 1.75 or more counts as the next power of two: e2m1 would round it there."""
    mantissa, exponent = torch.frexp(amax)
    return torch.where(amax == 0, _ZERO_AMAX, exponent - 1 + (mantissa >= 0.875).int() - _E2M1_MAX_EXPONENT)


def _ceil(amax: torch.Tensor) -> torch.Tensor:
    return _ceil_log2(amax) - _E2M1_MAX_EXPONENT


def _sixth_ceil(amax: torch.Tensor) -> torch.Tensor:
    """The least power of two by which no element saturates."""
    return _ceil_log2(amax / E2M1_MAX)


def _sixth_floor(amax: torch.Tensor) -> torch.Tensor:
    return _floor_log2(amax / E2M1_MAX)


def _float32_log2(x: torch.Tensor) -> torch.Tensor:
    """The logarithm rounded to float32: beside a power of two it is that power's."""
    return torch.where(x == 0, float(_ZERO_AMAX), x.double().log2()).float()


def _rounded_floor(amax: torch.Tensor) -> torch.Tensor:
    return _float32_log2(amax).floor().int() - _E2M1_MAX_EXPONENT


def _rounded_sixth_ceil(amax: torch.Tensor) -> torch.Tensor:
    return _float32_log2(amax / E2M1_MAX).ceil().int()


@dataclass(frozen=True)
class Rule:
    """exponent: amax of a block, float32 -> int32 power of two (unclamped). ties: "even", "away" or "zero" (towards zero).

    zero_byte: the power that a block's elements are divided by where its byte is 0 (2**-127); None: they become zeros. tiny_byte: the byte of a
    block whose power is below -126 and that is not all zero. wraps: a byte below 0 is taken modulo 256. signed_zero: "kept", "rounded" (only what rounds to
    zero keeps its sign) or "none". most: the highest byte that the library's own arithmetic reaches without an infinity.
    """

    equals: str
    exponent: Callable[[torch.Tensor], torch.Tensor]
    ties: str = "even"
    zero_byte: int | None = -BIAS
    tiny_byte: int = 0
    wraps: bool = False
    signed_zero: str = "kept"
    most: int = E8M0_NAN - 1


RULES = {
    "ocp-floor": Rule("OCP MX v1.0, 6.3: 2**(floor(log2(amax)) - 2)", _floor),
    "ocp-even": Rule("amax rounded as e2m1 rounds, then as ocp-floor", _even),
    "ocp-ceil": Rule("2**(ceil(log2(amax)) - 2)", _ceil),
    "ocp-rceil": Rule("2**ceil(log2(amax / 6)): nothing saturates", _sixth_ceil),
    "torchao-floor": Rule("torchao to_mx, FLOOR", _floor, zero_byte=-126),
    "torchao-even": Rule("torchao to_mx, EVEN", _even, zero_byte=-126),
    "torchao-ceil": Rule("torchao to_mx, CEIL", _ceil, zero_byte=-126),
    "torchao-rceil": Rule("torchao to_mx, RCEIL", _rounded_sixth_ceil, zero_byte=0),
    "compressed-tensors": Rule("compressed-tensors mxfp4-pack-quantized", _even, signed_zero="rounded", most=252),
    "gguf": Rule("gguf MXFP4", _rounded_floor, ties="zero", wraps=True, signed_zero="none", most=252),
    "quark-up": Rule("amd-quark downcast_to_mxfp_torch, ROUND_UP", _sixth_ceil, ties="away", zero_byte=None, tiny_byte=1),
    "quark-down": Rule("amd-quark downcast_to_mxfp_torch, ROUND_DOWN", _sixth_floor, ties="away", zero_byte=None),
    "quark-even": Rule("amd-quark downcast_to_mxfp_torch, EVEN", _even, ties="away", most=252),
}


def named(rule: str) -> Rule:
    """A rule by name. Errors: BadInput with the names there are."""
    if rule not in RULES:
        raise BadInput(f"no rounding rule {rule!r}", f"use one of {', '.join(RULES)}")
    return RULES[rule]


def scale_bytes(amax: torch.Tensor, rule: Rule, name: str = "") -> torch.Tensor:
    """float32 amax of blocks, finite and >= 0, any shape -> int32 e8m0 bytes. Errors: BadInput where the library's own arithmetic overflows."""
    exponent = rule.exponent(amax)
    zero, byte = exponent < _ZERO_AMAX // 2, exponent + BIAS
    if bool((byte > rule.most).any()):
        raise BadInput(f"a block of amax {amax[byte > rule.most].max().item()} overflows in {rule.equals}",
                       f"use an ocp- rule in place of {name or 'this one'}")
    byte = torch.where(byte < 0, byte % 256, byte) if rule.wraps else torch.where(byte < 1, rule.tiny_byte, byte)
    return torch.where(zero, 0, byte).int()


def _codes(scaled: torch.Tensor, ties: str) -> torch.Tensor:
    """float64 -> int64 magnitude codes 0..7: the nearest e2m1 value, saturating at 6."""
    magnitude = scaled.abs().contiguous()
    bounds = torch.tensor(_MIDDLES, device=scaled.device, dtype=torch.float64)
    low, high = torch.bucketize(magnitude, bounds), torch.bucketize(magnitude, bounds, right=True)
    if ties == "even":
        return torch.where(low % 2 == 0, low, high)  # on a boundary low and high differ, and one of them is even
    return high if ties == "away" else low


def quantize(dense: torch.Tensor, rule: str = "ocp-floor", *, nonfinite: str = "refuse") -> tuple[torch.Tensor, torch.Tensor]:
    """Float ``[..., K]``, K even -> plain MXFP4: values ``[..., K / 2]``, scales ``[..., ceil(K / 32)]``, both uint8.

    rule: a name of RULES. An element saturates at 6. nonfinite: "refuse", or "nan": a block with an infinity or a NaN gets the scale byte 255,
    which is NaN for every element, and codes 0 (MXFP4 has no infinity). Errors: BadInput for an odd K, an unknown rule, and what is not finite.
    """
    taken = named(rule)
    if nonfinite not in ("refuse", "nan"):
        raise BadInput(f"nonfinite={nonfinite!r}", 'use "refuse" or "nan"')
    if not dense.is_floating_point() or dense.ndim == 0 or dense.shape[-1] % 2:
        raise BadInput(f"quantize takes floats with an even last dimension, got {dense.dtype} {list(dense.shape)}", "pad or convert the tensor")
    k = dense.shape[-1]
    narrow = dense.float()  # a float64 beyond float32 becomes an infinity here, and is refused
    bad = ~narrow.isfinite()
    if nonfinite == "refuse" and bool(bad.any()):
        first = tuple(int(at) for at in bad.nonzero()[0])
        raise BadInput(f"{int(bad.sum())} of {dense.numel()} values are not finite in float32, the first at {first}: {dense[first].item()}",
                       'repair them, or pass nonfinite="nan" for NaN blocks')
    blocks = torch.nn.functional.pad(narrow, (0, groups(k) * GROUP - k)).unflatten(-1, (-1, GROUP))
    ruined = (~blocks.isfinite()).any(-1)
    blocks = torch.where(ruined[..., None], 0.0, blocks)
    byte = scale_bytes(blocks.abs().amax(-1), taken, rule)
    power = torch.where(byte == 0, -BIAS if taken.zero_byte is None else taken.zero_byte, byte - BIAS)
    scaled = torch.ldexp(blocks.double(), -power[..., None])
    code = _codes(scaled, taken.ties)
    if taken.zero_byte is None:
        code = torch.where(byte[..., None] == 0, 0, code)
    sign = torch.signbit(blocks)
    if taken.signed_zero == "rounded":
        sign &= blocks != 0
    elif taken.signed_zero == "none":
        sign &= code != 0
    code = torch.where(ruined[..., None], 0, code | (sign.long() << 3)).to(torch.uint8)
    scale = torch.where(ruined, E8M0_NAN, byte).to(torch.uint8)
    return from_nibbles(code.flatten(-2)[..., :k].contiguous()), scale
