"""A kernel of a HIP source's gfx950 assembly, called with CPU tensors."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import torch

from tunefork.kernels.amdgcn.assembly import kernel_names, parse
from tunefork.kernels.amdgcn.driver import memory_of
from tunefork.kernels.amdgcn.errors import BadAssembly
from tunefork.kernels.amdgcn.executor.launch import Executable, Launch, Plan, Range, launch
from tunefork.kernels.arch import GFX950

Argument: TypeAlias = torch.Tensor | tuple[str, float] | None
"""A pointer, a null pointer, or a scalar as (struct format, value): ``("i", 3)`` is an int, ``("q", 3)`` a 64-bit one."""


@dataclass(frozen=True)
class HipKernel:
    """One kernel of a text. name: mangled, as the text has it."""

    text: str
    name: str

    @classmethod
    def matching(cls, text: str, pattern: str) -> HipKernel:
        """The only kernel whose mangled name has the pattern, a regular expression. Errors: BadAssembly."""
        found = [name for name in kernel_names(text) if re.search(pattern, name)]
        if len(found) != 1:
            raise BadAssembly(f"expected one kernel like {pattern}, found {len(found)}: {', '.join(found[:4]) or 'none'}", "compile the pinned source")
        return cls(text, found[0])

    @cached_property
    def executable(self) -> Executable:
        """Decoded. Errors: UnknownInstruction, ExecutionError."""
        return Executable.load(parse(self.text, self.name))

    @property
    def facts(self) -> dict[str, int]:
        """Vector registers with accumulators, spilled registers, scratch and LDS bytes, as the metadata says."""
        held = self.executable.program.metadata
        return {
            "vgprs": held["vgpr_count"],
            "spills": held.get("vgpr_spill_count", 0) + held.get("sgpr_spill_count", 0),
            "scratch": held.get("private_segment_fixed_size", 0),
            "lds": held.get("group_segment_fixed_size", 0),
        }

    def run(self, grid: tuple[int, int, int], block: tuple[int, int, int], *arguments: Argument, dynamic_lds: int = 0, seed: int = 0) -> Launch:
        """Execute it. grid: work-groups.  block: work-items of one.  dynamic_lds: bytes beyond the static. Errors: ExecutionError and its kinds."""
        values: list[bytes] = []
        ranges: list[Range] = []
        for number, argument in enumerate(arguments):
            if isinstance(argument, tuple):
                values.append(struct.pack(f"<{argument[0]}", argument[1] if argument[0] in "fd" else int(argument[1])))
            else:
                values.append(struct.pack("<Q", 0 if argument is None else argument.data_ptr()))
                if argument is not None:
                    ranges.append(memory_of(argument, f"argument {number}"))
        waves = -(-block[0] * block[1] * block[2] // GFX950.lanes)
        plan = Plan(grid=grid, waves=waves, lds=self.facts["lds"] + dynamic_lds, block=block, seed=seed, resident_waves=max(256, waves))
        return launch(self.executable, plan, values, ranges)
