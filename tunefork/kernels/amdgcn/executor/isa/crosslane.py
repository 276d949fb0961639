"""Operations between lanes that are not DPP: read and write one lane, swap halves and rows, swap registers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tunefork.kernels.amdgcn.assembly import Instruction
from tunefork.kernels.amdgcn.executor.machine.operands import Operand
from tunefork.kernels.amdgcn.executor.machine.sources import scalar_source
from tunefork.kernels.amdgcn.executor.machine.state import LANE, Batch

Step = Callable[[Batch], None]


def read_first_lane(instruction: Instruction, operands: Sequence[Operand]) -> Step:
    """v_readfirstlane_b32: the value of the lowest active lane, of lane 0 where none is active."""
    target, source, bank = operands[0].index, operands[1].index, operands[1].bank

    def step(batch: Batch) -> None:
        lane = np.argmax(batch.active, axis=1)
        batch.write_scalar(target, 1, batch.bank(bank)[source][np.arange(batch.waves), lane])

    return step


def read_lane(instruction: Instruction, operands: Sequence[Operand]) -> Step:
    """v_readlane_b32: the value of a lane whose number is a scalar or a constant."""
    target, source, number = operands[0].index, operands[1].index, scalar_source(operands[2], "u32")

    def step(batch: Batch) -> None:
        lane = (number(batch) & np.uint32(63)).astype(np.intp)
        batch.write_scalar(target, 1, batch.vector[source][np.arange(batch.waves), lane])

    return step


def write_lane(instruction: Instruction, operands: Sequence[Operand]) -> Step:
    """v_writelane_b32: one lane gets a scalar, whatever exec says."""
    target = operands[0].index
    value, number = scalar_source(operands[1], "u32"), scalar_source(operands[2], "u32")

    def step(batch: Batch) -> None:
        lane = (number(batch) & np.uint32(63)).astype(np.intp)
        batch.vector[target][np.arange(batch.waves), lane] = value(batch)

    return step


def swap_rows(distance: int) -> Callable[[Instruction, Sequence[Operand]], Step]:
    """v_permlane16_swap and v_permlane32_swap: odd rows (halves) of the first register against even ones of the second."""
    low = LANE[(LANE // distance) % 2 == 0]
    high = low + distance

    def factory(instruction: Instruction, operands: Sequence[Operand]) -> Step:
        first, second = operands[0].index, operands[1].index

        def step(batch: Batch) -> None:
            before, other = batch.vector[first].copy(), batch.vector[second].copy()
            mine, theirs = before.copy(), other.copy()
            mine[:, high] = other[:, low]
            theirs[:, low] = before[:, high]
            batch.write("v", first, mine)
            batch.write("v", second, theirs)

        return step

    return factory


def swap(instruction: Instruction, operands: Sequence[Operand]) -> Step:
    """v_swap_b32: two registers change places in the active lanes."""
    first, second = operands[0].index, operands[1].index

    def step(batch: Batch) -> None:
        before = batch.vector[first].copy()
        batch.write("v", first, batch.vector[second])
        batch.write("v", second, before)

    return step


FAMILY: dict[str, Callable[[Instruction, Sequence[Operand]], Step]] = {
    "v_readfirstlane_b32": read_first_lane,
    "v_readlane_b32": read_lane,
    "v_writelane_b32": write_lane,
    "v_permlane16_swap_b32": swap_rows(16),
    "v_permlane32_swap_b32": swap_rows(32),
    "v_swap_b32": swap,
}


def decode(instruction: Instruction, operands: Sequence[Operand]) -> Step | None:
    """The step of a cross-lane operation, or None where this family does not know the mnemonic."""
    factory = FAMILY.get(instruction.base)
    return None if factory is None else factory(instruction, operands)
