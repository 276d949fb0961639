"""What the machine code of one compiled A16W4 kernel shows, as plain JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tunefork.kernels.amdgcn.assembly import Instruction, parse
from tunefork.kernels.amdgcn.facts import LOAD, hot_loop, loop_facts, program_facts
from tunefork.kernels.amdgcn.model import find_tool, model

LDS = re.compile(r"ds_(?:read|write)(2?)(?:st64)?_([bu]\d+)")
LDS_BYTES = {"b128": 16, "b96": 12, "b64": 8, "b32": 4, "b16": 2, "u16": 2, "b8": 1, "u8": 1}
MFMA_K = 32  # of v_mfma_f32_16x16x32_bf16


def lds_bytes(body: Sequence[Instruction]) -> int:
    """Bytes that one wave moves through LDS in a loop's pass."""
    found = [LDS.match(item.base) for item in body]
    return sum(64 * LDS_BYTES[match[2]] * (2 if match[1] else 1) for match in found if match)


def mfma_before_wait(body: Sequence[Instruction]) -> int:
    """Matrix instructions between the loop's first load from memory and the first wait for one; 0 where nothing overlaps."""
    load = next((at for at, item in enumerate(body) if LOAD.match(item.mnemonic)), len(body))
    wait = next((at for at in range(load, len(body)) if "vmcnt" in body[at].text), len(body))
    return sum("mfma" in item.mnemonic for item in body[load:wait])


def read(compiled: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """Facts of Triton's compiled kernel, of one wave's pass through its hot loop where nothing else is said.

    vgpr, spills, scratch, shared: registers per lane, spilled registers, scratch bytes per lane, LDS bytes per work-group.
    waves: per SIMD, by registers and LDS.  repeated: how often each MFMA is done by a work-group's waves together (1: once).
    lds_bytes: moved by the work-group.  cycles: llvm-mca's, in its units of about four clocks; None without the tool.
    """
    program = parse(compiled.asm["amdgcn"])
    whole = program_facts(program, lds=compiled.metadata.shared, waves=compiled.metadata.num_warps)
    found = hot_loop(program)
    body = program.body(found) if found else ()
    loop, waves = loop_facts(body), compiled.metadata.num_warps
    once = config["block_m"] // 16 * (config["block_n"] // 16) * (config["block_k"] // MFMA_K)
    work = sum(count * (2 if "32x32x16" in name else 1) for name, count in loop.mfma.items())  # in v_mfma_f32_16x16x32
    tool = find_tool()
    cycles = model(program, tool) if tool else None
    return {
        "vgpr": whole.vgprs + whole.agprs,
        "spills": whole.spills,
        "scratch": whole.scratch,
        "shared": whole.lds,
        "waves": whole.occupancy,
        "instructions": loop.instructions,
        "mfma": loop.mfma_total,
        "repeated": work * waves / once,
        "barrier": loop.barriers,
        "ds_write": loop.lds_writes,
        "lds_bytes": waves * lds_bytes(body),
        "mfma_before_wait": mfma_before_wait(body),
        "loads": loop.loads,
        "cycles": round(cycles.cycles, 1) if cycles else None,
        "cycles_each": round(cycles.cycles * waves / once, 2) if cycles else None,
    }
