"""Hopper machine code, compiled on the CPU: no register that a matrix instruction in flight reads is written."""

from __future__ import annotations

import pytest

from tunefork.kernels.moe_a16w4.config import GemmConfig, LayerConfig, Row, table
from tunefork.kernels.registry import entries
from tunefork.kernels.shipped import Shipped
from tunefork.kernels.sm90 import Overwrite, machine_code, overwritten

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


def test_the_row_that_raced_and_all_tiled_gemms_are_compiled() -> None:
    found = tiled_entries()
    assert sum(entry.config == "i360-m1024" for entry in found) == 2
    assert len(found) >= 8
