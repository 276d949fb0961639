"""Turns a program into steps: every instruction is parsed once and becomes a closure, a branch, a barrier or an end."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tunefork.kernels.amdgcn.assembly import Instruction, Program
from tunefork.kernels.amdgcn.errors import MissingWait, UnknownInstruction
from tunefork.kernels.amdgcn.executor.isa import (
    atomics,
    control,
    convert,
    crosslane,
    lane_masks,
    mfma,
    packed,
    salu,
    scratch,
    valu,
    vmem,
)
from tunefork.kernels.amdgcn.executor.isa import (
    ds as lds,
)
from tunefork.kernels.amdgcn.executor.machine.operands import Operand, key_name, parse_operand
from tunefork.kernels.amdgcn.executor.machine.state import Batch

Step = Callable[[Batch], None]
Role = Literal["step", "branch", "barrier", "end"]
FAMILIES: tuple[Callable[[Instruction, Sequence[Operand]], Step | None], ...] = (
    control.decode,
    valu.decode,
    lane_masks.decode,
    packed.decode,
    crosslane.decode,
    convert.decode,
    mfma.decode,
    atomics.decode,
    lds.decode,
    vmem.decode,
    scratch.decode,
    salu.decode,
)
KEPT_DENORMALS = 3
SELECTIONS = {"src0_sel", "src1_sel"}
MEMORY = {"offset", "offset0", "offset1", "offen", "idxen", "sc0", "sc1", "nt", "lds"}
MODIFIERS: dict[object, set[str]] = {  # families that look at nothing else; the others check by operation
    lane_masks.decode: SELECTIONS,
    crosslane.decode: set(),
    convert.decode: {"op_sel", "src0_sel"},
    atomics.decode: MEMORY,
    lds.decode: MEMORY,
    vmem.decode: MEMORY,
    scratch.decode: MEMORY,
    salu.decode: set(),
}
FLUSHING = {valu.decode, mfma.decode}  # families that know f32 denormals as zero, or (matrices) never look at the mode
FLUSHING_TOO = re.compile(r"v_cmpx?_\w+_f32$|v_pk_(add|mul|fma)_f32$|v_cmp_class")
PLAIN = {("dst_sel", "DWORD"), ("dst_unused", "UNUSED_PAD")}
WITHOUT_OPERANDS = re.compile(
    r"s_(waitcnt|nop|branch|cbranch|endpgm|barrier|setreg|sleep|setprio|sendmsg|inst_|sched_)|buffer_(wbl2|inv|wb)"
)
LOAD = re.compile(r"(global|buffer|scratch)_load_|ds_read_|s_load_")


@dataclass(frozen=True)
class Decoded:
    """One instruction, ready to run.

    vector_guard, lgkm_guard: register keys that must not be outstanding on the two counters. A load may refill a register that
    an earlier load of the same counter is still filling, since these complete in order.
    """

    instruction: Instruction
    role: Role
    step: Step
    vector_guard: frozenset[int]
    lgkm_guard: frozenset[int]
    target: int = -1
    condition: control.Condition | None = None

    def check(self, batch: Batch) -> None:
        """Errors: MissingWait where a register of this instruction is still being loaded."""
        counters = batch.counters
        for guarded, used, name in (
            (counters.guarded_vector, self.vector_guard, "vmcnt"),
            (counters.guarded_lgkm, self.lgkm_guard, "lgkmcnt"),
        ):
            clash = guarded & used
            if clash:
                raise MissingWait(
                    f"{key_name(min(clash))} is used while the load that fills it is outstanding (s_waitcnt {name})",
                    self.instruction.where,
                )


def decode_instruction(instruction: Instruction) -> tuple[Step, list[Operand]]:
    """The step and operands of one instruction that is not a branch. Errors: UnknownInstruction."""
    plain = not WITHOUT_OPERANDS.match(instruction.mnemonic)
    try:
        operands = [parse_operand(text) for text in instruction.operands] if plain else []
        for family in FAMILIES:
            step = family(instruction, operands)
            if step is not None:
                check_modifiers(instruction, family)
                return step, operands
    except UnknownInstruction as error:
        if error.where:
            raise
        raise UnknownInstruction(error.message, instruction.where) from None
    raise UnknownInstruction(f"the executor does not know {instruction.mnemonic}", instruction.where)


def check_modifiers(instruction: Instruction, family: object) -> None:
    """Errors: UnknownInstruction where an instruction has a modifier or mode that its family would pass over in silence."""
    arithmetic = instruction.flush and instruction.mnemonic.startswith("v_") and "f32" in instruction.mnemonic
    if arithmetic and family not in FLUSHING and not FLUSHING_TOO.match(instruction.base):
        raise UnknownInstruction("it has no meaning here yet where f32 denormals are flushed", instruction.where)
    known = MODIFIERS.get(family)
    if known is None:
        return
    unknown = {name for name, value in instruction.modifiers.items() if name not in known and (name, value) not in PLAIN}
    if unknown:
        raise UnknownInstruction(f"unknown modifier {', '.join(sorted(unknown))}", instruction.where)


def guards(instruction: Instruction, operands: Sequence[Operand]) -> tuple[frozenset[int], frozenset[int]]:
    """Register keys to check against the vector-memory and the LDS/scalar counter."""
    everything: frozenset[int] = frozenset().union(*(operand.keys for operand in operands))
    if not LOAD.match(instruction.mnemonic) or not operands or "lds" in instruction.modifiers:
        return everything, everything
    sources: frozenset[int] = frozenset().union(*(operand.keys for operand in operands[1:]))
    if instruction.mnemonic.startswith("s_load") or "global_load_lds" in instruction.mnemonic:
        return everything, everything
    return (everything, sources) if instruction.mnemonic.startswith("ds_") else (sources, everything)


def decode_program(program: Program) -> list[Decoded]:
    """Every instruction of a program, decoded. Errors: UnknownInstruction, naming the first one that is not known."""
    decoded = []
    flush = program.directives.get("float_denorm_mode_32", KEPT_DENORMALS) == 0
    for plain in program.instructions:
        instruction = replace(plain, flush=True) if flush else plain
        name = instruction.mnemonic
        empty: frozenset[int] = frozenset()
        if name in control.CONDITIONS:
            condition = None if name == "s_branch" else control.CONDITIONS[name]
            target = program.target(instruction)
            decoded.append(Decoded(instruction, "branch", control.nothing, empty, empty, target, condition))
        elif name == "s_barrier":
            decoded.append(Decoded(instruction, "barrier", control.nothing, empty, empty))
        elif name == "s_endpgm":
            decoded.append(Decoded(instruction, "end", control.nothing, empty, empty))
        else:
            step, operands = decode_instruction(instruction)
            decoded.append(Decoded(instruction, "step", step, *guards(instruction, operands)))
    return decoded
