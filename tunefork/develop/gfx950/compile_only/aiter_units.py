"""AITER's native sources for gfx950: what aiter/jit/optCompilerConfig.json lists for its modules, with the flags of core.py's build_module."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

from tunefork.base.errors import BadInput
from tunefork.develop.gfx950.compile_only.toolchain import Toolchain, torch_flags
from tunefork.develop.gfx950.compile_only.unit import Unit
from tunefork.develop.targets import GFX950

MODULES = "aiter/jit/optCompilerConfig.json"
CK = "3rdparty/composable_kernel"
# build_module of aiter/jit/core.py, for HIP after 6.2.41133, an architecture other than gfx942, and no composable_kernel.
FLAGS = ("-O3", "-std=c++20", "-DLEGACY_HIPBLAS_DIRECT", "-DUSE_PROF_API=1", "-D__HIP_PLATFORM_HCC__=1", "-D__HIP_PLATFORM_AMD__=1",
         "-U__HIP_NO_HALF_CONVERSIONS__", "-U__HIP_NO_HALF_OPERATORS__", "-Wno-unused-result", "-Wno-switch-bool", "-Wno-vla-cxx-extension",
         "-Wno-undefined-func-template", "-Wno-macro-redefined", "-Wno-missing-template-arg-list-after-template-kw", "-fgpu-flush-denormals-to-zero",
         "-mllvm", "--amdgpu-kernarg-preload-count=32", "-mllvm", "--lsr-drop-solution=1", "-fno-offload-uniform-block", "-mllvm", "-enable-post-misched=0",
         "-mllvm", "-amdgpu-early-inline-all=true", "-mllvm", "-amdgpu-function-calls=false", "-D__Float4_e2m1fn_x2", "-DTORCH_Float4_e2m1fn_x2",
         "-DENABLE_ROPE_POSITIONS_INT32=0", "-DDLLVM_MAIN_REVISION=554785")  # fmt: skip
OLDER_HIP = "-mllvm -amdgpu-coerce-illegal-types=1"  # its hip_flag_checker leaves it out where the compiler has no such option; upstream clang has none
# aiter_hip_common.h asks for a device attribute, on the host alone, and uses a container that it does not include: newer HIP headers have both.
NEWER_HIP = ("-DhipDeviceAttributePciChipId=hipDeviceAttributePciBusId", "-include", "unordered_map")
WITHOUT_CK = ("-DAITER_CK_FREE=1", "-DENABLE_CK=0")
HOST_ONLY = re.compile(r"pybind\.cu$|/pybind/|\.cpp$|/asm_[^/]*\.cu$")  # bindings, and launchers of code objects that AITER ships


def units(checkout: Path, toolchain: Toolchain) -> list[Unit]:
    """Every device source that a module of AITER names, once, of the first module by which it can be had. Modules that only tune, or are for another
    GPU, are left out."""
    found: dict[str, Unit] = {}
    torch = [flag for flag in torch_flags() if not flag.startswith("-D__HIP_NO_HALF")]  # core.py takes those back
    has_ck, newer = (checkout / CK / "include").is_dir(), NEWER_HIP if toolchain.stand_ins else ()
    for module, entry in json.loads((checkout / MODULES).read_text()).items():
        if module.endswith("_tune") or "gfx1250" in module:
            continue
        needs_ck = "CK_DIR" in json.dumps(entry) or "gen_instances" in json.dumps(entry.get("blob_gen_cmd", ""))
        flags = tuple(word for text in entry.get("flags_extra_hip", ()) for word in value(text, checkout).split())
        includes = tuple(value(text, checkout) for text in entry.get("extra_include", ()))
        for source in entry["srcs"]:
            path = value(source, checkout)
            if not path.endswith(".cu") or HOST_ONLY.search(path):
                continue
            if not Path(path).is_relative_to(checkout):
                told = f"{MODULES} names {source} for {module}, in a folder that is not known here"
                raise BadInput(told, "apply the pinned AITER: python3 build.py apply aiter")
            name = Path(path).relative_to(checkout).as_posix()
            unreachable = f"{module} needs {CK}, which is not checked out" if needs_ck and not has_ck else ""
            ck = () if has_ck else WITHOUT_CK
            unit = Unit(f"aiter/{name}", Path(path), (*FLAGS, *newer, *ck, *torch, *flags),
                        (str(checkout / "csrc" / "include"), *includes, str(checkout / "csrc" / "include" / "torch")), module, unreachable)  # fmt: skip
            known = found.get(name)
            if known is None or (known.out_of_reach and not unreachable):
                found[name] = unit
    return list(found.values())


def value(text: str, checkout: Path) -> str:
    """A string of the configuration: a Python expression that names folders; what it asks of the environment or of torch is left out."""
    names = {"AITER_CSRC_DIR": f"{checkout}/csrc", "AITER_META_DIR": str(checkout), "AITER_ROOT_DIR": str(checkout),
             "AITER_GRADLIB_DIR": f"{checkout}/gradlib", "CK_DIR": f"{checkout}/{CK}",
             "CK_3RDPARTY_DIR": f"{checkout}/{CK}", "HIP_KITTENS_DIR": f"{checkout}/3rdparty/HipKittens"}  # fmt: skip
    made = ""
    node = ast.parse(text, mode="eval").body
    for part in node.values if isinstance(node, ast.JoinedStr) else [node]:
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            made += part.value
        elif isinstance(part, ast.FormattedValue):
            made += formatted(part.value, names)
    return made


def formatted(node: ast.expr, names: dict[str, str]) -> str:
    """What stands in braces: a folder, the architecture, or an environment variable's default."""
    if isinstance(node, ast.Name):
        return names.get(node.id, "")
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "get_gfx":
        return GFX950
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "os.environ.get" and len(node.args) == 2 and isinstance(node.args[1], ast.Constant):
        return str(node.args[1].value)
    return ""
