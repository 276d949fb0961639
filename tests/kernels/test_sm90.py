"""Hopper machine code, compiled on the CPU: no register that a matrix instruction in flight reads is written."""

from __future__ import annotations

import re

import pytest

from tunefork.kernels.moe_a16w4.config import GemmConfig, LayerConfig, Row, table
from tunefork.kernels.registry import entries, ring_rows
from tunefork.kernels.shipped import Shipped
from tunefork.kernels.sm90 import Overwrite, compiled, machine_code, overwritten, tool

# From the loop of `down` as it raced on an H200 (I = 360, wn 8, r 1, bm 64, stages 3, Triton 3.6.0): 24 to 100 % of
# repeats differed from the first.
RACED = """
        /*1100*/                   LDS.64 R80, [R80+0x10000] ;
        /*1d30*/                   HGMMA.64x64x16.F32.BF16 R24, R80, gdesc[UR20], R24, gsb0 ;
        /*1da0*/                   WARPGROUP.DEPBAR.LE gsb0, 0x7 ;
        /*1dc0*/                   HGMMA.64x64x16.F32.BF16 R24, R84, gdesc[UR20], R24, gsb0 ;
        /*1dd0*/                   WARPGROUP.DEPBAR.LE gsb0, {pending} ;
        /*1fd0*/               @P4 BRA 0x1100 ;
        /*1ff0*/                   WARPGROUP.DEPBAR.LE gsb0, 0x0 ;
        /*2000*/                   LDS.128 R84, [R4] ;
"""
RACER = LayerConfig(
    "sorted", GemmConfig(4, 1, 2, 64, ahead=False, tiled=True, rest=32), GemmConfig(8, 1, 1, 64, ahead=False, tiled=True, rest=32), partial="bf16", overlap=True
)


def test_a_write_around_the_end_of_a_loop_is_found() -> None:
    assert overwritten(RACED.format(pending="0x7")) == [Overwrite("0x1100 LDS.64 R80, [R80+0x10000]", "0x1d30", (80, 81))]


@pytest.mark.parametrize("pending", ["0x0", "0x1"])
def test_a_wait_ends_what_it_waits_for(pending: str) -> None:
    assert overwritten(RACED.format(pending=pending)) == []


@pytest.mark.parametrize(("line", "registers"), [
    ("IMAD.WIDE.U32 R80, R1, R2, R4", (80, 81)), ("LDG.E.128 R82, desc[UR4][R2.64]", (82, 83)), ("ISETP.GT.AND P0, PT, R80, R81, PT", ()),
    ("LOP3.LUT P0, R81, R1, R2, RZ, 0xc0, !PT", (81,)), ("STS.128 [R80], R80", ()), ("MOV R79, R80", ()), ("LDGSTS.E.64 [R80+0x10], desc[UR4][R80.64], !PT", ()),
])  # fmt: skip
def test_what_an_instruction_writes(line: str, registers: tuple[int, ...]) -> None:
    code = f"/*0010*/ HGMMA.64x64x16.F32.BF16 R24, R80, gdesc[UR20], R24, gsb0 ;\n/*0020*/ @!P1 {line} ;\n"
    assert [found.registers for found in overwritten(code)] == ([registers] if registers else [])


def tiled_entries() -> list[Shipped]:
    """`up` and `down` of the row that raced, and of every tiled GEMM of the table once (any size)."""
    found: dict[tuple[str, GemmConfig], Shipped] = {}
    racer = Row(360, 1024, RACER, "")
    for row in (racer, *table("sm90")):
        if row.config.up.tiled:
            for entry in entries("sm90", (row,)):
                if entry.kernel in ("moe_a16w4.up_tiled_kernel", "moe_a16w4.down_tiled_kernel"):
                    part = row.config.up if ".up" in entry.kernel else row.config.down
                    found.setdefault((entry.kernel, part), entry)
    return list(found.values())


@pytest.mark.slow
@pytest.mark.parametrize("entry", tiled_entries(), ids=lambda entry: f"{entry.kernel} {entry.config}")
def test_no_tiled_kernel_writes_what_a_product_in_flight_reads(entry: Shipped) -> None:
    code = machine_code(entry)
    assert code.count("HGMMA") >= 16  # wgmma is used at all
    assert not overwritten(code)


def ring_entries() -> list[Shipped]:
    """Both GEMMs of each tile, at K of whole groups (2880) and with a short one (360)."""
    rows = tuple(row for row in ring_rows() if row.intermediate in (360, 2880))
    return [entry for entry in entries("sm90", rows) if "ring_kernel" in entry.kernel]


@pytest.mark.slow
@pytest.mark.parametrize("entry", ring_entries(), ids=lambda entry: f"{entry.kernel} {entry.config}")
def test_a_ring_keeps_its_operands_its_registers_and_its_shared_memory(entry: Shipped) -> None:
    """An operand is kept until its products end; weights go to it without a shuffle; 128 x 288 does not spill (128 x 160 of 4 warps does, as on record) and
    two programs of 128 x 160 fit an SM."""
    pytest.importorskip("triton.experimental.gluon", reason="NOT TESTED: needs a triton with Gluon (`pip install -e .[kernels]`)")
    done = compiled(entry)
    code, wide = tool(done, "--dump-sass"), entry.constexprs["BM"] == 256
    assert code.count("HGMMA") >= 36 and overwritten(code) == []
    assert len(re.findall(r"\bSHFL", code)) <= 2
    assert not wide or not re.findall(r"\b(?:LDL|STL)", code)
    assert done.metadata.shared <= 227 * 1024 // (1 if wide else 2) - (0 if wide else 1024)


def test_the_row_that_raced_and_all_tiled_gemms_are_compiled() -> None:
    found = tiled_entries()
    assert sum(entry.config == "i360-m1024" for entry in found) == 2
    assert len(found) >= 8
