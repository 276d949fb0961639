"""Hopper machine code on any machine: compile a kernel for sm_90, and find registers that are written while a matrix instruction still reads them.

wgmma reads its left operand from registers after it was issued. Triton does not keep those registers to the point where it waits, so ptxas may give
them to other values; the product is then wrong where the matrix unit is late. Racecheck sees shared memory only and says nothing.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunefork.kernels.shipped import Shipped

_LINE = re.compile(r"/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?(\S+)\s*([^;]*);")
_NO_REGISTER = frozenset({
    "STG", "STS", "STSM", "STL", "ST", "LDGSTS", "RED", "BAR", "BRA", "EXIT", "NOP", "BSSY", "BSYNC", "MEMBAR", "FENCE", "LDGDEPBAR", "DEPBAR", "WARPGROUP",
    "WARPSYNC", "ERRBAR", "CCTL", "PREEXIT", "ACQBULK", "R2UR",
})  # fmt: skip
TILES = "tensordesc<"  # in a signature: a kernel in Gluon reads it by TMA
OPERAND_REGISTERS = 4  # of one wgmma's left operand, bf16


@dataclass(frozen=True)
class Overwrite:
    """`writer` (address, text) writes `registers` while the HGMMA at `reader` may still read them."""

    writer: str
    reader: str
    registers: tuple[int, ...]


def machine_code(entry: Shipped) -> str:
    """SASS of one entry of arch "sm90", by the ptxas and cuobjdump that come with Triton. Errors: whatever Triton raises."""
    return tool(compiled(entry), "--dump-sass")


def compiled(entry: Shipped) -> Any:
    """Triton's own result for one entry: ``.asm["cubin"]``, ``.asm["ttgir"]``. Errors: whatever Triton raises."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    function = getattr(entry.fn, "function", entry.fn)
    names = list(function.arg_names)
    constants = {(names.index(name),): value for name, value in entry.constexprs.items()}
    signature: dict[str, str] = dict(entry.signature)
    source_of: Any = ASTSource
    if any(kind.startswith(TILES) for kind in signature.values()):
        from triton.experimental.gluon._runtime import GluonASTSource

        from tunefork.kernels.moe_a16w4.launch import tile_layout

        source_of, layout = GluonASTSource, tile_layout()
        signature = {name: f"{kind[:-1]},{layout!r}>" if kind.startswith(TILES) else kind for name, kind in signature.items()}
    source = source_of(fn=function, signature=signature, constexprs=constants, attrs=dict(entry.attrs))
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options=dict(entry.options))


def tool(done: Any, option: str) -> str:
    """What Triton's cuobjdump prints of a result with ``option``. Errors: CalledProcessError."""
    import triton

    cuobjdump = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(done.asm["cubin"])
        file.flush()
        return subprocess.run([str(cuobjdump), option, file.name], capture_output=True, text=True, check=True).stdout


def _written(opcode: str, operands: list[str]) -> set[int]:
    """Registers that an instruction writes; a predicate may stand before its destination."""
    name, _, modifiers = opcode.partition(".")
    if name in _NO_REGISTER:
        return set()
    wide = "64" in modifiers.split(".") or "WIDE" in modifiers.split(".") or (name == "CS2R" and "32" not in modifiers.split("."))
    width = 4 if "128" in modifiers.split(".") else 2 if wide else 1
    for operand in operands[:2]:
        if found := re.fullmatch(r"R(\d+)", operand):
            return set(range(int(found[1]), int(found[1]) + width))
        if not re.fullmatch(r"!?U?P\w+", operand):
            break
    return set()


def _instructions(code: str) -> list[tuple[int, str, list[str]]]:
    found = []
    for line in code.splitlines():
        if match := _LINE.search(line):
            found.append((int(match[1], 16), match[2], [part.strip() for part in match[3].split(",")]))
    return found


def overwritten(code: str) -> list[Overwrite]:
    """Every early write in SASS, walked in order with each backward branch taken once: loops are seen around their end."""
    instructions = _instructions(code)
    place = {address: at for at, (address, _, _) in enumerate(instructions)}
    found: dict[tuple[int, int], Overwrite] = {}
    groups: list[list[tuple[int, set[int]]]] = [[]]  # committed groups in flight, and the open one at the end
    taken: set[int] = set()
    at = 0
    while at < len(instructions):
        address, opcode, operands = instructions[at]
        at += 1
        if opcode.startswith("HGMMA"):
            left = re.match(r"R(\d+)", operands[1])
            groups[-1].append((address, set(range(int(left[1]), int(left[1]) + OPERAND_REGISTERS)) if left else set()))
            if operands[-1] == "gsb0":
                groups.append([])
        elif opcode.startswith("WARPGROUP.DEPBAR"):
            pending = int(operands[1], 16)
            groups = groups[max(0, len(groups) - 1 - pending) :]
        elif written := _written(opcode, operands):
            for reader, registers in (product for group in groups for product in group):
                if both := written & registers:
                    found[address, reader] = Overwrite(f"{address:#x} {opcode} {', '.join(operands)}", f"{reader:#x}", tuple(sorted(both)))
        target = re.search(r"0x([0-9a-f]+)", operands[-1]) if opcode == "BRA" else None
        if target and int(target[1], 16) < address and address not in taken:
            taken.add(address)
            at = place[int(target[1], 16)]
    return list(found.values())
