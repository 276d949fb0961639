"""llvm-mca's static estimate of the hot loop: a ratchet between two versions of one kernel, never a time.

It knows no caches, no HBM, no LDS bank conflicts, no other waves and no occupancy, and models ``s_waitcnt`` with constants.
The tool is optional: llvm-mca 22 or newer (Debian: llvm-22).
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tunefork.kernels.gfx950.assembly import Instruction, Program
from tunefork.kernels.gfx950.errors import Gfx950Error
from tunefork.kernels.gfx950.facts import hot_loop, loop_facts

OLDEST = 22
ITERATIONS = 100
NOT_MODELLED = re.compile(r"s_(c?branch|endpgm)")


@dataclass(frozen=True)
class LoopModel:
    """llvm-mca's view of one pass through the hot loop, in its own units of about four clocks.

    cycles: per iteration in the steady state.  pressure: resource -> units per iteration.
    cycles_per_load_byte: cycles over the bytes that one wave loads from global memory in an iteration; None without loads.
    """

    cycles: float
    pressure: dict[str, float]
    cycles_per_load_byte: float | None


def find_tool() -> Path | None:
    """llvm-mca 22 or newer on PATH, the newest of several; None where there is none."""
    for version in range(40, OLDEST - 1, -1):
        if found := shutil.which(f"llvm-mca-{version}"):
            return Path(found)
    if plain := shutil.which("llvm-mca"):
        shown = subprocess.run([plain, "--version"], capture_output=True, text=True, check=False).stdout
        version_found = re.search(r"version (\d+)", shown)
        if version_found and int(version_found[1]) >= OLDEST:
            return Path(plain)
    return None


def absent() -> str:
    """What to say where the tool is missing."""
    return f"modelled cycles left out: no llvm-mca {OLDEST} or newer on PATH (Debian: apt install llvm-{OLDEST})"


def analyse(body: Sequence[Instruction], tool: Path) -> tuple[float, dict[str, float]]:
    """Cycles and resource pressure per iteration. Errors: Gfx950Error with llvm-mca's message."""
    text = "\n".join(item.text for item in body if not NOT_MODELLED.match(item.mnemonic)) + "\n"
    options = ["-mtriple=amdgcn-amd-amdhsa", "-mcpu=gfx950", f"-iterations={ITERATIONS}", "-json", "-"]
    done = subprocess.run([str(tool), *options], input=text, capture_output=True, text=True, check=False)
    if done.returncode or not done.stdout.strip():
        raise Gfx950Error(f"{tool.name} failed: {done.stderr.strip()[:400]}")
    report = json.loads(done.stdout)
    region, resources = report["CodeRegions"][0], report["TargetInfo"]["Resources"]
    count = len(region["Instructions"])
    pressure = Counter[str]()
    for item in region["ResourcePressureView"]["ResourcePressureInfo"]:
        if item["InstructionIndex"] < count:
            pressure[resources[item["ResourceIndex"]]] += item["ResourceUsage"]
    return region["SummaryView"]["TotalCycles"] / ITERATIONS, {name: round(use, 3) for name, use in pressure.items()}


def model(program: Program, tool: Path) -> LoopModel | None:
    """The model of a program's hot loop; None where the program has no loop."""
    loop = hot_loop(program)
    if loop is None:
        return None
    body = program.body(loop)
    cycles, pressure = analyse(body, tool)
    loaded = loop_facts(body).load_bytes
    return LoopModel(cycles, pressure, cycles / loaded if loaded else None)
