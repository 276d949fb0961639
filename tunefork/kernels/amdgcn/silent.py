"""What Triton takes for gfx950 without a word, and the gate and the modelled tuner refuse: options that mean nothing, and code that no CU can hold.

Option names and what becomes of their values are asked of the Triton installed: they differ between its versions.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Mapping
from typing import Any

from tunefork.kernels.amdgcn.compile import Compiled
from tunefork.kernels.arch import GFX950

WARPS_MOST = 16  # 1024 work-items of a work-group
NONKDIM = (0, 16, 32)  # 0: Triton's choice


def option_faults(options: Mapping[str, Any]) -> list[str]:
    """One line for each option that this Triton drops or replaces, or that has no meaning on the chip."""
    import triton
    from triton.backends.amd.compiler import HIPBackend, HIPOptions
    from triton.backends.compiler import GPUTarget

    known, lines = set(HIPOptions.__dataclass_fields__), []
    for name in sorted(set(options) - known):
        near = difflib.get_close_matches(name, known, 1)
        lines.append(f"Triton {triton.__version__} drops the option {name}" + (f"; did you mean {near[0]}?" if near else ""))
    warps = options.get("num_warps", 4)
    if not isinstance(warps, int) or warps < 1 or warps & (warps - 1) or warps > WARPS_MOST:
        lines.append(f"num_warps is {warps}: a power of two of at most {WARPS_MOST} is one work-group of {GFX950.name}")
        return lines
    if options.get("matrix_instr_nonkdim", 0) not in NONKDIM:
        lines.append(f"matrix_instr_nonkdim is {options['matrix_instr_nonkdim']}, which drops every matrix instruction: use one of {NONKDIM}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it warns of is a line here
        taken = HIPBackend(GPUTarget(*GFX950.target)).parse_options(dict(options))
    for name in sorted(set(options) & known):
        if options[name] is not None and getattr(taken, name) != options[name]:
            lines.append(f"{name}={options[name]} changes nothing: Triton {triton.__version__} replaces it by {getattr(taken, name)}")
    return lines


def code_faults(code: Compiled, matrix: int) -> list[str]:
    """One line for each thing that Triton compiled and the chip cannot do well. matrix: matrix instructions of the code."""
    lines = []
    if code.shared > GFX950.lds:
        lines.append(f"{code.shared} bytes of LDS, a CU has {GFX950.lds}: it compiles with Triton {code.triton} and can never be launched")
    if code.dots and not matrix:
        lines.append(f"its {code.dots} dots have no matrix instruction (Triton {code.triton}): a side below {GFX950.columns} loses it")
    return lines
