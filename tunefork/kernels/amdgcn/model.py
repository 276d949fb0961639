"""llvm-mca's static estimate of the hot loop: a ratchet between two versions of one kernel, never a time.

It knows no caches, no HBM, no LDS bank conflicts, no other waves and no occupancy, and models ``s_waitcnt`` with constants.
The tool is optional: llvm-mca 22 or newer (Debian: llvm-22).
"""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunefork.base.process import ask
from tunefork.kernels.amdgcn.assembly import Instruction, Program
from tunefork.kernels.amdgcn.errors import Gfx950Error
from tunefork.kernels.amdgcn.facts import LOAD, hot_loop, loop_facts
from tunefork.kernels.amdgcn.provenance import sources_of_loads, widths_by_argument
from tunefork.kernels.arch import GFX950

OLDEST = 22
ITERATIONS = 100
NOT_MODELLED = re.compile(r"s_(c?branch|endpgm)")


@dataclass(frozen=True)
class LoopModel:
    """llvm-mca's view of one pass through the hot loop, in its own units of about four clocks.

    cycles: per iteration in the steady state.  pressure: resource -> units per iteration.
    cycles_per_load_byte: cycles over the bytes that one wave loads from global memory in an iteration; None without loads.
    cycles_per_weight_byte: the same over packed weight values only; None where the kernel names no weights.
    """

    cycles: float
    pressure: dict[str, float]
    cycles_per_load_byte: float | None
    cycles_per_weight_byte: float | None = None


def find_tool() -> Path | None:
    """llvm-mca 22 or newer on PATH, the newest of several; None where there is none."""
    for version in range(40, OLDEST - 1, -1):
        if found := shutil.which(f"llvm-mca-{version}"):
            return Path(found)
    if plain := shutil.which("llvm-mca"):
        shown = ask([plain, "--version"]).stdout
        version_found = re.search(r"version (\d+)", shown)
        if version_found and int(version_found[1]) >= OLDEST:
            return Path(plain)
    return None


def absent() -> str:
    """What to say where the tool is missing."""
    return f"modelled cycles left out: no llvm-mca {OLDEST} or newer on PATH (Debian: apt install llvm-{OLDEST})"


def analyse(body: Sequence[Instruction], tool: Path, *, iterations: int = ITERATIONS) -> tuple[float, dict[str, float]]:
    """Cycles and resource pressure per iteration; with one iteration, latencies included. Errors: Gfx950Error with llvm-mca's message."""
    text = "\n".join(item.text for item in body if not NOT_MODELLED.match(item.mnemonic)) + "\n"
    options = ["-mtriple=amdgcn-amd-amdhsa", f"-mcpu={GFX950.name}", f"-iterations={iterations}", "-json", "-"]
    done = ask([tool, *options], words=text)
    if done.returncode or not done.stdout.strip():
        raise Gfx950Error(f"{tool.name} failed: {done.stderr.strip()[:400]}")
    report = json.loads(done.stdout)
    region, resources = report["CodeRegions"][0], report["TargetInfo"]["Resources"]
    count = len(region["Instructions"])
    pressure = Counter[str]()
    for item in region["ResourcePressureView"]["ResourcePressureInfo"]:
        if item["InstructionIndex"] < count:
            pressure[resources[item["ResourceIndex"]]] += item["ResourceUsage"]
    return region["SummaryView"]["TotalCycles"] / iterations, {name: round(use, 3) for name, use in pressure.items()}


def hot_code(program: Program) -> tuple[Instruction, ...]:
    """The hot loop; where matrix instructions stand in no loop, everything from the first load to the last of them; empty where there is neither."""
    loop = hot_loop(program)
    body = program.body(loop) if loop else ()
    matrix = [item.index for item in program.instructions if "mfma" in item.mnemonic]
    if not matrix or any("mfma" in item.mnemonic for item in body):
        return body
    first = next((item.index for item in program.instructions if item.index >= program.entry and LOAD.match(item.mnemonic)), matrix[0])
    return program.instructions[first : matrix[-1] + 1]


def model(program: Program, tool: Path, *, arguments: Sequence[str] = (), weights: Sequence[str] = ()) -> LoopModel | None:
    """The model of a program's hot code; None where it has neither a loop nor matrix instructions.

    arguments, weights: the run-time arguments by name, and those that hold packed weight values.
    """
    body = hot_code(program)
    if not body:
        return None
    cycles, pressure = analyse(body, tool)
    loaded = loop_facts(body).load_bytes
    values = weight_bytes(widths_by_argument(program, body, arguments), weights) if weights else 0
    return LoopModel(cycles, pressure, cycles / loaded if loaded else None, cycles / values if values else None)


def weight_bytes(loads: Mapping[str, Mapping[str, int]], weights: Sequence[str]) -> int:
    """Bytes that one wave loads from the named arguments."""
    return GFX950.lanes * sum(int(width) * count for name in weights for width, count in loads.get(name, {}).items())


@dataclass(frozen=True)
class MainPart:
    """One wave from its first load of weights to its last matrix instruction, loop iterations counted: cycles alone, and units per resource.

    loop: the hot loop's cycles over the weight values that it loads, per KiB; None where K is unrolled away.
    """

    cycles: float
    pressure: dict[str, float]
    loop: float | None

    @property
    def busy(self) -> float:
        """Units of the busiest resource."""
        return max(self.pressure.values())


def main_part(program: Program, arguments: Sequence[str], weights: Sequence[str], trips: int, tool: Path) -> MainPart:
    """trips: iterations of the hot loop. Errors: Gfx950Error where there are no matrix instructions or no loads of weights."""
    loop = hot_loop(program)
    body = program.body(loop) if loop else ()
    matrix = [item.index for item in program.instructions if "mfma" in item.mnemonic]
    first = next((at for at, name in sources_of_loads(program, arguments).items() if name in weights), None)
    if not matrix or first is None:
        raise Gfx950Error(f"{program.name} shows no matrix instruction or no load of {', '.join(weights)}")
    total, pressure, per_kib = 0.0, Counter[str](), None
    pieces = [program.instructions[first : matrix[-1] + 1]]
    if loop and any("mfma" in item.mnemonic for item in body):
        pieces = [program.instructions[first : loop.first], program.instructions[loop.last + 1 : matrix[-1] + 1]]
        cycles, use = analyse(body, tool)
        total += trips * cycles
        pressure.update({name: trips * units for name, units in use.items()})
        per_kib = 1024 * cycles / weight_bytes(widths_by_argument(program, body, arguments), weights)
    for piece in pieces:
        if piece:
            cycles, use = analyse(piece, tool, iterations=1)
            total += cycles
            pressure.update(use)
    return MainPart(total, dict(pressure), per_kib)
