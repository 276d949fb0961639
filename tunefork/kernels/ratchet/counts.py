"""Static counts of one kernel's machine code, alike for sm_90 and gfx950: what a compiler changes when it stops to see through our addresses.

Counts of the text, not of what runs: a loop's body counts once. They are facts about code, never about time.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

from tunefork.base.tied import tied
from tunefork.kernels.amdgcn.assembly import parse
from tunefork.kernels.amdgcn.compile import Request, build
from tunefork.kernels.amdgcn.errors import CompileFailed
from tunefork.kernels.amdgcn.facts import loads_by_width
from tunefork.kernels.arch import ARCHES, GFX950
from tunefork.kernels.registry import shipped
from tunefork.kernels.shipped import Shipped
from tunefork.kernels.sm90 import compiled, tool

_SASS = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)")
_SASS_WIDTH = {"128": 16, "64": 8, "U16": 2, "S16": 2, "U8": 1, "S8": 1}
_GCN_SHUFFLE = re.compile(r"ds_(b?permute|swizzle)|v_permlane")


@dataclass(frozen=True)
class Counts:
    """loads: bytes per lane -> loads from global memory, those into shared memory among them. shared_loads, shared_stores: instructions of LDS.
    barriers: of the work-group. shuffles: between lanes, DPP not counted. matrix: matrix instructions. conversions: Triton's changes of layout.
    registers: of a lane, accumulators included. spills: instructions that move spilled registers (sm_90), spilled registers (gfx950).
    """

    loads: dict[str, int]
    shared_loads: int
    shared_stores: int
    barriers: int
    shuffles: int
    matrix: int
    conversions: int
    registers: int
    spills: int

    @property
    def numbers(self) -> dict[str, int]:
        """By name, each the worse the larger, but for ``matrix``, which the shape prescribes; ``loads`` as their number."""
        return {**{name: value for name, value in dataclasses.asdict(self).items() if name != "loads"}, "loads": sum(self.loads.values())}


def sass(text: str, usage: str, ttgir: str) -> Counts:
    """Of a cubin, from what cuobjdump prints with ``--dump-sass`` and ``--dump-resource-usage``."""
    names = Counter(_SASS.findall(text))
    loads: Counter[str] = Counter()
    for name, count in names.items():
        if name.partition(".")[0] in ("LDG", "LDGSTS"):
            loads[str(next((_SASS_WIDTH[part] for part in name.split(".") if part in _SASS_WIDTH), 4))] += count

    def total(*stems: str) -> int:
        return sum(count for name, count in names.items() if name.partition(".")[0] in stems)

    found = re.search(r"\bREG:(\d+)", usage)
    return Counts(dict(sorted(loads.items())), total("LDS", "LDSM"), total("STS", "STSM"), total("BAR"), total("SHFL"), total("HMMA", "HGMMA"),
                  ttgir.count("ttg.convert_layout"), int(found[1]) if found else 0, total("LDL", "STL"))  # fmt: skip


def amdgcn(text: str, ttgir: str) -> Counts:
    """Of a gfx950 assembly text."""
    program = parse(text)
    names = Counter(item.mnemonic for item in program.instructions)

    def total(pattern: str | re.Pattern[str]) -> int:
        return sum(count for name, count in names.items() if re.match(pattern, name))

    about = program.metadata
    return Counts(dict(sorted(loads_by_width(program.instructions).items())), total("ds_read|ds_load"), total("ds_write|ds_store"), names["s_barrier"],
                  total(_GCN_SHUFFLE), total("v_(s?mfmac?|smfmac)_"), ttgir.count("ttg.convert_layout"), program.directives["next_free_vgpr"],
                  about.get("vgpr_spill_count", 0) + about.get("sgpr_spill_count", 0))  # fmt: skip


def count(entry: Shipped, arch: str) -> Counts:
    """Compile one row and count. Errors: CompileFailed."""
    if arch == GFX950.name:
        done = build(Request.of(entry))
        return amdgcn(done.asm["amdgcn"], done.asm["ttgir"])
    try:
        done = compiled(entry)
    except Exception as error:  # Triton raises many kinds; all mean that this row has no code
        raise CompileFailed(f"{entry.label}: {type(error).__name__}: {error}") from error
    return sass(tool(done, "--dump-sass"), tool(done, "--dump-resource-usage"), done.asm["ttgir"])


def _count(place: tuple[str, int]) -> tuple[int, Counts | str]:
    arch, at = place
    try:
        return at, count(shipped(arch)[at], arch)
    except CompileFailed as error:
        return at, str(error)


def counted(arch: str, only: Sequence[str] | None = None, *, workers: int | None = None) -> Iterator[tuple[str, Counts | str]]:
    """Label and counts of every row of ``arch``, or of those named, as they come; in place of counts what stopped the compiler.

    Errors: KeyError for an architecture that is none of ours.
    """
    rows = shipped(ARCHES[arch].name)
    places = [(arch, at) for at, row in enumerate(rows) if only is None or row.label in only]
    processes = min(workers or len(os.sched_getaffinity(0)), max(len(places), 1))
    if processes == 1:
        yield from ((rows[at].label, found) for at, found in map(_count, places))
        return
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("forkserver"), initializer=tied) as pool:
        yield from ((rows[at].label, found) for at, found in pool.map(_count, places))


def as_json(found: Counts | str) -> Any:
    """For a record."""
    return found if isinstance(found, str) else dataclasses.asdict(found)


def from_json(found: Any) -> Counts | str:
    """Of a record."""
    return found if isinstance(found, str) else Counts(**found)
