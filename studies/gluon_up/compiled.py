"""Both GEMMs of a tile, compiled for sm_90 where there is no GPU: what the machine code is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from studies.cubins.pack import case_of
from studies.gluon_up.tiles import layer
from tunefork.kernels.arch import SM90
from tunefork.kernels.entry import entry
from tunefork.kernels.moe_a16w4.plan import POINTERS, plan
from tunefork.kernels.sm90 import compiled, overwritten, tool


@dataclass(frozen=True)
class Code:
    """Of one kernel's machine code. stack: bytes, spilled registers lie there. products: HGMMA. shared: bytes. early: writes to registers that a product
    still reads."""

    kernel: str
    registers: int
    stack: int
    shared: int
    products: int
    shuffles: int
    barriers: int
    early: int


def codes(name: str, tp: int) -> Iterator[Code]:
    """Of `up` and `down`. Errors: whatever Triton raises."""
    one = case_of(tp, 4096)
    for step in plan(one, layer(name)):
        if step.tiles:
            yield code_of(step.kernel.__name__, compiled(entry(step, "moe_a16w4", name, f"tp{tp}", POINTERS | {"part": "*bf16"}, SM90.name, None)))


def code_of(kernel: str, done: Any) -> Code:
    """What the machine code of a result is."""
    sass, used = tool(done, "--dump-sass"), tool(done, "--dump-resource-usage")
    found = re.search(r"REG:(\d+) STACK:(\d+)", used)
    assert found is not None, used

    def count(name: str) -> int:
        return len(re.findall(rf"\b{name}\b", sass))

    return Code(kernel, int(found[1]), int(found[2]), done.metadata.shared, count("HGMMA"), count("SHFL"), count("BAR"), len(overwritten(sass)))
