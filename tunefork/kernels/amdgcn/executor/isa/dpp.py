"""DPP: the first source of a vector operation comes from another lane of the wave."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tunefork.kernels.amdgcn.assembly import Instruction
from tunefork.kernels.amdgcn.errors import UnknownInstruction
from tunefork.kernels.amdgcn.executor.machine.operands import Operand
from tunefork.kernels.amdgcn.executor.machine.state import LANE, LANES, Batch, Mask

if TYPE_CHECKING:
    from tunefork.kernels.amdgcn.executor.isa.integer import VectorOperation

Array = npt.NDArray[Any]
ROW, IN_ROW = LANE // 16, LANE % 16
MODIFIERS = {
    "quad_perm",
    "row_shl",
    "row_shr",
    "row_ror",
    "row_mirror",
    "row_half_mirror",
    "row_newbcast",
    "row_bcast",
    "wave_shl",
    "wave_shr",
    "wave_rol",
    "wave_ror",
    "row_mask",
    "bank_mask",
    "bound_ctrl",
}
NOT_MOVEMENTS = {"row_mask", "bank_mask", "bound_ctrl"}


@dataclass(frozen=True)
class Movement:
    """Where each lane reads from.

    source: (64,) lane numbers.  valid: (64,) false where the control points outside the row or wave.
    enabled: (64,) lanes that row_mask and bank_mask let write.
    zero_fill: bound_ctrl: an invalid source reads zero instead of disabling the lane.
    """

    source: Array
    valid: Mask
    enabled: Mask
    zero_fill: bool


def row_shift(amount: int) -> tuple[Array, Mask]:
    place = IN_ROW + amount
    return ROW * 16 + place, (place >= 0) & (place < 16)


def moved(name: str, value: str) -> tuple[Array, Mask]:
    """Source lane and validity of one DPP control; shl means that a lane reads from a higher one."""
    everywhere = np.ones(LANES, np.bool_)
    number = int(value) if value.lstrip("-").isdigit() else 0
    if name in ("row_shl", "row_shr"):
        return row_shift(number if name == "row_shl" else -number)
    if name in ("wave_shl", "wave_shr"):
        place = LANE + (1 if name == "wave_shl" else -1)
        return place, (place >= 0) & (place < LANES)
    if name == "row_bcast":  # 15: the last lane of the row before; 31: lane 31 to the upper half
        return (ROW * 16 - 1, ROW > 0) if number == 15 else (np.full(LANES, 31), LANE >= 32)
    lanes: dict[str, Callable[[], Array]] = {
        "quad_perm": lambda: (LANE & ~3) + np.array(ast.literal_eval(value))[LANE & 3],
        "row_ror": lambda: ROW * 16 + (IN_ROW - number) % 16,
        "row_mirror": lambda: ROW * 16 + 15 - IN_ROW,
        "row_half_mirror": lambda: (LANE & ~7) + 7 - (LANE & 7),
        "row_newbcast": lambda: ROW * 16 + number,
        "wave_rol": lambda: (LANE + 1) % LANES,
        "wave_ror": lambda: (LANE - 1) % LANES,
    }
    if name not in lanes:
        raise UnknownInstruction(f"unknown DPP control {name}")
    return lanes[name](), everywhere


def movement(instruction: Instruction) -> Movement:
    """The lane movement that an instruction's modifiers ask for."""
    modifiers = instruction.modifiers
    names = [name for name in modifiers if name in MODIFIERS - NOT_MOVEMENTS]
    if len(names) != 1:
        raise UnknownInstruction(f"expected one DPP control, found {names}", instruction.where)
    source, valid = moved(names[0], modifiers[names[0]])
    rows, banks = int(modifiers.get("row_mask", "0xf"), 0), int(modifiers.get("bank_mask", "0xf"), 0)
    enabled = ((rows >> ROW) & 1).astype(np.bool_) & ((banks >> (IN_ROW // 4)) & 1).astype(np.bool_)
    return Movement(np.clip(source, 0, LANES - 1), valid, enabled, "bound_ctrl" in modifiers)


def build(
    instruction: Instruction, sources: Sequence[Callable[[Batch], Array]], operation: VectorOperation, target: Operand
) -> Callable[[Batch], None]:
    """The step of a vector operation with a moved first source; an inactive source lane counts as invalid."""
    if operation.result.endswith("64") or "clamp" in instruction.modifiers:
        raise UnknownInstruction("this DPP form has no meaning here yet", instruction.where)
    move, function, index = movement(instruction), operation.function, target.index

    def step(batch: Batch) -> None:
        first = np.broadcast_to(sources[0](batch), (batch.waves, LANES))
        usable = batch.active[:, move.source] & move.valid
        value = np.where(usable, first[:, move.source], first.dtype.type(0))
        result = np.asarray(function(value, *[source(batch) for source in sources[1:]]))
        words = result.view(np.uint16).astype(np.uint32) if result.dtype.itemsize == 2 else result.view(np.uint32)
        written = batch.active & move.enabled
        np.copyto(batch.vector[index], words, where=written if move.zero_fill else written & usable)

    return step
