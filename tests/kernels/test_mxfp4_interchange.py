"""Other programs' layouts of MXFP4: the bytes by hand, and exact inverses."""

from __future__ import annotations

import itertools

import pytest
import torch

from tunefork.base.errors import BadInput
from tunefork.kernels.mxfp4 import LAYOUTS, convert, deinterleave, interleave
from tunefork.kernels.mxfp4.format import from_nibbles, nibbles
from tunefork.kernels.mxfp4.interchange import swizzle_scales, unswizzle_scales


def plain(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 256, (*shape[:-1], shape[-1] // 2), dtype=torch.uint8, generator=generator)
    return codes, torch.randint(0, 256, (*shape[:-1], shape[-1] // 32), dtype=torch.uint8, generator=generator)


def same(one: tuple[torch.Tensor, ...], other: tuple[torch.Tensor, ...]) -> bool:
    return len(one) == len(other) and all(a.dtype == b.dtype and torch.equal(a.view(torch.uint8), b.view(torch.uint8)) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(("source", "target"), list(itertools.product(LAYOUTS, LAYOUTS)))
@pytest.mark.parametrize("shape", [(1, 32), (3, 5, 96), (2, 2, 3, 64)])
def test_there_and_back(source: str, target: str, shape: tuple[int, ...]) -> None:
    stored = LAYOUTS[source].store(*plain(*shape))
    there = convert(stored, source, target)
    assert same(convert(there, target, source), stored)
    assert same(LAYOUTS[target].load(*there), plain(*shape))


def test_where_gguf_puts_an_element() -> None:
    codes = torch.arange(32, dtype=torch.uint8) % 16
    codes[31] = 3
    (raw,) = convert((from_nibbles(codes[None]), torch.tensor([[99]], dtype=torch.uint8)), "plain", "gguf")
    assert raw[0, 0] == 99 and raw.shape == (1, 17)
    assert raw[0, 1] == 0 | (0 << 4) and raw[0, 2] == 1 | (1 << 4) and raw[0, 16] == 15 | (3 << 4)  # elements 0 and 16, 1 and 17, 15 and 31


def test_where_openai_puts_an_element() -> None:
    values, scales = plain(2, 3, 64)
    blocks, same_scales = convert((values, scales), "plain", "openai")
    assert blocks.shape == (2, 3, 2, 16) and torch.equal(same_scales, scales)
    assert blocks[1, 2, 1, 5] & 15 == nibbles(values)[1, 2, 32 + 10] and blocks[1, 2, 1, 5] >> 4 == nibbles(values)[1, 2, 32 + 11]


@pytest.mark.parametrize("dim", [0, 1, -2])
def test_gate_and_up(dim: int) -> None:
    rows = torch.randn(4, 6, 3)
    gate, up = deinterleave(rows, dim)
    assert torch.equal(interleave(gate, up, dim), rows)
    assert torch.equal(gate.select(dim, 1), rows.select(dim, 2)) and torch.equal(up.select(dim, 1), rows.select(dim, 3))


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (128, 4), (129, 5), (300, 90)])
def test_swizzled_scales(rows: int, columns: int) -> None:
    scales = torch.randint(0, 256, (rows, columns), dtype=torch.uint8)
    flat = swizzle_scales(scales)
    assert flat.numel() == -(-rows // 128) * 128 * -(-columns // 4) * 4 and torch.equal(unswizzle_scales(flat, rows, columns), scales)
    assert flat[0] == scales[0, 0] and (columns < 2 or flat[1] == scales[0, 1]) and (rows < 33 or flat[4] == scales[32, 0])


def test_what_is_no_layout() -> None:
    values, scales = plain(2, 64)
    with pytest.raises(BadInput, match="no MXFP4 layout 'gptq'") as error:
        convert((values, scales), "plain", "gptq")
    assert "openai" in error.value.remedy
    with pytest.raises(BadInput, match=r"blocks are \[..., K / 32, 16\]"):
        convert((values, scales), "openai", "plain")
    with pytest.raises(BadInput, match="whole blocks of 17 bytes"):
        convert((values,), "gguf", "plain")
    with pytest.raises(BadInput, match="plain MXFP4 is uint8"):
        convert((values, scales[:, :1]), "plain", "openai")
    with pytest.raises(BadInput, match="pairs"):
        deinterleave(torch.ones(3, 2), 0)
    with pytest.raises(BadInput, match="gate is"):
        interleave(torch.ones(2), torch.ones(3), 0)
    with pytest.raises(BadInput, match="are 2048 bytes, got 1024"):
        unswizzle_scales(swizzle_scales(torch.ones(200, 3, dtype=torch.uint8)), 200, 3 + 2)
