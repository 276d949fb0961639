"""Matrix instructions against sums written out element by element from the layout tables of the CDNA3/CDNA4 ISA."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tunefork.kernels.amdgcn.errors import UnknownInstruction

E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6]
BITS = {"bf16": 16, "f16": 16, "f32": 32, "i8": 8, "fp8": 8, "bf8": 8, "fp4": 4}


def value(pattern: int, fmt: str) -> float:
    """One element, decoded by torch or by the format's own table."""
    if fmt == "fp4":
        return E2M1[pattern]
    dtype, width = {
        "bf16": (torch.bfloat16, torch.uint16),
        "f16": (torch.float16, torch.uint16),
        "f32": (torch.float32, torch.uint32),
        "i8": (torch.int8, torch.uint8),
        "fp8": (torch.float8_e4m3fn, torch.uint8),
        "bf8": (torch.float8_e5m2, torch.uint8),
    }[fmt]
    return float(torch.tensor([pattern], dtype=width).view(dtype).float())


def element(words: np.ndarray[Any, Any], lane: int, number: int, fmt: str) -> float:
    """Element ``number`` of a lane: elements fill registers from the low bits up."""
    bits = BITS[fmt]
    register, place = divmod(number * bits, 32)
    return value(int(words[register, lane]) >> place & ((1 << bits) - 1), fmt)


def random_words(run: Any, count: int, fmt: str) -> np.ndarray[Any, Any]:
    """Finite random elements, different in every lane and place."""
    shape = (count, 2, 64)
    if fmt == "f32":
        return run.random.standard_normal(shape).astype(np.float32).view(np.uint32)
    if fmt in ("bf16", "f16"):
        numbers = torch.from_numpy(run.random.standard_normal((*shape, 2)).astype(np.float32))
        typed = numbers.to(torch.bfloat16 if fmt == "bf16" else torch.float16)
        return typed.view(torch.int16).numpy().view(np.uint32)[..., 0]
    octets = run.random.integers(0, 256, (*shape, 4), dtype=np.uint8)
    if fmt in ("fp8", "bf8"):
        octets = np.where((octets & 0x7F) >= 0x7C, octets & 0x83, octets)
    return octets.view(np.uint32)[..., 0]


def k_of(lane_group: int, number: int, per_lane: int, groups: int, halves: bool) -> int:
    """The K index of an element: consecutive in a lane, or in two halves for 8-bit f8f6f4 operands."""
    if not halves:
        return lane_group * per_lane + number
    half = per_lane // 2
    return (number // half) * half * groups + lane_group * half + number % half


def operand(words: np.ndarray[Any, Any], size: int, depth: int, fmt: str, mixed: bool = False) -> np.ndarray[Any, Any]:
    """(size, depth) matrix of one wave from its registers (n, 64)."""
    groups = 64 // size
    per_lane = depth // groups
    matrix = np.empty((size, depth))
    for lane in range(64):
        for number in range(per_lane):
            k = k_of(lane // size, number, per_lane, groups, mixed and BITS[fmt] == 8)
            matrix[lane % size, k] = element(words, lane, number, fmt)
    return matrix


def row_of(register: int, lane: int, size: int) -> int:
    return 8 * (register // 4) + 4 * (lane // 32) + register % 4 if size == 32 else 4 * (lane // 16) + register


def check(run: Any, size: int, product: list[np.ndarray[Any, Any]], addend: np.ndarray[Any, Any], rtol: float = 1e-6) -> None:
    registers = size * size // 64
    for wave in range(2):
        for register in range(registers):
            for lane in range(64):
                wanted = product[wave][row_of(register, lane, size), lane % size] + addend[register, wave, lane]
                found = run.f32(16 + register)[wave, lane]
                assert found == pytest.approx(wanted, rel=rtol, abs=1e-5), (wave, register, lane)


CASES = [
    ("v_mfma_f32_16x16x32_bf16", 16, 32, "bf16", "bf16"),
    ("v_mfma_f32_32x32x16_bf16", 32, 16, "bf16", "bf16"),
    ("v_mfma_f32_16x16x16_bf16", 16, 16, "bf16", "bf16"),
    ("v_mfma_f32_32x32x8_bf16_1k", 32, 8, "bf16", "bf16"),
    ("v_mfma_f32_16x16x32_f16", 16, 32, "f16", "f16"),
    ("v_mfma_f32_32x32x16_f16", 32, 16, "f16", "f16"),
    ("v_mfma_f32_16x16x4_f32", 16, 4, "f32", "f32"),
    ("v_mfma_f32_32x32x2_f32", 32, 2, "f32", "f32"),
    ("v_mfma_f32_16x16x32_fp8_bf8", 16, 32, "fp8", "bf8"),
    ("v_mfma_f32_32x32x16_bf8_fp8", 32, 16, "bf8", "fp8"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size", "depth", "left", "right"), CASES)
def test_dense(name: str, size: int, depth: int, left: str, right: str, bench: Callable[..., Any]) -> None:
    run = bench()
    counts = [depth * size // 64 * BITS[fmt] // 32 for fmt in (left, right)]
    a, b = (random_words(run, count, fmt) for count, fmt in zip(counts, (left, right), strict=True))
    run.batch.vector[0 : counts[0]], run.batch.vector[8 : 8 + counts[1]] = a, b
    registers = size * size // 64
    addend = run.random.standard_normal((registers, 2, 64)).astype(np.float32)
    run.batch.vector[16 : 16 + registers] = addend.view(np.uint32)

    def span(first: int, count: int) -> str:
        return f"v[{first}:{first + count - 1}]" if count > 1 else f"v{first}"

    run.run(f"{name} {span(16, registers)}, {span(0, counts[0])}, {span(8, counts[1])}, {span(16, registers)}")
    product = [operand(a[:, w], size, depth, left) @ operand(b[:, w], size, depth, right).T for w in range(2)]
    check(run, size, product, addend)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "depth"), [(16, 128), (32, 64)])
@pytest.mark.parametrize(("left", "right"), [("fp4", "fp4"), ("fp8", "fp4"), ("fp4", "bf8"), ("bf8", "fp8")])
@pytest.mark.parametrize("byte", [(0, 0), (1, 2), (3, 1)])
def test_scaled(size: int, depth: int, left: str, right: str, byte: tuple[int, int], bench: Callable[..., Any]) -> None:
    """Each lane group's scale byte belongs to its own block of 32 along K; op_sel names the byte."""
    run, code = bench(), {"fp8": 0, "bf8": 1, "fp4": 4}
    counts = [depth * size // 64 * BITS[fmt] // 32 for fmt in (left, right)]
    a, b = (random_words(run, count, fmt) for count, fmt in zip(counts, (left, right), strict=True))
    run.batch.vector[0 : counts[0]], run.batch.vector[8 : 8 + counts[1]] = a, b
    scales = run.random.integers(120, 134, (2, 2, 64, 4), dtype=np.uint8)
    run.batch.vector[40], run.batch.vector[41] = scales.view(np.uint32)[..., 0]
    registers = size * size // 64
    select = f"op_sel:[{byte[0] & 1},{byte[1] & 1},0] op_sel_hi:[{byte[0] >> 1},{byte[1] >> 1},0]"
    run.run(
        f"v_mfma_scale_f32_{size}x{size}x{depth}_f8f6f4 v[16:{15 + registers}], v[0:{counts[0] - 1}], v[8:{7 + counts[1]}], 0, "
        f"v40, v41 {select} cbsz:{code[left]} blgp:{code[right]}"
    )
    product = []
    for wave in range(2):
        sides = []
        for words, fmt, scale, place in ((a, left, scales[0], byte[0]), (b, right, scales[1], byte[1])):
            matrix = operand(words[:, wave], size, depth, fmt, mixed=True)
            for row in range(size):
                for block in range(depth // 32):
                    factor = 2.0 ** (int(scale[wave, block * size + row, place]) - 127)
                    matrix[row, 32 * block : 32 * block + 32] *= factor
            sides.append(matrix)
        product.append(sides[0] @ sides[1].T)
    check(run, size, product, np.zeros((registers, 2, 64)))


def test_nan_scale(bench: Callable[..., Any]) -> None:
    run = bench()
    run.batch.vector[0:16] = 0
    run.batch.vector[40], run.batch.vector[41] = 127, np.where(np.arange(64) == 3, 255, 127)
    run.run("v_mfma_scale_f32_16x16x128_f8f6f4 v[16:19], v[0:3], v[8:11], 0, v40, v41 op_sel_hi:[0,0,0] cbsz:4 blgp:4")
    assert np.isnan(run.f32(16)[:, 3::16]).all() and (np.delete(run.f32(16), [3, 19, 35, 51], axis=1) == 0).all()


def test_sixteen_blocks_of_four(bench: Callable[..., Any]) -> None:
    """4x4x4 with 16 blocks: lane l belongs to block l // 4; cbsz and abid hand one block of A to all."""
    run = bench()
    a, b = random_words(run, 2, "bf16"), random_words(run, 2, "bf16")
    run.batch.vector[0:2], run.batch.vector[8:10] = a, b
    for extra, block_of in (("", lambda block: block), (" cbsz:4 abid:5", lambda block: 5)):
        run.run(f"v_mfma_f32_4x4x4_16b_bf16 v[16:19], v[0:1], v[8:9], 0{extra}")
        for register in range(4):
            for lane in range(64):
                block, column = divmod(lane, 4)
                row = block_of(block) * 4 + register
                wanted = sum(element(a[:, 0], row, k, "bf16") * element(b[:, 0], block * 4 + column, k, "bf16") for k in range(4))
                assert run.f32(16 + register)[0, lane] == pytest.approx(wanted, rel=1e-6, abs=1e-6)


def test_integers(bench: Callable[..., Any]) -> None:
    run = bench()
    a, b = random_words(run, 4, "i8"), random_words(run, 4, "i8")
    run.batch.vector[0:4], run.batch.vector[8:12] = a, b
    run.run("v_mfma_i32_16x16x64_i8 v[16:19], v[0:3], v[8:11], 0")
    wanted = operand(a[:, 1], 16, 64, "i8") @ operand(b[:, 1], 16, 64, "i8").T
    for register in range(4):
        found = run.batch.vector[16 + register, 1].view(np.int32)
        assert [int(found[lane]) for lane in range(64)] == [int(wanted[row_of(register, lane, 16), lane % 16]) for lane in range(64)]


def test_accumulators_and_inactive_lanes(bench: Callable[..., Any]) -> None:
    """Results may go to accumulators, and exec does not mask them."""
    run = bench()
    run.batch.vector[0:12] = 0
    run.batch.accumulator[0:4] = np.float32(2.5).view(np.uint32)
    run.exec_mask(0)
    run.run("v_mfma_f32_16x16x32_bf16 a[0:3], v[0:3], v[4:7], a[0:3]", "v_mfma_f32_16x16x32_bf16 a[4:7], v[0:3], v[4:7], 1.0")
    assert (run.batch.accumulator[0:4].view(np.float32) == 2.5).all() and (run.batch.accumulator[4:8].view(np.float32) == 1).all()


@pytest.mark.parametrize("text", [
    "v_mfma_scale_f32_16x16x128_f8f6f4 v[16:19], v[0:5], v[8:13], 0, v40, v41 cbsz:2 blgp:2",
    "v_mfma_f32_32x32x4_2b_bf16 v[16:31], v[0:1], v[8:9], 0",
    "v_mfma_f32_16x16x32_bf16 v[16:19], v[0:3], v[8:11], 0 blgp:1",
])  # fmt: skip
def test_forms_without_a_layout_are_refused(text: str, bench: Callable[..., Any]) -> None:
    with pytest.raises(UnknownInstruction):
        bench().run(text)
