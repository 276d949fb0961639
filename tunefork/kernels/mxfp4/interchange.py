"""MXFP4 as other programs store it, from and to our plain form (format.py): rearranged bytes, nothing computed, so each way has an exact inverse.

- openai: ``{name}_blocks [..., N, K / 32, 16]`` and ``{name}_scales [..., N, K / 32]``, uint8; even k in the low nibble, as plain.
- compressed-tensors: ``weight_packed [..., N, K / 2]`` and ``weight_scale [..., N, K / 32]``, uint8: the plain form itself, as amd-quark's and AITER's.
- float: the plain form as torch.float4_e2m1fn_x2 and torch.float8_e8m0fnu, which safetensors stores as F4 and F8_E8M0.
- gguf: ``[..., N, K / 32 * 17]`` uint8: per block the scale byte, then 16 bytes, of which byte i has elements i (low nibble) and i + 16.

GPT-OSS's gate and up projections are rows gate, up, gate, up in openai's files, and two matrices in gguf's: `deinterleave`, `interleave`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from tunefork.base.errors import BadInput
from tunefork.kernels.mxfp4.format import GROUP, from_nibbles, nibbles

GGUF_BLOCK = 1 + GROUP // 2
_SWIZZLE_ROWS, _SWIZZLE_COLUMNS = 128, 4

Plain = tuple[torch.Tensor, torch.Tensor]
Stored = tuple[torch.Tensor, ...]


def _whole(values: torch.Tensor, scales: torch.Tensor) -> None:
    if values.dtype != torch.uint8 or scales.dtype != torch.uint8 or values.shape[:-1] != scales.shape[:-1] or values.shape[-1] * 2 != scales.shape[-1] * GROUP:
        raise BadInput(f"plain MXFP4 is uint8 [..., K / 2] and [..., K / 32], got {values.dtype} {list(values.shape)} and {scales.dtype} {list(scales.shape)}",
                       "other programs store whole blocks of 32: pad K first")


def to_openai(values: torch.Tensor, scales: torch.Tensor) -> Stored:
    """Plain -> (blocks, scales). Errors: BadInput unless K is whole blocks; so do the others."""
    _whole(values, scales)
    return values.unflatten(-1, (-1, GROUP // 2)), scales


def from_openai(blocks: torch.Tensor, scales: torch.Tensor) -> Plain:
    """(blocks, scales) -> plain."""
    if blocks.ndim < 2 or blocks.shape[-1] != GROUP // 2:
        raise BadInput(f"blocks are [..., K / 32, 16], got {list(blocks.shape)}", "pass the tensor whose name ends in _blocks")
    values = blocks.flatten(-2)
    _whole(values, scales)
    return values, scales


def to_float(values: torch.Tensor, scales: torch.Tensor) -> Stored:
    """Plain -> the same bytes under torch's names for them."""
    _whole(values, scales)
    return values.view(torch.float4_e2m1fn_x2), scales.view(torch.float8_e8m0fnu)


def from_float(values: torch.Tensor, scales: torch.Tensor) -> Plain:
    """torch.float4_e2m1fn_x2 and torch.float8_e8m0fnu -> plain."""
    found = values.view(torch.uint8), scales.view(torch.uint8)
    _whole(*found)
    return found


def to_plain(values: torch.Tensor, scales: torch.Tensor) -> Stored:
    """Plain, checked."""
    _whole(values, scales)
    return values, scales


def from_plain(values: torch.Tensor, scales: torch.Tensor) -> Plain:
    """Plain, checked."""
    _whole(values, scales)
    return values, scales


def to_gguf(values: torch.Tensor, scales: torch.Tensor) -> Stored:
    """Plain -> gguf's bytes."""
    _whole(values, scales)
    codes = nibbles(values).unflatten(-1, (-1, 2, GROUP // 2))
    return (torch.cat((scales[..., None], codes[..., 0, :] | (codes[..., 1, :] << 4)), -1).flatten(-2),)


def from_gguf(raw: torch.Tensor) -> Plain:
    """gguf's bytes -> plain. Errors: BadInput for a row that is not whole blocks of 17 bytes."""
    if raw.dtype != torch.uint8 or raw.ndim == 0 or raw.shape[-1] % GGUF_BLOCK:
        raise BadInput(f"a gguf MXFP4 row is whole blocks of {GGUF_BLOCK} bytes, got {raw.dtype} {list(raw.shape)}",
                       "pass the tensor's raw bytes, [..., K / 32 * 17]")
    blocks = raw.unflatten(-1, (-1, GGUF_BLOCK))
    packed = blocks[..., 1:]
    codes = torch.cat((packed & 15, packed >> 4), -1).flatten(-2)
    return from_nibbles(codes), blocks[..., 0].contiguous()


@dataclass(frozen=True)
class Layout:
    """store: plain -> the tensors as they are stored. load: its exact inverse."""

    store: Callable[..., Stored]
    load: Callable[..., Plain]


LAYOUTS = {
    "plain": Layout(to_plain, from_plain),
    "openai": Layout(to_openai, from_openai),
    "compressed-tensors": Layout(to_plain, from_plain),
    "quark": Layout(to_plain, from_plain),
    "float": Layout(to_float, from_float),
    "gguf": Layout(to_gguf, from_gguf),
}


def convert(tensors: Stored, source: str, target: str) -> Stored:
    """Stored tensors of one layout -> another's. Errors: BadInput for an unknown name, or tensors that are not that layout's."""
    for name in (source, target):
        if name not in LAYOUTS:
            raise BadInput(f"no MXFP4 layout {name!r}", f"use one of {', '.join(LAYOUTS)}")
    return LAYOUTS[target].store(*LAYOUTS[source].load(*tensors))


def deinterleave(rows: torch.Tensor, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows gate, up, gate, up along `dim` -> (gate, up). Inverse of `interleave`."""
    if rows.shape[dim] % 2:
        raise BadInput(f"gate and up are rows in pairs, got {rows.shape[dim]} rows", "pass both projections")
    size = rows.shape[dim]
    index = torch.arange(0, size, 2, device=rows.device)
    return rows.index_select(dim, index), rows.index_select(dim, index + 1)


def interleave(gate: torch.Tensor, up: torch.Tensor, dim: int) -> torch.Tensor:
    """(gate, up) of equal shape -> rows gate, up, gate, up along `dim`."""
    if gate.shape != up.shape:
        raise BadInput(f"gate is {list(gate.shape)} and up {list(up.shape)}", "pass two projections of one layer")
    dim %= gate.ndim
    return torch.stack((gate, up), dim + 1).flatten(dim, dim + 1)


def swizzle_scales(scales: torch.Tensor) -> torch.Tensor:
    """``[N, G]`` uint8 -> flat: tiles of 128 rows and 4 groups, in each the rows r, r + 32, r + 64, r + 96 side by side, padded with zeros.

    What cuBLAS's block-scaled products read, and torchao's `to_blocked`.
    """
    rows, columns = scales.shape
    padded = torch.nn.functional.pad(scales, (0, -columns % _SWIZZLE_COLUMNS, 0, -rows % _SWIZZLE_ROWS))
    tiles = padded.view(-1, 4, 32, padded.shape[1] // _SWIZZLE_COLUMNS, _SWIZZLE_COLUMNS)
    return tiles.permute(0, 3, 2, 1, 4).flatten()


def unswizzle_scales(flat: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Inverse of `swizzle_scales`. Errors: BadInput for another number of bytes."""
    high, wide = -(-rows // _SWIZZLE_ROWS), -(-columns // _SWIZZLE_COLUMNS)
    if flat.numel() != high * _SWIZZLE_ROWS * wide * _SWIZZLE_COLUMNS:
        raise BadInput(f"scales of {rows} rows and {columns} groups are {high * _SWIZZLE_ROWS * wide * _SWIZZLE_COLUMNS} bytes, got {flat.numel()}",
                       "pass the unpadded rows and groups")
    tiles = flat.view(high, wide, 32, 4, _SWIZZLE_COLUMNS).permute(0, 3, 2, 1, 4)
    return tiles.reshape(high * _SWIZZLE_ROWS, wide * _SWIZZLE_COLUMNS)[:rows, :columns].contiguous()
