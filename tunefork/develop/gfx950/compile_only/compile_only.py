"""Compile the native sources of the applied trees for gfx950, and say what came of each."""

from __future__ import annotations

import fnmatch
import re
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tunefork.base.errors import BadInput, MissingTool
from tunefork.base.layout import Layout
from tunefork.base.process import Say
from tunefork.develop.gfx950.compile_only import aiter_units, code_cache, schedule, toolchain, vllm_units
from tunefork.develop.gfx950.compile_only.facts import CodeFacts, facts_of
from tunefork.develop.gfx950.compile_only.last_good import Good, LastGood
from tunefork.develop.gfx950.compile_only.toolchain import Toolchain
from tunefork.develop.gfx950.compile_only.unit import UPSTREAMS, Unit
from tunefork.develop.machine import Machine
from tunefork.develop.targets import GFX950
from tunefork.patchset.checkout.applied import applied_tree

COMPILED, CACHED, FAILED, UNREACHABLE = "compiled", "cached", "failed", "out of reach"
MISSING_HEADER = re.compile(r"fatal error: '([^']+)' file not found")
ERROR = re.compile(r"(?:([^/\n]*):(\d+):\d+: )?(?:fatal )?error: ([^\n]*)")
# What an error names that only ROCm has: OCP's fp8 and fp4 of newer HIP headers, and its libraries.
OF_ROCM = (
    (re.compile(r"__hip_fp8\w*_e[45]m[23]\b|__hip_fp4\w*|hip_fp4\w*|hipDeviceAttribute\w+"), "{}, of newer HIP headers than a package index has"),
    (re.compile(r"hip(?:blas|blasLt|sparse|solver|rand)\w*"), "{}, of a ROCm library that is in no package index"),
    (re.compile(r"'(\w+)' in namespace 'hipcub'"), "{} of hipCUB, which has no stand-in here"),
)
CUID = re.compile(r"__hip_cuid_\w+")  # clang numbers a file by its paths, the output's among them: no part of the code
MARGIN = 0.9  # of the memory that is free


@dataclass(frozen=True)
class FileResult:
    """What came of one file.

    state: compiled, cached (of an earlier run, with the same content), failed, or out of reach.  why: of the latter two, one line.
    seconds: CPU time of the compiler.  peak: its most memory, bytes.  stand_ins: headers that are no ROCm's, of those with code in them.
    before: the last good compilation, where this one is another.  lost: it compiled before, and does not now.  code: the assembly, gzipped.
    """

    name: str
    extension: str
    state: str
    why: str = ""
    seconds: float = 0.0
    wall: float = 0.0
    peak: int = 0
    facts: CodeFacts | None = None
    stand_ins: tuple[str, ...] = ()
    before: Good | None = None
    lost: bool = False
    code: Path | None = None

    @property
    def ok(self) -> bool:
        return self.state in (COMPILED, CACHED)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "ok": self.ok}


@dataclass(frozen=True)
class Report:
    """A whole run. toolchain: the compiler, for the user.  missing: files of the last good record that no list names any more."""

    toolchain: str
    files: tuple[FileResult, ...]
    missing: tuple[str, ...] = ()

    @property
    def lost(self) -> tuple[FileResult, ...]:
        return tuple(one for one in self.files if one.lost)


def compile_only(
    layout: Layout, machine: Machine, *, upstreams: Sequence[str] = (), only: Sequence[str] = (), jobs: int | None = None, say: Say
) -> Report:
    """Compile the device code of the chosen files. only: paths or patterns, as ``vllm/csrc/rocm/*``; all where none is given.

    Errors: MissingTool where nothing is applied or this Python has no torch, BadInput where ``only`` matches nothing, SourceError, BuildError.
    """
    wanted, trees = upstreams or UPSTREAMS, {name: applied_tree(layout, name) for name in UPSTREAMS}
    absent = [name for name in wanted if trees[name] is None]
    if (upstreams and absent) or len(absent) == len(wanted):
        raise MissingTool(f"{absent[0]} is not applied in {layout.checkout(absent[0])}", f"python3 build.py apply {absent[0]}")
    for name in absent:
        say(f"{name} is not applied and is left out")
    tools = toolchain.find(layout, machine, say)
    say(f"compiler: {tools.name}")
    units: list[Unit] = []
    for name in wanted:
        if (tree := trees[name]) is not None:
            units += vllm_units.units(layout, tree.path, tools, say) if name == "vllm" else aiter_units.units(tree.path, tools)
    chosen = [unit for unit in units if not only or any(matches(unit.name, pattern) for pattern in only)]
    if not chosen:
        raise BadInput(f"no native source matches {' '.join(only)}", f"name one as {units[0].name}, or a pattern as '{units[0].name.rpartition('/')[0]}/*'")
    record = LastGood.of(layout.work / "develop" / "native", tools.label)
    names = {unit.name for unit in units}
    missing = tuple(name for name in sorted(record.files) if name.partition("/")[0] in wanted and name not in names) if not only else ()
    return Report(tools.name, tuple(compiled(layout, machine, tools, chosen, record, jobs, say)), missing)


def matches(name: str, pattern: str) -> bool:
    """Whether a file is meant by a pattern: its whole name, its end, or a shell pattern of either."""
    return name == pattern or name.endswith(f"/{pattern}") or fnmatch.fnmatch(name, pattern) or fnmatch.fnmatch(name, f"*/{pattern}")


def compiled(
    layout: Layout, machine: Machine, tools: Toolchain, units: Sequence[Unit], record: LastGood, jobs: int | None, say: Say
) -> list[FileResult]:
    """The results, in the order of the units."""
    code_cache.file_hash.cache_clear()
    code_cache.places.cache_clear()
    code_cache.names_in.cache_clear()
    results: dict[str, FileResult] = {}
    todo: dict[str, Unit] = {}
    for unit in units:
        if unit.out_of_reach:
            results[unit.name] = FileResult(unit.name, unit.extension, UNREACHABLE, unit.out_of_reach, lost=unit.name in record.files)
        elif (kept := code_cache.find(code_cache.shelf(layout.cache, unit, tools), unit)) is not None:
            results[unit.name] = good_result(unit, CACHED, kept["seconds"], 0.0, kept["peak"], kept["facts"], tuple(kept["stand_ins"]), kept["text"], record)
        else:
            todo[unit.name] = unit
    memory = int(schedule.available() * MARGIN)
    with tempfile.TemporaryDirectory(prefix="tunefork-native-") as scratch:
        plan = [job_of(unit, tools, Path(scratch) / str(at), record) for at, unit in enumerate(todo.values())]
        done = 0
        for ended in schedule.run(plan, jobs or machine.cores, memory):
            unit, done = todo[ended.job.name], done + 1
            result = results[unit.name] = result_of(layout, tools, unit, ended, record)
            why = f" ({result.why})" if result.why else ""
            say(f"[{done}/{len(plan)}] {result.state} in {ended.wall:.1f} s, {ended.peak / 2**30:.2f} GiB  {unit.name}{why}")
    return [results[unit.name] for unit in units]


def job_of(unit: Unit, tools: Toolchain, base: Path, record: LastGood) -> schedule.Job:
    """The compiler's command: HIP to assembly, then the assembler over all of it."""
    folders = [word for folder in unit.includes for word in ("-I", folder)] + [word for folder in tools.includes for word in ("-isystem", folder)]
    read = [word for given in ("-dependency-file", f"{base}.d", "-MT", "code", "-sys-header-deps") for word in ("-Xclang", given)]  # a device job has no -MF
    compiler = [*tools.clang, *tools.argv, *code_cache.DEVICE_ONLY, *unit.flags, *folders, *read, "-S", "-o", f"{base}.s", str(unit.file)]
    assembler = [*tools.clang, "-x", "assembler", "-c", "-target", "amdgcn-amd-amdhsa", f"-mcpu={GFX950}", "-o", f"{base}.o", f"{base}.s"]
    script = f"{shlex.join(compiler)} && {shlex.join(assembler)}"
    known = record.files.get(unit.name)
    job = schedule.Job(unit.name, ("/bin/sh", "-c", script), base.with_suffix(".log"))
    return job if known is None else schedule.Job(job.name, job.argv, job.log, known.peak, known.seconds)


def result_of(layout: Layout, tools: Toolchain, unit: Unit, ended: schedule.Ended, record: LastGood) -> FileResult:
    """Judge an end, and keep it where it is good."""
    base = ended.job.log.with_suffix("")
    said = ended.job.log.read_text(errors="replace")
    if ended.code:
        state, why = failure(said, ended.code, parts=tools.stand_ins is not None)
        return FileResult(unit.name, unit.extension, state, why, ended.seconds, ended.wall, ended.peak, before=record.files.get(unit.name),
                          lost=unit.name in record.files)  # fmt: skip
    text = CUID.sub("__hip_cuid_", base.with_suffix(".s").read_text())
    read = code_cache.dependencies(base.with_suffix(".d").read_text())
    coded = f"{tools.stand_ins}/hipcub/" if tools.stand_ins else ""
    stand_ins = tuple(sorted({"hipCUB" for name in read if coded and name.startswith(coded)}))
    facts = facts_of(text)
    shelf = code_cache.shelf(layout.cache, unit, tools)
    code = code_cache.keep(shelf, unit, read, text, facts=facts, seconds=ended.seconds, peak=ended.peak, stand_ins=stand_ins)
    for suffix in (".s", ".o"):
        base.with_suffix(suffix).unlink(missing_ok=True)
    return good_result(unit, COMPILED, ended.seconds, ended.wall, ended.peak, facts, stand_ins, code, record)


def good_result(
    unit: Unit, state: str, seconds: float, wall: float, peak: int, facts: CodeFacts, stand_ins: tuple[str, ...], code: Path, record: LastGood
) -> FileResult:
    """A success, beside the last one; it is the last good one now."""
    before = record.files.get(unit.name)
    if before is None or state == COMPILED or before.facts != facts:
        record.update(unit.name, Good(seconds, peak, facts))
    other = before if before is not None and before.facts != facts else None
    return FileResult(unit.name, unit.extension, state, "", seconds, wall, peak, facts, stand_ins, other, code=code)


def failure(said: str, code: int, *, parts: bool) -> tuple[str, str]:
    """(state, why) of a compiler that failed, from what it said. parts: it is the one of a package index, whose HIP lacks some headers."""
    if header := MISSING_HEADER.search(said):
        return UNREACHABLE, f"needs the header {header[1]}, which is in no place here"
    if code in (-9, 137):
        return FAILED, "killed: too little memory, or by hand; fewer --jobs need less"
    if line := ERROR.search(said):
        for pattern, told in OF_ROCM if parts else ():
            if name := pattern.search(line[3]):
                return UNREACHABLE, f"needs {told.format(name[pattern.groups])}"
        return FAILED, (f"line {line[2]} of {line[1]}, " if line[2] else "") + line[3].strip()[:200]
    return FAILED, f"the compiler ended with exit code {code}, {' '.join(said.split())[-200:]}"
