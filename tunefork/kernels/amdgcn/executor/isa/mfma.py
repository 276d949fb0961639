"""Matrix instructions: v_mfma_{f32,i32,f64}_MxNxK[_blocks]_type and the scaled v_mfma_scale_f32_MxNxK_f8f6f4.

Operand layout over the 64 lanes: lane l holds row (column) l % M and the K elements of group l // M; f8f6f4 with 8-bit elements
holds two halves of K. Products are summed in f64 and rounded once; exec is ignored, as on the hardware.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tunefork.kernels.amdgcn.assembly import Instruction
from tunefork.kernels.amdgcn.errors import UnknownInstruction
from tunefork.kernels.amdgcn.executor.isa import narrow
from tunefork.kernels.amdgcn.executor.isa.valu import bit_list
from tunefork.kernels.amdgcn.executor.machine.operands import Operand
from tunefork.kernels.amdgcn.executor.machine.sources import constant, vector_source
from tunefork.kernels.amdgcn.executor.machine.state import LANES, Batch

Array = npt.NDArray[Any]
Step = Callable[[Batch], None]
NAME = re.compile(r"v_mfma_(scale_)?(f32|i32|f64)_(\d+)x(\d+)x(\d+)_(?:(\d+)b_)?(\w+?)(?:_1k)?$")
F8F6F4 = {0: "fp8", 1: "bf8", 4: "fp4"}
ELEMENT_BITS = {"bf16": 16, "f16": 16, "f32": 32, "f64": 64, "i8": 8, "fp8": 8, "bf8": 8, "fp4": 4}
SCALE_BLOCK = 32


@dataclass(frozen=True)
class Shape:
    """One matrix instruction.

    rows, columns, depth: M, N, K of a block.  blocks: independent products in one instruction.
    left, right: element formats.  result: "f32", "i32" or "f64".  scaled: with e8m0 scales for 32 elements of K.
    """

    rows: int
    columns: int
    depth: int
    blocks: int
    left: str
    right: str
    result: str
    scaled: bool
    mixed: bool

    @property
    def groups(self) -> int:
        """Lane groups that share K between them."""
        return LANES // (self.rows * self.blocks)

    @property
    def per_lane(self) -> int:
        """K elements in a lane."""
        return self.depth // self.groups

    @property
    def flops(self) -> int:
        return 2 * self.rows * self.columns * self.depth * self.blocks


def shape_of(instruction: Instruction) -> Shape:
    """The shape and formats that a mnemonic and its modifiers name. Errors: UnknownInstruction."""
    found = NAME.match(instruction.base)
    if not found:
        raise UnknownInstruction("unknown matrix instruction", instruction.where)
    kind = found[7]
    if kind == "f8f6f4":
        numbers = [int(instruction.modifiers.get(name, "0")) for name in ("cbsz", "blgp")]
        if any(number not in F8F6F4 for number in numbers):
            raise UnknownInstruction("6-bit matrix elements have no meaning here yet", instruction.where)
        left, right = (F8F6F4[number] for number in numbers)
    else:
        left, _, right = kind.partition("_")
        right = right or left
    if left not in ELEMENT_BITS or right not in ELEMENT_BITS:
        raise UnknownInstruction(f"unknown element type {kind}", instruction.where)
    rows, columns, depth = int(found[3]), int(found[4]), int(found[5])
    blocks = int(found[6] or 1)
    return Shape(rows, columns, depth, blocks, left, right, found[2], bool(found[1]), kind == "f8f6f4")


def elements(words: Array, fmt: str) -> Array:
    """Registers (n, waves, 64) as element values (waves, 64, elements) in f64."""
    packed = np.ascontiguousarray(words.transpose(1, 2, 0))
    plain: dict[str, Any] = {"f16": np.float16, "f32": np.float32, "f64": np.float64, "i8": np.int8}
    if fmt in plain:
        typed: Array = packed.view(plain[fmt]).astype(np.float64)
        return typed
    octets = packed.view(np.uint8)
    if fmt == "fp4":
        octets = np.stack((octets & 15, octets >> 4), axis=-1).reshape(*octets.shape[:2], -1)
    return narrow.VALUES[fmt][octets].astype(np.float64)


def by_depth(words: Array, size: int, shape: Shape) -> Array:
    """Registers (n, waves, 64) of bf16 as (waves, blocks, K, size) in f64: the way of ``matrix`` that copies least."""
    count, waves, _ = words.shape
    made = np.empty((waves, shape.blocks, shape.groups, count, 2, size))
    for half, bits in enumerate((words << np.uint32(16), words & np.uint32(0xFFFF0000))):
        lanes = bits.view(np.float32).reshape(count, waves, shape.groups, shape.blocks, size)
        made[:, :, :, :, half] = lanes.transpose(1, 3, 2, 0, 4)
    return made.reshape(waves, shape.blocks, shape.depth, size)


def matrix(words: Array, size: int, shape: Shape, fmt: str) -> Array:
    """Registers (n, waves, 64) as (waves, blocks, size, K) in f64."""
    if fmt == "bf16":
        return by_depth(words, size, shape).transpose(0, 1, 3, 2)
    values = elements(words, fmt)
    waves = len(values)
    grouped = values.reshape(waves, shape.groups, shape.blocks, size, shape.per_lane)
    if shape.mixed and ELEMENT_BITS[fmt] == 8:
        halves = grouped.reshape(waves, shape.groups, shape.blocks, size, 2, shape.per_lane // 2)
        ordered = halves.transpose(0, 2, 3, 4, 1, 5)
    else:
        ordered = grouped.transpose(0, 2, 3, 1, 4)
    return ordered.reshape(waves, shape.blocks, size, shape.depth)


def laid_out(product: Array, shape: Shape) -> Array:
    """A product, (waves, blocks, rows, columns), as (registers, waves, 64).

    32x32: row 8 (register // 4) + 4 (lane // 32) + register % 4.  16x16: row 4 (lane // 16) + register, f64 4 register + lane // 16.
    4x4: block lane // 4, row the register. The column is the lane, modulo columns.
    """
    waves = len(product)
    if shape.blocks > 1:
        return product.transpose(2, 0, 1, 3).reshape(shape.rows, waves, LANES)
    if shape.rows == 32:
        return product.reshape(waves, 4, 2, 4, 32).transpose(1, 3, 0, 2, 4).reshape(16, waves, LANES)
    order = (1, 0, 2, 3) if shape.result == "f64" else (2, 0, 1, 3)
    return product.reshape(waves, 4, 4, 16).transpose(order).reshape(4, waves, LANES)


def scales(operand: Operand, byte: int, shape: Shape, size: int) -> Callable[[Batch], Array]:
    """e8m0 scales of one operand as (waves, 1, size, K): lane group g holds the scale of K block g."""
    source, shift = vector_source(operand, "u32"), np.uint32(8 * byte)

    def values(batch: Batch) -> Array:
        octet = np.broadcast_to((source(batch) >> shift) & np.uint32(255), (batch.waves, LANES))
        block = narrow.scale_value(octet).reshape(batch.waves, 1, shape.groups, size).transpose(0, 1, 3, 2)
        return np.repeat(block, SCALE_BLOCK, axis=3)

    return values


def registers(operand: Operand, count: int) -> Callable[[Batch], Array]:
    index = operand.index
    if operand.bank not in "va":
        raise UnknownInstruction("a matrix source must be a register range")
    return lambda batch: batch.bank(operand.bank)[index : index + count]


def accumulate(operand: Operand, shape: Shape, count: int) -> Callable[[Batch], Array]:
    """The addend as (registers, waves, 64) f64, from registers or a constant."""
    if operand.is_constant:
        value = float(constant(operand, shape.result))
        return lambda batch: np.array(value)
    if shape.result == "f64":
        return lambda batch: np.stack([batch.pair(operand.bank, operand.index + 2 * at).view(np.float64) for at in range(count)])
    read, dtype = registers(operand, count), np.float32 if shape.result == "f32" else np.int32
    return lambda batch: read(batch).view(dtype).astype(np.float64)


def broadcast_blocks(instruction: Instruction, shape: Shape) -> Array:
    """Which block of the left operand each block uses (cbsz, abid)."""
    size = 0 if shape.mixed else int(instruction.modifiers.get("cbsz", "0"))
    chosen = int(instruction.modifiers.get("abid", "0"))
    return (np.arange(shape.blocks) & ~((1 << size) - 1)) | (chosen if size else 0)


def check(instruction: Instruction, shape: Shape) -> None:
    """Refuse forms whose layout is not implemented. Errors: UnknownInstruction."""
    known = {"op_sel", "op_sel_hi", "cbsz", "blgp", "abid"}
    if set(instruction.modifiers) - known or (not shape.mixed and instruction.modifiers.get("blgp", "0") != "0"):
        raise UnknownInstruction("unknown matrix modifier", instruction.where)
    if shape.rows != shape.columns or shape.rows not in (4, 16, 32) or shape.blocks != (16 if shape.rows == 4 else 1):
        raise UnknownInstruction("this matrix shape has no layout here yet", instruction.where)


def build(instruction: Instruction, operands: Sequence[Operand]) -> Step:
    """The step of one matrix instruction."""
    shape = shape_of(instruction)
    check(instruction, shape)
    target, count = operands[0], shape.rows * shape.columns * shape.blocks // LANES
    left_of, right_of = (
        registers(operand, shape.per_lane * ELEMENT_BITS[fmt] // 32)
        for operand, fmt in zip(operands[1:3], (shape.left, shape.right), strict=True)
    )
    addend, blocks = accumulate(operands[3], shape, count), broadcast_blocks(instruction, shape)
    own_block = bool((blocks == np.arange(shape.blocks)).all())
    left_scale = right_scale = None
    if shape.scaled:
        low, high = bit_list(instruction, "op_sel", 0, 3), bit_list(instruction, "op_sel_hi", 0, 3)
        left_scale = scales(operands[4], low[0] + 2 * high[0], shape, shape.rows)
        right_scale = scales(operands[5], low[1] + 2 * high[1], shape, shape.columns)

    def step(batch: Batch) -> None:
        left_words, right_words = left_of(batch), right_of(batch)
        if batch.machine.audit is not None:
            batch.machine.audit.note(batch.group, left_words, right_words)
        left = matrix(left_words, shape.rows, shape, shape.left)
        right = matrix(right_words, shape.columns, shape, shape.right)
        if left_scale and right_scale:
            left, right = left * left_scale(batch), right * right_scale(batch)
        product = np.ascontiguousarray(left if own_block else left[:, blocks]) @ right.transpose(0, 1, 3, 2)
        write(batch, target, laid_out(product, shape) + addend(batch), shape)

    return step


def write(batch: Batch, target: Operand, total: Array, shape: Shape) -> None:
    """Round the (registers, waves, 64) f64 result and write it in every lane."""
    bank, count = batch.bank(target.bank), len(total)
    if shape.result == "f64":
        for at in range(count):
            bits = np.ascontiguousarray(total[at]).view(np.uint64)
            bank[target.index + 2 * at] = bits.astype(np.uint32)
            bank[target.index + 2 * at + 1] = (bits >> np.uint64(32)).astype(np.uint32)
    elif shape.result == "i32":
        bank[target.index : target.index + count] = total.astype(np.int64).astype(np.uint32)
    else:
        bank[target.index : target.index + count] = total.astype(np.float32).view(np.uint32)


def decode(instruction: Instruction, operands: Sequence[Operand]) -> Step | None:
    """The step of a matrix instruction, or None for any other mnemonic."""
    return build(instruction, operands) if instruction.base.startswith("v_mfma_") else None
