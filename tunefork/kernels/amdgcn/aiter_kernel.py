"""AITER's own A16W4 MoE kernel as gfx950 code, compiled from a checkout as AITER itself would launch it.

    python -m tunefork.kernels.amdgcn.aiter_kernel <aiter tree> < cases.json > codes.json

A case is {"n", "k", "tokens", "gate_up", "swizzle"}; its configuration comes from the checkout's own `get_kernel_config`. A program of its own: it
puts bare packages in the place of AITER's, whose import asks for a GPU.
"""

from __future__ import annotations

import ast
import importlib
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from tunefork.base.upstream_facts.aiter import A16W4_HOST, A16W4_KERNEL
from tunefork.kernels.arch import GFX950
from tunefork.kernels.model import GPT_OSS_120B as MODEL

POINTERS = {"Y": "*bf16", "X": "*bf16", "W": "*u8", "WMxScale": "*u8", "B": "*fp32"}
ROUTING = ("ExptHist", "ExptOffs", "ExptOffsSum", "ExptData")
STRIDES = ("y_k", "y_m", "x_m", "w_e", "w_n", "w_mx_e", "w_mx_n", "b_e")
OPTIONS = ("num_warps", "num_stages", "waves_per_eu", "matrix_instr_nonkdim", "kpack")


def load_kernel(tree: Path) -> Any:
    """The @triton.jit function of a checkout."""
    parts = A16W4_KERNEL.removesuffix(".py").split("/")
    for names in [parts[:end] for end in range(1, len(parts))] + [["aiter", "ops", "triton", "utils"], ["aiter", "ops", "triton", "utils", "_triton"]]:
        package = ModuleType(".".join(names))
        package.__path__ = [str(tree.joinpath(*names))]
        sys.modules[package.__name__] = package
    return importlib.import_module(".".join(parts))._moe_gemm_a16w4


def configuration(tree: Path, case: dict[str, Any]) -> dict[str, Any]:
    """What the checkout's get_kernel_config picks; the function is taken out of its module, whose imports need a GPU."""
    import triton

    module = ast.parse((tree / A16W4_HOST).read_text())
    function = next(node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == "get_kernel_config")
    scope: dict[str, Any] = {"triton": triton}
    exec(compile(ast.Module([function], []), A16W4_HOST, "exec"), scope)
    rows = case["tokens"] * MODEL.topk
    block = max(16, min(triton.next_power_of_2(rows // MODEL.experts), 128))
    routing = SimpleNamespace(block_m=block, n_blocks=lambda m, size: m if m <= MODEL.experts else triton.cdiv(m - MODEL.experts + 1, size) + MODEL.experts - 1)
    return dict(scope["get_kernel_config"](rows, case["n"], case["k"], routing))


def compile_case(kernel: Any, case: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """-> the code of one case with the configuration it came from and its run-time arguments by name."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    up, tail = case["gate_up"], case["k"] % config["block_k"]
    types = POINTERS | dict.fromkeys(ROUTING, "*i32") | {f"stride_{name}": "i32" for name in STRIDES}
    types |= {"N": "i32", "K": "i32", "grid_m": "i32", "grid_n": "i32", "alpha": "fp32", "limit": "fp32"}
    types |= {"GatherIndx": "*i32"} if up else {"Gammas": "*bf16"}
    values: dict[str, Any] = {f"stride_{name}": 1 for name in ("y_n", "x_k", "w_k", "w_mx_k")}
    values |= {"APPLY_SWIGLU": up, "ACTIVATION_REDUCTION_N": 2 if up else 1, "SWIGLU_ADD_RESIDUAL": True, "N_EXPTS_ACT": MODEL.topk}
    values |= {f"BLOCK_{axis}": config[f"block_{axis.lower()}"] for axis in "MNK"}
    values |= {"GROUP_M": config["group_m"], "XCD_SWIZZLE": config["xcd_swizzle"], "SPLIT_K": config["split_k"], "SWIZZLE_MX_SCALE": case["swizzle"]}
    values |= {"EVEN_K": tail == 0, "MASK_K_LIMIT": tail, "W_CACHE_MODIFIER": config["w_cache_modifier"], "UPCAST_INDICES": False}
    values |= {"Gammas": None} if up else {"GatherIndx": None}
    names, sizes = kernel.arg_names, {"N": case["n"], "K": case["k"]}
    aligned = [name for name in types if name not in ("grid_m", "grid_n", "alpha", "limit", "ExptOffsSum") and sizes.get(name, 0) % 16 == 0]
    source = ASTSource(
        kernel,
        {name: "constexpr" if name in values else types[name] for name in names},
        constexprs={(names.index(name),): value for name, value in values.items()},
        attrs={(names.index(name),): [["tt.divisibility", 16]] for name in aligned},
    )
    done = triton.compile(source, target=GPUTarget(*GFX950.target), options={name: config[name] for name in OPTIONS})
    return {**case, "config": config, "text": done.asm["amdgcn"], "arguments": [name for name in names if name not in values]}


def main() -> None:
    """Cases from standard input, codes to standard output, both JSON."""
    tree = Path(sys.argv[1])
    kernel = load_kernel(tree)
    json.dump([compile_case(kernel, case, configuration(tree, case)) for case in json.load(sys.stdin)], sys.stdout)


if __name__ == "__main__":
    main()
