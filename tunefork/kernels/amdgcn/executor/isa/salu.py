"""Builds the steps of scalar instructions: SOP1, SOP2, SOPC, SOPK. One value per wave; arrays are (waves,)."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tunefork.kernels.amdgcn.assembly import Instruction
from tunefork.kernels.amdgcn.errors import UnknownInstruction
from tunefork.kernels.amdgcn.executor.isa.scalar_operations import OPERATIONS, ScalarOperation, wide
from tunefork.kernels.amdgcn.executor.machine.operands import EXEC, Operand
from tunefork.kernels.amdgcn.executor.machine.sources import scalar_source
from tunefork.kernels.amdgcn.executor.machine.state import Batch

Array = npt.NDArray[Any]
Step = Callable[[Batch], None]
Function = Callable[..., Any]

U32, U64 = np.uint32, np.uint64
COMPARISONS: dict[str, Function] = {
    "eq": operator.eq,
    "lg": operator.ne,
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
}
SAVE_EXEC: dict[str, Function] = {
    "and": lambda s, e: s & e,
    "or": lambda s, e: s | e,
    "xor": lambda s, e: s ^ e,
    "andn2": lambda s, e: s & ~e,
    "orn2": lambda s, e: s | ~e,
    "andn1": lambda s, e: ~s & e,
    "orn1": lambda s, e: ~s | e,
    "nand": lambda s, e: ~(s & e),
    "nor": lambda s, e: ~(s | e),
    "xnor": lambda s, e: ~(s ^ e),
}


def unsigned(value: Any, count: int) -> Array:
    """A result as the unsigned words of its register or register pair."""
    array = np.asarray(value)
    wanted = U32 if count == 1 else U64
    return array.view(wanted) if array.dtype.itemsize == 4 * count else array.astype(wanted)


def build(operation: ScalarOperation, operands: Sequence[Operand]) -> Step:
    kinds = operation.sources.split()
    getters = [scalar_source(operand, kind) for operand, kind in zip(operands[1:], kinds, strict=True)]
    index, count = operands[0].index, operands[0].count
    function, rule = operation.function, operation.scc

    def step(batch: Batch) -> None:
        result = function(*[getter(batch) for getter in getters])
        if rule == "returned":
            result, carry = result
            batch.scc = np.broadcast_to(carry, batch.waves).copy()
        elif rule == "nonzero":
            batch.scc = np.broadcast_to(np.asarray(result) != 0, batch.waves).copy()
        batch.write_scalar(index, count, unsigned(result, count))

    return step


def with_carry(instruction: Instruction, operands: Sequence[Operand]) -> Step:
    """s_addc_u32 and s_subb_u32: the carry comes from SCC and goes there."""
    first, second = (scalar_source(operand, "u32") for operand in operands[1:])
    index, subtract = operands[0].index, instruction.base == "s_subb_u32"

    def step(batch: Batch) -> None:
        a, b, carry = wide(first(batch)), wide(second(batch)), wide(batch.scc)
        total = a - b - carry if subtract else a + b + carry
        batch.scc = np.broadcast_to((total < 0) | (total > 0xFFFFFFFF), batch.waves).copy()
        batch.write_scalar(index, 1, total.astype(U32))

    return step


def select(instruction: Instruction, operands: Sequence[Operand]) -> Step:
    """s_cselect and s_cmov: SCC chooses; s_cmov keeps the destination where SCC is clear."""
    count = operands[0].count
    kind = "u32" if count == 1 else "u64"
    chosen = scalar_source(operands[1], kind)
    other = scalar_source(operands[2] if "cselect" in instruction.base else operands[0], kind)
    index = operands[0].index

    def step(batch: Batch) -> None:
        batch.write_scalar(index, count, np.where(batch.scc, chosen(batch), other(batch)))

    return step


def compare(instruction: Instruction, operands: Sequence[Operand]) -> Step:
    found = re.match(r"s_cmpk?_(\w+)_(i32|u32|u64)$", instruction.base)
    if not found:
        raise UnknownInstruction("unknown scalar comparison", instruction.where)
    function = COMPARISONS[found[1]]
    first, second = (scalar_source(operand, found[2]) for operand in short(instruction, operands))

    def step(batch: Batch) -> None:
        batch.scc = np.broadcast_to(function(first(batch), second(batch)), batch.waves).copy()

    return step


def compare_bit(instruction: Instruction, operands: Sequence[Operand]) -> Step:
    bits = 64 if instruction.base.endswith("64") else 32
    value, position = scalar_source(operands[0], f"u{bits}"), scalar_source(operands[1], "u32")
    wanted = int(instruction.base[8])

    def step(batch: Batch) -> None:
        place = (position(batch) & U32(bits - 1)).astype(U64)
        bit = (value(batch).astype(U64) >> place) & U64(1)
        batch.scc = np.broadcast_to(bit == wanted, batch.waves).copy()

    return step


def set_bit(instruction: Instruction, operands: Sequence[Operand]) -> Step:
    """s_bitset0 and s_bitset1: clear or set one bit of the destination."""
    index, count = operands[0].index, operands[0].count
    kind = "u32" if count == 1 else "u64"
    current, position = scalar_source(operands[0], kind), scalar_source(operands[1], "u32")
    dtype: Any = U32 if count == 1 else U64
    ones = instruction.base.startswith("s_bitset1")

    def step(batch: Batch) -> None:
        bit = dtype(1) << (position(batch) & U32(32 * count - 1)).astype(dtype)
        value = current(batch)
        batch.write_scalar(index, count, value | bit if ones else value & ~bit)

    return step


def save_exec(instruction: Instruction, operands: Sequence[Operand]) -> Step:
    name = instruction.base.removeprefix("s_").removesuffix("_saveexec_b64")
    if name not in SAVE_EXEC:
        raise UnknownInstruction("unknown saveexec operation", instruction.where)
    function, source, index = SAVE_EXEC[name], scalar_source(operands[1], "u64"), operands[0].index

    def step(batch: Batch) -> None:
        before = batch.pairs[:, EXEC // 2].copy()
        after = function(source(batch), before)
        batch.write_scalar(index, 2, before)
        batch.write_scalar(EXEC, 2, after)
        batch.scc = np.broadcast_to(after != 0, batch.waves).copy()

    return step


def short(instruction: Instruction, operands: Sequence[Operand]) -> list[Operand]:
    """The operands of a SOPK instruction, its 16-bit constant sign-extended (zero-extended for unsigned comparisons)."""
    if not re.match(r"s_(cmpk_\w+|movk|addk|mulk|cmovk)_", instruction.base):
        return list(operands)
    constant = int(operands[-1].value)
    signed = not instruction.base.startswith("s_cmpk") or instruction.base.endswith("i32")
    if signed and constant & 0x8000:
        constant = (constant & 0xFFFF) - 0x10000
    elif not signed:
        constant &= 0xFFFF
    return [*operands[:-1], Operand("i", value=constant)]


SHORT = {"s_movk_i32": "s_mov_b32", "s_addk_i32": "s_add_i32", "s_mulk_i32": "s_mul_i32"}


def decode(instruction: Instruction, operands: Sequence[Operand]) -> Step | None:
    """The step of a scalar operation, or None where this family does not know the mnemonic."""
    name = instruction.base
    if name in SHORT:
        words = short(instruction, operands)
        return build(OPERATIONS[SHORT[name]], words if name == "s_movk_i32" else [words[0], *words])
    if name in OPERATIONS:
        return build(OPERATIONS[name], operands)
    for pattern, factory in (
        (r"s_(addc|subb)_u32$", with_carry),
        (r"s_(cselect|cmov)_b(32|64)$", select),
        (r"s_cmpk?_", compare),
        (r"s_bitcmp[01]_b(32|64)$", compare_bit),
        (r"s_bitset[01]_b(32|64)$", set_bit),
        (r"s_\w+_saveexec_b64$", save_exec),
    ):
        if re.match(pattern, name):
            return factory(instruction, operands)
    return None
