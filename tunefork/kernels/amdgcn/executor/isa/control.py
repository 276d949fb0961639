"""Waits, mode changes, and instructions that change nothing here."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from tunefork.kernels.amdgcn.assembly import Instruction
from tunefork.kernels.amdgcn.errors import UnknownInstruction
from tunefork.kernels.amdgcn.executor.machine.operands import EXEC, VCC, Operand
from tunefork.kernels.amdgcn.executor.machine.state import Batch, Mask

Step = Callable[[Batch], None]
Condition = Callable[[Batch], Mask]

IGNORED = re.compile(
    r"s_(nop|sleep|setprio|sethalt|icache_inv|inst_prefetch|dcache_\w+|sched_\w+|ttracedata|incperflevel|decperflevel)$"
    r"|buffer_(wbl2|inv|wbinvl1\w*)$"
)
MODE_REGISTER = re.compile(r"hwreg\(HW_REG_MODE(?:,\s*(\d+),\s*(\d+))?\)")
DENORMAL_BITS = (4, 8)  # switched on where they are on
F64_DENORMALS = 6  # bits 4 and 5 are f32's
SATURATE_BIT = 23  # FP16_OVFL


def nothing(batch: Batch) -> None:
    """Timing and cache hints: memory here is coherent at once."""


def packed_limits(word: int) -> dict[str, int]:
    """The counters of a bare ``s_waitcnt`` number: vmcnt in bits 0-3 and 14-15, expcnt in 4-6, lgkmcnt in 8-11."""
    return {"vmcnt": word & 15 | word >> 10 & 48, "expcnt": word >> 4 & 7, "lgkmcnt": word >> 8 & 15}


def wait(instruction: Instruction, operands: Sequence[Operand]) -> Step:
    """s_waitcnt: loads complete; direct-to-LDS loads put their bytes where they belong."""
    limits = {name: int(value) for name, value in re.findall(r"(\w+cnt)\((\d+)\)", instruction.text)}
    if found := re.fullmatch(r"s_waitcnt (0x[0-9a-f]+|\d+)", instruction.text):
        limits = packed_limits(int(found[1], 0))
    if not limits or set(limits) - {"vmcnt", "lgkmcnt", "expcnt"}:
        raise UnknownInstruction("unknown wait", instruction.where)
    vector, lgkm = limits.get("vmcnt"), limits.get("lgkmcnt")

    def step(batch: Batch) -> None:
        if vector is not None:
            batch.land(batch.counters.wait_vector(vector))
        if lgkm is not None:
            batch.counters.wait_lgkm(lgkm)

    return step


def set_mode(instruction: Instruction, operands: Sequence[Operand]) -> Step:
    """s_setreg_imm32_b32 on MODE: denormals on, and the saturation of narrow conversions."""
    place, value = instruction.operands[0], int(instruction.operands[1], 0)
    found = MODE_REGISTER.match(place)
    if not found or not found[1]:
        raise UnknownInstruction("only fields of HW_REG_MODE are known", instruction.where)
    first, width = int(found[1]), int(found[2])
    if (first, width) == (SATURATE_BIT, 1):

        def step(batch: Batch) -> None:
            batch.saturate = bool(value)

        return step
    kept = not (instruction.flush and first < F64_DENORMALS)  # the mode of f32 is the whole kernel's here
    if kept and first >= DENORMAL_BITS[0] and first + width <= DENORMAL_BITS[1] and value == (1 << width) - 1:
        return nothing
    raise UnknownInstruction("this mode change has no meaning here yet", instruction.where)


CONDITIONS: dict[str, Condition] = {
    "s_branch": lambda batch: np.ones(batch.waves, np.bool_),
    "s_cbranch_scc0": lambda batch: ~batch.scc,
    "s_cbranch_scc1": lambda batch: batch.scc,
    "s_cbranch_vccz": lambda batch: batch.pairs[:, VCC // 2] == 0,
    "s_cbranch_vccnz": lambda batch: batch.pairs[:, VCC // 2] != 0,
    "s_cbranch_execz": lambda batch: batch.pairs[:, EXEC // 2] == 0,
    "s_cbranch_execnz": lambda batch: batch.pairs[:, EXEC // 2] != 0,
}


def decode(instruction: Instruction, operands: Sequence[Operand]) -> Step | None:
    """The step of a wait, mode change or hint, or None where this family does not know the mnemonic."""
    name = instruction.mnemonic
    if name == "s_waitcnt":
        return wait(instruction, operands)
    if name.startswith("s_setreg_imm32"):
        return set_mode(instruction, operands)
    return nothing if IGNORED.match(name) else None
