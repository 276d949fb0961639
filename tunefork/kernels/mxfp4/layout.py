"""Weight layouts: plain MXFP4 rearranged once, at load, so that each lane loads whole matrix-instruction operands.

A matrix of N rows and K columns becomes strips of 16 rows. A strip holds its K in chunks of 128, then whole groups of 32, then a
group that K cuts short; nothing is padded. A *word* is 32 bits with 8 elements of one row; in a chunk slot ``j`` (0..3) of a
word is group ``j``, and the word's two elements there are neighbours in K, so that one dequantised slot is one register of a bf16
matrix operand. Which word a lane owns, and where a slot's bits sit in it, is what differs between architectures:

- ``nvidia``: words [u 2][row % 8][k // 8 % 4][row // 8][k // 2 % 2], u = k // 4 % 2: the mma.m16n8k16 operand, K permuted so that activations load as
  16 bytes. Slots 0..2 are the mask 0x81C0 in each half of the word after a left shift by 3 * slot; slot 3 takes the bits that are left.
- ``gfx950``: words [k // 8 % 4][row][k // 2 % 4]: the v_mfma_f32_16x16x32_bf16 operand. Slot ``j`` is byte ``j``, which is what
  v_cvt_scalef32_pk_bf16_fp4 selects.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch

from tunefork.base.errors import BadInput
from tunefork.kernels.arch import ARCHES
from tunefork.kernels.mxfp4.format import E8M0_NAN, GROUP, from_nibbles, groups, nibbles

STRIP = 16
CHUNK = 128
# The largest e8m0 byte for which 2**(byte - 127 + 126) is a finite bf16: the one-multiply decode of `nvidia` needs it.
NARROW_SCALE_MAX = 128
SCALE_BIAS = 126


@dataclass(frozen=True)
class FragmentLayout:
    """How one [N, K] matrix of each expert is stored. Errors: BadInput for an unknown arch, or rows and cols that are no such multiples.

    arch: a name of kernels/arch.py. rows, cols: N (a multiple of 16) and K (a multiple of 8). interleaved: rows are gate, up, gate, up;
    a strip then holds its 8 gates before its 8 ups. wide: the scales need the two-multiply decode (`nvidia` only).
    """

    arch: str
    rows: int
    cols: int
    interleaved: bool = False
    wide: bool = False

    def __post_init__(self) -> None:
        if self.arch not in ARCHES:
            raise BadInput(f"no weight layout for {self.arch!r}", f"use one of {', '.join(ARCHES)}")
        if self.rows % STRIP or self.cols % 8 or self.rows <= 0 or self.cols <= 0:
            raise BadInput(f"MXFP4 matrices need N % 16 == 0 and K % 8 == 0, got N={self.rows}, K={self.cols}",
                           "shard so that each rank keeps whole multiples")

    @property
    def fragment(self) -> str:
        """Whose matrix operand a lane's words are: "gfx950" or "nvidia"."""
        return ARCHES[self.arch].fragment

    @property
    def strips(self) -> int:
        """Strips of 16 rows."""
        return self.rows // STRIP

    @property
    def chunks(self) -> int:
        """Chunks of 128 columns."""
        return self.cols // CHUNK

    @property
    def tail_groups(self) -> int:
        """Scale groups behind the chunks, the short one included."""
        return groups(self.cols - self.chunks * CHUNK)

    @property
    def strip_words(self) -> int:
        """32-bit words of values per strip: exactly the unpadded values."""
        return 2 * self.cols

    @property
    def strip_scales(self) -> int:
        """Bytes of scales per strip."""
        return STRIP * groups(self.cols)

    @property
    def expert_bytes(self) -> int:
        """Bytes of values and scales per expert."""
        return self.strips * (4 * self.strip_words + self.strip_scales)


def row_order(layout: FragmentLayout) -> torch.Tensor:
    """``[N]``: which original row stands at each stored place."""
    place = torch.arange(layout.rows)
    if not layout.interleaved:
        return place
    strip, within = place // STRIP, place % STRIP
    return strip * STRIP + 2 * (within % 8) + within // 8


@lru_cache(maxsize=32)
def _value_order(fragment: str, cols: int) -> torch.Tensor:
    """``[strip_words * 8]``: for each nibble of a stored strip, slot-major in its word, the index row * cols + k it holds."""
    parts = []
    chunks = cols // CHUNK
    slot, half = torch.arange(4), torch.arange(2)
    if fragment == "nvidia":
        u, lo, tid, high, k1 = torch.meshgrid(*(torch.arange(n) for n in (2, 8, 4, 2, 2)), indexing="ij")
        row, k = lo + 8 * high, 8 * tid + 4 * u + 2 * k1
    else:
        tid, row, pair = torch.meshgrid(*(torch.arange(n) for n in (4, 16, 4)), indexing="ij")
        k = 8 * tid + 2 * pair
    row, k = row.flatten()[:, None, None], k.flatten()[:, None, None]
    for chunk in range(chunks):
        parts.append(row * cols + chunk * CHUNK + GROUP * slot[:, None] + k + half)
    start = chunks * CHUNK
    while start < cols:
        lanes = min(4, (cols - start) // 8)
        row, tid = torch.meshgrid(torch.arange(STRIP), torch.arange(lanes), indexing="ij")
        row, tid = row.flatten()[:, None, None], tid.flatten()[:, None, None]
        parts.append(row * cols + start + 8 * tid + 2 * slot[:, None] + half)
        start += GROUP
    return torch.cat([part.flatten() for part in parts])


@lru_cache(maxsize=32)
def _scale_order(fragment: str, cols: int) -> torch.Tensor:
    """``[strip_scales]``: for each stored scale byte of a strip the index row * groups + group it holds."""
    chunks, count = cols // CHUNK, groups(cols)
    row = torch.arange(STRIP)
    if fragment == "nvidia":
        row = row.view(2, 8).T.flatten()
    body = row[:, None] * count + torch.arange(4)
    parts = [(body + 4 * chunk).flatten() for chunk in range(chunks)]
    parts += [torch.arange(STRIP) * count + group for group in range(4 * chunks, count)]
    return torch.cat(parts)


def _shifts(fragment: str) -> list[list[list[tuple[int, int, int]]]]:
    """[slot][half] -> list of (mask in the code, its lowest bit there, its lowest bit in the word)."""
    if fragment == "gfx950":
        return [[[(15, 0, 8 * slot + 4 * half)] for half in range(2)] for slot in range(4)]
    table = [[[(8, 3, 15 - 3 * slot + 16 * half), (7, 0, 6 - 3 * slot + 16 * half)] for half in range(2)] for slot in range(3)]
    table.append([[(8, 3, 14 + 16 * half), (6, 1, 10 + 16 * half), (1, 0, 13 + 16 * half)] for half in range(2)])
    return table


def _to_words(codes: torch.Tensor, fragment: str) -> torch.Tensor:
    """``[..., words, 4, 2]`` codes -> ``[..., words]`` int32."""
    words = torch.zeros(codes.shape[:-2], dtype=torch.int64, device=codes.device)
    for slot, halves in enumerate(_shifts(fragment)):
        for half, fields in enumerate(halves):
            code = codes[..., slot, half].to(torch.int64)
            for mask, low, place in fields:
                words |= ((code & mask) >> low) << place
    return torch.where(words >= 1 << 31, words - (1 << 32), words).to(torch.int32)


def _from_words(words: torch.Tensor, fragment: str) -> torch.Tensor:
    """Inverse of `_to_words`."""
    wide = words.to(torch.int64)
    codes = torch.zeros((*words.shape, 4, 2), dtype=torch.uint8, device=words.device)
    for slot, halves in enumerate(_shifts(fragment)):
        for half, fields in enumerate(halves):
            for mask, low, place in fields:
                codes[..., slot, half] |= (((wide >> place) & (mask >> low)) << low).to(torch.uint8)
    return codes


def _strips(table: torch.Tensor, layout: FragmentLayout) -> torch.Tensor:
    """``[N, C]`` in stored row order -> ``[strips, 16 * C]``."""
    return table[row_order(layout).to(table.device)].reshape(layout.strips, -1)


def pack_matrix(values: torch.Tensor, scales: torch.Tensor, layout: FragmentLayout) -> tuple[torch.Tensor, torch.Tensor]:
    """Plain ``[E, N, K / 2]``, ``[E, N, ceil(K / 32)]`` uint8 -> words ``[E, strips * strip_words]`` int32, scales ``[E, strips * strip_scales]``
    uint8, one expert at a time (the peak is one expert's nibbles). Errors: BadInput for a scale that is NaN."""
    if bool((scales == E8M0_NAN).any()):
        raise BadInput("an e8m0 scale is 255, which is NaN", "repair the checkpoint: no finite weight has that scale")
    order = _value_order(layout.fragment, layout.cols).to(values.device)
    scale_order = _scale_order(layout.fragment, layout.cols).to(values.device)
    experts = values.shape[0]
    words = torch.empty(experts, layout.strips * layout.strip_words, dtype=torch.int32, device=values.device)
    packed = torch.empty(experts, layout.strips * layout.strip_scales, dtype=torch.uint8, device=values.device)
    bias = SCALE_BIAS if layout.fragment == "nvidia" and not layout.wide else 0
    for expert in range(experts):
        codes = _strips(nibbles(values[expert]), layout)[:, order].view(layout.strips, -1, 4, 2)
        words[expert] = _to_words(codes, layout.fragment).flatten()
        packed[expert] = _strips(scales[expert], layout)[:, scale_order].flatten() + bias
    return words, packed


def unpack_matrix(words: torch.Tensor, packed: torch.Tensor, layout: FragmentLayout) -> tuple[torch.Tensor, torch.Tensor]:
    """Exact inverse of `pack_matrix`: words ``[E, strips * strip_words]`` int32 and scales -> ``[E, N, K / 2]``, ``[E, N, ceil(K / 32)]`` uint8."""
    order = _value_order(layout.fragment, layout.cols).to(words.device)
    scale_order = _scale_order(layout.fragment, layout.cols).to(words.device)
    rows = row_order(layout).to(words.device)
    bias = SCALE_BIAS if layout.fragment == "nvidia" and not layout.wide else 0
    values, scales = [], []
    for expert in range(words.shape[0]):
        flat = _from_words(words[expert], layout.fragment).view(layout.strips, -1)
        codes = torch.empty_like(flat)
        codes[:, order] = flat
        table = torch.empty(layout.rows, layout.cols, dtype=torch.uint8, device=words.device)
        table[rows] = codes.view(layout.rows, layout.cols)
        flat = packed[expert].view(layout.strips, -1) - bias
        plain = torch.empty_like(flat)
        plain[:, scale_order] = flat
        scale = torch.empty(layout.rows, groups(layout.cols), dtype=torch.uint8, device=words.device)
        scale[rows] = plain.view(layout.rows, -1)
        values.append(from_nibbles(table))
        scales.append(scale)
    return torch.stack(values), torch.stack(scales)
