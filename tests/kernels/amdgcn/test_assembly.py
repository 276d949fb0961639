"""Reading amdgcn text: operands, modifiers, labels, loops, the preload prologue."""

from __future__ import annotations

import pytest

from tunefork.kernels.amdgcn.assembly import Loop, Program, kernel_names, parse, parse_instruction
from tunefork.kernels.amdgcn.errors import BadAssembly
from tunefork.kernels.amdgcn.executor.machine.operands import parse_operand

HEAD = '\t.amdgcn_target "amdgcn-amd-amdhsa--gfx950"\n\t.text\n'
TAIL = """
\t.section\t.rodata,"a",@progbits
\t.amdhsa_kernel k
\t\t.amdhsa_kernarg_size 24
\t\t.amdhsa_next_free_vgpr 70
\t\t.amdhsa_accum_offset 72
\t\t.amdhsa_user_sgpr_kernarg_preload_length 14
\t.end_amdhsa_kernel
\t.text
.Lfunc_end0:
; codeLenInByte = 1756
\t.p2alignl 6, 3212836864
\t.amdgpu_metadata
---
amdhsa.kernels:
  - .agpr_count:     0
    .args:
      - .address_space:  global
        .offset:         0
        .size:           8
        .value_kind:     global_buffer
      - .offset:         8
        .size:           4
        .value_kind:     by_value
    .sgpr_count:     24
    .sgpr_spill_count: 3
    .vgpr_spill_count: 0
...
\t.end_amdgpu_metadata
"""


def program(body: str) -> Program:
    return parse(HEAD + '\t.file\t1 "/folder" "k.py"\nk:\n' + body + TAIL)


@pytest.mark.parametrize(("line", "operands", "modifiers"), [
    ("ds_read_b128 v[0:3], v9 offset:16", ("v[0:3]", "v9"), {"offset": "16"}),
    ("buffer_load_dwordx4 v[2:5], v1, s[8:11], 0 offen offset:16", ("v[2:5]", "v1", "s[8:11]", "0"), {"offen": "", "offset": "16"}),
    ("v_mov_b32_dpp v1, v2 quad_perm:[1,0,3,2] row_mask:0xf", ("v1", "v2"), {"quad_perm": "[1,0,3,2]", "row_mask": "0xf"}),
    ("ds_swizzle_b32 v1, v2 offset:swizzle(BITMASK_PERM,\"00p11\")", ("v1", "v2"), {"offset": 'swizzle(BITMASK_PERM,"00p11")'}),
    ("s_setreg_imm32_b32 hwreg(HW_REG_MODE, 23, 1), 1", ("hwreg(HW_REG_MODE, 23, 1)", "1"), {}),
    ("v_fma_f32 v1, -v2, |v3|, s4 clamp", ("v1", "-v2", "|v3|", "s4"), {"clamp": ""}),
    ("s_endpgm", (), {}),
])  # fmt: skip
def test_instruction(line: str, operands: tuple[str, ...], modifiers: dict[str, str]) -> None:
    found = parse_instruction("\t" + line)
    assert (found.mnemonic, found.operands, dict(found.modifiers)) == (line.split(maxsplit=1)[0], operands, modifiers)


def test_operand() -> None:
    register = parse_operand("-|v[4:5]|")
    assert (register.bank, register.index, register.count, register.negate, register.absolute) == ("v", 4, 2, True, True)
    assert parse_operand("ttmp3").index == 111 and parse_operand("vcc").keys == {1024 + 106, 1024 + 107}
    assert parse_operand("-0.5").value == -0.5 and parse_operand("-16").value == -16
    assert parse_operand("0xff").value == 255 and parse_operand("sext(v3)").sign_extend


def test_program_facts_and_source_lines() -> None:
    text = "\ts_load_dword s2, s[0:1], 0x0\n\ts_branch .LBB0_0\n\t.p2align\t8\n.LBB0_0:\n\t.loc\t1 12 4\n\tv_mov_b32_e32 v0, 0 ; note\n\ts_endpgm\n"
    found = program(text)
    assert found.name == "k" and found.entry == 2 and found.code_bytes == 1756
    assert [item.mnemonic for item in found.instructions] == ["s_load_dword", "s_branch", "v_mov_b32_e32", "s_endpgm"]
    assert found.instructions[2].where == "`v_mov_b32_e32 v0, 0` (k.py:12)"
    assert found.metadata["sgpr_spill_count"] == 3 and found.directives["accum_offset"] == 72
    assert [(item.offset, item.size, item.kind) for item in found.arguments] == [(0, 8, "global_buffer"), (8, 4, "by_value")]


def test_loops_are_real_and_innermost() -> None:
    """Two nested loops, and a block behind its continuation, whose backward branch is no loop."""
    found = program(
        "\ts_cbranch_scc1 .Laside\n.Lback:\n\ts_nop 0\n.Louter:\n\ts_nop 1\n.Linner:\n\tv_nop\n\ts_cbranch_scc0 .Linner\n"
        "\ts_cbranch_vccz .Louter\n\ts_endpgm\n.Laside:\n\ts_nop 5\n\ts_branch .Lback\n"
    )
    assert found.loops() == [Loop(2, 5), Loop(3, 4)]
    assert found.innermost_loops() == [Loop(3, 4)]


@pytest.mark.parametrize(("text", "message"), [
    ("", "expected the text of one kernel, found 0"),
    (HEAD.replace("950", "942") + "k:\n" + TAIL, "was not compiled for gfx950"),
    (HEAD + "k:\n" + TAIL + TAIL.replace("kernel k", "kernel other"), "found 2: k, other"),
])  # fmt: skip
def test_other_texts_are_refused(text: str, message: str) -> None:
    with pytest.raises(BadAssembly, match=message):
        parse(text)


def test_a_branch_to_nowhere_is_refused() -> None:
    with pytest.raises(BadAssembly, match=r"goes to \.Lnone"):
        program("\ts_branch .Lnone\n").loops()


SEVERAL = """\t.amdgcn_target "amdgcn-amd-amdhsa--gfx950"
first:
\ts_mov_b32 s0, 1
\ts_endpgm
.Lfunc_end0:
\t.amdhsa_kernel first
\t\t.amdhsa_next_free_vgpr 257
\t.end_amdhsa_kernel
; codeLenInByte = 8
second:
\ts_mov_b32 s0, 2
.LBB1_1:
\ts_cbranch_scc0 .LBB1_1
\ts_endpgm
.Lfunc_end1:
\t.amdhsa_kernel second
\t\t.amdhsa_next_free_vgpr 78
\t.end_amdhsa_kernel
; codeLenInByte = 12
\t.amdgpu_metadata
amdhsa.kernels:
  - .args:
      - .offset:         0
        .size:           8
        .value_kind:     global_buffer
    .name:           first
    .vgpr_count:     257
  - .args:
      - .offset:         0
        .size:           4
        .value_kind:     by_value
    .name:           second
    .vgpr_count:     78
"""


def test_one_of_several_kernels() -> None:
    """HIP's text holds every kernel of a source; each has its own code, descriptor, arguments and size."""
    assert kernel_names(SEVERAL) == ["first", "second"]
    first, second = parse(SEVERAL, "first"), parse(SEVERAL, "second")
    assert [len(first.instructions), len(second.instructions)] == [2, 3] and second.target(second.instructions[1]) == 1
    assert [program.directives["next_free_vgpr"] for program in (first, second)] == [257, 78]
    assert [program.metadata["vgpr_count"] for program in (first, second)] == [257, 78]
    assert [program.arguments[0].kind for program in (first, second)] == ["global_buffer", "by_value"]
    assert [program.code_bytes for program in (first, second)] == [8, 12]
    with pytest.raises(BadAssembly, match="found 2: first, second"):
        parse(SEVERAL)
    with pytest.raises(BadAssembly, match="no kernel third; it has first, second"):
        parse(SEVERAL, "third")
