"""A native source as one compilation: which file, with which flags, for which extension."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

UPSTREAMS = ("vllm", "aiter")  # whose native sources can be compiled so


@dataclass(frozen=True)
class Unit:
    """One compilation.

    name: ``upstream/path``, the source as its upstream has it.  file: what the compiler reads.  flags, includes: its own, beside the toolchain's.
    extension: what it is linked into.  out_of_reach: why it cannot be compiled here; "" where nothing is known against it.
    """

    name: str
    file: Path
    flags: tuple[str, ...]
    includes: tuple[str, ...]
    extension: str
    out_of_reach: str = ""
