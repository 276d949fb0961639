"""Compile the kernel for sm_90 where there is no GPU, and say what the machine code is.

    python3 -m studies.gluon_up.compiled 8 1 256 32 6
"""

from __future__ import annotations

import re
import sys
from dataclasses import asdict, astuple, dataclass
from typing import Any

from tunefork.kernels.model import GPT_OSS_120B as MODEL
from tunefork.kernels.sm90 import overwritten, tool

SMALLEST = 8  # rows of a tile of x that is never read, where there is no EXTRA


@dataclass(frozen=True)
class Tile:
    """wn warps along N, r strips of 16 rows a warp, bm tokens and up to `extra` more in an expert's last block, `stages` tiles of x on the way."""

    wn: int
    r: int
    bm: int
    extra: int
    stages: int

    def constants(self, rows: int, cols: int) -> dict[str, int]:
        """The kernel's constants for a matrix of that many rows (2 I) and columns (hidden)."""
        return {"N": rows, "K": cols, "WN": self.wn, "R": self.r, "BM": self.bm, "EXTRA": self.extra, "STAGES": self.stages}


# As measured on an H200, by name.
TILES = {"128x160": Tile(4, 2, 128, 32, 5), "128x160, 8 warps": Tile(8, 1, 128, 32, 5), "128x288": Tile(8, 1, 256, 32, 6), "128x128": Tile(4, 2, 128, 0, 6),
         "128x256": Tile(8, 1, 256, 0, 6), "256x128": Tile(8, 2, 128, 0, 8), "256x160": Tile(8, 2, 128, 32, 8)}  # fmt: skip


@dataclass(frozen=True)
class Code:
    """Of one kernel's machine code. stack: bytes, spilled registers lie there. products: HGMMA. early: writes to registers that a product still reads."""

    registers: int
    stack: int
    products: int
    shuffles: int
    early: int


def build(tile: Tile, rows: int = 2 * MODEL.intermediate, cols: int = MODEL.hidden) -> Any:
    """Triton's own result. Errors: whatever Triton raises."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.experimental.gluon import language as gl
    from triton.experimental.gluon._runtime import GluonASTSource

    from studies.gluon_up.kernel import up_gluon

    swizzled = gl.NVMMASharedLayout(128, 16, 2)
    constants = tile.constants(rows, cols)
    kinds = {"w_ptr": "*i32", "s_ptr": "*u8", "s32_ptr": "*i32", "bias_ptr": "*bf16", "h_ptr": "*bf16", "alpha": "fp32", "limit": "fp32"}
    signature = {name: kinds.get(name, "*i32") for name in up_gluon.arg_names}
    signature |= {"xd": f"tensordesc<bf16[{tile.bm}, 64],{swizzled!r}>", "xe": f"tensordesc<bf16[{tile.extra or SMALLEST}, 64],{swizzled!r}>"}
    signature |= dict.fromkeys(constants, "constexpr")
    names = list(up_gluon.arg_names)
    aligned = {(names.index(name),): [["tt.divisibility", 16]] for name in names if name.endswith("_ptr")}
    source = GluonASTSource(up_gluon, signature, {(names.index(name),): value for name, value in constants.items()}, aligned)
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": tile.wn})


def code_of(done: Any) -> Code:
    """What the machine code of a result is."""
    sass, used = tool(done, "--dump-sass"), tool(done, "--dump-resource-usage")
    found = re.search(r"REG:(\d+) STACK:(\d+)", used)
    assert found is not None, used
    return Code(int(found[1]), int(found[2]), len(re.findall(r"\bHGMMA", sass)), len(re.findall(r"\bSHFL", sass)), len(overwritten(sass)))


def main(words: list[str]) -> int:
    tile = Tile(*map(int, words))
    print(astuple(tile), asdict(code_of(build(tile))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
