"""The kernel-argument segment: explicit arguments as given, hidden ones (code object version 5) from the launch itself.

A hidden argument that has no value here (a host-call buffer, a heap) is not zero: reading it stops the launch with its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tunefork.kernels.amdgcn.assembly import KernelArgument, Program
from tunefork.kernels.amdgcn.errors import ExecutionError
from tunefork.kernels.amdgcn.executor.machine.global_memory import NoValue

if TYPE_CHECKING:
    from tunefork.kernels.amdgcn.executor.launch import Plan

PADDING = "hidden_none"
DIMENSIONS = 3  # HIP dispatches three dimensions, whatever the grid


def hidden_values(program: Program, plan: Plan) -> Mapping[str, int]:
    """What the hidden arguments are that a launch decides. Grids are whole work-groups, so that no remainder is left."""
    values = {"hidden_grid_dims": DIMENSIONS, PADDING: 0}
    for axis, groups, items in zip("xyz", plan.grid, plan.items, strict=True):
        values[f"hidden_block_count_{axis}"] = groups
        values[f"hidden_group_size_{axis}"] = items
        values[f"hidden_remainder_{axis}"] = 0
        values[f"hidden_global_offset_{axis}"] = 0
    values["hidden_dynamic_lds_size"] = max(plan.lds - program.directives.get("group_segment_fixed_size", 0), 0)
    return values


def explicit(program: Program) -> list[KernelArgument]:
    return [place for place in program.arguments if not place.kind.startswith("hidden_")]


def pack_arguments(program: Program, values: Sequence[bytes], plan: Plan) -> bytes:
    """Kernel arguments at the offsets that the metadata gives. Trailing pointers may be left out: Triton's scratch, which is null.

    Errors: ExecutionError where the values do not fit what the kernel takes.
    """
    size = program.directives.get("kernarg_size", program.metadata.get("kernarg_segment_size", 0))
    segment = bytearray(max(size, 8))
    places = explicit(program)
    missing = places[len(values) :]
    if len(values) > len(places) or any(place.kind != "global_buffer" for place in missing):
        raise ExecutionError(f"{program.name} takes {len(places)} arguments, {len(values)} came")
    for place, value in zip(places, values, strict=False):
        if len(value) != place.size:
            raise ExecutionError(f"{program.name}: the argument at byte {place.offset} has {place.size} bytes, not {len(value)}")
        segment[place.offset : place.offset + place.size] = value
    known = hidden_values(program, plan)
    for place in program.arguments:
        if place.kind in known and place.kind != PADDING:
            segment[place.offset : place.offset + place.size] = known[place.kind].to_bytes(place.size, "little")
    return bytes(segment)


def without_value(program: Program, plan: Plan) -> tuple[NoValue, ...]:
    """The bytes of the segment that a kernel must not read, by argument."""
    known = hidden_values(program, plan)
    return tuple(
        NoValue(place.offset, place.offset + place.size, f"the kernel argument {place.kind}")
        for place in program.arguments
        if place.kind.startswith("hidden_") and place.kind not in known
    )
