"""Triton functions that turn a layout's words and scale bytes into bf16 operands (layout.py says what a word holds).

Three decoders of one meaning: PTX for `nvidia`, one v_cvt_scalef32_pk_bf16_fp4 for `gfx950`, and plain arithmetic on either layout for the
interpreter and as a check. All are exact: an e2m1 value times a power of two is a bf16 unless it overflows.
"""

from __future__ import annotations

import triton
import triton.language as tl

# prmt puts scale byte `slot` in the high byte of each half; shifted right by one it is a bf16 exponent. Loops over wide tiles expand each scale
# once (`factor`, `apply`): ptxas does not find the repetition across wgmma (H200: 48 of the 326 instructions of a chunk).
_PTX_NARROW = tl.constexpr("mul.rn.bf16x2 $0, a, m; }")
_PTX_WIDE = tl.constexpr("mov.b32 b, 0x7E807E80; mul.rn.bf16x2 a, a, b; mov.b32 b, 0x00400040; max.u16x2 m, m, b; mul.rn.bf16x2 $0, a, m; }")
_PTX_OPEN = tl.constexpr("{ .reg .b32 a, b, c, m; ")
_PTX_VALUE_0 = tl.constexpr("and.b32 a, $1, 0x81C081C0; prmt.b32 m, $2, 0, 0x0404; shr.u32 m, m, 1; ")
_PTX_VALUE_1 = tl.constexpr("shl.b32 a, $1, 3; and.b32 a, a, 0x81C081C0; prmt.b32 m, $2, 0, 0x1414; shr.u32 m, m, 1; ")
_PTX_VALUE_2 = tl.constexpr("shl.b32 a, $1, 6; and.b32 a, a, 0x81C081C0; prmt.b32 m, $2, 0, 0x2424; shr.u32 m, m, 1; ")
_PTX_VALUE_3 = tl.constexpr(
    "shl.b32 a, $1, 1; shr.u32 b, $1, 3; shr.u32 c, $1, 7; and.b32 a, a, 0x80008000; lop3.b32 a, b, 0x01800180, a, 0xEA; "
    "lop3.b32 a, c, 0x00400040, a, 0xEA; prmt.b32 m, $2, 0, 0x3434; shr.u32 m, m, 1; "
)
_PTX_FACTOR_0 = tl.constexpr("prmt.b32 $0, $1, 0, 0x0404; shr.u32 $0, $0, 1;")
_PTX_FACTOR_1 = tl.constexpr("prmt.b32 $0, $1, 0, 0x1414; shr.u32 $0, $0, 1;")
_PTX_FACTOR_2 = tl.constexpr("prmt.b32 $0, $1, 0, 0x2424; shr.u32 $0, $0, 1;")
_PTX_FACTOR_3 = tl.constexpr("prmt.b32 $0, $1, 0, 0x3434; shr.u32 $0, $0, 1;")
_PTX_FACTOR_NARROW = tl.constexpr("")
_PTX_FACTOR_WIDE = tl.constexpr(" { .reg .b32 b; mov.b32 b, 0x00400040; max.u16x2 $0, $0, b; }")
_PTX_BITS_0 = tl.constexpr("and.b32 a, $1, 0x81C081C0; ")
_PTX_BITS_1 = tl.constexpr("shl.b32 a, $1, 3; and.b32 a, a, 0x81C081C0; ")
_PTX_BITS_2 = tl.constexpr("shl.b32 a, $1, 6; and.b32 a, a, 0x81C081C0; ")
_PTX_BITS_3 = tl.constexpr(
    "shl.b32 a, $1, 1; shr.u32 b, $1, 3; shr.u32 c, $1, 7; and.b32 a, a, 0x80008000; lop3.b32 a, b, 0x01800180, a, 0xEA; "
    "lop3.b32 a, c, 0x00400040, a, 0xEA; "
)
_PTX_APPLY_NARROW = tl.constexpr("mul.rn.bf16x2 $0, a, $2; }")
_PTX_APPLY_WIDE = tl.constexpr("mov.b32 b, 0x7E807E80; mul.rn.bf16x2 a, a, b; mul.rn.bf16x2 $0, a, $2; }")


@triton.jit
def _decode_ptx(words, scales, slot: tl.constexpr, WIDE: tl.constexpr):
    value: tl.constexpr = (
        _PTX_VALUE_0 if slot == 0 else _PTX_VALUE_1 if slot == 1 else _PTX_VALUE_2 if slot == 2 else _PTX_VALUE_3
    )
    asm: tl.constexpr = _PTX_OPEN + value + (_PTX_WIDE if WIDE else _PTX_NARROW)
    return tl.inline_asm_elementwise(asm, "=r,r,r", [words, scales], dtype=tl.int32, is_pure=True, pack=1)


@triton.jit
def factor(scales, slot: tl.constexpr, WIDE: tl.constexpr):
    """Scale byte `slot` of each word as two equal bf16 in an int32 (PTX only)."""
    shift: tl.constexpr = _PTX_FACTOR_0 if slot == 0 else _PTX_FACTOR_1 if slot == 1 else _PTX_FACTOR_2 if slot == 2 else _PTX_FACTOR_3
    asm: tl.constexpr = shift + (_PTX_FACTOR_WIDE if WIDE else _PTX_FACTOR_NARROW)
    return tl.inline_asm_elementwise(asm, "=r,r", [scales], dtype=tl.int32, is_pure=True, pack=1)


@triton.jit
def apply(words, factors, slot: tl.constexpr, WIDE: tl.constexpr):
    """Slot `slot` of each word times a `factor` of the same shape -> [..., 2] bf16 (PTX only)."""
    value: tl.constexpr = _PTX_BITS_0 if slot == 0 else _PTX_BITS_1 if slot == 1 else _PTX_BITS_2 if slot == 2 else _PTX_BITS_3
    asm: tl.constexpr = _PTX_OPEN + value + (_PTX_APPLY_WIDE if WIDE else _PTX_APPLY_NARROW)
    pair = tl.inline_asm_elementwise(asm, "=r,r,r", [words, factors], dtype=tl.int32, is_pure=True, pack=1)
    return tl.join(pair.to(tl.int16).to(tl.bfloat16, bitcast=True), (pair >> 16).to(tl.int16).to(tl.bfloat16, bitcast=True))


@triton.jit
def _decode_cdna4(words, scales, slot: tl.constexpr):
    factor = (((scales >> (8 * slot)) & 0xFF) << 23).to(tl.float32, bitcast=True)
    asm: tl.constexpr = (
        "v_cvt_scalef32_pk_bf16_fp4 $0, $1, $2" if slot == 0
        else "v_cvt_scalef32_pk_bf16_fp4 $0, $1, $2 op_sel:[1,0,0]" if slot == 1
        else "v_cvt_scalef32_pk_bf16_fp4 $0, $1, $2 op_sel:[0,1,0]" if slot == 2
        else "v_cvt_scalef32_pk_bf16_fp4 $0, $1, $2 op_sel:[1,1,0]"
    )
    return tl.inline_asm_elementwise(asm, "=v,v,v", [words, factor], dtype=tl.int32, is_pure=True, pack=1)


@triton.jit
def _code(words, slot: tl.constexpr, half: tl.constexpr, LAYOUT: tl.constexpr):
    bits = words >> (16 * half)
    if LAYOUT == "gfx950":
        return (words >> (8 * slot + 4 * half)) & 15
    elif slot < 3:
        return (((bits >> (15 - 3 * slot)) & 1) << 3) | ((bits >> (6 - 3 * slot)) & 7)
    else:
        return (((bits >> 14) & 1) << 3) | (((bits >> 10) & 3) << 1) | ((bits >> 13) & 1)


@triton.jit
def _value(words, scales, slot: tl.constexpr, half: tl.constexpr, LAYOUT: tl.constexpr, WIDE: tl.constexpr):
    code = _code(words, slot, half, LAYOUT)
    exponent = (code >> 1) & 3
    fraction = (code & 1).to(tl.float32) * 0.5
    magnitude = tl.where(exponent == 0, fraction, (1.0 + fraction) * (1 << (exponent + 1)).to(tl.float32) * 0.25)
    byte = (scales >> (8 * slot)) & 0xFF
    if LAYOUT == "nvidia" and not WIDE:
        byte -= 126
    factor = tl.where(byte == 0, 0x00400000, byte << 23).to(tl.float32, bitcast=True)
    return (tl.where(code >= 8, -magnitude, magnitude) * factor).to(tl.bfloat16)


@triton.jit
def decode(
    words,  # int32, any shape
    scales,  # int32 of the same shape: four scale bytes, byte `slot` belongs to slot `slot`
    slot: tl.constexpr,
    LAYOUT: tl.constexpr,  # "nvidia" or "gfx950"
    ASM: tl.constexpr,
    WIDE: tl.constexpr,
):
    """Slot `slot` of each word -> [..., 2] bf16."""
    if ASM:
        if LAYOUT == "gfx950":
            pair = _decode_cdna4(words, scales, slot)
        else:
            pair = _decode_ptx(words, scales, slot, WIDE)
        low = pair.to(tl.int16).to(tl.bfloat16, bitcast=True)
        high = (pair >> 16).to(tl.int16).to(tl.bfloat16, bitcast=True)
    else:
        low = _value(words, scales, slot, 0, LAYOUT, WIDE)
        high = _value(words, scales, slot, 1, LAYOUT, WIDE)
    return tl.join(low, high)
