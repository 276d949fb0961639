"""Every form here and on an MI355X, and the file that says what came of each."""

from __future__ import annotations

import importlib.metadata
import json
import os
import struct
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from tunefork import __version__
from tunefork.kernels.amdgcn.assembly import parse
from tunefork.kernels.amdgcn.errors import CompileFailed, ExecutionError
from tunefork.kernels.amdgcn.executor.launch import Executable, Plan, Range, launch
from tunefork.kernels.amdgcn.opcodes.form import LANES, MEMORY, SCALARS, Form
from tunefork.kernels.amdgcn.opcodes.hip import Hip
from tunefork.kernels.amdgcn.opcodes.inputs import blocks
from tunefork.kernels.amdgcn.opcodes.judge import EQUAL, REFUSED, Octets, judged, register_of
from tunefork.kernels.arch import GFX950

IN, OUT = 0x10_0000_0000, 0x20_0000_0000
KEPT = 8  # cases of a form that are written


@dataclass(frozen=True)
class Verdict:
    """What came of one form. verdict: equal, near, different, or refused (by the executor or the assembler; ``why`` says).

    different: words that are not equal.  cases: some of them, or one that is equal.
    """

    form: Form
    verdict: str
    inputs: int
    different: int = 0
    why: str = ""
    cases: list[dict[str, Any]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        told = {"opcode": self.form.opcode, "form": self.form.line, "verdict": self.verdict, "inputs": self.inputs, "different": self.different}
        return {**told, **({"why": self.why} if self.why else {}), "cases": self.cases}


def assembled(text: str) -> bytes:
    """The code object of a kernel's text, by the assembler and linker in Triton. Errors: CompileFailed with the assembler's words."""
    from triton._C.libtriton import amd, llvm

    llvm.init_targets()
    with tempfile.TemporaryDirectory(prefix="tunefork-opcodes-") as folder:
        source, made, said = (Path(folder) / name for name in ("k.o", "k.hsaco", "said"))
        before, sink = os.dup(2), os.open(said, os.O_CREAT | os.O_WRONLY)
        os.dup2(sink, 2)  # what it refuses the assembler only prints; what it returns is empty then
        try:
            code = amd.assemble_amdgcn(text, GFX950.name, "")
        finally:
            os.dup2(before, 2)
            os.close(before)
            os.close(sink)
        if not code:
            raise CompileFailed(f"the assembler refuses it: {' '.join(said.read_text(errors='replace').split())[:200]}")
        source.write_bytes(code)
        amd.link_hsaco(str(source), str(made))
        return made.read_bytes()


def executed(form: Form, given: Octets) -> Octets:
    """What the executor makes of (groups, BLOCK) bytes. Errors: ExecutionError and its kinds."""
    result = np.zeros_like(given)
    plan = Plan(grid=(len(given), 1, 1), waves=1, lds=LANES * MEMORY, block=(LANES, 1, 1))
    ranges = [Range(IN, given.reshape(-1), "in", writable=False), Range(OUT, result.reshape(-1), "out")]
    launch(Executable.load(parse(form.text)), plan, [struct.pack("<Q", IN), struct.pack("<Q", OUT)], ranges)
    return result


def on_device(hip: Hip, image: bytes, given: Octets) -> Octets:
    """What the GPU makes of it. Errors: HipError."""
    with hip.module(image) as module, hip.allocate(given.size) as source, hip.allocate(given.size) as target:
        source.write(given.reshape(-1))
        target.clear()
        arguments = struct.pack("<QQ", source.address.value or 0, target.address.value or 0)
        module.launch("k", (len(given), 1, 1), (LANES, 1, 1), arguments)
        return target.read().reshape(given.shape)


def compared(form: Form, hip: Hip, groups: int) -> Verdict:
    """One form on ``groups`` x 64 inputs. Errors: HipError, after which the GPU may be unusable."""
    given = blocks(form, groups)
    inputs = LANES * groups
    try:
        here, image = executed(form, given), assembled(form.text)
    except (CompileFailed, ExecutionError) as error:
        return Verdict(form, REFUSED, inputs, why=str(error))
    there = on_device(hip, image, given)
    verdict, found = judged(form, here, there)
    cases = [case(form, given[at.group], at.group, at.lane, str(at), a, b) for at, a, b in found[:KEPT]]
    if verdict == EQUAL:
        name = next(iter(form.named), SCALARS[0])
        values = (register_of(side[0], name, 0) for side in (here, there))
        cases = [case(form, given[0], 0, 0, f"{name} of lane 0", *values)]
    return Verdict(form, verdict, inputs, len(found), cases=cases)


def case(form: Form, block: Octets, group: int, lane: int | None, where: str, executor: int, device: int) -> dict[str, Any]:
    """One word of a result, with what the instruction's registers held before it."""
    names = [*form.named, *SCALARS[8:]]
    before = {name: f"{register_of(block, name, lane or 0):#x}" for name in names if not (form.in_memory and name in ("v6", "v7"))}
    return {"group": group, "place": where, "input": before, "executor": f"{executor:#x}", "device": f"{device:#x}"}


def checked(forms: Sequence[Form], hip: Hip, groups: int, out: Path) -> Iterator[Verdict]:
    """Compare the forms one after another, and write each as it is known: first a line about the run, then one a form.

    Errors: HipError, after which the file has what came before; OSError where it cannot be written.
    """
    head = {"device": hip.name, "runtime": hip.version, "forms": len(forms), "inputs": LANES * groups, "triton": importlib.metadata.version("triton")}
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w") as file:
        print(json.dumps({**head, "tunefork": __version__, "started": datetime.now(UTC).isoformat(timespec="seconds")}), file=file, flush=True)
        for form in forms:
            verdict = compared(form, hip, groups)
            print(json.dumps(verdict.as_dict()), file=file, flush=True)
            yield verdict
