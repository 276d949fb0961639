"""One instruction as a kernel: it loads registers and memory, takes the instruction, and stores all of them again.

A work-group is one wave. Of each, ``BLOCK`` bytes come in and go out: 16 scalar words (s4 to s11, vcc, exec, SCC), v0 to v47 of each lane, 64
bytes of memory for each lane, which LDS instructions have in LDS and the others as global memory.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from importlib import resources

LANES, VECTORS, MEMORY = 64, 48, 64
SCALARS = ("s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "vcc_lo", "vcc_hi", "exec_lo", "exec_hi", "scc")
AT_VECTORS, AT_MEMORY = 256, 256 + LANES * VECTORS * 4
BLOCK = AT_MEMORY + LANES * MEMORY

LDS = re.compile(r"ds_(?!b?permute|swizzle)")
GLOBAL = re.compile(r"(global|flat)_")
# Hazards between instructions are the compiler's to keep apart; here one wait covers the longest, a 32x32 matrix product's.
APART = ["s_nop 7"] * 6
BEFORE = f"""
s_load_dwordx4 s[12:15], s[0:1], 0x0
s_mul_i32 s16, s2, {BLOCK:#x}
v_mul_u32_u24_e32 v60, {4 * VECTORS:#x}, v0
v_lshlrev_b32_e32 v62, 6, v0
v_add_u32_e32 v61, {AT_MEMORY:#x}, v62
s_waitcnt lgkmcnt(0)
s_add_u32 s12, s12, s16
s_addc_u32 s13, s13, 0
s_add_u32 s14, s14, s16
s_addc_u32 s15, s15, 0
s_load_dwordx8 s[4:11], s[12:13], 0x0
s_load_dwordx4 s[20:23], s[12:13], 0x20
s_load_dword s24, s[12:13], 0x30
""".split("\n")[1:-1]
STATE = ["s_mov_b64 vcc, s[20:21]", "s_mov_b64 exec, s[22:23]", "s_cmp_lg_u32 s24, 0"]
AFTER = ["s_cselect_b32 s24, 1, 0", *APART, "s_waitcnt vmcnt(0) lgkmcnt(0)", "s_mov_b64 s[20:21], vcc", "s_mov_b64 s[22:23], exec", "s_mov_b64 exec, -1"]
LDS_ADDRESS = ["s_mov_b32 m0, -1", "v_mov_b32_e32 v6, v62", "s_waitcnt vmcnt(0) lgkmcnt(0)"]
GLOBAL_ADDRESS = ["v_add_co_u32_e32 v6, vcc, s14, v61", "v_mov_b32_e32 v7, s15", "v_addc_co_u32_e32 v7, vcc, 0, v7, vcc", "s_waitcnt vmcnt(0)"]
HEAD = """\t.amdgcn_target "amdgcn-amd-amdhsa--gfx950"
\t.amdhsa_code_object_version 5
\t.text
\t.globl\tk
\t.p2align\t8
\t.type\tk,@function
k:
"""
TAIL = f""".Lfunc_end0:
\t.size\tk, .Lfunc_end0-k
\t.section\t.rodata,"a",@progbits
\t.p2align\t6, 0x0
\t.amdhsa_kernel k
\t\t.amdhsa_group_segment_fixed_size {LANES * MEMORY}
\t\t.amdhsa_kernarg_size 16
\t\t.amdhsa_user_sgpr_count 2
\t\t.amdhsa_user_sgpr_kernarg_segment_ptr 1
\t\t.amdhsa_system_sgpr_workgroup_id_x 1
\t\t.amdhsa_next_free_vgpr 64
\t\t.amdhsa_next_free_sgpr 48
\t\t.amdhsa_accum_offset 64
\t\t.amdhsa_float_denorm_mode_32 3
\t\t.amdhsa_float_denorm_mode_16_64 3
\t.end_amdhsa_kernel
\t.text
\t.amdgpu_metadata
---
amdhsa.kernels:
  - .args:
      - .address_space: global
        .offset: 0
        .size: 8
        .value_kind: global_buffer
      - .address_space: global
        .offset: 8
        .size: 8
        .value_kind: global_buffer
    .group_segment_fixed_size: {LANES * MEMORY}
    .kernarg_segment_align: 8
    .kernarg_segment_size: 16
    .max_flat_workgroup_size: {LANES}
    .name: k
    .private_segment_fixed_size: 0
    .sgpr_count: 54
    .sgpr_spill_count: 0
    .symbol: k.kd
    .vgpr_count: 64
    .vgpr_spill_count: 0
    .wavefront_size: {LANES}
amdhsa.target: amdgcn-amd-amdhsa--gfx950
amdhsa.version:
  - 1
  - 2
...
\t.end_amdgpu_metadata
"""


def quads(operation: str, address: str, base: str) -> list[str]:
    """16-byte loads or stores of v0 to v47."""
    lines = []
    for at in range(0, VECTORS, 4):
        data = f"v[{at}:{at + 3}]"
        lines.append(f"{operation} {', '.join((data, address, base) if 'load' in operation else (address, data, base))} offset:{AT_VECTORS + 4 * at}")
    return lines


@dataclass(frozen=True)
class Form:
    """One instruction, as printed. Its sources lie in v0 to v47, s4 to s11 and vcc; an address is in v6, or v[6:7]."""

    line: str

    @property
    def opcode(self) -> str:
        """The mnemonic without what tells only its encoding."""
        return re.sub(r"_(e32|e64|sdwa|dpp)$", "", self.line.split()[0])

    @property
    def in_lds(self) -> bool:
        return LDS.match(self.line) is not None

    @property
    def in_memory(self) -> bool:
        return self.in_lds or GLOBAL.match(self.line) is not None

    @property
    def named(self) -> list[str]:
        """The registers that the instruction names, one by one: ``v10``, ``s4``."""
        found = []
        for bank, single, first, last in re.findall(r"\b([vs])(?:(\d+)\b|\[(\d+):(\d+)\])", self.line):
            found += [f"{bank}{at}" for at in (range(int(first), int(last) + 1) if first else [int(single)])]
        return list(dict.fromkeys(found))

    @property
    def text(self) -> str:
        """The kernel ``k``: its arguments are the addresses of what comes in and of what goes out."""
        lines = [*BEFORE, *quads("global_load_dwordx4", "v60", "s[12:13]"), "s_waitcnt vmcnt(0) lgkmcnt(0)"]
        if self.in_memory:
            for at in range(0, MEMORY, 16):
                lines += [f"global_load_dwordx4 v[52:55], v61, s[12:13] offset:{at}", "s_waitcnt vmcnt(0)"]
                lines += [f"ds_write_b128 v62, v[52:55] offset:{at}" if self.in_lds else f"global_store_dwordx4 v61, v[52:55], s[14:15] offset:{at}"]
            lines += LDS_ADDRESS if self.in_lds else GLOBAL_ADDRESS
        lines += [*STATE, *APART, self.line, *AFTER]
        if self.in_memory:
            lines += ["v_mov_b32_e32 v6, 0", "v_mov_b32_e32 v7, 0"]  # an address is another on each machine
        for at in range(0, MEMORY if self.in_lds else 0, 16):
            lines += [f"ds_read_b128 v[52:55], v62 offset:{at}", "s_waitcnt lgkmcnt(0)", f"global_store_dwordx4 v61, v[52:55], s[14:15] offset:{at}"]
            lines += ["s_waitcnt vmcnt(0)"]
        lines += [*quads("global_store_dwordx4", "v60", "s[14:15]"), "v_mov_b32_e32 v63, 0", "s_mov_b64 exec, 1"]
        for at, four in enumerate((range(4, 8), range(8, 12), range(20, 24), range(24, 25))):
            lines += [f"v_mov_b32_e32 v{52 + place}, s{number}" for place, number in enumerate(four)]
            width, data = ("x4", "v[52:55]") if len(four) == 4 else ("", "v52")
            lines += [f"global_store_dword{width} v63, {data}, s[14:15] offset:{16 * at}", "s_waitcnt vmcnt(0)"]
        return HEAD + "".join(f"\t{line}\n" for line in [*lines, "s_endpgm"]) + TAIL


@functools.cache
def forms() -> tuple[Form, ...]:
    """The instructions that are compared: forms.txt, one a line."""
    listed = resources.files(__package__).joinpath("forms.txt").read_text()
    return tuple(Form(line) for line in listed.splitlines() if line and not line.startswith("#"))
