"""A HIP compiler from a package index alone: three wheels, pinned, of which a folder is made that looks like ROCm to clang.

ziglang's wheel is clang with the amdgcn target; clang-tidy's has the headers that belong to clang; triton 3.5.1 is the last whose wheel has the
HIP headers for fp16, bf16 and fp8, with AMD's ocml and ockl. What ROCm has beyond these (hipCUB, rocPRIM, hipBLAS, ...) is in no index.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tunefork.base.errors import BuildError
from tunefork.base.layout import Layout
from tunefork.base.mutex import locked
from tunefork.base.process import Say, ask
from tunefork.patchset.sources import packages

STAND_INS = Path(__file__).with_name("stand_ins")
HIP = (6, 2, 41134)  # triton 3.5.1's hip_version.h
WHEEL = ("--implementation", "cp", "--python-version", "3.11", "--abi", "cp311", "--platform", "manylinux_2_28_x86_64",
         "--platform", "manylinux_2_27_x86_64", "--platform", "manylinux_2_12_x86_64")  # fmt: skip
# The control variables of AMD's device library, as clang links them by name: file, variable, type, value.
CONTROLS = (
    ("isa_version_950", (("ISA_version", "i32", 9500),)),
    *((f"abi_version_{abi}", (("ABI_version", "i32", abi),)) for abi in (400, 500, 600)),
    ("wavefrontsize64_on", (("wavefrontsize64", "i8", 1), ("wavefrontsize_log2", "i32", 6))),
    ("wavefrontsize64_off", (("wavefrontsize64", "i8", 0), ("wavefrontsize_log2", "i32", 5))),
    *((f"{file}_{state}", ((variable, "i8", int(state == "on")),))
      for file, variable in (("unsafe_math", "unsafe_math_opt"), ("finite_only", "finite_only_opt"), ("daz_opt", "daz_opt"),
                             ("correctly_rounded_sqrt", "correctly_rounded_sqrt32"))
      for state in ("on", "off")),
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """A wheel, and what of it is taken: (folder in the wheel, folder in the parts). mib: its size."""

    name: str
    version: str
    sha256: str
    mib: int
    taken: tuple[tuple[str, str], ...]


PARTS = (
    Part("ziglang", "0.17.1", "ea6cc5d87b033cf0aedfbc8f9549a908cae6c50ac31f1698188fa48a74524b54", 97, (("ziglang/zig", "bin/zig"),)),
    Part("clang-tidy", "22.1.7", "cff22f68ae7a3d8bf1b99ed77b9b81f8027f093c3e7b02f1d31dab76e0761433", 41, (("clang_tidy/data/lib/clang/22/", "clang/"),)),
    Part("triton", "3.5.1", "61413522a48add32302353fdbaaf92daaaab06f6b5e3229940d21b5207f47579", 163,
         (("triton/backends/amd/include/", "rocm/include/"), ("triton/backends/amd/lib/oc", "rocm/amdgcn/bitcode/oc"))),
)  # fmt: skip


def digest() -> str:
    """What the folder of parts is made of, as a name."""
    made = hashlib.sha256(repr((PARTS, CONTROLS, HIP)).encode())
    for path in sorted(path for path in STAND_INS.rglob("*.h*") if path.is_file()):
        made.update(path.relative_to(STAND_INS).as_posix().encode() + path.read_bytes())
    return made.hexdigest()[:16]


def folder(layout: Layout) -> Path:
    """Where the parts are, or would be."""
    return layout.cache / "gfx950-parts" / digest()


def assembled(layout: Layout, say: Say) -> Path:
    """The folder of parts, fetched through pip and put together where it is missing. Errors: SourceError, BuildError."""
    place = folder(layout)
    if place.is_dir():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with locked(place.with_suffix(".lock"), say, "another process is putting the HIP compiler together, waiting"):
        if not place.is_dir():
            wheels = [packages.download(part.name, part.version, part.sha256, kind="wheel", into=layout.cache / "downloads", say=say, options=WHEEL)
                      for part in PARTS]  # fmt: skip
            with tempfile.TemporaryDirectory(prefix=".parts-", dir=place.parent) as scratch:
                fill(Path(scratch) / "made", wheels)
                (Path(scratch) / "made").rename(place)
    return place


def fill(into: Path, wheels: list[Path]) -> None:
    """Unpack what is taken of the wheels, and add what no wheel has."""
    for part, wheel in zip(PARTS, wheels, strict=True):
        with zipfile.ZipFile(wheel) as packed:
            for name in packed.namelist():
                for start, target in part.taken:
                    if name.startswith(start) and not name.endswith("/"):
                        path = into / (target + name.removeprefix(start))
                        path.parent.mkdir(parents=True, exist_ok=True)
                        with packed.open(name) as source, path.open("wb") as sink:
                            shutil.copyfileobj(source, sink)
    zig = into / "bin" / "zig"
    zig.chmod(zig.stat().st_mode | stat.S_IXUSR)
    shutil.copytree(STAND_INS, into / "stand_ins")
    version = into / "rocm" / "share" / "hip" / "version"
    version.parent.mkdir(parents=True)
    version.write_text("".join(f"HIP_VERSION_{name}={number}\n" for name, number in zip(("MAJOR", "MINOR", "PATCH"), HIP, strict=True)))
    for name, variables in CONTROLS:
        bitcode(into, f"oclc_{name}", variables)
    for name in ("opencl", "hip"):
        bitcode(into, name, ())


def bitcode(into: Path, name: str, variables: tuple[tuple[str, str, int], ...]) -> None:
    """A module of constants that clang links beside ocml."""
    lines = [f"@__oclc_{variable} = linkonce_odr protected local_unnamed_addr addrspace(4) constant {kind} {value}" for variable, kind, value in variables]
    text = into / "control.ll"
    text.write_text("\n".join(['target triple = "amdgcn-amd-amdhsa"', *lines, ""]))
    out = into / "rocm" / "amdgcn" / "bitcode" / f"{name}.bc"
    done = ask([into / "bin" / "zig", "clang", "-x", "ir", "-c", "-emit-llvm", "-target", "amdgcn-amd-amdhsa", "-nogpulib", text, "-o", out])
    text.unlink()
    if done.returncode:
        raise BuildError(f"clang did not assemble {name}.bc: {done.stderr.strip()[-300:]}",
                         elsewhere(into) or "`python3 build.py clean --cache`, then the same command again: the compiler is fetched anew")


def elsewhere(path: Path) -> str:
    """What helps where the file system of a path runs no program, whatever is fetched; "" where it does."""
    if not os.statvfs(path if path.exists() else path.parent).f_flag & os.ST_NOEXEC:
        return ""
    return f"the file system of {path} is mounted noexec: set TUNEFORK_CACHE to a folder on another, then the same command again"
