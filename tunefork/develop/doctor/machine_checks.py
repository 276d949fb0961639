"""What `doctor` asks of the machine: Python, tools, room, ROCm, GPU, firmware."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from tunefork.base.mounts import KEEP_TIMES, kind_of
from tunefork.base.process import ask
from tunefork.develop import targets
from tunefork.develop.cpu.operators import INSTALL_LIBRARIES
from tunefork.develop.doctor.check import Check, Patient, skipped
from tunefork.develop.gfx950.compile_only import toolchain
from tunefork.develop.installed import read_mark
from tunefork.develop.machine import CPU_LIBRARIES, GIB

MINIMUM_PYTHON = (3, 11)
MINIMUM_GIT = (2, 34)
MINIMUM_ROCM = 7  # the first whose compiler knows gfx950
FIXED_MEC = 177  # older MEC firmware reclaims scratch memory wrongly: HSA_NO_SCRATCH_RECLAIM=1
# Measured for cpu: 3.0 GB of environment, 0.4 GB of cache, 0.3 GB of checkout; a server takes 3.1 GB. gfx950: the weights of
# GPT-OSS-120B alone are 61 GiB, and loading them passes through host memory.
DISK = {targets.CPU: 6 * GIB, targets.GFX950: 100 * GIB}
MEMORY = {targets.CPU: 6 * GIB, targets.GFX950: 64 * GIB}


def python(patient: Patient) -> Check:
    first, last = targets.CPU_PYTHONS
    wanted = f"3.{MINIMUM_PYTHON[1]} or newer"
    here = sys.version_info[:2]
    if patient.target == targets.CPU:
        wanted = f"{first[0]}.{first[1]} to {last[0]}.{last[1]} (target cpu)"
        ok = first <= here <= last
    else:
        ok = here >= MINIMUM_PYTHON
    return Check("python", ok, f"{sys.version.split()[0]} ({sys.executable})", wanted, "" if ok else targets.with_another_python())


def compiler(patient: Patient) -> Check:
    found = next((path for name in ("c++", "g++", "clang++") if (path := shutil.which(name))), None)
    line = first_line([found, "--version"]) if found else None
    remedy = "" if found else "install g++ (Debian: apt-get install g++); torch.compile and the native builds use it"
    return Check("compiler", found is not None, line or "none", "a C++ compiler (c++, g++ or clang++)", remedy)


def openssl(patient: Patient) -> Check:
    """torch's Inductor (2.13, codecache.py) starts `openssl sha512` in every process that compiles for a CPU, a kept graph included."""
    wanted = "the program openssl, where torch.compile works for a CPU"
    if patient.target != targets.CPU:
        return skipped("openssl", "Inductor calls it for CPU code only", wanted)
    found = shutil.which("openssl")
    remedy = "" if found else ("install openssl (Debian: apt-get install openssl); till then `serve --profile smoke` works, which compiles nothing, "
                               "or export TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS=0")  # fmt: skip
    return Check("openssl", found is not None, found or "none", wanted, remedy)


def libraries(patient: Patient) -> Check:
    """What `develop` refuses to begin without."""
    wanted = f"{', '.join(CPU_LIBRARIES)}, which vLLM's CPU operators load"
    if patient.target != targets.CPU:
        return skipped("libraries", "only those operators load it", wanted)
    lacking = patient.machine.unloadable
    return Check("libraries", not lacking, f"not found: {', '.join(lacking)}" if lacking else "found", wanted, INSTALL_LIBRARIES if lacking else "")


def git(patient: Patient) -> Check:
    line = first_line(["git", "--version"])
    version = tuple(int(part) for part in re.findall(r"\d+", line or "")[:2])
    ok = version >= MINIMUM_GIT
    return Check("git", ok, line or "none", "2.34 or newer", "" if ok else "install git 2.34 or newer")


def disk(patient: Patient) -> Check:
    wanted = DISK[patient.target]
    folders = {"project": existing(patient.layout.root), "cache": existing(patient.layout.cache)}
    free = {name: shutil.disk_usage(folder).free for name, folder in folders.items()}
    installed = read_mark() is not None and patient.target == targets.CPU
    ok = installed or min(free.values()) >= wanted
    found = ", ".join(f"{amount / GIB:.0f} GiB free ({name}: {folders[name]})" for name, amount in free.items())
    remedy = "" if ok else "make room, or set TUNEFORK_CACHE to a folder on a larger disk"
    return Check("disk", ok, found, f"{wanted // GIB} GiB to install target {patient.target}", remedy)


def file_system(patient: Patient) -> Check:
    """Not judged where others share it, or where it is not known: most things hold there (docs/safety.md)."""
    wanted = "of this machine, where folders can be locked and keep their times"
    folders = {"project": patient.layout.root, "cache": patient.layout.cache}
    kinds = {name: kind_of(folder, patient.root) for name, folder in folders.items()}
    found = ", ".join(f"{kind or 'unknown'} ({name})" for name, kind in kinds.items())
    if all(kind in KEEP_TIMES for kind in kinds.values()):
        return Check("file system", True, found, wanted)
    return Check("file system", None, f"{found}: with several machines on it, let one at a time change a series", wanted)


def memory(patient: Patient) -> Check:
    wanted = MEMORY[patient.target]
    ok = patient.machine.memory >= wanted if patient.machine.memory else None
    found = f"{patient.machine.memory / GIB:.0f} GiB, {patient.machine.cores} cores"
    remedy = "a smaller machine swaps or is killed while serving; use a larger one" if ok is False else ""
    return Check("memory", ok, found, f"{wanted // GIB} GiB for target {patient.target}", remedy)


def hip_compiler(patient: Patient) -> Check:
    """The compiler of `develop --target gfx950 --compile-only`, found or named."""
    wanted = "a HIP compiler for gfx950, which develop --target gfx950 --compile-only uses (needs no GPU)"
    if patient.target != targets.GFX950:
        return skipped("hip compiler", "target cpu compiles no HIP", wanted)
    here, found = toolchain.described(patient.layout, patient.machine)
    return Check("hip compiler", True if here else None, found, wanted)


def gpu(patient: Patient) -> Check:
    if not patient.has_amd_gpu:
        return skipped("gpu", "no /dev/kfd", "gfx950 (MI355X, MI350X)")
    kinds = sorted(set(patient.machine.gpus))
    ok = targets.GFX950 in kinds
    found = ", ".join(f"{patient.machine.gpus.count(kind)} x {kind}" for kind in kinds) or "/dev/kfd, but no GPU is listed"
    remedy = "in a container pass --device=/dev/kfd --device=/dev/dri; for another GPU, `develop --arch`: its numbers are not gfx950's"
    return Check("gpu", ok, found, "gfx950 (MI355X, MI350X)", "" if ok else remedy)


def mec_firmware(patient: Patient) -> Check:
    wanted = f"MEC firmware {FIXED_MEC} or newer, or HSA_NO_SCRATCH_RECLAIM=1"
    if not patient.has_amd_gpu:
        return skipped("mec firmware", "no AMD GPU", wanted)
    versions = mec_versions(patient.root) or mec_versions_from_smi()
    set_to = patient.environment.get("HSA_NO_SCRATCH_RECLAIM")
    if not versions:
        found = "unknown: neither sysfs nor rocm-smi says it"
        return Check("mec firmware", True if set_to == "1" else None, found, wanted, "" if set_to == "1" else "run `rocm-smi --showfw`")
    oldest = min(versions)
    ok = oldest >= FIXED_MEC or set_to == "1"
    found = f"{oldest}" + (f", HSA_NO_SCRATCH_RECLAIM={set_to}" if set_to else "")
    return Check("mec firmware", ok, found, wanted, "" if ok else "export HSA_NO_SCRATCH_RECLAIM=1")


def mec_versions(root: Path) -> list[int]:
    """The MEC firmware of each GPU as the amdgpu driver's sysfs files say it (hexadecimal)."""
    found = []
    for path in sorted(root.glob("sys/class/drm/card*/device/fw_version/mec_fw_version")):
        try:
            found.append(int(path.read_text().strip(), 16))
        except (OSError, ValueError):
            continue
    return found


def mec_versions_from_smi() -> list[int]:
    """The same through rocm-smi, where it is installed."""
    if shutil.which("rocm-smi") is None:
        return []
    try:
        done = ask(["rocm-smi", "--showfw"], timeout=60)
    except subprocess.TimeoutExpired:  # as of a driver that hangs, which `doctor` is asked about
        return []
    return [int(number) for number in re.findall(r"MEC firmware version:\s*(\d+)", done.stdout)]


def first_line(argv: list[str]) -> str | None:
    """The first line that a program prints; None where it does not run."""
    try:
        done = ask(argv, timeout=20)
    except subprocess.TimeoutExpired:
        return None
    return done.stdout.splitlines()[0] if done.returncode == 0 and done.stdout else None


def existing(path: Path) -> Path:
    """The nearest folder that exists."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


CHECKS = (python, compiler, openssl, libraries, git, disk, file_system, memory, hip_compiler, gpu, mec_firmware)
