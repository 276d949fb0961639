"""Static facts of one compiled kernel, read from its amdgcn text: registers, LDS, occupancy, and what its hot loop does.

Occupancy (waves per SIMD, at most 8):
- by registers: 512 // roundup(total, 8), where total = roundup(vector registers, 4) + accumulators (unified register file);
- by LDS: work-groups per CU = 163840 // roundup(bytes, 1280), times waves per work-group, over 4 SIMDs.
LLVM's own printed occupancy leaves out the LDS that Triton asks for at launch.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tunefork.kernels.amdgcn.assembly import Instruction, Loop, Program, parse
from tunefork.kernels.amdgcn.compile import Compiled
from tunefork.kernels.arch import GFX950

LOAD = re.compile(r"(global|buffer)_load_(lds_)?(\w+)$")
LOAD_BYTES = {"dwordx4": 16, "dwordx3": 12, "dwordx2": 8, "dword": 4, "ushort": 2, "sshort": 2, "ubyte": 1, "sbyte": 1}


@dataclass(frozen=True)
class LoopFacts:
    """One pass of one wave through the hot loop (the innermost loop with most matrix instructions, then most instructions).

    loads: bytes per lane -> loads from global memory.  load_bytes: their sum for the whole wave.
    redundant_mfma: matrix instructions whose sources and addend repeat another one's with nothing written in between.
    """

    instructions: int
    barriers: int
    waits: int
    mfma: dict[str, int]
    redundant_mfma: int
    converts: int
    loads: dict[str, int]
    load_bytes: int
    lds_reads: int
    lds_writes: int

    @property
    def mfma_total(self) -> int:
        """Matrix instructions of every kind."""
        return sum(self.mfma.values())


@dataclass(frozen=True)
class Facts:
    """What the machine code of one kernel shows. Bytes unless a name says otherwise; spills count registers.

    occupancy: the smaller of the two limits, in waves per SIMD.  loads: bytes per lane -> loads in the whole kernel.
    """

    vgprs: int
    agprs: int
    sgprs: int
    vgpr_spills: int
    sgpr_spills: int
    scratch: int
    lds: int
    waves_by_registers: int
    waves_by_lds: int
    occupancy: int
    code_bytes: int
    instructions: int
    barriers: int
    mfma: dict[str, int]
    redundant_mfma: int
    loads: dict[str, int]
    loop: LoopFacts | None

    @property
    def spills(self) -> int:
        """Registers of either kind that were spilled."""
        return self.vgpr_spills + self.sgpr_spills


def round_up(value: int, granule: int) -> int:
    """The least multiple of ``granule`` that is not less than ``value``."""
    return -(-value // granule) * granule


def waves_by_registers(vgprs: int, agprs: int) -> int:
    """Waves per SIMD that the unified register file holds."""
    total = round_up(vgprs, 4) + agprs if agprs else vgprs
    return min(GFX950.waves, GFX950.registers // max(round_up(total, GFX950.register_granule), GFX950.register_granule))


def waves_by_lds(lds: int, waves: int) -> int:
    """Waves per SIMD that LDS leaves room for; work-groups spread over the CU's four SIMDs."""
    if not lds:
        return GFX950.waves
    groups = GFX950.lds // round_up(lds, GFX950.lds_granule)
    return min(GFX950.waves, groups * waves // GFX950.simds)


def mfma_kind(instruction: Instruction) -> str:
    """The matrix instruction with its element formats, for example "v_mfma_scale_f32_16x16x128_f8f6f4:4,4"."""
    if "f8f6f4" not in instruction.mnemonic:
        return instruction.mnemonic
    formats = (instruction.modifiers.get(name, "0") for name in ("cbsz", "blgp"))
    return f"{instruction.mnemonic}:{','.join(formats)}"


def loads_by_width(instructions: Sequence[Instruction]) -> Counter[str]:
    """Global loads by bytes per lane, as text keys so that the facts are plain JSON."""
    widths = Counter[str]()
    for instruction in instructions:
        if found := LOAD.match(instruction.mnemonic):
            name = found[3].split("_")[0]
            widths[str(LOAD_BYTES[name])] += 1
    return widths


def written(instruction: Instruction) -> set[str]:
    """Vector registers that an instruction writes, as "v3"; the first operand of stores and writes is a source."""
    if not instruction.operands or re.match(r"(ds_write|global_store|buffer_store|s_)", instruction.mnemonic):
        return set()
    targets = instruction.operands[:2] if "swap" in instruction.mnemonic else instruction.operands[:1]
    return set().union(*(registers(text) for text in targets))


def registers(text: str) -> set[str]:
    """The vector registers of an operand, one by one: "v[2:3]" -> {"v2", "v3"}; empty for any other operand."""
    found = re.match(r"([va])(?:(\d+)|\[(\d+):(\d+)\])$", text)
    if not found:
        return set()
    first = int(found[2] or found[3])
    return {f"{found[1]}{at}" for at in range(first, int(found[4] or first) + 1)}


def redundant_mfma(instructions: Sequence[Instruction]) -> int:
    """Matrix instructions that compute what another one just computed: same sources, same addend, nothing written since."""
    known: dict[tuple[str, ...], set[str]] = {}
    count = 0
    for instruction in instructions:
        is_mfma = "mfma" in instruction.mnemonic
        key = (instruction.mnemonic, *instruction.operands[1:], str(sorted(instruction.modifiers.items())))
        count += is_mfma and key in known
        changed = written(instruction)
        known = {item: sources for item, sources in known.items() if not sources & changed}
        if is_mfma:
            sources = set().union(*(registers(text) for text in instruction.operands[1:]))
            if not sources & changed:
                known[key] = sources
        if re.match(r"s_c?branch", instruction.mnemonic):
            known = {}
    return count


def hot_loop(program: Program) -> Loop | None:
    """The innermost loop with most matrix instructions, then most instructions; None where there is no loop."""
    loops = program.innermost_loops()

    def weight(loop: Loop) -> tuple[int, int]:
        body = program.body(loop)
        return sum("mfma" in item.mnemonic for item in body), len(body)

    return max(loops, key=weight, default=None)


def loop_facts(body: Sequence[Instruction]) -> LoopFacts:
    """The facts of one pass of one wave through these instructions."""
    names = Counter(item.mnemonic for item in body)

    def total(pattern: str) -> int:
        return sum(count for name, count in names.items() if re.match(pattern, name))

    loads = loads_by_width(body)
    return LoopFacts(
        instructions=len(body),
        barriers=names["s_barrier"],
        waits=names["s_waitcnt"],
        mfma=dict(Counter(mfma_kind(item) for item in body if "mfma" in item.mnemonic)),
        redundant_mfma=redundant_mfma(body),
        converts=total(r"v_cvt_scalef32_"),
        loads=dict(loads),
        load_bytes=GFX950.lanes * sum(int(width) * count for width, count in loads.items()),
        lds_reads=total(r"ds_read"),
        lds_writes=total(r"ds_write"),
    )


def facts_of(compiled: Compiled) -> Facts:
    """Read the facts of one compiled kernel. Errors: BadAssembly."""
    return program_facts(parse(compiled.text), lds=compiled.shared, waves=compiled.num_warps)


def program_facts(program: Program, *, lds: int, waves: int) -> Facts:
    """The facts of a program that is launched with ``lds`` bytes and ``waves`` waves per work-group."""
    metadata, directives = program.metadata, program.directives
    agprs = metadata.get("agpr_count", 0)
    total = directives["next_free_vgpr"]
    allocated = min(directives.get("accum_offset", total), total) if agprs else total
    vgprs = allocated if agprs else metadata.get("vgpr_count", allocated)  # a kernel that asks for few waves is given more than it uses
    by_registers, by_lds = waves_by_registers(allocated, agprs), waves_by_lds(lds, waves)
    body, loop = program.instructions, hot_loop(program)
    return Facts(
        vgprs=vgprs,
        agprs=agprs,
        sgprs=metadata.get("sgpr_count", 0),
        vgpr_spills=metadata.get("vgpr_spill_count", 0),
        sgpr_spills=metadata.get("sgpr_spill_count", 0),
        scratch=metadata.get("private_segment_fixed_size", 0),
        lds=lds,
        waves_by_registers=by_registers,
        waves_by_lds=by_lds,
        occupancy=min(by_registers, by_lds),
        code_bytes=program.code_bytes,
        instructions=len(body),
        barriers=sum(item.mnemonic == "s_barrier" for item in body),
        mfma=dict(Counter(mfma_kind(item) for item in body if "mfma" in item.mnemonic)),
        redundant_mfma=redundant_mfma(body),
        loads=dict(loads_by_width(body)),
        loop=loop_facts(program.body(loop)) if loop else None,
    )
