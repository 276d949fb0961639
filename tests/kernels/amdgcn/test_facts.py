"""Facts: occupancy formulas against llc's table, and what the text of real and made-up kernels shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import triton
import triton.language as tl

from tunefork.kernels.amdgcn.assembly import parse, parse_instruction
from tunefork.kernels.amdgcn.compile import Compiled, compile_all
from tunefork.kernels.amdgcn.errors import Gfx950Error
from tunefork.kernels.amdgcn.facts import Facts, facts_of, loads_by_width, program_facts, redundant_mfma, waves_by_lds, waves_by_registers
from tunefork.kernels.amdgcn.model import absent, analyse, find_tool, model
from tunefork.kernels.shipped import Shipped


@triton.jit
def product_kernel(a, b, c, depth, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr):
    rows, columns, ks = tl.arange(0, ROWS), tl.arange(0, COLUMNS), tl.arange(0, DEPTH)
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for k in range(0, depth, DEPTH):
        left = tl.load(a + rows[:, None] * depth + (k + ks)[None, :])
        right = tl.load(b + columns[None, :] * depth + (k + ks)[:, None])
        total = tl.dot(left, right, total)
    tl.store(c + rows[:, None] * COLUMNS + columns[None, :], total)


def product(**options: Any) -> Shipped:
    return Shipped(
        kernel="product",
        fn=product_kernel,
        config="64x64x64",
        shape="any",
        signature={"a": "*bf16", "b": "*bf16", "c": "*fp32", "depth": "i32"},
        constexprs={"ROWS": 64, "COLUMNS": 64, "DEPTH": 64},
        options={"num_warps": 4, **options},
        attrs={"a": 16, "b": 16, "c": 16, "depth": 16},
    )


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    found = compile_all([product()], cache=tmp_path_factory.mktemp("cache"), workers=1)[0]
    assert isinstance(found, Compiled)
    return found


@pytest.mark.parametrize(("vgprs", "agprs", "waves"), [
    (24, 0, 8), (64, 0, 8), (65, 0, 7), (72, 0, 7), (73, 0, 6), (80, 0, 6), (96, 0, 5), (128, 0, 4), (129, 0, 3), (168, 0, 3),
    (169, 0, 2), (256, 0, 2), (256, 256, 1), (100, 28, 4), (1, 0, 8),
])  # fmt: skip
def test_occupancy_by_registers(vgprs: int, agprs: int, waves: int) -> None:
    """The unified file of 512 in granules of 8, as LLVM prints it for gfx90a and later."""
    assert waves_by_registers(vgprs, agprs) == waves


@pytest.mark.parametrize(("lds", "waves", "wanted"), [
    (0, 4, 8), (1280, 4, 8), (27000, 4, 5), (20480, 4, 8), (20481, 4, 7), (65536, 4, 2), (81920, 4, 2), (81921, 4, 1), (163840, 8, 2), (163840, 1, 0),
    (32768, 8, 8),
])  # fmt: skip
def test_occupancy_by_lds(lds: int, waves: int, wanted: int) -> None:
    """160 KiB per CU in granules of 1280 bytes; a work-group's waves spread over four SIMDs."""
    assert waves_by_lds(lds, waves) == wanted


def test_facts_of_a_matmul(compiled: Compiled) -> None:
    facts = facts_of(compiled)
    text = compiled.text
    assert (facts.spills, facts.scratch) == (0, 0)
    assert facts.vgprs == int(text.split(".amdhsa_next_free_vgpr ")[1].split()[0])
    assert facts.lds == compiled.shared > 0
    assert facts.occupancy == min(facts.waves_by_registers, facts.waves_by_lds) >= 1
    assert facts.code_bytes > 4 * facts.instructions * 0.9
    assert facts.barriers == text.count("\ts_barrier")
    assert sum(facts.mfma.values()) == text.count("\tv_mfma_")


def test_facts_of_its_loop(compiled: Compiled) -> None:
    """64 x 64 x 64 over 4 waves: 32x32x16 instructions do a quarter of 2 x 64^3 operations in each wave."""
    loop = facts_of(compiled).loop
    assert loop is not None
    (name, count), = loop.mfma.items()
    rows, columns, depth = (int(part) for part in name.split("_")[3].split("x"))
    assert 2 * rows * columns * depth * count * 4 == 2 * 64**3
    assert loop.redundant_mfma == 0 and 1 <= loop.barriers <= 2
    assert loop.loads == {"16": 4} and loop.load_bytes * 4 == 2 * 64 * 64 * 2


def test_loads_by_width() -> None:
    lines = ["global_load_dwordx4 v[0:3], v[4:5], off", "buffer_load_ubyte v1, v2, s[0:3], 0 offen", "global_load_lds_dwordx4 v[2:3], off"]
    assert loads_by_width([parse_instruction(line) for line in lines]) == {"16": 2, "1": 1}


def test_redundant_matrix_instructions() -> None:
    same = "v_mfma_f32_16x16x32_bf16 {}, v[0:3], v[4:7], 0"
    other = "v_mfma_f32_16x16x32_bf16 v[20:23], v[0:3], v[8:11], 0"

    def count(*lines: str) -> int:
        return redundant_mfma([parse_instruction(line) for line in lines])

    assert count(same.format("v[12:15]"), same.format("v[16:19]")) == 1
    assert count(same.format("v[12:15]"), other) == 0
    assert count(same.format("v[12:15]"), "v_mov_b32_e32 v1, 0", same.format("v[16:19]")) == 0
    assert count(*["v_mfma_f32_16x16x32_bf16 v[12:15], v[0:3], v[4:7], v[12:15]"] * 2) == 0


def test_every_fact_is_plain_json(compiled: Compiled) -> None:
    import dataclasses
    import json

    facts = facts_of(compiled)
    again = json.loads(json.dumps(dataclasses.asdict(facts)))
    assert again["loop"]["loads"] == facts.loop.loads if facts.loop else False
    assert isinstance(facts, Facts)


@pytest.mark.skipif(find_tool() is None, reason=absent())
def test_model_scales_with_the_loop(compiled: Compiled) -> None:
    tool = find_tool()
    assert tool is not None
    program = parse(compiled.text)
    found = model(program, tool)
    assert found is not None and found.cycles > 0 and found.cycles_per_load_byte
    body = [parse_instruction(f"v_mfma_f32_16x16x32_bf16 v[{16 + 4 * at}:{19 + 4 * at}], v[0:3], v[4:7], 0") for at in range(8)]
    cycles, pressure = analyse(body, tool)
    assert 8 * 4 <= cycles <= 8 * 4 + 4, (cycles, pressure)  # throughput 4 each, as llvm-mca knows gfx950
    with pytest.raises(Gfx950Error, match="llvm-mca"):
        analyse([parse_instruction("v_no_such_thing v0")], tool)


def test_absent_tool_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_tool() is None and "llvm-mca 22" in absent()
    old = tmp_path / "llvm-mca"
    old.write_text("#!/bin/sh\necho 'LLVM version 19.1.7'\n")
    old.chmod(0o755)
    assert find_tool() is None
    old.write_text("#!/bin/sh\necho 'LLVM version 23.0.0'\n")
    assert find_tool() == old


def test_registers_that_are_only_given_are_not_used_ones():
    """amdgpu_waves_per_eu(1, 1) of a HIP kernel: it is given 257 registers, so that one wave fits, and uses 81."""
    text = """
\t.amdgcn_target "amdgcn-amd-amdhsa--gfx950"
k:
\ts_endpgm
.Lfunc_end0:
\t.amdhsa_kernel k
\t\t.amdhsa_next_free_vgpr 257
\t\t.amdhsa_accum_offset 84
\t.end_amdhsa_kernel
\t.amdgpu_metadata
amdhsa.kernels:
  - .name:           k
    .vgpr_count:     81
"""
    facts = program_facts(parse(text), lds=0, waves=4)
    assert (facts.vgprs, facts.waves_by_registers) == (81, 1)
