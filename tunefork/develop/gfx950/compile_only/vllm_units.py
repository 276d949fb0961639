"""vLLM's native sources for gfx950: CMakeLists.txt's lists, hipified by vLLM's own script as its build does."""

from __future__ import annotations

import hashlib
import re
import tempfile
from pathlib import Path

from tunefork.base.layout import Layout
from tunefork.base.mutex import locked
from tunefork.base.process import Say
from tunefork.develop.gfx950.compile_only import cmake_lists
from tunefork.develop.gfx950.compile_only.toolchain import WITHOUT_TORCH, Toolchain, hipify, torch_flags
from tunefork.develop.gfx950.compile_only.unit import Unit
from tunefork.develop.native import inputs
from tunefork.develop.targets import GFX950

CONFIGURATION = {"VLLM_TARGET_DEVICE": "rocm", "HIP_FOUND": "TRUE", "VLLM_GPU_ARCHES": GFX950}
# setup.py builds RelWithDebInfo, which CMake makes -O2 -g -DNDEBUG; debug information changes no code and is left out.
BUILD = ("-O2", "-DNDEBUG", "-std=gnu++20", "-Wno-unused-result", "-Wno-unused-value")
KEYWORDS = ("DESTINATION", "LANGUAGE", "SOURCES", "COMPILE_FLAGS", "ARCHITECTURES", "INCLUDE_DIRECTORIES", "LIBRARIES", "USE_SABI", "WITH_SOABI")
DEVICE = ".cu"


def units(layout: Layout, checkout: Path, toolchain: Toolchain, say: Say) -> list[Unit]:
    """Every device source of the ROCm build for gfx950, hipified."""
    listed = sources(checkout)
    place = hipified(layout, checkout, [source for source, _, _ in listed], say)
    major, minor = toolchain.hip
    hip_version = f"-DTORCH_HIP_VERSION={major * 100 + minor}"  # torch's CMake says it
    return [Unit(f"vllm/{source}", place / hip_name(source), (*BUILD, hip_version, *flags), (str(place / "csrc"),), extension)
            for source, extension, flags in listed]  # fmt: skip


def sources(checkout: Path) -> list[tuple[str, str, tuple[str, ...]]]:
    """(source below the checkout, extension, flags) as CMakeLists.txt lists them for gfx950."""
    common = gpu_flags((checkout / "cmake" / "utils.cmake").read_text())
    lists = cmake_lists.read((checkout / "CMakeLists.txt").read_text(), {**CONFIGURATION, "VLLM_GPU_FLAGS": ";".join(common)})
    lists.variables.setdefault("VLLM_ROCM_EXT_FLAGS", ";".join(common))
    definitions: dict[str, list[str]] = {}
    for call in lists.calls:
        if call.name == "target_compile_definitions":
            definitions.setdefault(call.words[0], []).extend(f"-D{word.removeprefix('-D')}" for word in call.words[1:] if word != "PRIVATE")
    found = []
    for call in lists.calls:
        extension, names, flags = "", list[str](), list[str]()
        if call.name == "define_extension_target":
            parsed = keywords(call.words[1:])
            if parsed.get("LANGUAGE") == ["HIP"]:
                extension, names, flags = call.words[0], parsed.get("SOURCES", []), parsed.get("COMPILE_FLAGS", [])
        elif call.name == "hipify_sources_target":
            extension, names, flags = call.words[1], call.words[2].split(";"), lists.values("VLLM_ROCM_EXT_FLAGS")
        own = (f"-DTORCH_EXTENSION_NAME={extension.removesuffix('_skinny')}", *definitions.get(extension, ()))
        for name in names:
            if name.endswith(DEVICE):
                found.append((name, extension, (*(flag for flag in flags if flag != "--offload-compress"), *own)))
    return found


def keywords(words: tuple[str, ...]) -> dict[str, list[str]]:
    """The arguments of define_extension_target, by keyword."""
    parsed: dict[str, list[str]] = {}
    at = ""
    for word in words:
        if word in KEYWORDS:
            at = word
            parsed.setdefault(at, [])
        else:
            parsed.setdefault(at, []).append(word)
    return parsed


def gpu_flags(utils: str) -> list[str]:
    """What get_torch_gpu_compiler_flags gives for HIP: torch's flags, then vLLM's."""
    body = cmake_lists.function_body(utils, "get_torch_gpu_compiler_flags")
    return torch_flags() + cmake_lists.read(body, {"GPU_LANG": "HIP"}).values("GPU_FLAGS")


def hip_name(source: str) -> str:
    """A source's name after hipify, as hipify_sources_target names it."""
    return re.sub("cuda", "hip", re.sub(r"\.cu$", ".hip", source))


def hipified(layout: Layout, checkout: Path, names: list[str], say: Say) -> Path:
    """The folder with csrc hipified by the checkout's cmake/hipify.py; made again where csrc, the script, the list, torch or our way to call it is another."""
    from tunefork.develop.machine import installed_torch

    key = hashlib.sha256(repr((inputs(checkout, ("csrc", "cmake/hipify.py")), names, installed_torch(), WITHOUT_TORCH)).encode()).hexdigest()
    place = layout.work / "develop" / "native" / "vllm"
    note = place / "hipified"
    place.parent.mkdir(parents=True, exist_ok=True)
    with locked(place.with_suffix(".lock"), say, "another process hipifies vLLM's sources, waiting"):
        if note.is_file() and note.read_text() == key:
            return place
        say(f"hipifying {len(names)} sources of vLLM")
        with tempfile.TemporaryDirectory(prefix=".vllm-", dir=place.parent) as scratch:
            made = Path(scratch) / "made"
            script = checkout / "cmake" / "hipify.py"
            hipify(["-p", str(checkout / "csrc"), "-o", str(made / "csrc"), *(str(checkout / name) for name in names)], script=script)
            (made / "hipified").write_text(key)
            if place.exists():
                place.rename(Path(scratch) / "before")
            made.rename(place)
    return place
