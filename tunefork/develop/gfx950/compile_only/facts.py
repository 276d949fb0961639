"""What is in a file's gfx950 code: the metadata that clang writes at the end of its assembly."""

from __future__ import annotations

import re
from dataclasses import dataclass

FIELD = re.compile(r"^ {4}\.((?:vgpr|agpr|sgpr)_count|[vs]gpr_spill_count|(?:private|group)_segment_fixed_size|name): +'?([^'\n]+)", re.M)


@dataclass(frozen=True)
class CodeFacts:
    """Of all kernels of a file: how many; the most vector registers, with accumulators, of one; how many spill; the most scratch and LDS bytes.

    instructions: lines of machine code.
    """

    kernels: int = 0
    vgprs: int = 0
    spilling: int = 0
    scratch: int = 0
    lds: int = 0
    instructions: int = 0


def facts_of(text: str) -> CodeFacts:
    """The facts of an assembly text."""
    metadata = text.partition("amdhsa.kernels:")[2]
    kernels: list[dict[str, int]] = []
    for entry in re.split(r"^  - ", metadata, flags=re.M)[1:]:
        found = {name: value for name, value in FIELD.findall("    " + entry)}
        if "name" in found:
            kernels.append({name: int(value) for name, value in found.items() if name != "name"})
    return CodeFacts(
        kernels=len(kernels),
        vgprs=max((one.get("vgpr_count", 0) for one in kernels), default=0),
        spilling=sum(bool(one.get("vgpr_spill_count", 0) or one.get("sgpr_spill_count", 0)) for one in kernels),
        scratch=max((one.get("private_segment_fixed_size", 0) for one in kernels), default=0),
        lds=max((one.get("group_segment_fixed_size", 0) for one in kernels), default=0),
        instructions=len(re.findall(r"^\t[a-z]+_", text, re.M)),
    )
