"""What Triton takes for gfx950 without a word, and the gate and the modelled tuner refuse: options that mean nothing, and code that no CU can hold.

Option names and what becomes of their values are asked of the Triton installed: they differ between its versions.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tunefork.base.near import near
from tunefork.kernels.amdgcn.compile import Compiled, compile_all
from tunefork.kernels.amdgcn.errors import CompileFailed
from tunefork.kernels.arch import GFX950
from tunefork.kernels.shipped import Shipped

WARPS_MOST = 16  # 1024 work-items of a work-group
NONKDIM = (0, 16, 32)  # 0: Triton's choice
NO_PIPELINE = ("num_stages", 1)


def option_faults(options: Mapping[str, Any]) -> list[str]:
    """One line for each option that this Triton drops or replaces, or that has no meaning on the chip."""
    import triton
    from triton.backends.amd.compiler import HIPBackend, HIPOptions
    from triton.backends.compiler import GPUTarget

    known, lines = set(HIPOptions.__dataclass_fields__), []
    for name in sorted(set(options) - known):
        lines.append(f"Triton {triton.__version__} drops the option {name}" + (f"; did you mean {meant[0]}?" if (meant := near(name, known)) else ""))
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


def idle_options(entries: Sequence[Shipped], codes: Sequence[Compiled | CompileFailed], *, cache: Path | None = None,
                 workers: int | None = None) -> dict[tuple[str, str, Any], str]:
    """{(kernel, option, value): a line} where it changes no row: each row that has it is compiled without it, and the instructions compared.

    codes: of the entries.  An option that asks for what Triton does anyway (its default, or a pipeline of one stage) is not meant to change anything,
    and one that changes some rows is not idle.
    """
    from triton.backends.amd.compiler import HIPOptions

    defaults = {name: about.default for name, about in HIPOptions.__dataclass_fields__.items()}
    rows: dict[tuple[str, str, Any], list[tuple[Shipped, Compiled]]] = {}
    for entry, code in zip(entries, codes, strict=True):
        for name, value in entry.options.items() if isinstance(code, Compiled) else ():
            if name in defaults and name != "num_warps" and value != defaults[name] and (name, value) != NO_PIPELINE and not option_faults({name: value}):
                rows.setdefault((entry.kernel, name, value), []).append((entry, code))  # type: ignore[arg-type] # compiled, as asked above
    found: dict[tuple[str, str, Any], str] = {}
    while rows:  # one row of each at a time: mostly the first tells
        tried = [(key, *left.pop(0)) for key, left in rows.items()]
        bare = compile_all([replace(entry, options={name: value for name, value in entry.options.items() if name != key[1]}) for key, entry, _ in tried],
                           cache=cache, workers=workers)
        for (key, _, code), without in zip(tried, bare, strict=True):
            if not isinstance(without, Compiled) or instructions(without) != instructions(code):
                del rows[key]
            elif not rows[key]:
                del rows[key]
                found[key] = f"{key[1]}={key[2]} changes nothing: Triton {code.triton} makes the same instructions without it"
    return found


def instructions(code: Compiled) -> list[str]:
    """The program's lines: no comments and no directives, in which the options themselves are written down."""
    lines = (line.split(";")[0].strip() for line in code.text.partition(".section")[0].splitlines())
    return [line for line in lines if line and not line.startswith(".")]
