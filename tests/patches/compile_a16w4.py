"""Compile AITER's A16W4 MoE kernel for gfx950 on this machine and say what the machine code shows.

    python compile_a16w4.py <aiter tree> < requests.json > facts.json

A request is what ``get_kernel_config`` chose, with ``n``, ``k``, ``swizzle`` ("CDNA4_SCALE" or null) and ``gate_up`` (the first
GEMM: gathered rows, SwiGLU; else the second: routing weights). The facts are of the innermost loop with the most MFMAs:

    mfma, barrier, ds_write          instructions per iteration and wave
    repeated                         how often each MFMA is done by the waves together (1 = once)
    lds_bytes                        what the waves read and write in LDS per iteration
    mfma_before_wait                 MFMAs between the first load from memory and the first wait for one (0 = no overlap)
    vgpr, spills, scratch, shared    registers per lane, spilled registers, scratch bytes per lane, LDS bytes per work-group

Run as a program of its own: it puts bare packages in the place of AITER's, whose own import asks for a GPU.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

POINTERS = {"Y": "*bf16", "X": "*bf16", "W": "*u8", "WMxScale": "*u8", "B": "*fp32"}
ROUTING = ("ExptHist", "ExptOffs", "ExptOffsSum", "ExptData")
STRIDES = ("y_k", "y_m", "x_m", "w_e", "w_n", "w_mx_e", "w_mx_n", "b_e")
WIDTHS = {"b128": 16, "b96": 12, "b64": 8, "b32": 4, "b16": 2, "u16": 2, "b8": 1, "u8": 1}


def load_kernel(tree: Path) -> Any:
    """The kernel's @triton.jit function from AITER's tree, without running AITER's package initialisers."""
    module = "aiter.ops.triton._triton_kernels.moe.moe_op_gemm_a16w4"
    packages = [*module.split(".")[:-1]]
    for names in [packages[: i + 1] for i in range(len(packages))] + [
        ["aiter", "ops", "triton", "utils"],
        ["aiter", "ops", "triton", "utils", "_triton"],
    ]:
        package = ModuleType(".".join(names))
        package.__path__ = [str(tree.joinpath(*names))]
        sys.modules[package.__name__] = package
    return importlib.import_module(module)._moe_gemm_a16w4


def signature(request: dict[str, Any]) -> tuple[dict[str, str], dict[str, Any], set[str]]:
    """(type of each run-time argument, value of each compile-time one, arguments divisible by 16) as AITER launches them."""
    types = POINTERS | dict.fromkeys(ROUTING, "*i32") | {f"stride_{name}": "i32" for name in STRIDES}
    types |= {"N": "i32", "K": "i32", "grid_m": "i32", "grid_n": "i32", "alpha": "fp32", "limit": "fp32"}
    gate_up, tail = request["gate_up"], request["k"] % request["block_k"]
    values: dict[str, Any] = {f"stride_{name}": 1 for name in ("y_n", "x_k", "w_k", "w_mx_k")}
    values |= {"APPLY_SWIGLU": gate_up, "ACTIVATION_REDUCTION_N": 2 if gate_up else 1, "SWIGLU_ADD_RESIDUAL": True}
    values |= {f"BLOCK_{axis}": request[f"block_{axis.lower()}"] for axis in "MNK"}
    values |= {"GROUP_M": request["group_m"], "XCD_SWIZZLE": request["xcd_swizzle"], "SPLIT_K": request["split_k"]}
    values |= {"SWIZZLE_MX_SCALE": request["swizzle"], "EVEN_K": tail == 0, "MASK_K_LIMIT": tail, "N_EXPTS_ACT": 4}
    values |= {"W_CACHE_MODIFIER": request["w_cache_modifier"], "UPCAST_INDICES": False}
    values |= {"Gammas": None} if gate_up else {"GatherIndx": None}
    types |= {"GatherIndx": "*i32"} if gate_up else {"Gammas": "*bf16"}
    sizes = {"N": request["n"], "K": request["k"]}
    aligned = {n for n in types if n not in ("grid_m", "grid_n", "alpha", "limit", "ExptOffsSum")}
    return types, values, {n for n in aligned if sizes.get(n, 0) % 16 == 0}


def build(kernel: Any, request: dict[str, Any]) -> Any:
    """The compiled kernel."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    types, values, aligned = signature(request)
    names = kernel.arg_names
    source = ASTSource(
        kernel,
        {name: "constexpr" if name in values else types[name] for name in names},
        constexprs={(names.index(name),): value for name, value in values.items()},
        attrs={(names.index(name),): [["tt.divisibility", 16]] for name in aligned},
    )
    options = {name: request[name] for name in ("num_warps", "num_stages", "waves_per_eu", "matrix_instr_nonkdim", "kpack")}
    return triton.compile(source, target=GPUTarget("hip", "gfx950", 64), options=options)


def hot_loop(assembly: str) -> list[str]:
    """The instructions of the innermost loop that holds the most MFMAs."""
    labels: dict[str, int] = {}
    lines: list[str] = []
    loops: list[tuple[int, int]] = []
    for raw in assembly.split(".section\t.rodata", maxsplit=1)[0].splitlines():
        if label := re.match(r"(\.?[\w$]+):", raw):
            labels[label[1]] = len(lines)
        elif (line := raw.split(";")[0].strip()) and not line.startswith((".", "#", "//")):
            branch = re.match(r"s_c?branch\w*\s+(\.?[\w$]+)", line)
            if branch and branch[1] in labels:
                loops.append((labels[branch[1]], len(lines)))
            lines.append(line)
    inner = [a for a in loops if not any(b != a and a[0] <= b[0] and b[1] <= a[1] for b in loops)]
    bodies = [lines[start : end + 1] for start, end in inner]
    return max(bodies, key=lambda body: sum("v_mfma" in line for line in body))


def lds_bytes(line: str) -> int:
    """Bytes that one wave's LDS instruction moves."""
    match = re.match(r"ds_(?:read|write)(2?)(?:st64)?_([bu]\d+)", line)
    return 64 * WIDTHS[match[2]] * (2 if match[1] else 1) if match else 0


def facts(compiled: Any, request: dict[str, Any]) -> dict[str, int | float]:
    """What the code object of one request shows."""
    assembly = compiled.asm["amdgcn"]
    loop = hot_loop(assembly)

    def count(prefix: str) -> int:
        return sum(line.startswith(prefix) for line in loop)

    def header(name: str) -> int:
        found = re.search(rf"\.{name}:?\s+(\d+)", assembly)
        if found is None:
            raise LookupError(f"the compiled kernel's assembly states no .{name}")
        return int(found[1])

    waves, mfma = request["num_warps"], count("v_mfma_f32_16x16x32_bf16")
    once = (request["block_m"] // 16) * (request["block_n"] // 16) * (request["block_k"] // 32)
    load = next(i for i, line in enumerate(loop) if line.startswith(("buffer_load", "global_load")))
    wait = next(i for i, line in enumerate(loop) if i > load and "vmcnt" in line)
    return {
        "mfma": mfma,
        "repeated": mfma * waves / once,
        "barrier": count("s_barrier"),
        "ds_write": count("ds_write"),
        "lds_bytes": waves * sum(map(lds_bytes, loop)),
        "mfma_before_wait": sum("v_mfma" in line for line in loop[load:wait]),
        "vgpr": header("amdhsa_next_free_vgpr"),
        "spills": header("vgpr_spill_count") + header("sgpr_spill_count"),
        "scratch": header("private_segment_fixed_size"),
        "shared": compiled.metadata.shared,
    }


def main() -> None:
    kernel = load_kernel(Path(sys.argv[1]))
    json.dump([facts(build(kernel, request), request) for request in json.load(sys.stdin)], sys.stdout)


if __name__ == "__main__":
    main()
